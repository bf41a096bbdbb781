//! What hashes commit to, and how they are written.

use std::fmt;

use sha2::{Digest, Sha256};

use super::ChainId;

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

/// The last record of a chain: its number, from 1 on, and its hash. The default is an empty chain.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Head {
    /// A head as a sink has kept it.
    pub const fn new(seq: u64, hash: [u8; 32]) -> Self {
        Self { seq, hash }
    }

    /// The last record's number; 0 for an empty chain.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The last record's hash; zeros for an empty chain.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({}, {})", self.seq, hex::encode(self.hash))
    }
}

/// A hasher that takes fields, each prefixed with its length: two different lists of fields are two
/// different messages.
pub(crate) struct FieldHasher(Sha256);

impl FieldHasher {
    /// Begins a message of its own kind.
    pub(crate) fn new(domain: &str) -> Self {
        Self(Sha256::new()).field(domain.as_bytes())
    }

    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

const CHAIN: &str = "tenant-audit/chain/2";

/// A SHA-256 digest that names a chain: what all its records' hashes begin with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainKey(Hash);

impl ChainKey {
    pub(crate) fn of(chain: &ChainId) -> Self {
        let (kind, id) = match chain.tenant() {
            None => ("platform", ""),
            Some(tenant) => ("tenant", tenant.as_str()),
        };
        let key = FieldHasher::new(CHAIN)
            .field(kind.as_bytes())
            .field(id.as_bytes())
            .finish();
        Self(key)
    }

    /// What a record's hash commits to: the chain, the place in it, all before it, the digest of the record's
    /// bytes. Each part has a fixed length. With the digest in place of the record a line still verifies.
    pub(super) fn hash(&self, previous: &Head, digest: &Hash) -> Hash {
        Sha256::new_with_prefix(self.0)
            .chain_update(previous.seq.saturating_add(1).to_be_bytes())
            .chain_update(previous.hash)
            .chain_update(digest)
            .finalize()
            .into()
    }
}

/// The digest of a record's bytes.
pub(crate) fn digest(record: &[u8]) -> Hash {
    Sha256::digest(record).into()
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex_digits<const BYTES: usize>(bytes: &[u8; BYTES], digits: &mut [u8]) {
    let digit = |value: u8| {
        let letters = if value > 9 { b'a' - b'0' - 10 } else { 0 };
        value.wrapping_add(b'0').wrapping_add(letters)
    };
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

pub(super) fn hex(hash: &Hash) -> [u8; 64] {
    let mut digits = [0; 64];
    hex_digits(hash, &mut digits);
    digits
}

/// Lower-case digits only: the others would be a second way to write the same.
pub(super) fn read_hex(digits: &[u8; 64]) -> Option<Hash> {
    let mut read = [0; 32];
    hex::decode_to_slice(digits, &mut read).ok()?;
    (hex(&read) == *digits).then_some(read)
}

pub(crate) fn parse_hash(digits: &str) -> Option<Hash> {
    read_hex(digits.as_bytes().try_into().ok()?)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use tenant_context::TenantId;

    fn tenant(id: &str) -> ChainId {
        ChainId::of_tenant(TenantId::parse(id).unwrap())
    }

    #[test]
    fn i11_a_separator_in_a_record_makes_no_other_message_alike() {
        let head = Head::default();
        let pairs = [
            (tenant("a"), &b"bc"[..]),
            (tenant("ab"), &b"c"[..]),
            (tenant("abc"), &b""[..]),
            (ChainId::platform(), &b"abc"[..]),
        ];
        let hashes: HashSet<Hash> = pairs
            .iter()
            .map(|(chain, record)| ChainKey::of(chain).hash(&head, &digest(record)))
            .collect();
        assert_eq!(hashes.len(), pairs.len());
    }

    proptest! {
        #[test]
        fn i11_the_hashed_message_is_injective(
            a in (0_u64..3, "[ab]{1,3}", "[a-c:,]{0,4}"),
            b in (0_u64..3, "[ab]{1,3}", "[a-c:,]{0,4}"),
        ) {
            let hash = |(seq, id, record): &(u64, String, String)| {
                ChainKey::of(&tenant(id)).hash(&Head { seq: *seq, hash: [0; 32] }, &digest(record.as_bytes()))
            };
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }
    }
}
