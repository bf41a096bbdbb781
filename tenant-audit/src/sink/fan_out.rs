//! Several sinks at once.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, FutureExt, join_all, select};
use tenant_context::{Timer, UnixTime};

use crate::{AuditSink, Batch, ChainId, Expired, Head, Resumed, SinkError};

/// Hands every batch to several sinks at the same time.
///
/// A sink that fails or hangs costs a batch the deadline at most, and then rests for a while that grows from one second to
/// one minute if it is of best effort; meanwhile its batches are kept, so that it gets all of them, in order, when it is back. Beyond 64 batches
/// or 64 MiB it is given up, with an error in the log: it gets nothing any more until the service starts anew. So what a
/// sink holds has no holes but at its end. Sinks that keep chains across restarts begin together, each with a directory of
/// its own: one that holds something else than the first is given up at once.
///
/// ```
/// use std::time::Duration;
/// use tenant_audit::{FanOut, FileSink, MemorySink, TokioTimer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tmp = tempfile::tempdir()?;
/// let sink = FanOut::all(TokioTimer::new(), Duration::from_secs(2))
///     .sink(FileSink::open(tmp.path())?)        // the log of record: chains go on where it stopped
///     .best_effort(MemorySink::new());
/// # drop(sink);
/// # Ok(())
/// # }
/// ```
#[must_use = "it is what records go to"]
pub struct FanOut {
    sinks: Vec<Target>,
    all: bool,
    timer: Arc<dyn Timer>,
    deadline: Duration,
}

struct Target {
    sink: Box<dyn AuditSink>,
    /// Whether a batch counts as taken without it.
    optional: bool,
    backlog: VecDeque<Arc<Batch>>,
    /// The last one that was queued for it.
    last: Weak<Batch>,
    given_up: bool,
    /// How often it has failed since it last took something.
    failures: u32,
    rests: Option<BoxFuture<'static, ()>>,
}

const MOST_BATCHES: usize = 64;
const MOST_BYTES: usize = 64 << 20;

impl FanOut {
    /// All of the sinks must take a batch, but those of best effort.
    pub fn all(timer: impl Timer, deadline: Duration) -> Self {
        Self {
            sinks: Vec::new(),
            all: true,
            timer: Arc::new(timer),
            deadline,
        }
    }

    /// One of the sinks must take a batch.
    pub fn any(timer: impl Timer, deadline: Duration) -> Self {
        Self {
            all: false,
            ..Self::all(timer, deadline)
        }
    }

    /// Adds a sink. Chains are taken up where the first one that is added stopped.
    pub fn sink(mut self, sink: impl AuditSink) -> Self {
        self.sinks.push(Target::new(Box::new(sink), false));
        self
    }

    /// Adds a sink whose failures fail nothing.
    pub fn best_effort(mut self, sink: impl AuditSink) -> Self {
        self.sinks.push(Target::new(Box::new(sink), true));
        self
    }

    fn verdict(&self) -> Result<(), SinkError> {
        let mut needed = self.sinks.iter().filter(|target| !target.optional);
        let taken = |target: &Target| target.backlog.is_empty() && !target.given_up;
        let enough = if self.all {
            needed.all(taken)
        } else {
            needed.any(taken)
        };
        if enough {
            return Ok(());
        }
        Err(SinkError::new(if self.all {
            "not all sinks have taken the batch: the log says which failed"
        } else {
            "no sink has taken the batch: the log says why"
        }))
    }
}

impl Target {
    fn new(sink: Box<dyn AuditSink>, optional: bool) -> Self {
        Self {
            sink,
            optional,
            backlog: VecDeque::new(),
            last: Weak::new(),
            given_up: false,
            failures: 0,
            rests: None,
        }
    }

    /// Queues a batch, once however often it comes.
    fn offer(&mut self, batch: &Arc<Batch>, indispensable: bool) {
        let again = std::ptr::eq(self.last.as_ptr(), Arc::as_ptr(batch));
        if again || self.given_up {
            return;
        }
        self.last = Arc::downgrade(batch);
        self.backlog.push_back(Arc::clone(batch));
        let bytes = self.backlog.iter().fold(0_usize, |sum, batch| {
            let lines = batch.chains().iter().map(|chain| chain.bytes().len());
            sum.saturating_add(lines.sum())
        });
        // One that all wait for never falls behind by more than one batch.
        if !indispensable && (self.backlog.len() > MOST_BATCHES || bytes > MOST_BYTES) {
            tracing::error!(
                "an audit sink has failed for too long: it gets nothing any more until the service starts anew"
            );
            self.given_up = true;
            self.backlog.clear();
        }
    }

    /// Lets it take what it has not taken, within the deadline.
    async fn drain(&mut self, timer: &dyn Timer, deadline: Duration) {
        if let Some(rests) = &mut self.rests {
            if rests.now_or_never().is_none() {
                return;
            }
            self.rests = None;
        }
        let mut timeout = timer.sleep(deadline);
        while let Some(batch) = self.backlog.front() {
            let append = self.sink.append(Arc::clone(batch));
            let (taken, left) = within(append, timeout).await;
            let left = match (taken, left) {
                (Ok(()), Some(left)) => left,
                (Err(error), _) => return self.fail(timer, &error),
                (Ok(()), None) => return,
            };
            timeout = left;
            self.failures = 0;
            self.backlog.pop_front();
        }
    }

    fn fail(&mut self, timer: &dyn Timer, error: &SinkError) {
        const LONGEST: Duration = Duration::from_secs(60);
        // Whoever must take a batch is asked again as soon as the batch comes again.
        if self.optional {
            let grown = Duration::from_secs(1).saturating_mul(1 << self.failures.min(6));
            self.rests = Some(timer.sleep(grown.min(LONGEST)));
        }
        self.failures = self.failures.saturating_add(1);
        tracing::error!(
            error = error as &dyn std::error::Error,
            optional = self.optional,
            waiting = self.backlog.len(),
            "one of several audit sinks failed; what it did not take is kept for it"
        );
    }
}

/// What came of an append, and what is left of the time.
async fn within(
    append: BoxFuture<'_, Result<(), SinkError>>,
    timeout: BoxFuture<'static, ()>,
) -> (Result<(), SinkError>, Option<BoxFuture<'static, ()>>) {
    match select(append, timeout).await {
        Either::Left((taken, left)) => (taken, Some(left)),
        Either::Right(_) => (Err(SinkError::new("the sink did not answer in time")), None),
    }
}

fn heads(resumed: &[Resumed]) -> HashMap<ChainId, Head> {
    let heads = resumed.iter().map(|one| (one.chain.clone(), one.head));
    heads.collect()
}

impl AuditSink for FanOut {
    fn resume(&mut self) -> Vec<Resumed> {
        let mut sinks = self.sinks.iter_mut();
        let Some(first) = sinks.next() else {
            return Vec::new();
        };
        let resumed = first.sink.resume();
        let heads = heads(&resumed);
        for target in sinks {
            let others = target.sink.resume();
            // One that keeps nothing across a restart resumes nothing.
            if !others.is_empty() && self::heads(&others) != heads {
                tracing::error!(
                    "one of several audit sinks does not hold what the first one holds: it gets nothing, because its chains would have holes"
                );
                target.given_up = true;
            }
        }
        resumed
    }

    fn expired(&mut self, now: UnixTime) -> BoxFuture<'_, Vec<Expired>> {
        match self.sinks.first_mut() {
            Some(first) => first.sink.expired(now),
            None => std::future::ready(Vec::new()).boxed(),
        }
    }

    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            let (all, deadline) = (self.all, self.deadline);
            let timer = &*self.timer;
            let drained = self.sinks.iter_mut().map(|target| {
                let indispensable = all && !target.optional;
                target.offer(&batch, indispensable);
                target.drain(timer, deadline)
            });
            join_all(drained).await;
            self.verdict()
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            let (timer, deadline) = (&*self.timer, self.deadline);
            let closed = self.sinks.iter_mut().map(|target| async move {
                target.rests = None;
                target.drain(timer, deadline).await;
                let closed = target.sink.close().await;
                if target.optional { Ok(()) } else { closed }
            });
            join_all(closed).await.into_iter().collect()
        }
        .boxed()
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("sinks", &self.sinks.len())
            .field("all", &self.all)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
