//! JSON lines in a directory: one file for each chain, and a checkpoint of all of them.

pub(crate) mod heads;
pub(crate) mod pieces;
mod resume;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

use self::writer::Writer;
use crate::{AuditSink, Batch, Resumed, SinkError};

/// Appends records to files in a directory, and syncs them.
///
/// - `platform.jsonl` and one `tenant-….jsonl` for each tenant hold a chain each, a record a line:
///   `{"seq":1,"prev":"…","hash":"…","record":{…}}`. Nothing is ever cut or overwritten.
/// - `heads.json` is the checkpoint: every chain's last number, hash and length, written after each
///   batch, so that a chain that was cut shows it.
/// - `lock` is held by the process that writes: a second one is refused.
///
/// A batch is taken when its lines and the checkpoint are synced to the disk: one sync for each chain
/// in it, and two for the checkpoint, which is written whole: its size grows with the number of
/// tenants, by some 120 bytes each. All of it happens on a thread of the sink's own, so a slow disk
/// holds up no runtime. At most 64 files are open at a time.
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

type Done = oneshot::Sender<Result<(), SinkError>>;

enum Command {
    Append(Arc<Batch>, Done),
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
                while let Ok(command) = received.recv() {
                    match command {
                        // Whoever asked may be gone: the batch is written all the same.
                        Command::Append(batch, done) => drop(done.send(writer.append(&batch))),
                        Command::Close(done) => {
                            drop(writer);
                            drop(done.send(Ok(())));
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

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn ask(&self, command: impl FnOnce(Done) -> Command) -> BoxFuture<'_, Result<(), SinkError>> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(command(done));
        async move {
            let gone = || SinkError::new("the audit file thread has ended: open the sink again");
            sent.map_err(|_| gone())?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
        .boxed()
    }
}

impl AuditSink for FileSink {
    fn resume(&mut self) -> Vec<Resumed> {
        std::mem::take(&mut self.resumed)
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
