//! Checking a directory's chains.

mod chain;
mod error;

use std::{collections::BTreeMap, fs, io, path::Path};

pub use self::error::{Finding, VerifyError, VerifyErrorKind};
use crate::{
    ChainId,
    sink::file::heads::{self, Heads, Mark},
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
    /// The hash of the checkpoint, in hexadecimal digits. Kept elsewhere, it shows later whether the
    /// directory was rolled back.
    pub checkpoint: String,
}

/// Verifies all chains of a directory that a [`FileSink`](crate::FileSink) wrote. Reads only, in
/// one pass and bounded memory.
///
/// It finds, and names with file, line and record: a changed byte; a removed, added, repeated or
/// reordered record, or one of another chain; a chain that was cut, removed or renamed; a checkpoint
/// that was changed or removed.
///
/// The hashes have no key. Whoever may write to the directory, knows this format and computes all
/// hashes anew, checkpoint included, is found out only by [`Verified::checkpoint`] kept elsewhere; and
/// so is whoever puts an older copy of the whole directory in place.
///
/// # Errors
///
/// [`VerifyError`]: the first finding of every chain, or why the directory cannot be read.
pub fn verify(dir: impl AsRef<Path>) -> Result<Verified, VerifyError> {
    let dir = dir.as_ref();
    let (heads, hash) = checkpoint(dir).map_err(VerifyError::one)?;
    let mut findings = Vec::new();
    let mut chains: BTreeMap<String, Option<Mark>> = heads
        .0
        .into_iter()
        .map(|(name, mark)| (name, Some(mark)))
        .collect();
    for name in names(dir).map_err(VerifyError::one)? {
        chains.entry(name).or_insert(None);
    }
    let mut verified = Verified {
        records: 0,
        tenants: 0,
        unsealed: 0,
        recovered: 0,
        checkpoint: hex::encode(hash),
    };
    for (name, mark) in chains {
        let path = dir.join(&name);
        let Some(id) = ChainId::from_file_name(&name) else {
            findings.push(Finding::new(path, VerifyErrorKind::UnknownFile));
            continue;
        };
        match chain::verify(path, &id, mark) {
            Ok(chain) => {
                verified.records = verified.records.saturating_add(chain.records);
                verified.unsealed = verified.unsealed.saturating_add(chain.unsealed);
                verified.recovered = verified.recovered.saturating_add(chain.recovered);
                let is_tenant = u64::from(id.tenant().is_some());
                verified.tenants = verified.tenants.saturating_add(is_tenant);
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

fn checkpoint(dir: &Path) -> Result<(Heads, [u8; 32]), Finding> {
    let path = dir.join(heads::FILE);
    match fs::read(&path) {
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
