//! Several sinks at once.

mod target;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, join_all, select};
use tenant_context::{Timer, UnixTime};

use self::target::{Need, Target, within};
use super::file::read_back::Position;
use crate::{AuditSink, Batch, ChainId, Expired, Head, Resumed, SinkError};

/// Hands every batch to several sinks at the same time.
///
/// A sink that fails or hangs costs a batch the deadline at most, and then rests for a while: one that need not take each batch
/// from one second to one minute, unless no other one has taken it; one that must, and has fallen behind, for five seconds at most and not
/// when a batch comes. Closing costs each the deadline at most, too.
///
/// # The file log is the write-ahead log
///
/// If the first sink is a [`FileSink`](crate::FileSink), a sink that has missed something reads it again from its files: at most one MiB of it
/// is in memory at a time, and eight of them are caught up with each batch that comes, four times a second while none comes,
/// within the deadline, and when the sinks are closed. A sink gets each chain's records in their order and without a hole; those of two chains may change places.
///
/// At a restart:
///
/// - A sink that says how far it came ([`AuditSink::resume`]), such as a second `FileSink`, goes on exactly there, with each chain that it
///   names.
/// - Of any other one, and of other chains, the position is kept in the log's directory, in `position-NAME.json`, after each 16 batches, when it falls
///   behind, as it catches up, and at the end. It goes on from there: **at least once**. After a crash it gets again what it took
///   since, at most 16 batches, and of a [`RegionSink`](crate::RegionSink) what some regions took while another one failed; who reads drops what he has by `event_id` and `outcome`, or by chain and number. Without a file of its name
///   it is new: it begins where the log ends. The name is [`named`](Self::named), or the place in the order (`sink-2`, …): a sink that changes places without a
///   name takes another one's position.
///
/// What [`Retention`](crate::Retention) deletes before a sink has read it is lost to that sink, which is given up with an error in the log.
///
/// # Without a file log in the first place
///
/// What a sink has missed is kept in memory, and gone at a restart. Beyond 64 batches
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
///     .best_effort(MemorySink::new()).named("collector");
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

/// How much is read again with each batch: more than what comes meanwhile.
const ROUNDS: usize = 8;

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
    pub fn sink(self, sink: impl AuditSink) -> Self {
        self.add(Box::new(sink), false)
    }

    /// Adds a sink whose failures fail nothing.
    pub fn best_effort(self, sink: impl AuditSink) -> Self {
        self.add(Box::new(sink), true)
    }

    fn add(mut self, sink: Box<dyn AuditSink>, optional: bool) -> Self {
        let name = format!("sink-{}", self.sinks.len().saturating_add(1));
        let need = match (optional, self.all) {
            (true, _) => Need::Never,
            (false, true) => Need::Always,
            (false, false) => Need::OneOfAll,
        };
        self.sinks.push(Target::new(sink, name, need));
        self
    }

    /// Names the sink that was added last: under this name the file log keeps how far it came. No two have one.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Some(last) = self.sinks.last_mut() {
            last.name = name.into();
        }
        self
    }

    fn verdict(&self) -> Result<(), SinkError> {
        let mut needed = self.sinks.iter().filter(|target| !target.is_optional());
        let enough = if self.all {
            needed.all(Target::is_even)
        } else {
            needed.any(Target::is_even)
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

    /// Gives those that are behind what they have missed, so much of it that the deadline holds.
    async fn read_on(&mut self, rounds: usize) {
        let (timer, deadline) = (&*self.timer, self.deadline);
        let Some((first, others)) = self.sinks.split_first_mut() else {
            return;
        };
        let Some(log) = first.sink.log() else {
            return;
        };
        for target in others.iter_mut() {
            let ready = target.is_behind() && !target.is_resting();
            target.timeout = ready.then(|| timer.sleep(deadline));
        }
        for _ in 0..rounds {
            for target in others.iter_mut() {
                if target.timeout.is_none() || target.pending.is_some() {
                    continue;
                }
                match log.read_back(&target.name, &target.position).await {
                    Ok(Some(batch)) => target.pending = Some(batch),
                    Ok(None) => {
                        tracing::info!(
                            sink = target.name,
                            "one of several audit sinks has all that it had missed"
                        );
                        target.set_behind(false);
                        target.timeout = None;
                    }
                    Err(error) => {
                        target.timeout = None;
                        target.give_up(&error.to_string());
                    }
                }
            }
            if others.iter().all(|target| target.timeout.is_none()) {
                break;
            }
            join_all(others.iter_mut().map(|target| target.catch_up(timer))).await;
        }
    }

    /// Keeps how far the others came.
    async fn remember(&mut self, now: bool) {
        let Some((first, others)) = self.sinks.split_first_mut() else {
            return;
        };
        let Some(log) = first.sink.log() else {
            return;
        };
        for target in others {
            if target.is_to_be_remembered(now || target.is_behind())
                && let Err(error) = log.remember(&target.name, &target.position).await
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    sink = target.name,
                    "how far an audit sink came could not be kept: it gets more of it again after a restart"
                );
            }
        }
    }
}

fn heads(resumed: &[Resumed]) -> HashMap<ChainId, Head> {
    let heads = resumed.iter().map(|one| (one.chain.clone(), one.head));
    heads.collect()
}

fn position(resumed: &[Resumed]) -> Position {
    let mut position = Position::default();
    for one in resumed {
        position.set(&one.chain, one.head);
    }
    position
}

impl AuditSink for FanOut {
    fn resume(&mut self) -> Vec<Resumed> {
        let Some((first, others)) = self.sinks.split_first_mut() else {
            return Vec::new();
        };
        let resumed = first.sink.resume();
        let (heads, end) = (heads(&resumed), position(&resumed));
        let mut names = HashSet::new();
        for target in others {
            let theirs = target.sink.resume();
            let Some(log) = first.sink.log() else {
                // One that keeps nothing across a restart resumes nothing.
                if !theirs.is_empty() && self::heads(&theirs) != heads {
                    target.give_up(
                        "it does not hold what the first one holds: its chains would have holes",
                    );
                }
                continue;
            };
            let theirs = position(&theirs);
            if !names.insert(target.name.clone()) {
                target.give_up("another sink has its name");
            } else if target.sink.log().is_some() {
                target.position = theirs;
            } else {
                let new = if theirs.is_empty() { &end } else { &theirs };
                match log.recall(&target.name, new) {
                    // Of the chains of which it says itself how far it came, nobody knows better.
                    Ok(mut position) => {
                        position.overlay(theirs);
                        target.position = position;
                    }
                    Err(error) => target.give_up(&error.to_string()),
                }
                target.remembered = true;
            }
            target.set_behind(target.position != end);
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
            let (timer, deadline) = (&*self.timer, self.deadline);
            let drained = self.sinks.iter_mut().map(|target| {
                if !target.may_lag() {
                    // All wait for it: it is the worker that pauses.
                    target.rests = None;
                }
                target.offer(&batch);
                target.drain(timer, deadline)
            });
            join_all(drained).await;
            if let Some((first, others)) = self.sinks.split_first_mut()
                && first.sink.log().is_some()
                && first.holds_all()
            {
                for target in others {
                    target.logged(&batch);
                }
                self.read_on(ROUNDS).await;
                self.remember(false).await;
            }
            let verdict = self.verdict();
            if verdict.is_err() {
                // Nobody rests while a batch waits for one of them.
                let needed = self.sinks.iter_mut().filter(|target| !target.is_optional());
                needed.for_each(|target| target.rests = None);
            }
            verdict
        }
        .boxed()
    }

    fn is_behind(&mut self) -> bool {
        self.sinks.iter_mut().any(Target::lags)
    }

    fn catch_up(&mut self) -> BoxFuture<'_, ()> {
        async move {
            let (timer, deadline) = (&*self.timer, self.deadline);
            let inner = self.sinks.iter_mut().filter_map(|target| {
                let is_behind = target.sink.is_behind();
                is_behind.then(|| select(target.sink.catch_up(), timer.sleep(deadline)))
            });
            join_all(inner).await;
            let lagging = self.sinks.iter_mut().filter(|target| target.may_lag());
            join_all(lagging.map(|target| target.drain(timer, deadline))).await;
            if self.sinks.first().is_some_and(Target::holds_all) {
                self.read_on(ROUNDS).await;
                self.remember(false).await;
            }
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            let (timer, deadline) = (&*self.timer, self.deadline);
            let drained = self.sinks.iter_mut().map(|target| {
                target.rests = None;
                target.drain(timer, deadline)
            });
            join_all(drained).await;
            self.read_on(usize::MAX).await;
            self.remember(true).await;
            let (timer, deadline) = (&*self.timer, self.deadline);
            let closed = self.sinks.iter_mut().map(|target| async move {
                let closed = within(target.sink.close(), timer.sleep(deadline)).await;
                match closed {
                    Err(error) if target.is_optional() => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            sink = target.name,
                            "one of several audit sinks could not be closed"
                        );
                        Ok(())
                    }
                    closed => closed.map(drop),
                }
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
