//! Checking a directory's chains.

pub(crate) mod chain;
mod error;

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

pub use self::error::{Finding, VerifyError, VerifyErrorKind};
use crate::{
    ChainId, CheckpointKey,
    sink::file::{
        checkpoint::{self as sink_checkpoint, Checkpoint},
        heads::{self, Heads, Mark},
    },
};

/// What a directory holds, all of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// All records.
    pub records: u64,
    /// The tenants that have a chain. The platform's chain counts as none.
    pub tenants: u64,
    /// Records beyond the checkpoint: a writer is at work, or ended without a clean shutdown. That
    /// some more of them were there and are cut off cannot be seen.
    pub unsealed: u64,
    /// How often a crash left bytes that are no record, which a later record accounts for.
    pub recovered: u64,
    /// The bytes of all chains.
    pub bytes: u64,
    /// Whether a checkpoint was found that one of the given keys has signed.
    pub signed: bool,
    /// The hash of the checkpoint, in hexadecimal digits. Kept elsewhere, it shows later whether the
    /// directory was rolled back.
    pub checkpoint: String,
}

/// Verifies all chains of a directory that a [`FileSink`](crate::FileSink) wrote. Reads only, each file in
/// one pass and bounded memory, as many at a time as there are processors.
///
/// It finds, and names with file, line and record: a changed byte; a removed, added, repeated or
/// reordered record, or one of another chain; a chain that was cut, removed or renamed; a checkpoint
/// that was changed or removed. Whoever can write the directory and computes all hashes anew is found by
/// a key, whoever puts an older copy in place by a checkpoint that was kept elsewhere: see [`Verifier`].
///
/// # Errors
///
/// [`VerifyError`]: the first finding of every chain, or why the directory cannot be read.
pub fn verify(dir: impl AsRef<Path>) -> Result<Verified, VerifyError> {
    Verifier::new().verify(dir)
}

/// What verification holds a directory against, besides its own hashes.
///
/// ```
/// use tenant_audit::Verifier;
///
/// # fn check(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// let key = "audit.example.com/api+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
/// # let key = tenant_audit::CheckpointSigner::generate("a")?.key().to_string();
/// let verified = Verifier::new()
///     .key(key.parse()?)                               // signed by this key, or by another that is given
///     .against(std::fs::read("kept/checkpoint.json")?) // nothing that stood there then is gone or changed
///     .verify(dir)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a verifier does nothing until `verify`"]
pub struct Verifier {
    keys: Vec<CheckpointKey>,
    kept: Vec<Vec<u8>>,
    threads: Option<NonZeroUsize>,
}

impl Verifier {
    /// Hashes alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants a checkpoint that this key, or another one that is given, has signed.
    pub fn key(mut self, key: CheckpointKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Wants all that a `checkpoint.json` kept elsewhere says was there. With keys, it must be signed too.
    pub fn against(mut self, checkpoint: impl Into<Vec<u8>>) -> Self {
        self.kept.push(checkpoint.into());
        self
    }

    /// How many files are read at a time. Default: as many as there are processors.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Verifies a directory.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first finding of every chain, or why the directory cannot be read.
    pub fn verify(&self, dir: impl AsRef<Path>) -> Result<Verified, VerifyError> {
        let dir = dir.as_ref();
        let (heads, hash) = checkpoint(dir).map_err(VerifyError::one)?;
        let signed = self.signed(dir).map_err(VerifyError::one)?;
        let mut chains: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
        let mut marks = |heads: &Heads| {
            for (name, mark) in &heads.0 {
                chains.entry(name.clone()).or_default().push(*mark);
            }
        };
        // The directory's own first: it says how far the chains reach.
        marks(&heads);
        if let Some(signed) = &signed {
            marks(&signed.heads);
        }
        for kept in &self.kept {
            marks(&self.kept(kept).map_err(VerifyError::one)?.heads);
        }
        for name in names(dir).map_err(VerifyError::one)? {
            chains.entry(name).or_default();
        }
        let mut verified = Verified {
            records: 0,
            tenants: 0,
            unsealed: 0,
            recovered: 0,
            bytes: 0,
            signed: signed.is_some() && !self.keys.is_empty(),
            checkpoint: hex::encode(hash),
        };
        let chains: Vec<(String, Vec<Mark>)> = chains.into_iter().collect();
        let mut findings = Vec::new();
        for (result, is_tenant) in self.each(dir, &chains, &heads) {
            match result {
                Ok(chain) => {
                    verified.records = verified.records.saturating_add(chain.records);
                    verified.unsealed = verified.unsealed.saturating_add(chain.unsealed);
                    verified.recovered = verified.recovered.saturating_add(chain.recovered);
                    verified.bytes = verified.bytes.saturating_add(chain.bytes);
                    verified.tenants = verified.tenants.saturating_add(u64::from(is_tenant));
                }
                Err(finding) => findings.push(finding),
            }
        }
        let mut findings = findings.into_iter();
        match findings.next() {
            None => Ok(verified),
            Some(first) => Err(VerifyError::new(first, findings.collect())),
        }
    }

    /// Verifies the files, several at a time; the results are in their order.
    fn each(
        &self,
        dir: &Path,
        chains: &[(String, Vec<Mark>)],
        heads: &Heads,
    ) -> Vec<(Result<chain::Chain, Finding>, bool)> {
        let one = |(name, marks): &(String, Vec<Mark>)| {
            let path = dir.join(name);
            let Some(id) = ChainId::from_file_name(name) else {
                let finding = Finding::new(path, VerifyErrorKind::UnknownFile);
                return (Err(finding), false);
            };
            let sealed = heads.0.get(name).copied().unwrap_or_default();
            let result = chain::verify(path, &id, sealed, marks);
            (result, id.tenant().is_some())
        };
        let processors = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or_else(processors).get();
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(chains.len()));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(chain) = chains.get(at) else {
                    return;
                };
                let result = one(chain);
                results.lock().push((at, result));
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(chains.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut results = results.into_inner();
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The directory's signed checkpoint. With keys there must be one, and one of them must have signed it.
    fn signed(&self, dir: &Path) -> Result<Option<Checkpoint>, Finding> {
        let path = dir.join(sink_checkpoint::FILE);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if self.keys.is_empty() {
                    Ok(None)
                } else {
                    Err(Finding::new(path, VerifyErrorKind::Unsigned))
                };
            }
            Err(error) => return Err(Finding::io(path, error)),
        };
        self.check(path, &bytes).map(Some)
    }

    fn kept(&self, bytes: &[u8]) -> Result<Checkpoint, Finding> {
        self.check(PathBuf::from("the checkpoint kept elsewhere"), bytes)
    }

    fn check(&self, path: PathBuf, bytes: &[u8]) -> Result<Checkpoint, Finding> {
        let Some(checkpoint) = Checkpoint::decode(bytes) else {
            return Err(Finding::new(path, VerifyErrorKind::CheckpointAltered));
        };
        if !self.keys.is_empty() && !checkpoint.is_signed(&self.keys) {
            return Err(Finding::new(path, VerifyErrorKind::Unsigned));
        }
        Ok(checkpoint)
    }
}

/// Reads a small file that is one: a pipe would never end, a link may lead anywhere.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    const MAX: u64 = 1 << 30;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MAX {
        return Err(io::Error::other("it is larger than a checkpoint can be"));
    }
    fs::read(path)
}

fn checkpoint(dir: &Path) -> Result<(Heads, [u8; 32]), Finding> {
    let path = dir.join(heads::FILE);
    match read(&path) {
        Ok(bytes) => Heads::decode(&bytes)
            .ok_or_else(|| Finding::new(path, VerifyErrorKind::CheckpointAltered)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => {
            Err(Finding::new(path, VerifyErrorKind::CheckpointMissing))
        }
        Err(error) => Err(Finding::io(path, error)),
    }
}

fn names(dir: &Path) -> Result<Vec<String>, Finding> {
    let unreadable = |error| Finding::io(dir.to_path_buf(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".jsonl") {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}
