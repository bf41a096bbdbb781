//! Taking a chain up where its file ends.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    heads::Mark,
    pieces::{MAX_LINE, Pieces},
};
use crate::{
    ChainId, Recovery, SinkError,
    chain::{follow, is_last},
    record::INTENT,
    sink::Torn,
};

/// How far a chain's file reaches, and what stands beyond its checkpoint. Bytes that are no record
/// are kept, and a line feed is added to end them.
pub(super) fn resume(
    path: &Path,
    chain: &ChainId,
    sealed: Mark,
    intents: &mut BTreeSet<String>,
) -> Result<(Mark, Option<Recovery>), SinkError> {
    let failed = |error: io::Error| {
        SinkError::new(format!("{} cannot be read", path.display())).with_source(error)
    };
    let mut file = File::options()
        .read(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length < sealed.bytes {
        return Err(altered(
            path,
            &format!(
                "has {length} bytes, its checkpoint says {}: its end was cut off",
                sealed.bytes
            ),
        ));
    }
    if sealed.head.seq > 0 {
        let last = last_line(&mut file, sealed.bytes).map_err(failed)?;
        if !is_last(chain, &sealed.head, &last) {
            return Err(altered(
                path,
                "does not end with the record that its checkpoint names",
            ));
        }
    }
    file.seek(SeekFrom::Start(sealed.bytes)).map_err(failed)?;
    beyond(&file, chain, sealed, intents).map_err(failed)
}

fn altered(path: &Path, how: &str) -> SinkError {
    SinkError::new(format!(
        "{} {how}; nothing is appended to an altered log: run `tenant-audit verify`, keep the directory as evidence, and start with another one",
        path.display()
    ))
}

/// The line that ends at `end`.
fn last_line(file: &mut File, end: u64) -> io::Result<Vec<u8>> {
    // Lines are short: nearly always the first look suffices.
    for window in [16 * 1024, MAX_LINE] {
        let start = end.saturating_sub(window);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end.saturating_sub(start))
            .read_to_end(&mut bytes)?;
        let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        match body.iter().rposition(|byte| *byte == b'\n') {
            Some(before) => return Ok(bytes.split_off(before.saturating_add(1))),
            None if start == 0 => return Ok(bytes),
            None => {}
        }
    }
    Ok(Vec::new())
}

/// Keeps the intents that have no outcome.
fn note_intent(record: &str, intents: &mut BTreeSet<String>) {
    #[derive(Deserialize)]
    struct Phase {
        event_id: String,
        outcome: String,
    }
    if let Ok(Phase { event_id, outcome }) = serde_json::from_str(record) {
        if outcome == INTENT {
            intents.insert(event_id);
        } else {
            intents.remove(&event_id);
        }
    }
}

/// Follows the chain from the checkpoint to the file's end.
fn beyond(
    mut file: &File,
    chain: &ChainId,
    sealed: Mark,
    intents: &mut BTreeSet<String>,
) -> io::Result<(Mark, Option<Recovery>)> {
    let mut mark = sealed;
    let mut recovery = Recovery::default();
    let mut torn: Option<(u64, Sha256)> = None;
    let mut ended = true;
    let mut pieces = Pieces::new(file);
    while let Some(piece) = pieces.next()? {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        mark.bytes = mark.bytes.saturating_add(length);
        ended = piece.ends_with(b"\n");
        match (&mut torn, follow(chain, &mark.head, piece)) {
            (None, Ok((next, record))) => {
                mark.head = next;
                note_intent(record, intents);
                recovery.unsealed_records = recovery.unsealed_records.saturating_add(1);
            }
            (None, Err(_)) => torn = Some((length, Sha256::new_with_prefix(piece))),
            (Some((bytes, digest)), _) => {
                *bytes = bytes.saturating_add(length);
                digest.update(piece);
            }
        }
    }
    if let Some((mut bytes, mut digest)) = torn {
        if !ended {
            file.write_all(b"\n")?;
            file.sync_data()?;
            digest.update(b"\n");
            bytes = bytes.saturating_add(1);
            mark.bytes = mark.bytes.saturating_add(1);
        }
        let sha256 = digest.finalize().into();
        recovery.torn = Some(Torn { bytes, sha256 });
    }
    let found = recovery != Recovery::default();
    Ok((mark, found.then_some(recovery)))
}
