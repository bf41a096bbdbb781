//! Checking one chain's file.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Finding, VerifyErrorKind};
use crate::{
    ChainId, Head, Recovery,
    chain::{Fault, follow, record_of},
    sink::file::{heads::Mark, pieces::Pieces},
};

/// What one file holds.
pub(crate) struct Chain {
    pub(crate) records: u64,
    pub(crate) unsealed: u64,
    pub(crate) recovered: u64,
    pub(crate) bytes: u64,
}

/// Lines that do not follow: a finding, unless the record after them accounts for them.
struct Gap {
    finding: Finding,
    bytes: u64,
    digest: Sha256,
}

pub(super) fn verify(
    path: PathBuf,
    chain: &ChainId,
    sealed: Mark,
    marks: &[Mark],
) -> Result<Chain, Finding> {
    // A pipe would never end, and a link may lead anywhere.
    match fs::symlink_metadata(&path) {
        Ok(meta) if !meta.is_file() => {
            let error = io::Error::other("it is no regular file");
            return Err(Finding::io(path, error));
        }
        _ => {}
    }
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Finding::new(path, VerifyErrorKind::FileMissing));
        }
        Err(error) => return Err(Finding::io(path, error)),
    };
    verify_lines(path, file, chain, sealed, marks)
}

/// [`verify`], of lines that stand anywhere.
pub(crate) fn verify_lines(
    path: PathBuf,
    lines: impl Read,
    chain: &ChainId,
    sealed: Mark,
    marks: &[Mark],
) -> Result<Chain, Finding> {
    let mut pieces = Pieces::new(lines);
    let mut head = Head::default();
    let (mut line, mut bytes, mut recovered) = (0_u64, 0_u64, 0_u64);
    let mut gap: Option<Gap> = None;
    loop {
        let piece = match pieces.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => return Err(Finding::io(path, error)),
        };
        line = line.saturating_add(1);
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        bytes = bytes.saturating_add(length);
        let finding = |kind| Finding {
            line: Some(line),
            event_id: record_of(piece).and_then(event_id),
            ..Finding::new(path.clone(), kind)
        };
        match (follow(chain, &head, piece), &mut gap) {
            (Ok((next, record)), known) => {
                match known.take() {
                    None => {}
                    Some(torn) if torn.is_accounted_for(record) => {
                        recovered = recovered.saturating_add(1);
                    }
                    Some(torn) => return Err(torn.finding),
                }
                head = next;
                let differs = |mark: &Mark| mark.head != head || mark.bytes != bytes;
                if marks
                    .iter()
                    .any(|mark| mark.head.seq == head.seq && differs(mark))
                {
                    return Err(finding(VerifyErrorKind::NotAsCheckpointed));
                }
            }
            (Err(_), Some(gap)) => gap.add(piece, length),
            (Err(fault), none) => {
                let kind = if piece.ends_with(b"\n") {
                    kind_of(fault, &head)
                } else {
                    VerifyErrorKind::Torn
                };
                let gap = none.insert(Gap {
                    finding: finding(kind),
                    bytes: 0,
                    digest: Sha256::new(),
                });
                gap.add(piece, length);
            }
        }
    }
    let expected = marks.iter().map(|mark| mark.head.seq).max().unwrap_or(0);
    let cut = head.seq < expected;
    match gap {
        Some(gap) if !(cut && gap.finding.kind == VerifyErrorKind::Torn) => Err(gap.finding),
        _ if cut => Err(Finding {
            line: Some(line),
            ..Finding::new(
                path,
                VerifyErrorKind::Cut {
                    expected,
                    found: head.seq,
                },
            )
        }),
        _ => Ok(Chain {
            records: head.seq,
            unsealed: head.seq.saturating_sub(sealed.head.seq),
            recovered,
            bytes,
        }),
    }
}

fn kind_of(fault: Fault, head: &Head) -> VerifyErrorKind {
    match fault {
        Fault::Malformed => VerifyErrorKind::Malformed,
        Fault::OutOfOrder { found } => VerifyErrorKind::OutOfOrder {
            expected: head.seq.saturating_add(1),
            found,
        },
        Fault::Unlinked => VerifyErrorKind::Unlinked,
        Fault::Altered => VerifyErrorKind::Altered,
    }
}

impl Gap {
    fn add(&mut self, piece: &[u8], length: u64) {
        self.bytes = self.bytes.saturating_add(length);
        self.digest.update(piece);
    }

    fn is_accounted_for(&self, record: &str) -> bool {
        #[derive(Deserialize)]
        struct Account<'a> {
            #[serde(borrow)]
            action: Cow<'a, str>,
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            torn_bytes: u64,
            torn_sha256: String,
        }
        serde_json::from_str(record).is_ok_and(|account: Account<'_>| {
            account.action == Recovery::ACTION
                && account.metadata.torn_bytes == self.bytes
                && account.metadata.torn_sha256 == hex::encode(self.digest.clone().finalize())
        })
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
