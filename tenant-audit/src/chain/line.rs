//! The line that holds a record: written, followed, and without its record.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Head,
    hash::{ChainKey, Hash, digest, hex, read_hex},
};

const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const RECORD: &[u8] = b"\",\"record\":";
const DIGEST: &[u8] = b"\",\"digest\":\"";
const SPILLED: &[u8] = b"\",\"spilled\":{\"bytes\":";
const SPILLED_DIGEST: &[u8] = b",\"digest\":\"";

/// Appends a record to its chain: the line goes to `out`, the head moves on. `record` writes the record's bytes;
/// if it fails, nothing is changed.
pub(crate) fn seal<E>(
    chain: &ChainKey,
    head: &mut Head,
    out: &mut Vec<u8>,
    record: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    let seq = head.seq.saturating_add(1);
    write_frame(seq, &hex(&head.hash), out);
    // The hash comes before what it is of.
    let hash_at = out.len();
    out.extend_from_slice(&[b'0'; 64]);
    out.extend_from_slice(RECORD);
    let record_at = out.len();
    if let Err(error) = record(out) {
        out.truncate(start);
        return Err(error);
    }
    let hash = chain.hash(head, &digest(out.get(record_at..).unwrap_or_default()));
    if let Some(place) = out.get_mut(hash_at..hash_at.saturating_add(64)) {
        place.copy_from_slice(&hex(&hash));
    }
    out.extend_from_slice(b"}\n");
    *head = Head { seq, hash };
    Ok(())
}

/// A line up to its hash.
fn write_frame(seq: u64, prev: &[u8; 64], out: &mut Vec<u8>) {
    out.extend_from_slice(SEQ);
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    out.extend_from_slice(PREV);
    out.extend_from_slice(prev);
    out.extend_from_slice(HASH);
}

/// A line without its record: what is left of one whose record is not shown.
pub(crate) fn withhold(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let parsed = Line::parse(line)?;
    write_frame(parsed.seq, parsed.prev, out);
    out.extend_from_slice(parsed.hash);
    out.extend_from_slice(DIGEST);
    out.extend_from_slice(&hex(&parsed.content.digest()));
    out.extend_from_slice(b"\"}\n");
    Some(())
}

/// A line whose record stands elsewhere: it has the record's length and digest. Gives the record.
pub(crate) fn spill<'a>(line: &'a [u8], out: &mut Vec<u8>) -> Option<&'a str> {
    let parsed = Line::parse(line)?;
    let record = parsed.content.record()?;
    write_frame(parsed.seq, parsed.prev, out);
    out.extend_from_slice(parsed.hash);
    out.extend_from_slice(SPILLED);
    out.extend_from_slice(itoa::Buffer::new().format(record.len()).as_bytes());
    out.extend_from_slice(SPILLED_DIGEST);
    out.extend_from_slice(&hex(&parsed.content.digest()));
    out.extend_from_slice(b"\"}}\n");
    Some(record)
}

/// The line that [`spill`] was given, of its record. `None`: it is not one whose record stands elsewhere.
pub(crate) fn inline(line: &[u8], record: &str, out: &mut Vec<u8>) -> Option<()> {
    let parsed = Line::parse(line)?;
    let Content::Spilled { .. } = parsed.content else {
        return None;
    };
    write_frame(parsed.seq, parsed.prev, out);
    out.extend_from_slice(parsed.hash);
    out.extend_from_slice(RECORD);
    out.extend_from_slice(record.as_bytes());
    out.extend_from_slice(b"}\n");
    Some(())
}

/// The number, the length and the digest of a record that does not stand in its line.
pub(crate) fn spilled(line: &[u8]) -> Option<(u64, u64, Hash)> {
    let parsed = Line::parse(line)?;
    match parsed.content {
        Content::Spilled { bytes, digest } => Some((parsed.seq, bytes, digest)),
        Content::Record(_) | Content::Withheld(_) => None,
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not a line as it is written here.
    Malformed,
    /// Another number than the next one.
    OutOfOrder { found: u64 },
    /// It does not continue the record before it.
    Unlinked,
    /// Its bytes, or its chain, are not those that were hashed.
    Altered,
}

/// A line, taken apart. Its frame is fixed, so that nothing in it is free to change; the record's bytes are
/// what the hash says they are.
struct Line<'a> {
    seq: u64,
    prev: &'a [u8; 64],
    hash: &'a [u8; 64],
    content: Content<'a>,
}

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Record(&'a str),
    /// The digest alone of a record that is not there.
    Withheld(Hash),
    /// The length and the digest of a record that stands in a file of its own.
    Spilled {
        bytes: u64,
        digest: Hash,
    },
}

impl<'a> Content<'a> {
    fn digest(&self) -> Hash {
        match self {
            Self::Record(record) => digest(record.as_bytes()),
            Self::Withheld(digest) | Self::Spilled { digest, .. } => *digest,
        }
    }

    pub(crate) const fn record(&self) -> Option<&'a str> {
        match self {
            Self::Record(record) => Some(record),
            Self::Withheld(_) | Self::Spilled { .. } => None,
        }
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_prefix(SEQ)?.strip_suffix(b"}\n")?;
        let (seq, line) = number(line)?;
        let (prev, line) = line.strip_prefix(PREV)?.split_first_chunk()?;
        let (hash, line) = line.strip_prefix(HASH)?.split_first_chunk()?;
        let content = if let Some(record) = line.strip_prefix(RECORD) {
            Content::Record(std::str::from_utf8(record).ok()?)
        } else if let Some(digits) = line.strip_prefix(DIGEST) {
            let digits = digits.strip_suffix(b"\"")?;
            Content::Withheld(read_hex(digits.try_into().ok()?)?)
        } else {
            let line = line.strip_prefix(SPILLED)?.strip_suffix(b"\"}")?;
            let (bytes, line) = number(line)?;
            let digits = line.strip_prefix(SPILLED_DIGEST)?;
            let digest = read_hex(digits.try_into().ok()?)?;
            Content::Spilled { bytes, digest }
        };
        Some(Self {
            seq,
            prev,
            hash,
            content,
        })
    }
}

/// A number as it is written here, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(digits)?;
    if number.first() == Some(&b'0') {
        return None;
    }
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Checks that a line, its end included, continues `head`, and gives the next head and what it holds.
///
/// The line must be byte for byte what [`seal`], [`spill`] or [`withhold`] writes: nothing in it is free to change.
pub(crate) fn follow<'a>(
    chain: &ChainKey,
    head: &Head,
    line: &'a [u8],
) -> Result<(Head, Content<'a>), Fault> {
    let parsed = Line::parse(line).ok_or(Fault::Malformed)?;
    let seq = head.seq.saturating_add(1);
    if parsed.seq != seq {
        return Err(Fault::OutOfOrder { found: parsed.seq });
    }
    // Digits are compared, not read: what is not written as it is here is no hash of ours.
    if *parsed.prev != hex(&head.hash) {
        return Err(Fault::Unlinked);
    }
    let hash = chain.hash(head, &parsed.content.digest());
    if *parsed.hash != hex(&hash) {
        return Err(Fault::Altered);
    }
    Ok((Head { seq, hash }, parsed.content))
}

/// Whether a line is the record that `head` names: all that can be said without the lines before it.
pub(crate) fn is_last(chain: &ChainKey, head: &Head, line: &[u8]) -> bool {
    before(line).is_some_and(|previous| {
        follow(chain, &previous, line).is_ok_and(|(found, _)| found == *head)
    })
}

/// The head that a line is, by its own account.
pub(crate) fn head_of(line: &[u8]) -> Option<Head> {
    let parsed = Line::parse(line)?;
    Some(Head {
        seq: parsed.seq,
        hash: read_hex(parsed.hash)?,
    })
}

/// What stands before a line, by its own account.
pub(crate) fn before(line: &[u8]) -> Option<Head> {
    let parsed = Line::parse(line)?;
    Some(Head {
        seq: parsed.seq.checked_sub(1)?,
        hash: read_hex(parsed.prev)?,
    })
}

/// The record of a line that need not be right otherwise, to name it in a report.
pub(crate) fn record_of(line: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Loose<'a> {
        #[serde(borrow)]
        record: &'a RawValue,
    }
    serde_json::from_slice::<Loose<'_>>(line)
        .ok()
        .map(|line| line.record.get())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::ChainId;
    use proptest::prelude::*;
    use tenant_context::TenantId;

    fn tenant(id: &str) -> ChainId {
        ChainId::of_tenant(TenantId::parse(id).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_sealed_follows(records in proptest::collection::vec("[a-z\"\\\\é]{0,20}", 1..5)) {
            let (chain, other) = (ChainKey::of(&tenant("acme")), ChainKey::of(&tenant("acme2")));
            let (mut head, mut read) = (Head::default(), Head::default());
            for text in records {
                let record = serde_json::to_string(&text).unwrap();
                let mut line = Vec::new();
                seal(&chain, &mut head, &mut line, |out| {
                    out.extend_from_slice(record.as_bytes());
                    Ok::<_, ()>(())
                }).unwrap();
                let (next, found) = follow(&chain, &read, &line).unwrap();
                prop_assert_eq!(found, Content::Record(&record));
                prop_assert!(follow(&other, &read, &line).is_err());
                // Without its record it verifies too, and shows none.
                let mut withheld = Vec::new();
                withhold(&line, &mut withheld).unwrap();
                let (same, found) = follow(&chain, &read, &withheld).unwrap();
                prop_assert_eq!((same, found), (next, Content::Withheld(digest(record.as_bytes()))));
                // As does one whose record stands elsewhere, and the line comes back.
                let (mut spilled, mut whole) = (Vec::new(), Vec::new());
                prop_assert_eq!(spill(&line, &mut spilled), Some(&*record));
                let (same, found) = follow(&chain, &read, &spilled).unwrap();
                let bytes = u64::try_from(record.len()).unwrap();
                prop_assert_eq!((same, found), (next, Content::Spilled { bytes, digest: digest(record.as_bytes()) }));
                inline(&spilled, &record, &mut whole).unwrap();
                prop_assert_eq!(&whole, &line);
                read = next;
                prop_assert_eq!(read, head);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(line in any::<Vec<u8>>()) {
            prop_assert!(follow(&ChainKey::of(&ChainId::platform()), &Head::default(), &line).is_err());
        }
    }
}
