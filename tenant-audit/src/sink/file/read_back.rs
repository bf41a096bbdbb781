//! The log as a write-ahead log: what another sink has missed is read again from here, and how far it came is kept.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    disk::{explain, open_regular, replace},
    heads::{Heads, Mark},
    pieces::Pieces,
    regions::Regions,
    segments::{Chains, own_chains},
    spill,
};
use crate::{
    Batch, ChainBatch, ChainId, Head, SinkError,
    chain::{ChainKey, follow, head_of, inline, parse_hash},
    record::INTENT,
    stamp,
};

/// How many bytes of lines are read at a time, but for the last line.
const MOST: usize = 1 << 20;
const SCHEMA: &str = "tenant-audit-position/1";

/// How far a sink came in each chain, by the chains' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position(BTreeMap<String, Head>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionJson {
    chains: BTreeMap<String, HeadJson>,
    schema: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    hash: String,
    seq: u64,
}

impl Position {
    pub(crate) fn advance(&mut self, batch: &Batch) {
        for lines in batch.chains() {
            self.set(lines.chain(), *lines.head());
        }
    }

    pub(crate) fn set(&mut self, chain: &ChainId, head: Head) {
        self.0.insert(chain.file_name(), head);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what another position says of the chains that it knows.
    pub(crate) fn overlay(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn of(&self, name: &str) -> Head {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let chains = self.0.iter().map(|(name, head)| {
            let (hash, seq) = (hex::encode(head.hash()), head.seq());
            (name.clone(), HeadJson { hash, seq })
        });
        serde_json::to_vec(&PositionJson {
            chains: chains.collect(),
            schema: SCHEMA.to_owned(),
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let read: PositionJson = serde_json::from_slice(bytes).ok()?;
        let heads = read.chains.into_iter().map(|(name, head)| {
            let head = Head::new(head.seq, parse_hash(&head.hash)?);
            Some((name, head))
        });
        let heads = heads.collect::<Option<_>>()?;
        (read.schema == SCHEMA).then_some(Self(heads))
    }
}

fn position_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("position-{}.json", crate::chain::escaped(name)))
}

/// Keeps how far a sink came.
pub(super) fn remember(dir: &Path, name: &str, position: &Position) -> Result<(), SinkError> {
    let path = position_path(dir, name);
    let bytes = position.encode().map_err(|error| {
        SinkError::new("a sink's position cannot be encoded").with_source(error)
    })?;
    replace(&path, &bytes).map_err(explain("cannot be written", &path))
}

/// How far a sink came; `None`: it is not known here.
pub(super) fn recall(dir: &Path, name: &str) -> Result<Option<Position>, SinkError> {
    let path = position_path(dir, name);
    match crate::verify::read(&path) {
        Ok(bytes) => Position::decode(&bytes).map(Some).ok_or_else(|| {
            SinkError::new(format!(
                "{} does not say how far a sink came: delete it, and the sink goes on with what is recorded from then on",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(explain("cannot be read", &path)(error)),
    }
}

/// Where each sink's next lines stand, so that nothing is looked for twice.
#[derive(Debug, Default)]
pub(super) struct Reader(HashMap<(String, String), Mark>);

impl Reader {
    /// The lines that follow a position, up to the checkpoint, as they were first handed on. `None`: there are none.
    pub(super) fn read(
        &mut self,
        dir: &Path,
        heads: &Heads,
        regions: &Regions,
        (name, position): (&str, &Position),
    ) -> Result<Option<Batch>, SinkError> {
        let chains = own_chains(dir)?;
        let (mut batch, mut left) = (Vec::new(), MOST);
        for (chain, sealed) in &heads.marks {
            let after = position.of(chain);
            if after == sealed.head || left == 0 {
                continue;
            }
            let key = (name.to_owned(), chain.clone());
            let known = self.0.get(&key).copied().filter(|at| at.head == after);
            let lines = Walk::begin(dir, &chains, chain, after, known)
                .and_then(|walk| walk.lines(regions.of(chain), sealed.head, left));
            let (lines, at) = lines.map_err(explain("cannot be read again", &dir.join(chain)))?;
            left = left.saturating_sub(lines.bytes().len());
            self.0.insert(key, at);
            batch.push(lines);
        }
        Ok((!batch.is_empty()).then(|| Batch::new(batch)))
    }
}

/// The way along one chain's files.
struct Walk<'a> {
    dir: &'a Path,
    chain: &'a ChainId,
    /// The files from the one on in which the next line stands.
    files: &'a [u64],
    at: Mark,
}

impl<'a> Walk<'a> {
    fn begin(
        dir: &'a Path,
        chains: &'a Chains,
        name: &str,
        after: Head,
        known: Option<Mark>,
    ) -> io::Result<Self> {
        let gone = || io::Error::other("what follows has been deleted");
        let (chain, files) = chains.get(name).ok_or_else(gone)?;
        let next = after.seq().saturating_add(1);
        let wanted = known.map_or(next, |known| known.segment);
        let before = files.iter().take_while(|first| **first <= wanted).count();
        let files = files.get(before.checked_sub(1).ok_or_else(gone)?..);
        let files = files.unwrap_or_default();
        let segment = files.first().copied().ok_or_else(gone)?;
        let at = match known {
            Some(known) if known.segment == segment => known,
            _ => Mark {
                head: after,
                segment,
                bytes: find(&dir.join(chain.segment_name(segment)), segment, after)?,
            },
        };
        Ok(Self {
            dir,
            chain,
            files,
            at,
        })
    }

    /// Reads on until `end`, or until there is enough.
    fn lines(
        mut self,
        region: Option<Arc<str>>,
        end: Head,
        enough: usize,
    ) -> io::Result<(ChainBatch, Mark)> {
        let key = ChainKey::of(self.chain);
        let mut lines = ChainBatch::new(self.chain.clone(), self.at.head, Vec::new(), region);
        for first in self.files {
            if lines.bytes().len() >= enough || self.at.head == end {
                break;
            }
            if *first != self.at.segment {
                (self.at.segment, self.at.bytes) = (*first, 0);
            }
            let mut file = open_regular(&self.dir.join(self.chain.segment_name(*first)))?;
            file.seek(SeekFrom::Start(self.at.bytes))?;
            let mut pieces = Pieces::new(file);
            while lines.bytes().len() < enough && self.at.head != end {
                let Some(line) = pieces.next()? else {
                    break;
                };
                let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
                self.at.bytes = self.at.bytes.saturating_add(length);
                // What does not follow is what a crash has torn.
                if let Ok((next, _)) = follow(&key, &self.at.head, line) {
                    push(&mut lines, self.dir, self.chain, line)?;
                    (self.at.head, lines.head) = (next, next);
                }
            }
        }
        let whole = self.at.head == end || lines.bytes().len() >= enough;
        whole
            .then_some((lines, self.at))
            .ok_or_else(|| io::Error::other("it does not lead to its checkpoint"))
    }
}

/// Where the line after `after` begins.
fn find(path: &Path, first: u64, after: Head) -> io::Result<u64> {
    if first == after.seq().saturating_add(1) {
        return Ok(0);
    }
    let file: File = open_regular(path)?;
    let (mut pieces, mut bytes) = (Pieces::new(file), 0_u64);
    while let Some(line) = pieces.next()? {
        bytes = bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        if head_of(line) == Some(after) {
            return Ok(bytes);
        }
    }
    Err(io::Error::other(
        "the sink holds other records than this log: give it a name of its own, or begin with an empty one",
    ))
}

/// Adds a line, its record in it, with what the batch says of it.
fn push(lines: &mut ChainBatch, dir: &Path, chain: &ChainId, line: &[u8]) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Phase {
        event_id: String,
        outcome: String,
    }
    let record = spill::record(dir, chain, line)
        .ok_or_else(|| io::Error::other("a record that is too long for its line is missing"))?;
    let at = stamp::of_record(&record).unwrap_or_default();
    let pushed: Result<(), std::convert::Infallible> = lines.push(at, |out| {
        if inline(line, &record, out).is_none() {
            out.extend_from_slice(line);
        }
        Ok(())
    });
    let Ok(()) = pushed;
    if let Ok(Phase { event_id, outcome }) = serde_json::from_str(&record) {
        let of = if outcome == INTENT {
            &mut lines.opened
        } else {
            &mut lines.closed
        };
        of.push(event_id);
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let mut position = Position::default();
        position.set(&ChainId::platform(), Head::new(7, [3; 32]));
        let bytes = position.encode().unwrap();
        assert_eq!(Position::decode(&bytes), Some(position));
        assert_eq!(Position::decode(b"{}"), None);
    }
}
