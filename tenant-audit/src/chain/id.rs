//! Which chain: a tenant's or the platform's, and the names of its files.

use std::fmt::{self, Write as _};

use tenant_context::TenantId;

/// One chain of records: a tenant's, or the platform's, which holds what no verified tenant did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(Option<TenantId>);

const PLATFORM: &str = "platform";
const TENANT_PREFIX: &str = "tenant-";
const SUFFIX: &str = ".jsonl";
const SPILL: &str = ".spill";

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

    /// The name of the file that holds record `seq` if it is too long for its line: a dot, the number, and `.spill`.
    pub fn spill_name(&self, seq: u64) -> String {
        format!("{}.{seq}{SPILL}", self.stem())
    }

    /// Whether a file's name ends as [`spill_name`](Self::spill_name)'s do.
    pub(crate) fn is_spill(name: &str) -> bool {
        name.ends_with(SPILL)
    }

    /// The chain and the number of a record, if the name is exactly what [`spill_name`](Self::spill_name) gives.
    pub fn from_spill_name(name: &str) -> Option<(Self, u64)> {
        let (stem, seq) = name.strip_suffix(SPILL)?.split_once('.')?;
        let (chain, seq) = (Self::from_stem(stem)?, seq.parse().ok()?);
        (chain.spill_name(seq) == name).then_some((chain, seq))
    }

    pub(crate) fn stem(&self) -> String {
        let Some(tenant) = &self.0 else {
            return PLATFORM.to_owned();
        };
        TENANT_PREFIX.to_owned() + &escaped(tenant.as_str())
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

/// A name as a part of a file's.
pub(crate) fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _infallible = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("the platform's chain"),
            Some(tenant) => write!(f, "the chain of `{tenant}`"),
        }
    }
}
#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let acme = (tenant("acme"), 17);
        assert_eq!(acme.0.spill_name(17), "tenant-acme.17.spill");
        assert_eq!(ChainId::from_spill_name("tenant-acme.17.spill"), Some(acme));
        for foreign in [
            "tenant-acme.spill",
            "tenant-acme.017.spill",
            "tenant-acme.17.18.spill",
            "tenant-acme.17.spill.new",
            "Tenant-acme.17.spill",
        ] {
            assert_eq!(ChainId::from_spill_name(foreign), None, "{foreign}");
        }
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
    }
}
