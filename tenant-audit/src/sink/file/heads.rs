//! The checkpoint: how far every chain reaches.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ChainId, Head,
    chain::{FieldHasher, Hash, parse_hash},
};

/// The checkpoint's file.
pub(crate) const FILE: &str = "heads.json";
const SCHEMA: &str = "tenant-audit-heads/1";
const DOMAIN: &str = "tenant-audit/heads/1";

/// How far one chain reaches: its last record, and its file's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) head: Head,
    pub(crate) bytes: u64,
}

/// The intents that have no outcome yet, by file name.
pub(crate) type Intents = BTreeMap<String, BTreeSet<String>>;

/// All chains, by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads(pub(crate) BTreeMap<String, Mark>, pub(crate) Intents);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkJson {
    bytes: u64,
    hash: String,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadsJson {
    chains: BTreeMap<String, MarkJson>,
    hash: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    intents: Intents,
    schema: String,
}

impl Heads {
    /// The checkpoint's bytes, and the hash that names it.
    pub(crate) fn encode(&self) -> serde_json::Result<(Vec<u8>, Hash)> {
        let chains: BTreeMap<String, MarkJson> = self
            .0
            .iter()
            .map(|(name, mark)| {
                let mark = MarkJson {
                    bytes: mark.bytes,
                    hash: hex::encode(mark.head.hash),
                    seq: mark.head.seq,
                };
                (name.clone(), mark)
            })
            .collect();
        let hash = FieldHasher::new(DOMAIN)
            .field(&serde_json::to_vec(&chains)?)
            .field(&serde_json::to_vec(&self.1)?)
            .finish();
        let mut bytes = serde_json::to_vec(&HeadsJson {
            chains,
            hash: hex::encode(hash),
            intents: self.1.clone(),
            schema: SCHEMA.to_owned(),
        })?;
        bytes.push(b'\n');
        Ok((bytes, hash))
    }

    /// Reads a checkpoint: `None` unless it is byte for byte what [`encode`](Self::encode) writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Hash)> {
        let read: HeadsJson = serde_json::from_slice(bytes).ok()?;
        let mut heads = Self(BTreeMap::new(), read.intents);
        for (name, mark) in read.chains {
            ChainId::from_file_name(&name)?;
            let head = Head {
                seq: mark.seq,
                hash: parse_hash(&mark.hash)?,
            };
            let bytes = mark.bytes;
            heads.0.insert(name, Mark { head, bytes });
        }
        let (written, hash) = heads.encode().ok()?;
        (written == bytes).then_some((heads, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Heads {
        let mark = |seq| Mark {
            head: Head {
                seq,
                hash: [u8::try_from(seq).unwrap(); 32],
            },
            bytes: seq.saturating_mul(100),
        };
        let chains = BTreeMap::from([
            ("platform.jsonl".to_owned(), mark(3)),
            ("tenant-acme.jsonl".to_owned(), mark(17)),
        ]);
        let open = BTreeSet::from(["event".to_owned()]);
        Heads(
            chains,
            BTreeMap::from([("tenant-acme.jsonl".to_owned(), open)]),
        )
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
