//! Writing what one tenant is given.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use tenant_context::{TenantId, UnixTime};

use super::{FORMAT, Header};
use crate::{
    ChainId, Finding, Head, VerifyErrorKind,
    chain::{inline, withhold},
    merkle, ocsf,
    sink::file::{
        checkpoint::{self, Checkpoint},
        disk::open_regular,
        pieces::Pieces,
    },
    stamp,
    verify::{
        chain::{Wanted, beginning},
        read,
        walk::Walk,
    },
};

/// Which records are exported: all of a tenant's, or those of a time.
///
/// ```
/// use tenant_audit::Export;
///
/// # fn export(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// let mut bundle = Vec::new();
/// Export::of("acme".parse()?)
///     .since("2026-01-01")?
///     .until("2026-07-01T00:00:00Z")?
///     .bundle(dir, &mut bundle)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is exported until `bundle` or `ocsf`"]
pub struct Export {
    tenant: TenantId,
    since: UnixTime,
    until: UnixTime,
}

/// What is exported, as it was found.
struct Found {
    chain: ChainId,
    files: Vec<u64>,
    signed: Checkpoint,
    /// Where the chain begins, by its own account.
    start: Head,
    /// The record before the first that is shown.
    from: Head,
    /// The last one that is shown.
    until: u64,
    head: Head,
}

impl Export {
    /// All records of a tenant, up to the signed checkpoint.
    pub const fn of(tenant: TenantId) -> Self {
        Self {
            tenant,
            since: UnixTime::from_nanos(0),
            until: UnixTime::MAX,
        }
    }

    /// From the first record of this time or later on: `2026-11-27` or `2026-11-27T21:00:00Z`, in UTC.
    ///
    /// # Errors
    ///
    /// [`SinkError`](crate::SinkError) if it is no time.
    pub fn since(mut self, time: &str) -> Result<Self, crate::SinkError> {
        self.since = at(time)?;
        Ok(self)
    }

    /// Up to the last record before this time.
    ///
    /// # Errors
    ///
    /// [`SinkError`](crate::SinkError) if it is no time.
    pub fn until(mut self, time: &str) -> Result<Self, crate::SinkError> {
        self.until = at(time)?;
        Ok(self)
    }

    /// Writes the bundle: the records, the proof that the directory's signed checkpoint commits to them, and of what
    /// comes after them their digests alone. The chain is verified first: nothing is exported of one that does not.
    ///
    /// It shows nothing of other tenants but the magnitude of their number: the tree's size is a power of two
    /// of 64 at least, and its leaves stand in the order of their hashes.
    ///
    /// # Errors
    ///
    /// [`Finding`] if there is no signed checkpoint, it does not name the tenant, the chain does not verify, or a
    /// file cannot be read or written.
    pub fn bundle(&self, dir: impl AsRef<Path>, out: &mut impl Write) -> Result<(), Finding> {
        let dir = dir.as_ref();
        let found = self.find(dir)?;
        let path = dir.join(checkpoint::FILE);
        let altered = || Finding::new(path.clone(), VerifyErrorKind::CheckpointAltered);
        let leaves = checkpoint::leaves(&found.signed.heads, &found.signed.pad);
        let leaf = checkpoint::leaf(&found.chain.file_name(), &found.head);
        let index = leaves.binary_search(&leaf).map_err(|_| altered())?;
        let proof = merkle::path(&leaves, index).ok_or_else(altered)?;
        let header = Header {
            format: FORMAT.to_owned(),
            from_hash: hex::encode(found.from.hash()),
            from_seq: found.from.seq(),
            hash: hex::encode(found.head.hash()),
            index,
            note: found.signed.note.clone(),
            path: proof.iter().map(hex::encode).collect(),
            seq: found.head.seq(),
            tenant: self.tenant.clone(),
            until: found.until,
        };
        let written = |error| Finding::io(PathBuf::from("the bundle"), error);
        serde_json::to_writer(&mut *out, &header).map_err(|error| written(error.into()))?;
        out.write_all(b"\n").map_err(written)?;
        let mut buffer = Vec::new();
        found.each(dir, |seq, line, _| {
            buffer.clear();
            let line = if seq <= found.until {
                line
            } else {
                // What follows a chain is a line of it.
                let _withheld = withhold(line, &mut buffer);
                &buffer
            };
            out.write_all(line).map_err(written)
        })?;
        out.flush().map_err(written)
    }

    /// Writes the records as OCSF events (API Activity), a JSON object a line. Each carries its record's place in the
    /// chain and its bytes, so that it can be held against a bundle; only a bundle carries the proof.
    ///
    /// # Errors
    ///
    /// As [`bundle`](Self::bundle).
    pub fn ocsf(&self, dir: impl AsRef<Path>, out: &mut impl Write) -> Result<(), Finding> {
        let dir = dir.as_ref();
        let found = self.find(dir)?;
        let written = |error| Finding::io(PathBuf::from("the events"), error);
        let mut events = ocsf::Events::of(&found.chain);
        found.each(dir, |seq, line, _| {
            let event = (seq <= found.until).then(|| events.event(line)).flatten();
            match event {
                Some(event) => writeln!(out, "{event}").map_err(written),
                None => Ok(()),
            }
        })?;
        out.flush().map_err(written)
    }

    /// Follows the chain up to the signed checkpoint, and finds the range.
    fn find(&self, dir: &Path) -> Result<Found, Finding> {
        let path = dir.join(checkpoint::FILE);
        let bytes = read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Finding::new(path.clone(), VerifyErrorKind::Unsigned),
            _ => Finding::io(path.clone(), error),
        })?;
        let altered = || Finding::new(path.clone(), VerifyErrorKind::CheckpointAltered);
        let signed = Checkpoint::decode(&bytes).ok_or_else(altered)?;
        let chain = ChainId::of_tenant(self.tenant.clone());
        let name = chain.file_name();
        let missing = || Finding::new(dir.join(&name), VerifyErrorKind::FileMissing);
        let head = signed.heads.marks.get(&name).ok_or_else(missing)?.head;
        let files = files(dir, &chain)?;
        let (start, files) = beginning(&files, signed.heads.expired.get(&name).copied());
        if files.is_empty() {
            return Err(missing());
        }
        let files = files.to_vec();
        let mut found = Found {
            chain,
            files,
            signed,
            start,
            from: start,
            until: 0,
            head,
        };
        let (mut from, mut until, mut previous) = (None, start.seq(), start);
        found.each(dir, |seq, line, record| {
            let at = stamp::of_record(record).unwrap_or_default();
            if from.is_none() && at >= self.since {
                from = Some(previous);
            }
            if at < self.until {
                until = seq;
            }
            previous = crate::chain::head_of(line).unwrap_or(previous);
            Ok(())
        })?;
        found.from = from.unwrap_or(head);
        found.until = until.max(found.from.seq());
        Ok(found)
    }
}

fn at(time: &str) -> Result<UnixTime, crate::SinkError> {
    stamp::parse(time).ok_or_else(|| {
        crate::SinkError::new(format!(
            "{:?} is no time: write `2026-11-27` or `2026-11-27T21:00:00Z`, in UTC",
            crate::text::cut(time)
        ))
    })
}

fn files(dir: &Path, chain: &ChainId) -> Result<Vec<u64>, Finding> {
    let unreadable = |error| Finding::io(dir.to_path_buf(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        match ChainId::from_segment_name(&name.to_string_lossy()) {
            Some((found, first)) if found == *chain => files.push(first),
            _ => {}
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl Found {
    /// Gives each record from the first that is shown up to the checkpoint: its number, its line, and its text. What a
    /// crash left between records is no record, and is not given.
    fn each(
        &self,
        dir: &Path,
        mut give: impl FnMut(u64, &[u8], &str) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let wanted = Wanted {
            sealed: self.head,
            ..Wanted::default()
        };
        // The signed checkpoint says where it begins.
        let mut walk = Walk::new(&self.chain, self.start, &wanted)
            .accounted()
            .within(dir);
        let mut whole = Vec::new();
        let mut path = dir.join(self.chain.file_name());
        'files: for first in &self.files {
            path = dir.join(self.chain.segment_name(*first));
            walk.begin(&path, *first)?;
            let file = open_regular(&path).map_err(|error| Finding::io(path.clone(), error))?;
            let mut pieces = Pieces::new(file);
            while let Some(line) = pieces
                .next()
                .map_err(|error| Finding::io(path.clone(), error))?
            {
                if walk.head().seq() >= self.head.seq() {
                    break 'files;
                }
                let seq = walk.head().seq().saturating_add(1);
                let record = walk.line(line)?.and_then(|content| content.record());
                if let Some(record) = record.filter(|_| seq > self.from.seq()) {
                    whole.clear();
                    // A record that is too long for its line is given in it all the same.
                    match inline(line, record, &mut whole) {
                        Some(()) => give(seq, &whole, record)?,
                        None => give(seq, line, record)?,
                    }
                }
            }
        }
        if *walk.head() == self.head {
            return Ok(());
        }
        match walk.finish() {
            Err(finding) => Err(finding),
            Ok(_) => Err(Finding::new(path, VerifyErrorKind::NotAsCheckpointed)),
        }
    }
}

/// Writes a tenant's whole bundle: [`Export::bundle`].
///
/// # Errors
///
/// As [`Export::bundle`].
pub fn export(
    dir: impl AsRef<Path>,
    tenant: &TenantId,
    out: &mut impl Write,
) -> Result<(), Finding> {
    Export::of(tenant.clone()).bundle(dir, out)
}
