//! Checking a directory's chains.

mod account;
pub(crate) mod chain;
mod error;
mod spilled;
pub(crate) mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use self::chain::Wanted;

pub use self::error::{Finding, VerifyError, VerifyErrorKind};
use crate::{
    ChainId, CheckpointKey,
    sink::file::{
        checkpoint::{self as sink_checkpoint, Checkpoint},
        heads::{self, Heads},
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
#[derive(Clone, Default)]
#[must_use = "a verifier does nothing until `verify`"]
pub struct Verifier {
    keys: Vec<CheckpointKey>,
    kept: Vec<Vec<u8>>,
    threads: Option<NonZeroUsize>,
    progress: Option<Progress>,
}

/// Told how many bytes are read, of how many.
type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// One chain, and what it is held against.
#[derive(Default)]
struct Job {
    /// `None`: a file with the ending of a chain and no chain's name.
    chain: Option<ChainId>,
    files: Vec<u64>,
    /// The numbers of the records that have files of their own.
    spills: BTreeSet<u64>,
    wanted: Wanted,
}

/// All chains, by their names.
struct Work {
    chains: BTreeMap<String, Job>,
    done: AtomicU64,
    total: u64,
}

impl Work {
    /// Wants what a checkpoint says; the directory's own says how far the chains reach.
    fn hold(&mut self, heads: &Heads, own: bool) {
        for (name, mark) in &heads.marks {
            let job = self.chains.entry(name.clone()).or_default();
            job.chain = job.chain.take().or_else(|| ChainId::from_file_name(name));
            job.wanted.marks.push(*mark);
            if own {
                job.wanted.sealed = mark.head;
                job.wanted.expired = heads.expired.get(name).copied();
            }
        }
    }

    fn length(&self, dir: &Path) -> u64 {
        let files = self.chains.values().flat_map(|job| {
            let names = |chain: &ChainId| {
                let names = job.files.iter().map(|first| chain.segment_name(*first));
                names.collect::<Vec<_>>()
            };
            job.chain.as_ref().map(names).unwrap_or_default()
        });
        files.fold(0, |sum: u64, name| {
            let length = fs::symlink_metadata(dir.join(name)).map_or(0, |file| file.len());
            sum.saturating_add(length)
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
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

    /// Tells, ten times a second, how many bytes were read, and of how many.
    pub fn on_progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
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
        let mut work = Work {
            chains: there(dir).map_err(VerifyError::one)?,
            done: AtomicU64::new(0),
            total: 0,
        };
        work.hold(&heads, true);
        if let Some(signed) = &signed {
            work.hold(&signed.heads, false);
        }
        for kept in &self.kept {
            let kept = self.kept(kept).map_err(VerifyError::one)?;
            work.hold(&kept.heads, false);
        }
        if let (Some(signed), false) = (&signed, self.keys.is_empty()) {
            for (name, job) in &mut work.chains {
                // What nobody has signed accounts for nothing.
                let mark = signed.heads.marks.get(name);
                job.wanted.signed = Some(mark.map_or(0, |mark| mark.head.seq()));
            }
        }
        work.total = work.length(dir);
        let mut verified = Verified {
            records: 0,
            tenants: 0,
            unsealed: 0,
            recovered: 0,
            bytes: 0,
            signed: signed.is_some() && !self.keys.is_empty(),
            checkpoint: hex::encode(hash),
        };
        let mut findings = Vec::new();
        for (result, is_tenant) in self.each(dir, &work) {
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

    /// Verifies the chains, several at a time; the results are in their order.
    fn each(&self, dir: &Path, work: &Work) -> Vec<(Result<chain::Chain, Finding>, bool)> {
        let chains: Vec<(&String, &Job)> = work.chains.iter().collect();
        let one = |(name, job): &(&String, &Job)| {
            let Some(id) = &job.chain else {
                let finding = Finding::new(dir.join(name), VerifyErrorKind::UnknownFile);
                return (Err(finding), false);
            };
            let result = chain::verify(dir, id, &job.files, &job.spills, &job.wanted, &work.done);
            if let Some(progress) = &self.progress {
                progress(work.done.load(Ordering::Relaxed), work.total);
            }
            (result, id.tenant().is_some())
        };
        let processors = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or_else(processors).get();
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(chains.len()));
        let verify = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(chain) = chains.get(at) else {
                    return;
                };
                let result = one(chain);
                results.lock().push((at, result));
            }
        };
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            if let Some(progress) = &self.progress {
                let ended = &ended;
                scope.spawn(move || {
                    while !ended.load(Ordering::Acquire) {
                        progress(work.done.load(Ordering::Relaxed), work.total);
                        thread::park_timeout(PROGRESS);
                    }
                });
            }
            thread::scope(|scope| {
                for _ in 1..threads.min(chains.len()) {
                    scope.spawn(verify);
                }
                verify();
            });
            ended.store(true, Ordering::Release);
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

/// The chains whose files are there, and files that are no chain's.
fn there(dir: &Path) -> Result<BTreeMap<String, Job>, Finding> {
    let unreadable = |error| Finding::io(dir.to_path_buf(), error);
    let mut chains: BTreeMap<String, Job> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if ChainId::is_spill(&name) {
            match ChainId::from_spill_name(&name) {
                Some((chain, seq)) => {
                    let job = chains.entry(chain.file_name()).or_default();
                    job.spills.insert(seq);
                    job.chain = Some(chain);
                }
                None => drop(chains.insert(name.into_owned(), Job::default())),
            }
            continue;
        }
        if !name.ends_with(".jsonl") {
            continue;
        }
        match ChainId::from_segment_name(&name) {
            Some((chain, first)) => {
                let job = chains.entry(chain.file_name()).or_default();
                job.files.push(first);
                job.chain = Some(chain);
            }
            None => drop(chains.insert(name.into_owned(), Job::default())),
        }
    }
    for job in chains.values_mut() {
        job.files.sort_unstable();
    }
    Ok(chains)
}
