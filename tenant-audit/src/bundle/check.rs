//! Verifying what one tenant was given, without the log.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
};

use serde::Deserialize;
use tenant_context::TenantId;

use super::{FORMAT, Header, MAX_HEADER};
use crate::{
    ChainId, CheckpointKey, Finding, Head, VerifyErrorKind,
    chain::{Content, parse_hash},
    merkle,
    sink::file::{checkpoint, pieces::Pieces},
    verify::{chain::Wanted, walk::Walk},
};

/// What a bundle holds, all of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedBundle {
    /// Whose records these are.
    pub tenant: TenantId,
    /// How many are shown: all of the tenant's from [`first`](Self::first) on, but those withheld.
    pub records: u64,
    /// The number of the first one, among all that the tenant ever had.
    pub first: u64,
    /// How many came later, up to the checkpoint, and are not shown.
    pub withheld: u64,
}

/// Verifies a bundle with the log's public keys alone: that one of them signed a checkpoint which commits to
/// exactly these records as all of this tenant's, none altered, removed, added or cut off.
///
/// A bundle of a time shows the number of its first record, so that two bundles that follow one another show that
/// nothing is missing between them; that earlier and later records are of other times is not proved.
///
/// # Errors
///
/// [`Finding`]: the first thing that is wrong. Lines are counted after the header.
pub fn verify_bundle(bundle: impl Read, keys: &[CheckpointKey]) -> Result<VerifiedBundle, Finding> {
    let path = PathBuf::from("bundle");
    let unreadable = |error| Finding::io(path.clone(), error);
    let altered = || Finding::new(path.clone(), VerifyErrorKind::CheckpointAltered);
    let other = || Finding::new(path.clone(), VerifyErrorKind::NotAsCheckpointed);
    let mut bundle = BufReader::with_capacity(64 * 1024, bundle);
    let mut line = Vec::new();
    bundle
        .by_ref()
        .take(MAX_HEADER)
        .read_until(b'\n', &mut line)
        .map_err(unreadable)?;
    let header: Header = serde_json::from_slice(&line).map_err(|_| altered())?;
    // Byte for byte what was written: nothing in it is free to change.
    let mut written = serde_json::to_vec(&header).map_err(|_| altered())?;
    written.push(b'\n');
    if header.format != FORMAT || written != line {
        return Err(altered());
    }
    let chain = ChainId::of_tenant(header.tenant.clone());
    let head = Head::new(header.seq, parse_hash(&header.hash).ok_or_else(altered)?);
    let from_hash = parse_hash(&header.from_hash).ok_or_else(altered)?;
    let from = Head::new(header.from_seq, from_hash);
    let proof: Option<Vec<_>> = header.path.iter().map(|hash| parse_hash(hash)).collect();
    let (size, root) = checkpoint::parse(&header.note).ok_or_else(altered)?;
    let leaf = checkpoint::leaf(&chain.file_name(), &head);
    let climbed = merkle::climb(leaf, header.index, size, &proof.ok_or_else(altered)?);
    if climbed != Some(root) {
        return Err(other());
    }
    if !checkpoint::is_signed(&header.note, keys) {
        return Err(Finding::new(path, VerifyErrorKind::Unsigned));
    }
    if (from.seq() == 0 && from != Head::default())
        || header.until < from.seq()
        || header.until > head.seq()
    {
        return Err(altered());
    }
    let wanted = Wanted {
        sealed: head,
        until: Some(header.until),
        ..Wanted::default()
    };
    let mut walk = Walk::new(&chain, from, &wanted).accounted();
    walk.begin(&path, from.seq().saturating_add(1))?;
    let mut pieces = Pieces::new(bundle);
    while let Some(line) = pieces.next().map_err(unreadable)? {
        if walk.line(line)?.is_none_or(
            |content| matches!(content, Content::Record(record) if !is_of(record, &header.tenant)),
        ) {
            // Nothing stands in a bundle but records of the tenant's.
            return Err(walk.finish().err().unwrap_or_else(other));
        }
    }
    if *walk.head() != head {
        return Err(walk.finish().err().unwrap_or_else(other));
    }
    let records = header.until.saturating_sub(from.seq());
    Ok(VerifiedBundle {
        tenant: header.tenant,
        records,
        first: from.seq().saturating_add(1),
        withheld: head.seq().saturating_sub(header.until),
    })
}

/// Whether a record says that it is the tenant's.
fn is_of(record: &str, tenant: &TenantId) -> bool {
    #[derive(Deserialize)]
    struct Owned<'a> {
        tenant_id: std::borrow::Cow<'a, str>,
    }
    serde_json::from_str(record).is_ok_and(|owned: Owned<'_>| owned.tenant_id == tenant.as_str())
}
