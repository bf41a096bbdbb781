//! The way along one chain, line by line.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Deserialize;

use super::{
    Finding, VerifyErrorKind,
    account::{self, Gap},
    chain::{Chain, Wanted},
    spilled::{Spilled, Unfit},
};
use crate::{
    ChainId, Head,
    chain::{ChainKey, Content, Fault, follow, record_of},
    sink::file::{heads::Mark, pieces::Pieces},
};

/// The way along a chain, file by file.
pub(crate) struct Walk<'a> {
    key: ChainKey,
    wanted: &'a Wanted,
    /// What stood before the first line.
    start: Head,
    head: Head,
    path: PathBuf,
    line: u64,
    segment: u64,
    segment_bytes: u64,
    bytes: u64,
    recovered: u64,
    gap: Option<Gap>,
    /// Whether a record accounts for what is not there any more.
    accounted: bool,
    spilled: Spilled<'a>,
    /// Counts what is read.
    pub(super) progress: Option<&'a AtomicU64>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(chain: &ChainId, start: Head, wanted: &'a Wanted) -> Self {
        Self {
            key: ChainKey::of(chain),
            wanted,
            start,
            head: start,
            path: PathBuf::new(),
            line: 0,
            segment: 1,
            segment_bytes: 0,
            bytes: 0,
            recovered: 0,
            gap: None,
            accounted: start == Head::default(),
            spilled: Spilled::of(chain),
            progress: None,
        }
    }

    /// It is known why what was before the first line is not there.
    pub(crate) const fn accounted(mut self) -> Self {
        self.accounted = true;
        self
    }

    /// Records that are too long for their lines stand in this directory.
    pub(crate) const fn within(mut self, dir: &'a Path) -> Self {
        self.spilled.within(dir);
        self
    }

    /// Goes on in another file.
    pub(crate) fn begin(&mut self, path: &Path, first: u64) -> Result<(), Finding> {
        self.path = path.to_path_buf();
        (self.line, self.segment, self.segment_bytes) = (0, first, 0);
        let expected = self.head.seq().saturating_add(1);
        // What a crash has torn may stand at the end of the file before.
        if first != expected && self.gap.is_none() {
            let kind = VerifyErrorKind::OutOfOrder {
                expected,
                found: first,
            };
            return Err(Finding::new(self.path.clone(), kind));
        }
        Ok(())
    }

    /// Follows lines to their end.
    pub(crate) fn lines(&mut self, lines: impl Read) -> Result<(), Finding> {
        let mut pieces = Pieces::new(lines);
        loop {
            match pieces.next() {
                Ok(Some(piece)) => drop(self.line(piece)?),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Finding::io(self.path.clone(), error)),
            }
        }
    }

    /// Follows one line; what it holds, if it follows: a record that does not stand in it too.
    pub(crate) fn line<'l>(&'l mut self, piece: &'l [u8]) -> Result<Option<Content<'l>>, Finding> {
        self.line = self.line.saturating_add(1);
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        self.segment_bytes = self.segment_bytes.saturating_add(length);
        if let Some(progress) = self.progress {
            progress.fetch_add(length, Ordering::Relaxed);
        }
        match (follow(&self.key, &self.head, piece), &mut self.gap) {
            (Ok((next, content)), known) => {
                let torn = known.take();
                if let Err(unfit) = self.spilled.read(next.seq(), &content) {
                    return Err(match unfit {
                        Unfit::Line(kind) => self.finding(kind, piece),
                        Unfit::File(finding) => finding,
                    });
                }
                let content = match content {
                    Content::Spilled { .. } => Content::Record(self.spilled.record()),
                    content => content,
                };
                if let Some(torn) = torn {
                    if !content
                        .record()
                        .is_some_and(|record| torn.is_accounted_for(record))
                    {
                        return Err(torn.finding);
                    }
                    self.recovered = self.recovered.saturating_add(1);
                }
                self.head = next;
                let shown = self.wanted.until.is_none_or(|until| next.seq() <= until);
                if content.record().is_some() != shown {
                    return Err(self.finding(VerifyErrorKind::Withheld, piece));
                }
                self.check_marks(piece)?;
                let accounted = self.account(content);
                self.accounted |= accounted;
                Ok(Some(content))
            }
            (Err(_), Some(gap)) => {
                gap.add(piece, length);
                Ok(None)
            }
            (Err(fault), None) => {
                let kind = if piece.ends_with(b"\n") {
                    kind_of(fault, &self.head)
                } else {
                    VerifyErrorKind::Torn
                };
                let mut gap = Gap::new(self.finding(kind, piece));
                gap.add(piece, length);
                self.gap = Some(gap);
                Ok(None)
            }
        }
    }

    /// What stands beside the chain and is named by no line of it.
    pub(super) fn orphan(&self, dir: &Path, spills: &BTreeSet<u64>) -> Option<Finding> {
        self.spilled
            .orphan(dir, spills, self.start.seq(), self.head.seq())
    }

    pub(crate) fn finding(&self, kind: VerifyErrorKind, piece: &[u8]) -> Finding {
        Finding {
            line: Some(self.line),
            event_id: record_of(piece).and_then(event_id),
            ..Finding::new(self.path.clone(), kind)
        }
    }

    fn check_marks(&self, piece: &[u8]) -> Result<(), Finding> {
        let differs = |mark: &Mark| {
            mark.head != self.head
                || mark.segment != self.segment
                || mark.bytes != self.segment_bytes
        };
        let mut marks = self.wanted.marks.iter();
        if marks.any(|mark| mark.head.seq() == self.head.seq() && differs(mark)) {
            return Err(self.finding(VerifyErrorKind::NotAsCheckpointed, piece));
        }
        Ok(())
    }

    /// Whether a record says that what was before the first line had been kept for long enough.
    fn account(&self, content: Content<'_>) -> bool {
        let counts = self
            .wanted
            .signed
            .is_none_or(|signed| self.head.seq() <= signed);
        content
            .record()
            .filter(|_| !self.accounted && counts)
            .is_some_and(|record| account::of_beginning(record, &self.start))
    }

    /// How far it came.
    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn finish(self) -> Result<Chain, Finding> {
        let expected = self.wanted.marks.iter().map(|mark| mark.head.seq()).max();
        let expected = expected.unwrap_or(0).max(self.wanted.sealed.seq());
        let found = self.head.seq();
        let cut = found < expected;
        match self.gap {
            Some(gap) if !(cut && gap.finding.kind == VerifyErrorKind::Torn) => {
                return Err(gap.finding);
            }
            _ if cut => {
                let kind = VerifyErrorKind::Cut { expected, found };
                return Err(Finding {
                    line: Some(self.line),
                    ..Finding::new(self.path, kind)
                });
            }
            _ => {}
        }
        if !self.accounted {
            return Err(Finding::new(self.path, VerifyErrorKind::Unaccounted));
        }
        Ok(Chain {
            records: found.saturating_sub(self.start.seq()),
            unsealed: found.saturating_sub(self.wanted.sealed.seq()),
            recovered: self.recovered,
            bytes: self.bytes,
        })
    }
}

fn kind_of(fault: Fault, head: &Head) -> VerifyErrorKind {
    match fault {
        Fault::Malformed => VerifyErrorKind::Malformed,
        Fault::OutOfOrder { found } => VerifyErrorKind::OutOfOrder {
            expected: head.seq().saturating_add(1),
            found,
        },
        Fault::Unlinked => VerifyErrorKind::Unlinked,
        Fault::Altered => VerifyErrorKind::Altered,
    }
}

/// Bounded: the record may be anybody's.
fn event_id(record: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        event_id: Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_str(record).ok()?;
    Some(
        crate::text::bounded(&named.event_id)
            .escape_debug()
            .to_string(),
    )
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::chain::seal;

    /// A chain's second line, of a record by an actor that names the first one as expired.
    fn second(actor: &str, seq: u64, hash: &str) -> (ChainId, Head, Vec<u8>) {
        let chain = ChainId::of_tenant("acme".parse().unwrap());
        let (key, mut head) = (ChainKey::of(&chain), Head::default());
        let mut write = |record: &str| {
            let mut line = Vec::new();
            seal(&key, &mut head, &mut line, |out| {
                out.extend_from_slice(record.as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
            (head, line)
        };
        let (first, _) = write("{}");
        let hash = if hash.is_empty() {
            hex::encode(first.hash())
        } else {
            hash.to_owned()
        };
        let record = format!(
            r#"{{"action":"audit.expired",{actor},"metadata":{{"hash":"{hash}","through":{seq}}}}}"#
        );
        let (_, line) = write(&record);
        (chain, first, line)
    }

    fn walked(second: &(ChainId, Head, Vec<u8>), signed: Option<u64>) -> Option<VerifyErrorKind> {
        let wanted = Wanted {
            signed,
            ..Wanted::default()
        };
        let mut walk = Walk::new(&second.0, second.1, &wanted);
        walk.begin(Path::new("x"), 2).unwrap();
        walk.line(&second.2).unwrap();
        walk.finish().err().map(|finding| finding.kind())
    }

    #[test]
    fn a_missing_beginning_is_accounted_for_by_the_audits_own_signed_record_alone() {
        const OWN: &str = r#""actor_id":"tenant-audit","actor_type":"system""#;
        let missing = Some(VerifyErrorKind::Unaccounted);
        assert_eq!(walked(&second(OWN, 1, ""), None), None);
        assert_eq!(walked(&second(OWN, 1, ""), Some(2)), None);
        assert_eq!(walked(&second(OWN, 1, ""), Some(1)), missing, "not signed");
        assert_eq!(walked(&second(OWN, 2, ""), None), missing, "another record");
        assert_eq!(
            walked(&second(OWN, 1, "00"), None),
            missing,
            "another chain"
        );
        for actor in [
            r#""actor_id":"tenant-audit","actor_type":"service""#,
            r#""actor_id":"billing","actor_type":"system""#,
            r#""actor_type":"anonymous""#,
        ] {
            assert_eq!(walked(&second(actor, 1, ""), None), missing, "{actor}");
        }
    }

    /// Garbage after a first record, and a second one that says what it is.
    fn torn(actor: &str, bytes: u64) -> Option<VerifyErrorKind> {
        const GARBAGE: &[u8] = b"half a line\n";
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(GARBAGE));
        let chain = ChainId::platform();
        let (key, mut head) = (ChainKey::of(&chain), Head::default());
        let mut file = Vec::new();
        for record in [
            "{}".to_owned(),
            format!(
                r#"{{"action":"audit.recovered",{actor},"metadata":{{"torn_bytes":{bytes},"torn_sha256":"{digest}"}}}}"#
            ),
        ] {
            seal(&key, &mut head, &mut file, |out| {
                out.extend_from_slice(record.as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
            if head.seq() == 1 {
                file.extend_from_slice(GARBAGE);
            }
        }
        let wanted = Wanted::default();
        let mut walk = Walk::new(&chain, Head::default(), &wanted);
        walk.begin(Path::new("x"), 1).unwrap();
        let walked = walk.lines(&file[..]);
        let ended = walked.and_then(|()| walk.finish().map(drop));
        ended.err().map(|finding| finding.kind())
    }

    #[test]
    fn what_a_crash_has_torn_is_accounted_for_by_the_audits_own_record_alone() {
        const OWN: &str = r#""actor_id":"tenant-audit","actor_type":"system""#;
        let malformed = Some(VerifyErrorKind::Malformed);
        assert_eq!(torn(OWN, 12), None);
        assert_eq!(torn(OWN, 11), malformed);
        for actor in [
            r#""actor_id":"tenant-audit","actor_type":"human""#,
            r#""actor_id":"ada","actor_type":"system""#,
        ] {
            assert_eq!(torn(actor, 12), malformed, "{actor}");
        }
    }
}
