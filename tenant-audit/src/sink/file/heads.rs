//! The checkpoint: how far every chain reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::disk::explain;
use crate::{
    ChainId, Head, SinkError,
    chain::{FieldHasher, Hash, parse_hash},
};

/// The checkpoint's file.
pub(crate) const FILE: &str = "heads.json";
const SCHEMA: &str = "tenant-audit-heads/2";
const DOMAIN: &str = "tenant-audit/heads/2";

/// How far one chain reaches: its last record, and where it ends in which of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) head: Head,
    /// The number of the first record of the last file.
    pub(crate) segment: u64,
    /// The length of that file.
    pub(crate) bytes: u64,
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            head: Head::default(),
            segment: 1,
            bytes: 0,
        }
    }
}

/// The intents that have no outcome yet, by chain.
pub(crate) type Intents = BTreeMap<String, BTreeSet<String>>;

/// All chains, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) marks: BTreeMap<String, Mark>,
    pub(crate) intents: Intents,
    /// The last record that a chain no longer has, because it had been kept for long enough.
    pub(crate) expired: BTreeMap<String, Head>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkJson {
    bytes: u64,
    hash: String,
    segment: u64,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    hash: String,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadsJson {
    chains: BTreeMap<String, MarkJson>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    expired: BTreeMap<String, HeadJson>,
    hash: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    intents: Intents,
    schema: String,
}

impl Heads {
    /// The checkpoint's bytes, and the hash that names it.
    pub(crate) fn encode(&self) -> serde_json::Result<(Vec<u8>, Hash)> {
        let chains: BTreeMap<String, MarkJson> = self
            .marks
            .iter()
            .map(|(name, mark)| {
                let mark = MarkJson {
                    bytes: mark.bytes,
                    hash: hex::encode(mark.head.hash),
                    segment: mark.segment,
                    seq: mark.head.seq,
                };
                (name.clone(), mark)
            })
            .collect();
        let expired: BTreeMap<String, HeadJson> = self
            .expired
            .iter()
            .map(|(name, head)| {
                let head = HeadJson {
                    hash: hex::encode(head.hash),
                    seq: head.seq,
                };
                (name.clone(), head)
            })
            .collect();
        let hash = FieldHasher::new(DOMAIN)
            .field(&serde_json::to_vec(&chains)?)
            .field(&serde_json::to_vec(&expired)?)
            .field(&serde_json::to_vec(&self.intents)?)
            .finish();
        let mut bytes = serde_json::to_vec(&HeadsJson {
            chains,
            expired,
            hash: hex::encode(hash),
            intents: self.intents.clone(),
            schema: SCHEMA.to_owned(),
        })?;
        bytes.push(b'\n');
        Ok((bytes, hash))
    }

    /// Reads a checkpoint: `None` unless it is byte for byte what [`encode`](Self::encode) writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Hash)> {
        let read: HeadsJson = serde_json::from_slice(bytes).ok()?;
        let mut heads = Self {
            intents: read.intents,
            ..Self::default()
        };
        for (name, mark) in read.chains {
            ChainId::from_file_name(&name)?;
            let head = Head {
                seq: mark.seq,
                hash: parse_hash(&mark.hash)?,
            };
            let (segment, bytes) = (mark.segment, mark.bytes);
            heads.marks.insert(
                name,
                Mark {
                    head,
                    segment,
                    bytes,
                },
            );
        }
        for (name, head) in read.expired {
            let hash = parse_hash(&head.hash)?;
            heads.expired.insert(name, Head::new(head.seq, hash));
        }
        let (written, hash) = heads.encode().ok()?;
        (written == bytes).then_some((heads, hash))
    }
}

/// A directory's checkpoint; `None`: it has none.
pub(super) fn open(dir: &Path) -> Result<Option<Heads>, SinkError> {
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(explain("cannot be read", &path)(error)),
    };
    match Heads::decode(&bytes) {
        Some((heads, _)) => Ok(Some(heads)),
        None => Err(SinkError::new(format!(
            "{} is not a checkpoint as it was written: keep the directory as evidence, and start with another one",
            path.display()
        ))),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn two() -> Heads {
        let mark = |seq| Mark {
            head: Head {
                seq,
                hash: [u8::try_from(seq).unwrap(); 32],
            },
            segment: 1,
            bytes: seq.saturating_mul(100),
        };
        let chains = BTreeMap::from([
            ("platform.jsonl".to_owned(), mark(3)),
            ("tenant-acme.jsonl".to_owned(), mark(17)),
        ]);
        let open = BTreeSet::from(["event".to_owned()]);
        Heads {
            marks: chains,
            intents: BTreeMap::from([("tenant-acme.jsonl".to_owned(), open)]),
            expired: BTreeMap::from([("tenant-acme.jsonl".to_owned(), Head::new(4, [9; 32]))]),
        }
    }

    #[test]
    fn no_byte_of_a_checkpoint_is_free_to_change() {
        let (bytes, hash) = two().encode().unwrap();
        assert_eq!(Heads::decode(&bytes), Some((two(), hash)));
        for at in 0..bytes.len() {
            for flip in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << flip;
                assert_eq!(Heads::decode(&changed), None, "byte {at}, bit {flip}");
            }
            assert_eq!(Heads::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
