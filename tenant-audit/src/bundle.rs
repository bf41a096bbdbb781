//! What one tenant is given: its own records, and the proof that they are all of them up to a signed
//! checkpoint, without anything of another tenant's.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tenant_context::TenantId;

use crate::{
    ChainId, CheckpointKey, Finding, Head, VerifyErrorKind,
    chain::parse_hash,
    merkle,
    sink::file::{
        checkpoint::{self, Checkpoint},
        heads::Mark,
    },
    verify::{chain, read},
};

const FORMAT: &str = "tenant-audit-bundle/1";
/// A header holds a note and some twenty hashes.
const MAX_HEADER: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    bytes: u64,
    format: String,
    hash: String,
    index: usize,
    note: String,
    path: Vec<String>,
    seq: u64,
    tenant: TenantId,
}

/// What a bundle holds, all of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedBundle {
    /// Whose records these are.
    pub tenant: TenantId,
    /// How many: all of the tenant's up to the checkpoint.
    pub records: u64,
}

/// Writes a tenant's bundle: all its records up to the directory's signed checkpoint, and the proof that the
/// checkpoint commits to them. Verifies nothing: who is given the bundle does.
///
/// It shows nothing of other tenants but the magnitude of their number: the tree's size is a power of two
/// of 64 at least, and its leaves stand in the order of their hashes.
///
/// # Errors
///
/// [`Finding`] if there is no signed checkpoint, it does not name the tenant, or a file cannot be read or
/// written.
pub fn export(
    dir: impl AsRef<Path>,
    tenant: &TenantId,
    out: &mut impl Write,
) -> Result<(), Finding> {
    let path = dir.as_ref().join(checkpoint::FILE);
    let bytes = read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Finding::new(path.clone(), VerifyErrorKind::Unsigned),
        _ => Finding::io(path.clone(), error),
    })?;
    let altered = || Finding::new(path.clone(), VerifyErrorKind::CheckpointAltered);
    let signed = Checkpoint::decode(&bytes).ok_or_else(altered)?;
    let name = ChainId::of_tenant(tenant.clone()).file_name();
    let file_path = dir.as_ref().join(&name);
    let missing = || Finding::new(file_path.clone(), VerifyErrorKind::FileMissing);
    let mark = signed.heads.0.get(&name).ok_or_else(missing)?;
    let leaves = checkpoint::leaves(&signed.heads, &signed.pad);
    let leaf = checkpoint::leaf(&name, mark);
    let index = leaves.binary_search(&leaf).map_err(|_| altered())?;
    let proof = merkle::path(&leaves, index).ok_or_else(altered)?;
    let header = Header {
        bytes: mark.bytes,
        format: FORMAT.to_owned(),
        hash: hex::encode(mark.head.hash()),
        index,
        note: signed.note,
        path: proof.iter().map(hex::encode).collect(),
        seq: mark.head.seq(),
        tenant: tenant.clone(),
    };
    let file = File::open(&file_path).map_err(|error| Finding::io(file_path.clone(), error))?;
    let write = || {
        serde_json::to_writer(&mut *out, &header)?;
        out.write_all(b"\n")?;
        io::copy(&mut file.take(mark.bytes), out)?;
        out.flush()
    };
    write().map_err(|error| Finding::io(file_path.clone(), error))
}

/// Verifies a bundle with the log's public keys alone: that one of them signed a checkpoint which commits to
/// exactly these records as all of this tenant's, none altered, removed, added or cut off.
///
/// # Errors
///
/// [`Finding`]: the first thing that is wrong. Lines are counted after the header.
pub fn verify_bundle(bundle: impl Read, keys: &[CheckpointKey]) -> Result<VerifiedBundle, Finding> {
    let path = PathBuf::from("bundle");
    let unreadable = |error| Finding::io(path.clone(), error);
    let altered = || Finding::new(path.clone(), VerifyErrorKind::CheckpointAltered);
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
    let chain_id = ChainId::of_tenant(header.tenant.clone());
    let hash = parse_hash(&header.hash).ok_or_else(altered)?;
    let mark = Mark {
        head: Head::new(header.seq, hash),
        bytes: header.bytes,
    };
    let proof: Option<Vec<_>> = header.path.iter().map(|hash| parse_hash(hash)).collect();
    let (size, root) = checkpoint::parse(&header.note).ok_or_else(altered)?;
    let leaf = checkpoint::leaf(&chain_id.file_name(), &mark);
    let climbed = merkle::climb(leaf, header.index, size, &proof.ok_or_else(altered)?);
    if climbed != Some(root) {
        return Err(Finding::new(path, VerifyErrorKind::NotAsCheckpointed));
    }
    if !checkpoint::is_signed(&header.note, keys) {
        return Err(Finding::new(path, VerifyErrorKind::Unsigned));
    }
    let found = chain::verify_lines(path.clone(), bundle, &chain_id, mark, &[mark])?;
    if found.records != header.seq || found.bytes != header.bytes {
        return Err(Finding::new(path, VerifyErrorKind::NotAsCheckpointed));
    }
    Ok(VerifiedBundle {
        tenant: header.tenant,
        records: found.records,
    })
}
