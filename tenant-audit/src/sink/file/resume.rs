//! Taking a chain up where its files end.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    disk::{explain, regular},
    heads::Mark,
    pieces::{MAX_LINE, Pieces},
    spill::{self, Unlike},
};
use crate::{
    ChainId, Recovery, SinkError,
    chain::{ChainKey, Content, Hash, follow, is_last},
    record::INTENT,
    sink::Torn,
};

/// How far a chain's files reach, and what stands beyond its checkpoint. Bytes that are no record are kept, and a
/// line feed is added to end them. `files` are the numbers of the files' first records.
pub(super) fn resume(
    dir: &Path,
    chain: &ChainId,
    files: &[u64],
    sealed: Mark,
    intents: &mut BTreeSet<String>,
) -> Result<(Mark, Option<Recovery>), SinkError> {
    let key = ChainKey::of(chain);
    let last = dir.join(chain.segment_name(sealed.segment));
    let mut walk = Beyond {
        dir,
        chain,
        key,
        mark: sealed,
        recovery: Recovery::default(),
        torn: None,
        ended: true,
    };
    let next = sealed.head.seq.saturating_add(1);
    // A file that was begun and not sealed comes after the last one that was.
    let begun: Vec<u64> = files
        .iter()
        .copied()
        .filter(|first| *first > sealed.segment)
        .collect();
    if let Some(foreign) = begun.iter().find(|first| **first != next) {
        return Err(altered(
            &dir.join(chain.segment_name(*foreign)),
            &format!(
                "begins with record {foreign}, the checkpoint ends with {}",
                sealed.head.seq
            ),
        ));
    }
    // A chain that never was sealed may have begun in no file yet.
    if sealed.head.seq > 0 || last.exists() {
        let mut file = open(&last)?;
        check(&last, &mut file, &key, sealed)?;
        file.seek(SeekFrom::Start(sealed.bytes))
            .and_then(|_| walk.file(&file, intents))
            .map_err(explain("cannot be read", &last))?;
    }
    let mut current = last;
    for first in begun {
        current = dir.join(chain.segment_name(first));
        walk.mark.segment = first;
        walk.mark.bytes = 0;
        let file = open(&current)?;
        walk.file(&file, intents)
            .map_err(explain("cannot be read", &current))?;
    }
    walk.finish(&current)
        .map_err(explain("cannot be written", &current))
}

fn open(path: &Path) -> Result<File, SinkError> {
    regular(path)?;
    File::options()
        .read(true)
        .append(true)
        .open(path)
        .map_err(explain("cannot be opened", path))
}

/// Whether a file holds what the checkpoint says.
fn check(path: &Path, file: &mut File, key: &ChainKey, sealed: Mark) -> Result<(), SinkError> {
    let failed = |error: io::Error| explain("cannot be read", path)(error);
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
        let last = last_line(file, sealed.bytes).map_err(failed)?;
        if !is_last(key, &sealed.head, &last) {
            return Err(altered(
                path,
                "does not end with the record that its checkpoint names",
            ));
        }
    }
    Ok(())
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

fn spilled(path: &Path, bytes: u64, digest: &Hash) -> io::Result<String> {
    spill::read(path, bytes, digest).map_err(|unlike| match unlike {
        Unlike::Unreadable(error) => error,
        Unlike::Missing | Unlike::Other => io::Error::other(format!(
            "{} is missing or not what its line says: run `tenant-audit verify`",
            path.display()
        )),
    })
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

/// The chain's way from the checkpoint to its end.
struct Beyond<'a> {
    dir: &'a Path,
    chain: &'a ChainId,
    key: ChainKey,
    mark: Mark,
    recovery: Recovery,
    torn: Option<(u64, Sha256)>,
    /// Whether the last line has its end.
    ended: bool,
}

impl Beyond<'_> {
    fn file(&mut self, file: &File, intents: &mut BTreeSet<String>) -> io::Result<()> {
        let mut pieces = Pieces::new(file);
        while let Some(piece) = pieces.next()? {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.mark.bytes = self.mark.bytes.saturating_add(length);
            self.ended = piece.ends_with(b"\n");
            match (&mut self.torn, follow(&self.key, &self.mark.head, piece)) {
                (None, Ok((next, content))) => {
                    self.mark.head = next;
                    match content {
                        Content::Spilled { bytes, digest } => {
                            let path = self.dir.join(self.chain.spill_name(next.seq()));
                            note_intent(&spilled(&path, bytes, &digest)?, intents);
                        }
                        Content::Record(record) => note_intent(record, intents),
                        Content::Withheld(_) => {}
                    }
                    let records = &mut self.recovery.unsealed_records;
                    *records = records.saturating_add(1);
                }
                (None, Err(_)) => self.torn = Some((length, Sha256::new_with_prefix(piece))),
                (Some((bytes, digest)), _) => {
                    *bytes = bytes.saturating_add(length);
                    digest.update(piece);
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, path: &Path) -> io::Result<(Mark, Option<Recovery>)> {
        if let Some((mut bytes, mut digest)) = self.torn.take() {
            if !self.ended {
                let mut file = File::options().append(true).open(path)?;
                file.write_all(b"\n")?;
                file.sync_data()?;
                digest.update(b"\n");
                bytes = bytes.saturating_add(1);
                self.mark.bytes = self.mark.bytes.saturating_add(1);
            }
            let sha256 = digest.finalize().into();
            self.recovery.torn = Some(Torn { bytes, sha256 });
        }
        let found = self.recovery != Recovery::default();
        Ok((self.mark, found.then_some(self.recovery)))
    }
}
