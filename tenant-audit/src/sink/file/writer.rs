//! What the file thread does.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    checkpoint,
    heads::{self, Heads, Mark},
    resume::resume,
    signing::Signing,
};
use crate::{Batch, ChainBatch, ChainId, Resumed, SinkError};

const LOCK: &str = "lock";
const MAX_OPEN: usize = 64;

/// The directory, as its one writer sees it.
pub(super) struct Writer {
    dir: PathBuf,
    identity: Identity,
    /// How far every chain is sealed. A chain whose file is longer than that has what a failed
    /// attempt left.
    heads: Heads,
    /// The files in use, the last used last.
    open: Vec<(String, File)>,
    /// Whether the last attempt failed, so that files may be longer than their marks.
    unsettled: bool,
    signing: Option<Signing>,
    /// Held as long as the writer lives.
    _lock: File,
}

/// Which directory a path names.
type Identity = (u64, u64);

fn explain(what: &str, path: &Path) -> impl FnOnce(io::Error) -> SinkError {
    let message = format!("{} {what}", path.display());
    move |error| SinkError::new(format!("{message}: {error}")).with_source(error)
}

impl Writer {
    pub(super) fn open(dir: PathBuf) -> Result<(Self, Vec<Resumed>), SinkError> {
        make_dir(&dir).map_err(explain("cannot be made", &dir))?;
        let lock = lock(&dir)?;
        let identity = identity(&dir).map_err(explain("cannot be read", &dir))?;
        let files = chain_files(&dir)?;
        let sealed = match read_heads(&dir)? {
            Some(heads) => heads,
            None if files.is_empty() => Heads::default(),
            None => {
                return Err(SinkError::new(format!(
                    "{} holds chains and no {}, which says how far they reach: it was removed; \
                     keep the directory as evidence, and start with another one",
                    dir.display(),
                    heads::FILE
                )));
            }
        };
        let mut writer = Self {
            dir,
            identity,
            heads: sealed,
            open: Vec::new(),
            unsettled: false,
            signing: None,
            _lock: lock,
        };
        let resumed = writer.resume(&files)?;
        if writer.heads.0.is_empty() {
            writer.seal(Heads::default())?;
        }
        Ok((writer, resumed))
    }

    fn resume(&mut self, files: &[(String, ChainId)]) -> Result<Vec<Resumed>, SinkError> {
        if let Some(missing) = self
            .heads
            .0
            .keys()
            .find(|name| !files.iter().any(|(file, _)| file == *name))
        {
            return Err(SinkError::new(format!(
                "{} is missing, its checkpoint says that it has records: keep the directory as evidence, and start with another one",
                self.dir.join(missing).display()
            )));
        }
        let mut resumed = Vec::with_capacity(files.len());
        for (name, chain) in files {
            let sealed = self.heads.0.get(name).copied().unwrap_or_default();
            regular(&self.dir.join(name))?;
            let mut intents = self.heads.1.get(name).cloned().unwrap_or_default();
            let (mark, recovery) = resume(&self.dir.join(name), chain, sealed, &mut intents)?;
            if !intents.is_empty() {
                self.heads.1.insert(name.clone(), intents.clone());
            }
            if mark != Mark::default() {
                self.heads.0.insert(name.clone(), mark);
            }
            resumed.push(Resumed {
                chain: chain.clone(),
                head: mark.head,
                recovery,
                intents: intents.into_iter().collect(),
            });
        }
        Ok(resumed)
    }

    /// Writes and syncs a batch, then the checkpoint. May be called again with the same batch after
    /// an error.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let found = identity(&self.dir).map_err(explain("is gone", &self.dir))?;
        if found != self.identity {
            return Err(SinkError::new(format!(
                "{} is another directory than the one that was opened: put the first one back",
                self.dir.display()
            )));
        }
        let unsettled = std::mem::replace(&mut self.unsettled, true);
        let mut sealed = self.heads.clone();
        for lines in batch.chains() {
            let name = lines.chain().file_name();
            let mark = sealed.0.get(&name).copied().unwrap_or_default();
            // Sealed by an attempt that failed only after that.
            if mark.head == *lines.head() {
                continue;
            }
            let mark = self.write(&name, mark, lines, unsettled)?;
            let mut open = sealed.1.remove(&name).unwrap_or_default();
            open.extend(lines.opened_intents().iter().cloned());
            for closed in lines.closed_intents() {
                open.remove(closed);
            }
            if !open.is_empty() {
                sealed.1.insert(name.clone(), open);
            }
            sealed.0.insert(name, mark);
        }
        self.seal(sealed)?;
        self.unsettled = false;
        if let Some(signing) = &mut self.signing {
            signing.written();
        }
        self.sign_if_due();
        Ok(())
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
        mark: Mark,
        lines: &ChainBatch,
        unsettled: bool,
    ) -> Result<Mark, SinkError> {
        let path = self.dir.join(name);
        regular(&path)?;
        let file = self
            .file(name, mark)
            .map_err(explain("cannot be opened", &path))?;
        let length = file
            .metadata()
            .map_err(explain("cannot be read", &path))?
            .len();
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
        file.write_all(lines.bytes())
            .and_then(|()| file.sync_data())
            .map_err(explain("cannot be written", &path))?;
        let written = u64::try_from(lines.bytes().len()).unwrap_or(u64::MAX);
        Ok(Mark {
            head: *lines.head(),
            bytes: mark.bytes.saturating_add(written),
        })
    }

    /// The chain's file, made if the chain is new.
    fn file(&mut self, name: &str, mark: Mark) -> io::Result<&mut File> {
        let known = self.open.iter().position(|(open, _)| open == name);
        let entry = if let Some(at) = known {
            self.open.remove(at)
        } else {
            if self.open.len() >= MAX_OPEN {
                drop(self.open.remove(0));
            }
            let file = private()
                .append(true)
                .create(mark == Mark::default())
                .open(self.dir.join(name))?;
            (name.to_owned(), file)
        };
        self.open.push(entry);
        self.open
            .last_mut()
            .map(|(_, file)| file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
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

/// Replaces a file, as one step. What stands in the new one's place is removed, not followed: it may be a
/// link to somewhere else.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().write(true).create_new(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// A file that is written to is a regular one: a link may lead anywhere, a pipe blocks.
fn regular(path: &Path) -> Result<(), SinkError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(SinkError::new(format!(
            "{} is no regular file: somebody else put it there; move it away",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, SinkError> {
    let path = dir.join(LOCK);
    regular(&path)?;
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(explain("cannot be opened", &path))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(SinkError::new(format!(
            "{} is written to by another process, or by another sink of this one: a directory has one writer; give this one its own",
            dir.display()
        ))),
        Err(fs4::TryLockError::Error(error)) => Err(explain("cannot be locked", &path)(error)),
    }
}

/// The chains' files, by name.
pub(crate) fn chain_files(dir: &Path) -> Result<Vec<(String, ChainId)>, SinkError> {
    let unreadable = |error| explain("cannot be read", dir)(error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(".jsonl") {
            continue;
        }
        let Some(chain) = ChainId::from_file_name(&name) else {
            return Err(SinkError::new(format!(
                "{} is not the file of a chain: it was renamed, or does not belong here; move it away",
                dir.join(&*name).display()
            )));
        };
        files.push((name.into_owned(), chain));
    }
    files.sort();
    Ok(files)
}

fn read_heads(dir: &Path) -> Result<Option<Heads>, SinkError> {
    let path = dir.join(heads::FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(explain("cannot be read", &path)(error)),
    };
    match Heads::decode(&bytes) {
        Some((heads, _)) => Ok(Some(heads)),
        None => Err(SinkError::new(format!(
            "{} is not a checkpoint as it was written: keep the directory as evidence, and start with another one",
            path.display()
        ))),
    }
}

/// Records are nobody else's to read.
#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir)
}

#[cfg(unix)]
fn identity(dir: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(dir)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(dir: &Path) -> io::Result<Identity> {
    fs::metadata(dir).map(|_| (0, 0))
}

/// Makes new names durable.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Elsewhere a directory cannot be synced by itself.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
