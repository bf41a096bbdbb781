//! Checking one chain's files.

use std::{collections::BTreeSet, path::Path, sync::atomic::AtomicU64};

use super::{Finding, VerifyErrorKind, walk::Walk};
use crate::{
    ChainId, Head,
    sink::file::{disk::open_regular, heads::Mark},
};

/// What one chain holds.
pub(crate) struct Chain {
    pub(crate) records: u64,
    pub(crate) unsealed: u64,
    pub(crate) recovered: u64,
    pub(crate) bytes: u64,
}

/// What a chain is held against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// How far it reaches, by the directory's own checkpoint.
    pub(crate) sealed: Head,
    /// What other checkpoints say was there.
    pub(crate) marks: Vec<Mark>,
    /// The last record that it need not have any more.
    pub(crate) expired: Option<Head>,
    /// The record up to which an account of what has expired counts; `None`: any.
    pub(crate) signed: Option<u64>,
    /// The last record that is shown; what follows is withheld. `None`: all are shown.
    pub(crate) until: Option<u64>,
}

/// Checks a chain's files, of which the numbers of the first records are given.
pub(super) fn verify(
    dir: &Path,
    chain: &ChainId,
    files: &[u64],
    spills: &BTreeSet<u64>,
    wanted: &Wanted,
    progress: &AtomicU64,
) -> Result<Chain, Finding> {
    let (start, files) = beginning(files, wanted.expired);
    let mut walk = Walk::new(chain, start, wanted).within(dir);
    walk.progress = Some(progress);
    for first in files {
        let path = dir.join(chain.segment_name(*first));
        walk.begin(&path, *first)?;
        match open_regular(&path) {
            Ok(file) => walk.lines(file)?,
            Err(error) => return Err(Finding::io(path, error)),
        }
    }
    let orphan = walk.orphan(dir, spills);
    if files.is_empty() {
        if let Some(orphan) = orphan.filter(|_| wanted.sealed == Head::default()) {
            return Err(orphan);
        }
        let path = dir.join(chain.file_name());
        return Err(Finding::new(path, VerifyErrorKind::FileMissing));
    }
    let chain = walk.finish()?;
    orphan.map_or(Ok(chain), Err)
}

/// Where a chain begins whose files are these, and which of them are of it: what is not deleted yet of what had been
/// kept for long enough is no matter, unless all of it is there.
pub(crate) fn beginning(files: &[u64], expired: Option<Head>) -> (Head, &[u64]) {
    match (files.first(), expired) {
        (Some(first), Some(expired)) if *first > 1 => {
            let gone = files.iter().take_while(|first| **first <= expired.seq());
            (expired, files.get(gone.count()..).unwrap_or_default())
        }
        _ => (Head::default(), files),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_deletion_is_no_part_of_the_chain() {
        let through = Head::new(10, [1; 32]);
        let none = Head::default();
        assert_eq!(
            beginning(&[1, 6, 11], Some(through)),
            (none, &[1, 6, 11][..])
        );
        assert_eq!(
            beginning(&[6, 11, 16], Some(through)),
            (through, &[11, 16][..])
        );
        assert_eq!(
            beginning(&[11, 16], Some(through)),
            (through, &[11, 16][..])
        );
        assert_eq!(beginning(&[11], None), (none, &[11][..]));
    }
}
