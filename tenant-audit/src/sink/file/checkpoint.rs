//! The signed checkpoint: a Merkle root over all chains' heads, in a signed note, beside those heads.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tenant_context::UnixTime;

use super::heads::Heads;
use crate::{
    CheckpointKey, CheckpointSigner, Head, SinkError,
    chain::{FieldHasher, Hash, parse_hash},
    merkle, stamp,
};

/// The signed checkpoint's file.
pub(crate) const FILE: &str = "checkpoint.json";
const LEAF: &str = "tenant-audit/leaf/2";
const PAD: &str = "tenant-audit/pad/1";

/// The fewest leaves of a tree. Trees are filled up to a power of two, and their leaves stand in the order
/// of their hashes, so that a tree shows of the number of tenants only its magnitude.
const MIN_LEAVES: usize = 64;

/// What one chain's leaf commits to. Nobody guesses another chain's leaf: its head is the hash of records
/// that he does not have.
pub(crate) fn leaf(name: &str, head: &Head) -> Hash {
    let data = FieldHasher::new(LEAF)
        .field(name.as_bytes())
        .field(&head.seq.to_be_bytes())
        .field(&head.hash)
        .finish();
    merkle::leaf(&data)
}

/// All leaves, in their order.
pub(crate) fn leaves(heads: &Heads, pad: &Hash) -> Vec<Hash> {
    let mut leaves: Vec<Hash> = heads
        .marks
        .iter()
        .map(|(name, mark)| leaf(name, &mark.head))
        .collect();
    let full = leaves.len().max(MIN_LEAVES).next_power_of_two();
    for n in leaves.len()..full {
        let number = u64::try_from(n).unwrap_or(u64::MAX).to_be_bytes();
        let data = FieldHasher::new(PAD).field(pad).field(&number).finish();
        leaves.push(merkle::leaf(&data));
    }
    leaves.sort_unstable();
    leaves
}

/// A checkpoint as it stands in its file.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) heads: Heads,
    pub(crate) pad: Hash,
    pub(crate) note: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointJson {
    heads: String,
    note: String,
    pad: String,
}

impl Checkpoint {
    /// Signs how far all chains reach.
    pub(super) fn sign(
        heads: &Heads,
        signer: &CheckpointSigner,
        at: UnixTime,
    ) -> Result<Self, SinkError> {
        let mut pad = [0; 32];
        getrandom::fill(&mut pad).map_err(|error| {
            SinkError::new(format!(
                "the system gives no random bytes for a checkpoint: {error}"
            ))
        })?;
        let text = text(signer.name(), &leaves(heads, &pad), at);
        Ok(Self {
            heads: heads.clone(),
            pad,
            note: signer.sign(&text),
        })
    }

    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let (heads, _) = self.heads.encode()?;
        let mut bytes = serde_json::to_vec(&CheckpointJson {
            heads: String::from_utf8_lossy(&heads).into_owned(),
            note: self.note.clone(),
            pad: hex::encode(self.pad),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a checkpoint: `None` unless it is byte for byte what was written, and its note is about its
    /// heads. Nothing is known of the signature then.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let read: CheckpointJson = serde_json::from_slice(bytes).ok()?;
        let (heads, _) = Heads::decode(read.heads.as_bytes())?;
        let checkpoint = Self {
            heads,
            pad: parse_hash(&read.pad)?,
            note: read.note,
        };
        let leaves = leaves(&checkpoint.heads, &checkpoint.pad);
        let (size, root) = parse(&checkpoint.note)?;
        let is_about = size == leaves.len() && root == merkle::root(&leaves);
        (is_about && checkpoint.encode().ok()? == bytes).then_some(checkpoint)
    }

    /// Whether one of these keys has signed it, in its own name.
    pub(crate) fn is_signed(&self, keys: &[CheckpointKey]) -> bool {
        is_signed(&self.note, keys)
    }
}

/// Whether one of these keys has signed a note, in its own name.
pub(crate) fn is_signed(note: &str, keys: &[CheckpointKey]) -> bool {
    keys.iter().any(|key| {
        key.open(note)
            .is_some_and(|text| text.split('\n').next() == Some(key.name()))
    })
}

/// C2SP `tlog-checkpoint`: origin, size, root, and an extension line with the time.
fn text(origin: &str, leaves: &[Hash], at: UnixTime) -> String {
    let root = STANDARD.encode(merkle::root(leaves));
    format!(
        "{origin}\n{}\n{root}\ntime {}\n",
        leaves.len(),
        stamp::timestamp(at)
    )
}

/// A note's size and root.
pub(crate) fn parse(note: &str) -> Option<(usize, Hash)> {
    let mut lines = note.split('\n').skip(1);
    let size = lines.next()?.parse().ok()?;
    let root = STANDARD.decode(lines.next()?).ok()?;
    Some((size, root.try_into().ok()?))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_names_its_size_and_its_own_log() {
        let signer = CheckpointSigner::generate("log.example").unwrap();
        let good = Checkpoint::sign(&Heads::default(), &signer, UnixTime::default()).unwrap();
        assert!(Checkpoint::decode(&good.encode().unwrap()).is_some());
        assert!(good.is_signed(&[signer.key()]));
        let mut sized = good.clone();
        sized.note = good.note.replacen("\n64\n", "\n128\n", 1);
        assert!(Checkpoint::decode(&sized.encode().unwrap()).is_none());
        // The same key, for another log.
        let other = text(
            "other.example",
            &leaves(&good.heads, &good.pad),
            UnixTime::default(),
        );
        assert!(!is_signed(&signer.sign(&other), &[signer.key()]));
    }
}
