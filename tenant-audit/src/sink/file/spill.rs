//! Records that are too long for a line: each stands in a file of its own, and the line has its length and digest.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::Path,
};

use super::{
    disk::{explain, open_regular, replace, sync_dir},
    pieces::MAX_LINE,
};
use crate::{
    ChainBatch, ChainId, SinkError,
    chain::{Hash, digest, head_of, record_of, spill, spilled},
};

/// The longest record that stands in its line.
pub(crate) const MAX_INLINE: usize = 16 * 1024;
/// The longest record: with its frame it is still a line that can be read, as bundles have it.
pub(crate) const MAX_RECORD: u64 = MAX_LINE - 1024;

/// A batch's lines as they go to the file. What is too long for a line is durable when this returns; doing it again
/// changes nothing.
pub(super) fn write<'a>(dir: &Path, lines: &'a ChainBatch) -> Result<Cow<'a, [u8]>, SinkError> {
    let bytes = lines.bytes();
    let (mut written, mut from, mut spills) = (Vec::new(), 0, false);
    for long in lines.long_lines() {
        let line = bytes.get(long.clone()).unwrap_or_default();
        let mut short = Vec::new();
        let Some(record) = spill(line, &mut short).filter(|record| record.len() > MAX_INLINE)
        else {
            continue;
        };
        let seq = head_of(line).map_or(0, |head| head.seq());
        let path = dir.join(lines.chain().spill_name(seq));
        replace(&path, record.as_bytes()).map_err(explain("cannot be written", &path))?;
        spills = true;
        written.extend_from_slice(bytes.get(from..long.start).unwrap_or_default());
        written.append(&mut short);
        from = long.end;
    }
    if !spills {
        return Ok(Cow::Borrowed(bytes));
    }
    written.extend_from_slice(bytes.get(from..).unwrap_or_default());
    // A line never names a file that a crash could still take away.
    sync_dir(dir).map_err(explain("cannot be synced", dir))?;
    Ok(Cow::Owned(written))
}

/// Why a spilled record is not what its line says.
#[derive(Debug)]
pub(crate) enum Unlike {
    Missing,
    Other,
    Unreadable(io::Error),
}

/// Reads a spilled record, and holds it against the length and the digest in its line.
pub(crate) fn read(path: &Path, bytes: u64, wanted: &Hash) -> Result<String, Unlike> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unlike::Missing),
        Err(error) => return Err(Unlike::Unreadable(error)),
    };
    let length = file.metadata().map_err(Unlike::Unreadable)?.len();
    if length != bytes || length > MAX_RECORD {
        return Err(Unlike::Other);
    }
    let mut record = Vec::new();
    file.take(MAX_RECORD)
        .read_to_end(&mut record)
        .map_err(Unlike::Unreadable)?;
    if digest(&record) != *wanted {
        return Err(Unlike::Other);
    }
    String::from_utf8(record).map_err(|_| Unlike::Other)
}

/// A line's record, wherever it stands. `None`: it is not what the line says, or the line is none.
pub(crate) fn record<'a>(dir: &Path, chain: &ChainId, line: &'a [u8]) -> Option<Cow<'a, str>> {
    if let Some(record) = record_of(line) {
        return Some(Cow::Borrowed(record));
    }
    let (seq, bytes, digest) = spilled(line)?;
    let path = dir.join(chain.spill_name(seq));
    read(&path, bytes, &digest).ok().map(Cow::Owned)
}

/// The numbers of the spilled records that are there, by the chains' names; names that are no chain's are left out.
pub(crate) fn there(dir: &Path) -> io::Result<BTreeMap<String, (ChainId, BTreeSet<u64>)>> {
    let mut spills: BTreeMap<String, (ChainId, BTreeSet<u64>)> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some((chain, seq)) = ChainId::from_spill_name(&name.to_string_lossy()) {
            let (_, numbers) = spills
                .entry(chain.file_name())
                .or_insert_with(|| (chain, BTreeSet::new()));
            numbers.insert(seq);
        }
    }
    Ok(spills)
}

/// Deletes spilled records of a chain.
pub(super) fn delete(
    dir: &Path,
    chain: &ChainId,
    numbers: impl Iterator<Item = u64>,
) -> Result<(), SinkError> {
    for seq in numbers {
        let path = dir.join(chain.spill_name(seq));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(explain("cannot be deleted", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
