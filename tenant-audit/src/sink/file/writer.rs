//! What the file thread does.

use std::{collections::HashMap, fs::File, io::Write, path::PathBuf, time::Duration};

use tenant_context::UnixTime;

use super::{
    checkpoint,
    disk::{self, Identity, explain, regular, replace, sync_dir},
    heads::{self, Heads, Mark},
    open_files::OpenFiles,
    read_back::{self, Position, Reader},
    regions::Regions,
    resume::resume,
    retention::{Keeper, Retention},
    segments::{Chains, Rotation, begun, delete, own_chains},
    signing::Signing,
    spill,
};
use crate::{Batch, ChainBatch, ChainId, Expired, Head, Resumed, SinkError};

/// The directory, as its one writer sees it.
pub(super) struct Writer {
    dir: PathBuf,
    identity: Identity,
    /// How far every chain is sealed. A chain whose file is longer than that has what a failed
    /// attempt left.
    heads: Heads,
    /// When the first record of each chain's last file was made.
    since: HashMap<String, UnixTime>,
    open: OpenFiles,
    /// Whether the last attempt failed, so that files may be longer than their marks.
    unsettled: bool,
    signing: Option<Signing>,
    rotation: Rotation,
    keeper: Keeper,
    reader: Reader,
    regions: Regions,
    /// Held as long as the writer lives.
    _lock: File,
}

impl Writer {
    pub(super) fn open(dir: PathBuf) -> Result<(Self, Vec<Resumed>), SinkError> {
        disk::make_dir(&dir).map_err(explain("cannot be made", &dir))?;
        let lock = disk::lock(&dir)?;
        let identity = disk::identity(&dir).map_err(explain("cannot be read", &dir))?;
        let chains = own_chains(&dir)?;
        let heads = match heads::open(&dir)? {
            Some(heads) => heads,
            None if chains.is_empty() => Heads::default(),
            None => {
                return Err(SinkError::new(format!(
                    "{} holds chains and no {}, which says how far they reach: it was removed; \
                     keep the directory as evidence, and start with another one",
                    dir.display(),
                    heads::FILE
                )));
            }
        };
        let regions = Regions::open(&dir)?;
        let mut writer = Self {
            dir,
            identity,
            heads,
            since: HashMap::new(),
            open: OpenFiles::default(),
            unsettled: false,
            signing: None,
            rotation: Rotation::new(),
            keeper: Keeper::default(),
            reader: Reader::default(),
            regions,
            _lock: lock,
        };
        let resumed = writer.resume(&chains)?;
        if writer.heads.marks.is_empty() {
            writer.seal(Heads::default())?;
        }
        Ok((writer, resumed))
    }

    fn resume(&mut self, chains: &Chains) -> Result<Vec<Resumed>, SinkError> {
        let there = |name: &String, mark: &Mark| {
            let files = chains.get(name).map(|(_, files)| files);
            files.is_some_and(|files| files.contains(&mark.segment))
        };
        if let Some((missing, _)) = self
            .heads
            .marks
            .iter()
            .find(|(name, mark)| !there(name, mark))
        {
            return Err(SinkError::new(format!(
                "{} is missing, its checkpoint says that it has records: keep the directory as evidence, and start with another one",
                self.dir.join(missing).display()
            )));
        }
        let mut resumed = Vec::with_capacity(chains.len());
        let mut orphans = spill::there(&self.dir).map_err(explain("cannot be read", &self.dir))?;
        for (name, (chain, files)) in chains {
            let sealed = self.heads.marks.get(name).copied().unwrap_or_default();
            let mut intents = self.heads.intents.get(name).cloned().unwrap_or_default();
            let (mark, mut recovery) = resume(&self.dir, chain, files, sealed, &mut intents)?;
            let spills = orphans.remove(name).map(|(_, numbers)| numbers);
            let spills = spills.unwrap_or_default();
            let beyond = spills.range(mark.head.seq().saturating_add(1)..).copied();
            let count = beyond.clone().count();
            if count > 0 {
                spill::delete(&self.dir, chain, beyond)?;
                recovery.get_or_insert_default().spills = u64::try_from(count).unwrap_or(u64::MAX);
            }
            if !intents.is_empty() {
                self.heads.intents.insert(name.clone(), intents.clone());
            }
            if mark != Mark::default() {
                self.heads.marks.insert(name.clone(), mark);
            }
            let last = self.dir.join(chain.segment_name(mark.segment));
            let begun =
                begun(&self.dir, chain, mark.segment).map_err(explain("cannot be read", &last))?;
            self.since.extend(begun.map(|begun| (name.clone(), begun)));
            resumed.push(Resumed {
                chain: chain.clone(),
                head: mark.head,
                recovery,
                intents: intents.into_iter().collect(),
            });
            // What a crash between a retention record and the deletion left.
            if let Some(through) = self.heads.expired.get(name).copied() {
                delete(&self.dir, chain, files, &through)?;
            }
        }
        // Of chains that never got a line.
        for (chain, numbers) in orphans.into_values() {
            tracing::error!(%chain, "a crash left records without their lines: they are deleted");
            spill::delete(&self.dir, &chain, numbers.into_iter())?;
        }
        Ok(resumed)
    }

    pub(super) fn rotate(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    pub(super) fn retain(&mut self, retention: Retention) {
        self.keeper = Keeper::of(retention);
    }

    /// What has been kept for long enough.
    pub(super) fn expired(&mut self, now: UnixTime) -> Vec<Expired> {
        match own_chains(&self.dir) {
            Ok(chains) => self.keeper.expired(&self.dir, &chains, &self.heads, now),
            // The next batch says what is wrong with the directory.
            Err(_) => Vec::new(),
        }
    }

    pub(super) fn read_back(
        &mut self,
        name: &str,
        position: &Position,
    ) -> Result<Option<Batch>, SinkError> {
        self.reader
            .read(&self.dir, &self.heads, &self.regions, (name, position))
    }

    pub(super) fn remember(&self, name: &str, position: &Position) -> Result<(), SinkError> {
        read_back::remember(&self.dir, name, position)
    }

    /// Writes and syncs a batch, then the checkpoint. May be called again with the same batch after
    /// an error.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let found = disk::identity(&self.dir).map_err(explain("is gone", &self.dir))?;
        if found != self.identity {
            return Err(SinkError::new(format!(
                "{} is another directory than the one that was opened: put the first one back",
                self.dir.display()
            )));
        }
        // Before the batch is sealed, for then it may be read again.
        self.regions.note(&self.dir, batch)?;
        let unsettled = std::mem::replace(&mut self.unsettled, true);
        let mut sealed = self.heads.clone();
        for lines in batch.chains() {
            let name = lines.chain().file_name();
            let mark = sealed.marks.get(&name).copied().unwrap_or_default();
            // Nothing, or sealed by an attempt that failed only after that.
            if lines.bytes().is_empty() || mark.head == *lines.head() {
                continue;
            }
            // Part of it may have been taken before, in another batch.
            let Some(lines) = lines.following(&mark.head) else {
                return Err(SinkError::new(format!(
                    "what comes next of {} does not follow its record {}: this directory has a hole, or is another log's",
                    lines.chain(),
                    mark.head.seq()
                )));
            };
            let mark = self.write(&name, mark, &lines, unsettled)?;
            let mut open = sealed.intents.remove(&name).unwrap_or_default();
            open.extend(lines.opened_intents().iter().cloned());
            for closed in lines.closed_intents() {
                open.remove(closed);
            }
            if !open.is_empty() {
                sealed.intents.insert(name.clone(), open);
            }
            if let Some(through) = lines.expired()
                && self.ends(lines.chain(), through)
            {
                sealed.expired.insert(name.clone(), *through);
            }
            sealed.marks.insert(name, mark);
        }
        self.note_begun(&sealed, batch);
        self.seal(sealed)?;
        self.unsettled = false;
        if let Some(signing) = &mut self.signing {
            signing.written();
        }
        self.sign_if_due();
        self.forget(batch);
        Ok(())
    }

    /// Whether a file ends with this record: another sink's files may end elsewhere.
    fn ends(&self, chain: &ChainId, through: &Head) -> bool {
        let next = chain.segment_name(through.seq().saturating_add(1));
        self.dir.join(next).exists()
    }

    /// Keeps when the files that this batch begins were begun.
    fn note_begun(&mut self, sealed: &Heads, batch: &Batch) {
        for lines in batch.chains() {
            let name = lines.chain().file_name();
            let segment = |heads: &Heads| heads.marks.get(&name).map(|mark| mark.segment);
            if segment(sealed) != segment(&self.heads) {
                self.since.insert(name, lines.from());
            }
        }
    }

    /// Deletes what the batch says has been kept for long enough: its record is durable, and signed where there is a
    /// signer. What cannot be deleted now is when the directory is opened again.
    fn forget(&mut self, batch: &Batch) {
        let expired = batch
            .chains()
            .iter()
            .filter_map(|lines| Some((lines.chain(), *lines.expired()?)))
            .filter(|(chain, through)| self.heads.expired.get(&chain.file_name()) == Some(through))
            .collect::<Vec<_>>();
        for (chain, through) in expired {
            let deleted = self.sign().and_then(|()| {
                let chains = own_chains(&self.dir)?;
                let files = chains.get(&chain.file_name());
                let files = files.map_or(&[][..], |(_, files)| files);
                delete(&self.dir, chain, files, &through)
            });
            match deleted {
                Ok(()) => tracing::info!(
                    directory = %self.dir.display(),
                    %chain,
                    through = through.seq(),
                    "audit records that had been kept for long enough are deleted"
                ),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    %chain,
                    "what has been kept for long enough could not be deleted"
                ),
            }
        }
    }

    pub(super) fn sign_with(&mut self, signing: Signing) {
        self.signing = Some(signing);
    }

    /// How long the thread may wait for a command before it has to sign.
    pub(super) fn unsigned_for(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let left = self.signing.as_ref().and_then(Signing::left);
        left.unwrap_or(LONG).min(LONG)
    }

    /// Signs a checkpoint if the time has come. A failure is said in the log, and tried again: the records
    /// are safe without.
    pub(super) fn sign_if_due(&mut self) {
        let due = self.signing.as_ref().and_then(Signing::left);
        if due.is_some_and(|left| left.is_zero())
            && let Err(error) = self.sign()
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "no checkpoint could be signed"
            );
            if let Some(signing) = &mut self.signing {
                signing.failed();
            }
        }
    }

    /// Signs what is not signed.
    pub(super) fn sign(&mut self) -> Result<(), SinkError> {
        let Some(signing) = &mut self.signing else {
            return Ok(());
        };
        if let Some(checkpoint) = signing.sign(&self.heads)? {
            let bytes = checkpoint.encode().map_err(|error| {
                SinkError::new("the signed checkpoint cannot be encoded").with_source(error)
            })?;
            let path = self.dir.join(checkpoint::FILE);
            replace(&path, &bytes).map_err(explain("cannot be written", &path))?;
            signing.signed(&checkpoint);
        }
        sync_dir(&self.dir).map_err(explain("cannot be synced", &self.dir))
    }

    fn write(
        &mut self,
        name: &str,
        mut mark: Mark,
        lines: &ChainBatch,
        unsettled: bool,
    ) -> Result<Mark, SinkError> {
        let since = self.since.get(name).copied();
        // The same for the same batch: an attempt that failed is repeated in the same file.
        if self.rotation.is_due(mark.bytes, since, lines.from()) {
            mark.segment = mark.head.seq().saturating_add(1);
            mark.bytes = 0;
        }
        let bytes = spill::write(&self.dir, lines)?;
        let path = self.dir.join(lines.chain().segment_name(mark.segment));
        regular(&path)?;
        let file = self
            .open
            .file(&path, mark.bytes == 0)
            .map_err(explain("cannot be opened", &path))?;
        let open = file.metadata().map_err(explain("cannot be read", &path))?;
        // A file that was moved or deleted takes what is written to it along, without a word.
        if !disk::is_at(&open, &path) {
            return Err(SinkError::new(format!(
                "{} is gone, or another file than the one that was written to: put the first one back",
                path.display()
            )));
        }
        let length = open.len();
        if unsettled && length > mark.bytes {
            // What a failed attempt left is in the batch once more.
            file.set_len(mark.bytes)
                .map_err(explain("cannot be written", &path))?;
        } else if length != mark.bytes {
            return Err(SinkError::new(format!(
                "{} has {length} bytes and {} were written: somebody else changed it",
                path.display(),
                mark.bytes
            )));
        }
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(explain("cannot be written", &path))?;
        let written = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        mark.head = *lines.head();
        mark.bytes = mark.bytes.saturating_add(written);
        Ok(mark)
    }

    /// Replaces the checkpoint, as one step.
    fn seal(&mut self, sealed: Heads) -> Result<(), SinkError> {
        let path = self.dir.join(heads::FILE);
        let (bytes, _) = sealed.encode().map_err(|error| {
            SinkError::new("the checkpoint cannot be encoded").with_source(error)
        })?;
        replace(&path, &bytes).map_err(explain("cannot be written", &path))?;
        self.heads = sealed;
        sync_dir(&self.dir).map_err(explain("cannot be synced", &self.dir))
    }
}
