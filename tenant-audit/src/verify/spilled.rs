//! Records that are too long for their lines: each stands in a file of its own.

use std::{collections::BTreeSet, path::Path};

use super::{Finding, VerifyErrorKind};
use crate::{
    ChainId,
    chain::Content,
    sink::file::spill::{self, MAX_INLINE, Unlike},
};

/// The spilled records of one chain.
pub(super) struct Spilled<'a> {
    /// Where they stand; `None`: nowhere, each record stands in its line.
    dir: Option<&'a Path>,
    chain: ChainId,
    /// The last one.
    record: String,
    /// The numbers of all of them.
    numbers: BTreeSet<u64>,
}

/// Why a line and what it names do not fit.
pub(super) enum Unfit {
    Line(VerifyErrorKind),
    File(Finding),
}

impl<'a> Spilled<'a> {
    pub(super) fn of(chain: &ChainId) -> Self {
        Self {
            dir: None,
            chain: chain.clone(),
            record: String::new(),
            numbers: BTreeSet::new(),
        }
    }

    pub(super) const fn within(&mut self, dir: &'a Path) {
        self.dir = Some(dir);
    }

    /// Reads the record of a line that has its digest alone. Where each record stands is not free to choose.
    pub(super) fn read(&mut self, seq: u64, content: &Content<'_>) -> Result<(), Unfit> {
        let (dir, bytes, digest) = match (self.dir, content) {
            (Some(_), Content::Record(record)) if record.len() > MAX_INLINE => {
                return Err(Unfit::Line(VerifyErrorKind::Malformed));
            }
            (_, Content::Record(_) | Content::Withheld(_)) => return Ok(()),
            (None, Content::Spilled { .. }) => {
                return Err(Unfit::Line(VerifyErrorKind::Withheld));
            }
            (Some(dir), Content::Spilled { bytes, digest }) => (dir, *bytes, digest),
        };
        if usize::try_from(bytes).is_ok_and(|bytes| bytes <= MAX_INLINE) {
            return Err(Unfit::Line(VerifyErrorKind::Malformed));
        }
        let path = dir.join(self.chain.spill_name(seq));
        self.numbers.insert(seq);
        match spill::read(&path, bytes, digest) {
            Ok(record) => {
                self.record = record;
                Ok(())
            }
            Err(unlike) => Err(Unfit::File(match unlike {
                Unlike::Missing => Finding::new(path, VerifyErrorKind::SpillMissing),
                Unlike::Other => Finding::new(path, VerifyErrorKind::SpillAltered),
                Unlike::Unreadable(error) => Finding::io(path, error),
            })),
        }
    }

    /// The record that was read last.
    pub(super) fn record(&self) -> &str {
        &self.record
    }

    /// What stands beside a chain that reaches from one number to another and is named by no line of it.
    pub(super) fn orphan(
        &self,
        dir: &Path,
        there: &BTreeSet<u64>,
        start: u64,
        end: u64,
    ) -> Option<Finding> {
        let beyond = start.saturating_add(1)..;
        let orphan = there
            .range(beyond)
            .find(|seq| !self.numbers.contains(seq))?;
        // A record's file is there before its line is.
        let kind = if *orphan > end {
            VerifyErrorKind::Torn
        } else {
            VerifyErrorKind::UnknownFile
        };
        Some(Finding::new(dir.join(self.chain.spill_name(*orphan)), kind))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{super::chain::Wanted, *};
    use crate::{
        Head,
        chain::{ChainKey, seal},
        verify::walk::Walk,
    };

    #[test]
    fn a_short_record_stands_in_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId::platform();
        for length in [10, MAX_INLINE, MAX_INLINE + 1] {
            let (mut head, mut line, mut short) = (Head::default(), Vec::new(), Vec::new());
            seal(&ChainKey::of(&chain), &mut head, &mut line, |out| {
                out.extend_from_slice(format!("\"{}\"", "x".repeat(length - 2)).as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
            let record = crate::chain::spill(&line, &mut short).unwrap();
            std::fs::write(dir.path().join(chain.spill_name(1)), record).unwrap();
            let wanted = Wanted::default();
            let mut walk = Walk::new(&chain, Head::default(), &wanted).within(dir.path());
            walk.begin(Path::new("x"), 1).unwrap();
            let found = walk.line(&short).err().map(|finding| finding.kind());
            let expected = (length <= MAX_INLINE).then_some(VerifyErrorKind::Malformed);
            assert_eq!(found, expected, "{length}");
        }
    }
}
