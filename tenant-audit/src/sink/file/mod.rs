//! JSON lines in a directory: one file for each chain, and a checkpoint of all of them.

pub(crate) mod checkpoint;
pub(crate) mod disk;
pub(crate) mod heads;
mod open_files;
pub(crate) mod pieces;
pub(crate) mod read_back;
mod regions;
mod resume;
mod retention;
pub(crate) mod segments;
mod signing;
pub(crate) mod spill;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use tenant_context::UnixTime;
use tokio::sync::oneshot;

use self::{read_back::Position, signing::Signing, writer::Writer};
pub use self::{retention::Retention, segments::Rotation};
use crate::{AuditSink, Batch, CheckpointSigner, Expired, Resumed, SinkError};

/// Appends records to files in a directory, and syncs them.
///
/// - `platform.jsonl` and one `tenant-….jsonl` for each tenant hold a chain each, a record a line:
///   `{"seq":1,"prev":"…","hash":"…","record":{…}}`. Nothing is ever cut or overwritten. A file that is full
///   ([`rotated`](Self::rotated)) is followed by `tenant-….N.jsonl`, which begins with record N.
/// - `tenant-….N.spill` holds record N if it is longer than 16 KiB: its line has the length and the digest instead,
///   `"spilled":{"bytes":70211,"digest":"…"}`, and the hash is the same. No record is longer than 1 MiB. Such a file is durable before its
///   line is, and goes with it when it has been kept for long enough; bundles have the record in its line.
/// - `heads.json` is the checkpoint: every chain's last number, hash and length, written after each
///   batch, so that a chain that was cut shows it.
/// - `checkpoint.json`, if the sink is [`signed`](Self::signed): a signed Merkle root over all chains' heads.
/// - `position-….json`: how far another sink of a [`FanOut`](crate::FanOut) came. `regions.json`: the regions of the tenants that have
///   one, so that what such a sink reads again goes where it must stay.
/// - `lock` is held by the process that writes: a second one is refused.
///
/// A batch is taken when its lines and the checkpoint are synced to the disk: one sync for each chain
/// in it, and two for the checkpoint, which is written whole: its size grows with the number of
/// tenants, by some 120 bytes each. All of it happens on a thread of the sink's own, so a slow disk
/// holds up no runtime. At most 64 files are open at a time.
///
/// Records are **kept for one year**, then they are deleted, by files, with a record that says so: [`retained`](Self::retained) chooses
/// another time, or none.
///
/// After a crash [`open`](Self::open) takes the chains up where they ended. What stands beyond the
/// checkpoint is kept, torn lines too, and a record of the action `audit.recovered` says what it was.
///
/// What fails while writing (a full disk, a directory that was renamed or replaced, a file that
/// somebody else changed) is an error that says so; the worker tries the same batch again, so a sink
/// that is repaired goes on where it stopped.
pub struct FileSink {
    dir: PathBuf,
    commands: mpsc::Sender<Command>,
    resumed: Vec<Resumed>,
}

type ReadBack = oneshot::Sender<Result<Option<Batch>, SinkError>>;
type Done = oneshot::Sender<Result<(), SinkError>>;

enum Command {
    Append(Arc<Batch>, Done),
    Sign(Box<Signing>),
    Rotate(Rotation),
    Retain(Retention),
    Expired(UnixTime, oneshot::Sender<Vec<Expired>>),
    Read(String, Position, ReadBack),
    Remember(String, Position, Done),
    Close(Done),
}

impl FileSink {
    /// Opens a directory for writing, and makes it if there is none. Reads the end of every chain,
    /// so it blocks; call it when the service starts.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if the directory cannot be made, read or written; if another process, or another
    /// `FileSink` of this one, writes to it; if its chains are shorter than, or other than, what its
    /// checkpoint says. Nothing is changed then.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SinkError> {
        let dir = dir.as_ref().to_path_buf();
        let (mut writer, resumed) = Writer::open(dir.clone())?;
        let (commands, received) = mpsc::channel();
        thread::Builder::new()
            .name("tenant-audit-file".to_owned())
            .spawn(move || {
                loop {
                    let command = match received.recv_timeout(writer.unsigned_for()) {
                        Ok(command) => command,
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            writer.sign_if_due();
                            continue;
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    };
                    match command {
                        Command::Sign(signing) => writer.sign_with(*signing),
                        Command::Rotate(rotation) => writer.rotate(rotation),
                        Command::Retain(retention) => writer.retain(retention),
                        Command::Expired(now, done) => drop(done.send(writer.expired(now))),
                        Command::Read(name, position, done) => {
                            drop(done.send(writer.read_back(&name, &position)));
                        }
                        Command::Remember(name, position, done) => {
                            drop(done.send(writer.remember(&name, &position)));
                        }
                        // Whoever asked may be gone: the batch is written all the same.
                        Command::Append(batch, done) => {
                            let written = writer.append(&batch);
                            // Before the answer: its buffers are used again.
                            drop(batch);
                            drop(done.send(written));
                        }
                        Command::Close(done) => {
                            let signed = writer.sign();
                            drop(writer);
                            drop(done.send(signed));
                            return;
                        }
                    }
                }
            })
            .map_err(|error| {
                SinkError::new("the audit file thread could not be started").with_source(error)
            })?;
        Ok(Self {
            dir,
            commands,
            resumed,
        })
    }

    /// Signs checkpoints, into `checkpoint.json`: at the first batch, then `every` so often if something was
    /// written, and when the sink is closed. `publish` gets each note (C2SP `tlog-checkpoint`), to keep it
    /// elsewhere: only that shows a directory that was rolled back. It runs on the sink's thread.
    ///
    /// To rotate keys, open the sink with another signer; verifiers are given both public keys.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenant_audit::{CheckpointSigner, FileSink, Verifier};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tmp = tempfile::tempdir()?;
    /// # let dir = tmp.path();
    /// let signer = CheckpointSigner::generate("audit.example.com/api")?;
    /// let key = signer.key();
    /// let sink = FileSink::open(dir)?.signed(signer, Duration::from_secs(60), |_note| { /* send it away */ });
    /// # drop(sink);
    /// // later, or elsewhere:
    /// let verified = Verifier::new().key(key).verify(dir);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the sink is what records go to"]
    pub fn signed(
        self,
        signer: CheckpointSigner,
        every: Duration,
        publish: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let signing = Signing::new(signer, every, Box::new(publish));
        // A thread that is gone says so at the next append.
        drop(self.commands.send(Command::Sign(Box::new(signing))));
        self
    }

    /// When a chain's next file begins. Default: [`Rotation::new`].
    #[must_use = "the sink is what records go to"]
    pub fn rotated(self, rotation: Rotation) -> Self {
        drop(self.commands.send(Command::Rotate(rotation)));
        self
    }

    /// For how long records are kept. Default: [`Retention::new`], **one year**, then they are deleted; the log says so before it
    /// happens. [`Retention::forever`] deletes nothing.
    #[must_use = "the sink is what records go to"]
    pub fn retained(self, retention: Retention) -> Self {
        drop(self.commands.send(Command::Retain(retention)));
        self
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What follows a position, of all that is sealed.
    pub(crate) async fn read_back(
        &self,
        name: &str,
        position: &Position,
    ) -> Result<Option<Arc<Batch>>, SinkError> {
        let (done, answer) = oneshot::channel();
        let command = Command::Read(name.to_owned(), position.clone(), done);
        self.commands.send(command).map_err(|_| gone())?;
        let batch = answer.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(batch.map(Arc::new))
    }

    /// Keeps how far another sink came.
    pub(crate) fn remember(
        &self,
        name: &str,
        position: &Position,
    ) -> BoxFuture<'_, Result<(), SinkError>> {
        let (name, position) = (name.to_owned(), position.clone());
        self.ask(|done| Command::Remember(name, position, done))
    }

    /// How far another sink came, before this one's thread has anything to do. One that is not known begins at
    /// `position`.
    pub(crate) fn recall(&self, name: &str, position: &Position) -> Result<Position, SinkError> {
        if let Some(known) = read_back::recall(&self.dir, name)? {
            return Ok(known);
        }
        read_back::remember(&self.dir, name, position)?;
        Ok(position.clone())
    }

    fn ask(&self, command: impl FnOnce(Done) -> Command) -> BoxFuture<'_, Result<(), SinkError>> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(command(done));
        async move {
            sent.map_err(|_| gone())?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
        .boxed()
    }
}

fn gone() -> SinkError {
    SinkError::new("the audit file thread has ended: open the sink again")
}

impl AuditSink for FileSink {
    fn log(&mut self) -> Option<&mut FileSink> {
        Some(self)
    }

    fn resume(&mut self) -> Vec<Resumed> {
        std::mem::take(&mut self.resumed)
    }

    fn expired(&mut self, now: UnixTime) -> BoxFuture<'_, Vec<Expired>> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Expired(now, done));
        async move {
            // A thread that is gone says so at the next append.
            match sent {
                Ok(()) => answer.await.unwrap_or_default(),
                Err(_) => Vec::new(),
            }
        }
        .boxed()
    }

    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        self.ask(|done| Command::Append(batch, done))
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.ask(Command::Close)
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}
