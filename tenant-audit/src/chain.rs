//! The hash chain: which chain a record belongs to, and the line that holds it.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tenant_context::TenantId;

/// One chain of records: a tenant's, or the platform's, which holds what no verified tenant did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(Option<TenantId>);

const PLATFORM_FILE: &str = "platform.jsonl";
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

    /// The chain's file: `platform.jsonl`, or `tenant-` and the id with every byte but `a-z`, `0-9`,
    /// `_` and `-` written as `%` and two lower-case hexadecimal digits. Two chains never share a
    /// file, on file systems without case either; no name begins with a dot.
    pub fn file_name(&self) -> String {
        let Some(tenant) = &self.0 else {
            return PLATFORM_FILE.to_owned();
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
        name.push_str(SUFFIX);
        name
    }

    /// The chain of a file, if the name is exactly what [`file_name`](Self::file_name) gives.
    pub fn from_file_name(name: &str) -> Option<Self> {
        if name == PLATFORM_FILE {
            return Some(Self::platform());
        }
        let mut escaped = name.strip_prefix(TENANT_PREFIX)?.strip_suffix(SUFFIX)?;
        let mut id = String::with_capacity(escaped.len());
        while let Some((before, after)) = escaped.split_once('%') {
            id.push_str(before);
            let digits = after.get(..2)?;
            id.push(char::from(u8::from_str_radix(digits, 16).ok()?));
            escaped = after.get(2..)?;
        }
        id.push_str(escaped);
        let chain = Self::of_tenant(TenantId::parse(id).ok()?);
        (chain.file_name() == name).then_some(chain)
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

const DOMAIN: &str = "tenant-audit/record/1";

/// What a record's hash commits to: the chain, the place in it, all before it, the record's bytes.
pub(crate) fn hash(chain: &ChainId, previous: &Head, record: &[u8]) -> Hash {
    let (kind, id) = match chain.tenant() {
        None => ("platform", ""),
        Some(tenant) => ("tenant", tenant.as_str()),
    };
    FieldHasher::new(DOMAIN)
        .field(kind.as_bytes())
        .field(id.as_bytes())
        .field(&previous.seq.saturating_add(1).to_be_bytes())
        .field(&previous.hash)
        .field(record)
        .finish()
}

/// Appends a record to its chain: the line goes to `out`, the head moves on.
pub(crate) fn seal(chain: &ChainId, head: &mut Head, record: &[u8], out: &mut Vec<u8>) {
    let next = Head {
        seq: head.seq.saturating_add(1),
        hash: hash(chain, head, record),
    };
    write_line(next.seq, &head.hash, &next.hash, record, out);
    *head = next;
}

fn write_line(seq: u64, prev: &Hash, hash: &Hash, record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"seq\":");
    out.extend_from_slice(seq.to_string().as_bytes());
    out.extend_from_slice(b",\"prev\":\"");
    write_hex(prev, out);
    out.extend_from_slice(b"\",\"hash\":\"");
    write_hex(hash, out);
    out.extend_from_slice(b"\",\"record\":");
    out.extend_from_slice(record);
    out.extend_from_slice(b"}\n");
}

fn write_hex(hash: &Hash, out: &mut Vec<u8>) {
    let mut digits = [0; 64];
    // Two digits a byte: the lengths fit.
    let _fits = hex::encode_to_slice(hash, &mut digits);
    out.extend_from_slice(&digits);
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
    prev: Hash,
    hash: Hash,
    record: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_prefix(b"{\"seq\":")?.strip_suffix(b"}\n")?;
        let digits = line.iter().position(|byte| !byte.is_ascii_digit())?;
        let (seq, line) = line.split_at_checked(digits)?;
        if seq.first() == Some(&b'0') {
            return None;
        }
        let (prev, line) = line.strip_prefix(b",\"prev\":\"")?.split_first_chunk()?;
        let (hash, line) = line.strip_prefix(b"\",\"hash\":\"")?.split_first_chunk()?;
        let record = line.strip_prefix(b"\",\"record\":")?;
        Some(Self {
            seq: std::str::from_utf8(seq).ok()?.parse().ok()?,
            prev: read_hex(prev)?,
            hash: read_hex(hash)?,
            record: std::str::from_utf8(record).ok()?,
        })
    }
}

/// Lower-case digits only: the others would be a second way to write the same.
fn read_hex(digits: &[u8; 64]) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    (!digits.iter().any(u8::is_ascii_uppercase)).then_some(hash)
}

pub(crate) fn parse_hash(digits: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

/// Checks that a line, its end included, continues `head`, and gives the next head and the record.
///
/// The line must be byte for byte what [`seal`] writes: nothing in it is free to change.
pub(crate) fn follow<'a>(
    chain: &ChainId,
    head: &Head,
    line: &'a [u8],
) -> Result<(Head, &'a str), Fault> {
    let parsed = Line::parse(line).ok_or(Fault::Malformed)?;
    let Line {
        prev,
        hash: found,
        record,
        ..
    } = parsed;
    if parsed.seq != head.seq.saturating_add(1) {
        return Err(Fault::OutOfOrder { found: parsed.seq });
    }
    if prev != head.hash {
        return Err(Fault::Unlinked);
    }
    if found != hash(chain, head, record.as_bytes()) {
        return Err(Fault::Altered);
    }
    let next = Head {
        seq: parsed.seq,
        hash: found,
    };
    Ok((next, record))
}

/// Whether a line is the record that `head` names: all that can be said without the lines before it.
pub(crate) fn is_last(chain: &ChainId, head: &Head, line: &[u8]) -> bool {
    let Some(parsed) = Line::parse(line) else {
        return false;
    };
    let previous = Head {
        seq: head.seq.saturating_sub(1),
        hash: parsed.prev,
    };
    follow(chain, &previous, line).is_ok_and(|(found, _)| found == *head)
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
        ] {
            assert_eq!(ChainId::from_file_name(foreign), None, "{foreign}");
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
            .map(|(chain, record)| hash(chain, &head, record))
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
            let digest = |(seq, id, record): &(u64, String, String)| {
                hash(&tenant(id), &Head { seq: *seq, hash: [0; 32] }, record.as_bytes())
            };
            prop_assert_eq!(a == b, digest(&a) == digest(&b));
        }

        #[test]
        fn what_is_sealed_follows(records in proptest::collection::vec("[a-z\"\\\\é]{0,20}", 1..5)) {
            let chain = tenant("acme");
            let (mut head, mut read) = (Head::default(), Head::default());
            for text in records {
                let record = serde_json::to_vec(&text).unwrap();
                let mut line = Vec::new();
                seal(&chain, &mut head, &record, &mut line);
                let (next, found) = follow(&chain, &read, &line).unwrap();
                prop_assert_eq!(found.as_bytes(), &record[..]);
                prop_assert!(follow(&tenant("acme2"), &read, &line).is_err());
                read = next;
                prop_assert_eq!(read, head);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(line in any::<Vec<u8>>()) {
            prop_assert!(follow(&ChainId::platform(), &Head::default(), &line).is_err());
        }
    }
}
