//! The hash chain: which chain a record belongs to, and the line that holds it.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tenant_context::TenantId;

/// One chain of records: a tenant's, or the platform's, which holds what no verified tenant did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(Option<TenantId>);

const PLATFORM: &str = "platform";
const TENANT_PREFIX: &str = "tenant-";
const SUFFIX: &str = ".jsonl";

impl ChainId {
    /// The platform's chain: anonymous requests, refusals before a tenant is known, system work.
    pub const fn platform() -> Self {
        Self(None)
    }

    /// A tenant's chain.
    pub const fn of_tenant(tenant: TenantId) -> Self {
        Self(Some(tenant))
    }

    /// The tenant; `None` for the platform.
    pub const fn tenant(&self) -> Option<&TenantId> {
        self.0.as_ref()
    }

    /// The chain's name, and that of its first file: `platform.jsonl`, or `tenant-` and the id with every byte but
    /// `a-z`, `0-9`, `_` and `-` written as `%` and two lower-case hexadecimal digits. Two chains never share a
    /// file, on file systems without case either; no name begins with a dot.
    pub fn file_name(&self) -> String {
        self.stem() + SUFFIX
    }

    /// The name of the file that begins with record `first`: a dot and the number before the ending, from the
    /// second file on.
    pub fn segment_name(&self, first: u64) -> String {
        if first <= 1 {
            return self.file_name();
        }
        format!("{}.{first}{SUFFIX}", self.stem())
    }

    pub(crate) fn stem(&self) -> String {
        let Some(tenant) = &self.0 else {
            return PLATFORM.to_owned();
        };
        let mut name = String::from(TENANT_PREFIX);
        for byte in tenant.as_str().bytes() {
            if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
                name.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _infallible = write!(name, "%{byte:02x}");
            }
        }
        name
    }

    /// The chain of its first file, if the name is exactly what [`file_name`](Self::file_name) gives.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (chain, first) = Self::from_segment_name(name)?;
        (first == 1).then_some(chain)
    }

    /// The chain of a file, and the number of the file's first record, if the name is exactly what
    /// [`segment_name`](Self::segment_name) gives.
    pub fn from_segment_name(name: &str) -> Option<(Self, u64)> {
        let stem = name.strip_suffix(SUFFIX)?;
        let (stem, first) = match stem.split_once('.') {
            None => (stem, 1),
            Some((stem, number)) => (stem, number.parse().ok()?),
        };
        let chain = Self::from_stem(stem)?;
        (chain.segment_name(first) == name).then_some((chain, first))
    }

    fn from_stem(stem: &str) -> Option<Self> {
        if stem == PLATFORM {
            return Some(Self::platform());
        }
        let mut escaped = stem.strip_prefix(TENANT_PREFIX)?;
        let mut id = String::with_capacity(escaped.len());
        while let Some((before, after)) = escaped.split_once('%') {
            id.push_str(before);
            let digits = after.get(..2)?;
            id.push(char::from(u8::from_str_radix(digits, 16).ok()?));
            escaped = after.get(2..)?;
        }
        id.push_str(escaped);
        Some(Self::of_tenant(TenantId::parse(id).ok()?))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("the platform's chain"),
            Some(tenant) => write!(f, "the chain of `{tenant}`"),
        }
    }
}

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
    fn hash(&self, previous: &Head, digest: &Hash) -> Hash {
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

const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const RECORD: &[u8] = b"\",\"record\":";
const DIGEST: &[u8] = b"\",\"digest\":\"";

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
}

impl<'a> Content<'a> {
    fn digest(&self) -> Hash {
        match self {
            Self::Record(record) => digest(record.as_bytes()),
            Self::Withheld(digest) => *digest,
        }
    }

    pub(crate) const fn record(&self) -> Option<&'a str> {
        match self {
            Self::Record(record) => Some(record),
            Self::Withheld(_) => None,
        }
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_prefix(SEQ)?.strip_suffix(b"}\n")?;
        let digits = line.iter().position(|byte| !byte.is_ascii_digit())?;
        let (seq, line) = line.split_at_checked(digits)?;
        if seq.first() == Some(&b'0') {
            return None;
        }
        let (prev, line) = line.strip_prefix(PREV)?.split_first_chunk()?;
        let (hash, line) = line.strip_prefix(HASH)?.split_first_chunk()?;
        let content = if let Some(record) = line.strip_prefix(RECORD) {
            Content::Record(std::str::from_utf8(record).ok()?)
        } else {
            let digits = line.strip_prefix(DIGEST)?.strip_suffix(b"\"")?;
            Content::Withheld(read_hex(digits.try_into().ok()?)?)
        };
        Some(Self {
            seq: std::str::from_utf8(seq).ok()?.parse().ok()?,
            prev,
            hash,
            content,
        })
    }
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

fn hex(hash: &Hash) -> [u8; 64] {
    let mut digits = [0; 64];
    hex_digits(hash, &mut digits);
    digits
}

/// Lower-case digits only: the others would be a second way to write the same.
fn read_hex(digits: &[u8; 64]) -> Option<Hash> {
    let mut read = [0; 32];
    hex::decode_to_slice(digits, &mut read).ok()?;
    (hex(&read) == *digits).then_some(read)
}

pub(crate) fn parse_hash(digits: &str) -> Option<Hash> {
    read_hex(digits.as_bytes().try_into().ok()?)
}

/// Checks that a line, its end included, continues `head`, and gives the next head and what it holds.
///
/// The line must be byte for byte what [`seal`] or [`withhold`] writes: nothing in it is free to change.
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn tenant(id: &str) -> ChainId {
        ChainId::of_tenant(TenantId::parse(id).unwrap())
    }

    #[test]
    fn file_names_are_readable_and_never_special() {
        assert_eq!(tenant("acme-2_x").file_name(), "tenant-acme-2_x.jsonl");
        assert_eq!(tenant("..").file_name(), "tenant-%2e%2e.jsonl");
        assert_eq!(tenant("Acme").file_name(), "tenant-%41cme.jsonl");
        assert_eq!(tenant("platform").file_name(), "tenant-platform.jsonl");
        assert!(tenant(&"A".repeat(64)).file_name().len() < 255);
        for foreign in [
            "tenant-Acme.jsonl",
            "tenant-%41.jsonl.bak",
            "tenant-%6.jsonl",
            "tenant-%61.jsonl",
            "tenant-.jsonl",
            "heads.json",
            "tenant-%zz.jsonl",
            "tenant-%2E.jsonl",
            "tenant-acme.17.jsonl",
        ] {
            assert_eq!(ChainId::from_file_name(foreign), None, "{foreign}");
        }
        let acme = (tenant("acme"), 17);
        assert_eq!(acme.0.segment_name(17), "tenant-acme.17.jsonl");
        assert_eq!(
            ChainId::from_segment_name("tenant-acme.17.jsonl"),
            Some(acme)
        );
        for foreign in [
            "tenant-acme.017.jsonl",
            "tenant-acme.1.jsonl",
            "tenant-acme.0.jsonl",
            "tenant-acme.+17.jsonl",
            "tenant-acme.17.18.jsonl",
            "tenant-acme..jsonl",
        ] {
            assert_eq!(ChainId::from_segment_name(foreign), None, "{foreign}");
        }
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
        fn i11_file_names_are_injective_without_case_too(
            (a, b) in prop_oneof![
                ("[A-Za-z0-9._-]{1,64}", "[A-Za-z0-9._-]{1,64}"),
                "[A-Za-z0-9._-]{1,64}".prop_map(|id| (id.to_lowercase(), id)),
                ("[aA%._2e-]{1,4}", "[aA._2e-]{1,4}").prop_map(|(a, b)| (a.replace('%', "_"), b)),
            ],
        ) {
            let (a, b) = (tenant(&a), tenant(&b));
            prop_assert_eq!(a == b, a.file_name().to_lowercase() == b.file_name().to_lowercase());
            prop_assert_eq!(ChainId::from_file_name(&a.file_name()), Some(a));
        }

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
