//! A chain's files: which there are, and when the next one begins.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use tenant_context::UnixTime;

use super::{
    disk::{explain, sync_dir},
    pieces::Pieces,
    spill,
};
use crate::{ChainId, Head, SinkError, stamp};

/// When a chain's next file begins: whichever comes first. Nothing is renamed: a file that is full stays as it is,
/// and the next one is named after its first record, `tenant-acme.1041.jsonl`.
///
/// ```
/// use std::time::Duration;
/// use tenant_audit::{FileSink, Rotation};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tmp = tempfile::tempdir()?;
/// let sink = FileSink::open(tmp.path())?
///     .rotated(Rotation::new().bytes(64 << 20).after(Duration::from_secs(24 * 3600)));
/// # drop(sink);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is given to a sink"]
pub struct Rotation {
    bytes: u64,
    after: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self::new()
    }
}

impl Rotation {
    /// At 256 MiB, or after 30 days.
    pub const fn new() -> Self {
        Self {
            bytes: 256 << 20,
            after: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// How long a file grows: it is longer by one batch at most.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long after a file's first record a record still goes into it.
    pub const fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    /// Whether what comes at `now` goes into a new file.
    pub(super) fn is_due(&self, bytes: u64, since: Option<UnixTime>, now: UnixTime) -> bool {
        bytes > 0
            && (bytes >= self.bytes
                || since.is_some_and(|since| now.saturating_since(since) >= self.after))
    }
}

/// The chains of a directory, each with the numbers of its files' first records, in order.
pub(crate) type Chains = BTreeMap<String, (ChainId, Vec<u64>)>;

/// The chains' files, by the chains' names. `Err` with a name: it is no chain's.
pub(crate) fn chains(dir: &Path) -> io::Result<Result<Chains, String>> {
    let mut chains = Chains::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(".jsonl") {
            continue;
        }
        let Some((chain, first)) = ChainId::from_segment_name(&name) else {
            return Ok(Err(name.into_owned()));
        };
        let (_, files) = chains
            .entry(chain.file_name())
            .or_insert_with(|| (chain, Vec::new()));
        files.push(first);
    }
    for (_, files) in chains.values_mut() {
        files.sort_unstable();
    }
    Ok(Ok(chains))
}

/// [`chains`], where a foreign file is an error.
pub(super) fn own_chains(dir: &Path) -> Result<Chains, SinkError> {
    chains(dir)
        .map_err(explain("cannot be read", dir))?
        .map_err(|name| {
            SinkError::new(format!(
                "{} is not the file of a chain: it was renamed, or does not belong here; move it away",
                dir.join(name).to_string_lossy().escape_debug()
            ))
        })
}

/// Deletes a chain's files whose records are all up to `through`.
pub(super) fn delete(
    dir: &Path,
    chain: &ChainId,
    files: &[u64],
    through: &Head,
) -> Result<(), SinkError> {
    let next = through.seq().saturating_add(1);
    for (first, after) in files.iter().zip(files.iter().skip(1)) {
        if *after <= next {
            let path = dir.join(chain.segment_name(*first));
            fs::remove_file(&path).map_err(explain("cannot be deleted", &path))?;
        }
    }
    // After the lines: as long as one of them is there, so is what it names.
    let spills = spill::there(dir).map_err(explain("cannot be read", dir))?;
    if let Some((_, numbers)) = spills.get(&chain.file_name()) {
        spill::delete(dir, chain, numbers.range(..next).copied())?;
    }
    sync_dir(dir).map_err(explain("cannot be synced", dir))
}

/// When the first record of a chain's file was made.
pub(super) fn begun(dir: &Path, chain: &ChainId, first: u64) -> io::Result<Option<UnixTime>> {
    let path = dir.join(chain.segment_name(first));
    let mut pieces = Pieces::new(super::disk::open_regular(&path)?);
    let record = pieces
        .next()?
        .and_then(|line| spill::record(dir, chain, line));
    Ok(record.and_then(|record| stamp::of_record(&record)))
}
