//! The worker: takes entries from the queue, encodes and chains them, hands them to the sink.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tenant_context::{Clock, Timer};
use tokio::sync::{mpsc, oneshot};

use crate::{
    AuditError, AuditSink, Batch,
    ledger::Ledger,
    queue::{Entry, Losses},
};

/// The most entries that are written and synced together.
const MAX_BATCH: usize = 512;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Writes what layers and handles record. The application spawns it:
/// `tokio::spawn(worker)`.
///
/// It ends when all layers, services and handles are dropped, and everything queued before is
/// written and synced. If the sink fails it keeps what it holds, says so in the log, and tries again
/// with a growing pause of 50 ms to 5 s; meanwhile the queue fills, and the policy for a full queue
/// decides. Without a timer it ends with the sink's error instead.
///
/// Dropping it early loses what is queued; that is said in the log. From then on requests are
/// refused.
#[must_use = "spawn it: without its worker an audit layer refuses all requests"]
pub struct AuditWorker(BoxFuture<'static, Result<(), AuditError>>);

/// What a worker works with.
pub(crate) struct Parts {
    pub(crate) receiver: mpsc::Receiver<Entry>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) sink: Box<dyn AuditSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) secret: u64,
}

impl AuditWorker {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(work(parts).boxed())
    }
}

impl Future for AuditWorker {
    type Output = Result<(), AuditError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for AuditWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditWorker").finish_non_exhaustive()
    }
}

/// The queue's end, and a watch over what is lost when it is dropped too early.
struct Intake {
    receiver: mpsc::Receiver<Entry>,
    entries: Vec<Entry>,
    /// Records that are with the sink.
    writing: usize,
}

impl Intake {
    /// Waits for entries, or for a loss to be recorded. `false`: nobody is left to send any.
    async fn next(&mut self, losses: &Losses) -> bool {
        self.entries.clear();
        let received = pin!(self.receiver.recv_many(&mut self.entries, MAX_BATCH));
        match select(received, pin!(losses.changed())).await {
            Either::Left((count, _)) => count > 0,
            Either::Right(((), _)) => true,
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let lost = self.writing.saturating_add(self.receiver.len());
        if lost > 0 {
            tracing::error!(lost, "the audit worker ended before everything was written");
        }
    }
}

async fn work(parts: Parts) -> Result<(), AuditError> {
    let Parts {
        receiver,
        losses,
        mut sink,
        clock,
        timer,
        secret,
    } = parts;
    let mut intake = Intake {
        receiver,
        entries: Vec::new(),
        writing: 0,
    };
    let mut ledger = Ledger::resume(sink.resume(), secret, clock.unix());
    let mut waiting = Vec::new();
    // What was recovered is written at once, not with the first request.
    let mut more = true;
    loop {
        for entry in intake.entries.drain(..) {
            match entry {
                Entry::Request(finished) => ledger.request(&finished),
                Entry::Event(occurred) => ledger.event(&occurred),
                Entry::Flush(done) => waiting.push(done),
            }
        }
        ledger.gap(losses.take(), clock.unix());
        if let Some(batch) = ledger.take() {
            intake.writing = batch.records();
            write(&mut *sink, batch, timer.as_deref(), &mut waiting).await?;
            intake.writing = 0;
        }
        answer(&mut waiting, &Ok(()));
        if !more {
            break;
        }
        more = intake.next(&losses).await;
    }
    sink.close().await.map_err(AuditError::sink)
}

/// Writes a batch, however often it takes.
async fn write(
    sink: &mut dyn AuditSink,
    batch: Arc<Batch>,
    timer: Option<&dyn Timer>,
    waiting: &mut Vec<oneshot::Sender<Result<(), AuditError>>>,
) -> Result<(), AuditError> {
    let mut pause = FIRST_RETRY;
    while let Err(error) = sink.append(Arc::clone(&batch)).await {
        tracing::error!(
            error = &error as &dyn Error,
            records = batch.records(),
            "the audit sink failed; what it did not take is kept"
        );
        let error = AuditError::sink(error);
        answer(waiting, &Err(error.clone()));
        let Some(timer) = timer else {
            return Err(error);
        };
        timer.sleep(pause).await;
        pause = pause.saturating_mul(2).min(LAST_RETRY);
    }
    Ok(())
}

fn answer(
    waiting: &mut Vec<oneshot::Sender<Result<(), AuditError>>>,
    result: &Result<(), AuditError>,
) {
    for done in waiting.drain(..) {
        // Whoever no longer waits does not want to know.
        let _gone = done.send(result.clone());
    }
}
