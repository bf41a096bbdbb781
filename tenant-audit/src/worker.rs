//! The worker: takes entries from the queue, encodes and chains them, hands them to the sink.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tenant_context::{Clock, TenantId, Timer, Trail, UnixTime};

use crate::{
    AuditError, AuditSink, Batch,
    ledger::{Ledger, Now},
    queue::{Cell, Doze, Entry, Flush, Intake, Load},
    record::Encoder,
    request::Request,
};

/// The most entries that are written and synced together.
const MAX_BATCH: usize = 4096;
/// How long an idle worker waits before it looks again, and how often it does.
const LINGER: Duration = Duration::from_millis(5);
const LINGERINGS: usize = 200;
/// How long nothing has come when a sink that has missed something is asked again, how long it may take, and how long it is left alone at most
/// if that was not enough.
const CATCH_UP: Duration = Duration::from_millis(250);
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(10);
const LAST_CATCH_UP: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Writes what layers and handles record. The application spawns it:
/// `tokio::spawn(worker)`.
///
/// It ends when all layers, services and handles are dropped, or after
/// [`AuditHandle::close`](crate::AuditHandle::close), and everything queued before is written and synced. If the sink fails it keeps what it holds, says so in the log, and tries again
/// with a growing pause of 50 ms to 5 s; meanwhile the queue fills, and the policy for a full queue
/// decides. Without a timer it ends with the sink's error instead.
///
/// Dropping it early loses what is queued; that is said in the log. From then on requests are
/// refused.
#[must_use = "spawn it: without its worker an audit layer refuses all requests"]
pub struct AuditWorker(BoxFuture<'static, Result<(), AuditError>>);

/// What a worker works with.
pub(crate) struct Parts {
    pub(crate) intake: Intake,
    pub(crate) sink: Box<dyn AuditSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) secret: u64,
    pub(crate) encoder: Encoder,
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

/// Exchanges what waits for `load`. `false`: nobody is left to send anything.
///
/// A worker that has nothing to do looks again after a short while, for a second or so, before it sleeps
/// until it is woken: waking it costs a request some ten microseconds, so only the first one after
/// that second pays.
async fn next(intake: &Intake, load: &mut Load, timer: Option<&dyn Timer>) -> bool {
    if let Some(timer) = timer {
        for _ in 0..LINGERINGS {
            let lingering = look(intake, load, Doze::Lingers);
            if let Either::Left((more, _)) = select(lingering, timer.sleep(LINGER)).await {
                return more;
            }
        }
    }
    look(intake, load, Doze::Asleep).await
}

/// [`next`]; meanwhile what a sink has missed is caught up, with a pause in between.
async fn idle(
    sink: &mut dyn AuditSink,
    intake: &Intake,
    load: &mut Load,
    timer: Option<&dyn Timer>,
    pause: &mut Duration,
) -> bool {
    if let Some(timer) = timer {
        while sink.is_behind() {
            let looking = look(intake, load, Doze::Asleep);
            if let Either::Left((more, _)) = select(looking, timer.sleep(*pause)).await {
                return more;
            }
            let caught_up = select(sink.catch_up(), timer.sleep(CATCH_UP_DEADLINE));
            *pause = match caught_up.await {
                Either::Left(_) => CATCH_UP,
                Either::Right(_) => {
                    tracing::error!(
                        "an audit sink that is behind hangs: it is left alone for a while"
                    );
                    pause.saturating_mul(4).min(LAST_CATCH_UP)
                }
            };
        }
    }
    next(intake, load, timer).await
}

fn look<'a>(
    intake: &'a Intake,
    load: &'a mut Load,
    doze: Doze,
) -> impl Future<Output = bool> + Unpin + use<'a> {
    poll_fn(move |cx| {
        intake
            .take(load, doze, cx.waker())
            .map_or(Poll::Pending, Poll::Ready)
    })
}

async fn work(parts: Parts) -> Result<(), AuditError> {
    let Parts {
        mut intake,
        mut sink,
        clock,
        timer,
        secret,
        encoder,
    } = parts;
    let mut ledger = Ledger::resume(sink.resume(), secret, encoder, clock.unix());
    let mut expiry = Expiry::default();
    let mut load = Load::default();
    let mut charged = Vec::new();
    let mut pause = CATCH_UP;
    // What was recovered is written at once, not with the first request.
    let mut more = true;
    while more {
        loop {
            let count = load.entries.len().min(MAX_BATCH);
            let now = Now::read(&*clock);
            if expiry.is_due(now.unix()) {
                ledger.expire(sink.expired(now.unix()).await, now.unix());
            }
            let mut waiting = Waiting::default();
            for entry in load.entries.drain(..count) {
                match entry {
                    Entry::Request(cell) => {
                        if cell.record().progress.is_charged() {
                            charged.push(tenant(&cell));
                        }
                        ledger.request(&cell, now);
                        if cell.record().sync.is_wanted() {
                            waiting.synced.push(Trail::on(&cell));
                        }
                    }
                    Entry::Intent(trail) => {
                        ledger.intent(&trail, now);
                        waiting.synced.push(trail);
                    }
                    Entry::Event(occurred) => ledger.event(&occurred),
                }
            }
            let left = load.entries.len();
            if left == 0 {
                ledger.gap(&mut load.losses, now.unix());
                waiting.flushes = mem::take(&mut load.flushes);
            }
            intake.taken(count, left, &mut charged);
            if let Some(batch) = ledger.take() {
                write(&mut *sink, &intake, &batch, timer.as_deref(), &mut waiting).await?;
                ledger.give_back(batch);
            }
            waiting.answer(&Ok(()));
            if left == 0 {
                break;
            }
        }
        intake.written();
        more = idle(&mut *sink, &intake, &mut load, timer.as_deref(), &mut pause).await;
    }
    sink.close().await.map_err(AuditError::sink)
}

/// When the sink is asked what has been kept for long enough.
#[derive(Default)]
struct Expiry(Option<UnixTime>);

impl Expiry {
    const EVERY: Duration = Duration::from_secs(600);

    fn is_due(&mut self, now: UnixTime) -> bool {
        let due = self
            .0
            .is_none_or(|last| now.saturating_since(last) >= Self::EVERY);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

fn tenant(cell: &Cell) -> Option<TenantId> {
    cell.with(|facts| Some(facts.identity.as_ref()?.tenant().id().clone()))
}

/// Who waits for a batch.
#[derive(Default)]
struct Waiting {
    flushes: Vec<Flush>,
    synced: Vec<Trail>,
}

impl Waiting {
    fn answer(&mut self, result: &Result<(), AuditError>) {
        for trail in self.synced.drain(..) {
            if let Some(request) = trail.record::<Request>() {
                request.sync.settle(result.is_ok());
            }
        }
        for done in self.flushes.drain(..) {
            // Whoever no longer waits does not want to know.
            let _gone = done.send(result.clone());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answer(&Err(AuditError::worker_gone()));
    }
}

/// Writes a batch, however often it takes.
async fn write(
    sink: &mut dyn AuditSink,
    intake: &Intake,
    batch: &Arc<Batch>,
    timer: Option<&dyn Timer>,
    waiting: &mut Waiting,
) -> Result<(), AuditError> {
    let mut pause = FIRST_RETRY;
    while let Err(error) = sink.append(Arc::clone(batch)).await {
        tracing::error!(
            error = &error as &dyn Error,
            records = batch.records(),
            "the audit sink failed; what it did not take is kept"
        );
        intake.sink_failed();
        let error = AuditError::sink(error);
        waiting.answer(&Err(error.clone()));
        let Some(timer) = timer else {
            return Err(error);
        };
        timer.sleep(pause).await;
        pause = pause.saturating_mul(2).min(LAST_RETRY);
    }
    intake.sink_works();
    Ok(())
}
