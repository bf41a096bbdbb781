//! One of several sinks, and what it has not taken yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tenant_context::Timer;

use crate::{AuditSink, Batch, SinkError, sink::file::read_back::Position};

/// What is kept in memory for a sink, where there is no file log to read it from again.
const MOST_BATCHES: usize = 64;
const MOST_BYTES: usize = 64 << 20;

/// How many batches a sink takes until its position is kept.
const REMEMBERED_EVERY: u32 = 16;

/// Whether a batch counts as taken only with a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Always,
    /// With it or with another.
    OneOfAll,
    /// It is of best effort.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is given each batch.
    Even,
    /// It gets what comes next from the log.
    Behind,
    /// It gets nothing any more.
    GivenUp,
}

pub(super) struct Target {
    pub(super) sink: Box<dyn AuditSink>,
    pub(super) name: String,
    need: Need,
    backlog: VecDeque<Arc<Batch>>,
    /// The last one that was queued for it.
    last: Weak<Batch>,
    state: State,
    /// How often it has failed since it last took something.
    failures: u32,
    pub(super) rests: Option<BoxFuture<'static, ()>>,
    /// How far it came, where there is a file log before it.
    pub(super) position: Position,
    /// What it was given of the log and has not taken.
    pub(super) pending: Option<Arc<Batch>>,
    /// How much of the deadline is left to it.
    pub(super) timeout: Option<BoxFuture<'static, ()>>,
    /// Whether its position is kept in the log: it keeps none itself.
    pub(super) remembered: bool,
    unsaved: u32,
}

impl Target {
    pub(super) fn new(sink: Box<dyn AuditSink>, name: String, need: Need) -> Self {
        Self {
            sink,
            name,
            need,
            backlog: VecDeque::new(),
            last: Weak::new(),
            state: State::Even,
            failures: 0,
            rests: None,
            position: Position::default(),
            pending: None,
            timeout: None,
            remembered: false,
            unsaved: 0,
        }
    }

    pub(super) fn is_optional(&self) -> bool {
        self.need == Need::Never
    }

    /// Whether a batch may count as taken without it.
    pub(super) fn may_lag(&self) -> bool {
        self.need != Need::Always
    }

    pub(super) fn is_behind(&self) -> bool {
        self.state == State::Behind
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// It has all of the log, or has not.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        if !self.is_given_up() {
            self.state = if is_behind {
                State::Behind
            } else {
                State::Even
            };
        }
    }

    /// Whether it has all that it was given.
    pub(super) fn is_even(&self) -> bool {
        self.backlog.is_empty() && self.state == State::Even
    }

    /// Whether it has missed something and may be asked again without a new batch.
    pub(super) fn lags(&mut self) -> bool {
        let owed = self.is_behind() || (self.may_lag() && !self.backlog.is_empty());
        (owed && !self.is_given_up()) || self.sink.is_behind()
    }

    /// Whether it holds all that was handed on, as a log.
    pub(super) fn holds_all(&self) -> bool {
        self.backlog.is_empty() && !self.is_given_up()
    }

    /// Queues a batch, once however often it comes. One that is behind gets it from the log.
    pub(super) fn offer(&mut self, batch: &Arc<Batch>) {
        let again = std::ptr::eq(self.last.as_ptr(), Arc::as_ptr(batch));
        if again || self.is_given_up() {
            return;
        }
        self.last = Arc::downgrade(batch);
        if self.is_behind() {
            return;
        }
        self.backlog.push_back(Arc::clone(batch));
        let bytes = self.backlog.iter().fold(0_usize, |sum, batch| {
            let lines = batch.chains().iter().map(|chain| chain.bytes().len());
            sum.saturating_add(lines.sum())
        });
        // One that all wait for never falls behind by more than one batch.
        if self.may_lag() && (self.backlog.len() > MOST_BATCHES || bytes > MOST_BYTES) {
            self.give_up("it has failed for too long");
            self.backlog.clear();
        }
    }

    pub(super) fn give_up(&mut self, why: &str) {
        tracing::error!(
            sink = self.name,
            why,
            "one of several audit sinks gets nothing any more until the service starts anew"
        );
        self.state = State::GivenUp;
        self.pending = None;
    }

    /// Whether it still rests after a failure.
    pub(super) fn is_resting(&mut self) -> bool {
        if let Some(rests) = &mut self.rests
            && rests.now_or_never().is_none()
        {
            return true;
        }
        self.rests = None;
        false
    }

    /// Lets it take what it has not taken, within the deadline.
    pub(super) async fn drain(&mut self, timer: &dyn Timer, deadline: Duration) {
        if self.backlog.is_empty() || self.is_resting() {
            return;
        }
        let mut timeout = timer.sleep(deadline);
        while let Some(batch) = self.backlog.front() {
            let append = self.sink.append(Arc::clone(batch));
            match within(append, timeout).await {
                Ok(left) => timeout = left,
                Err(error) => return self.fail(timer, &error),
            }
            self.failures = 0;
            self.backlog.pop_front();
        }
    }

    /// Lets it take what was read for it.
    pub(super) async fn catch_up(&mut self, timer: &dyn Timer) {
        let (Some(batch), Some(timeout)) = (&self.pending, self.timeout.take()) else {
            return;
        };
        match within(self.sink.append(Arc::clone(batch)), timeout).await {
            Ok(left) => {
                self.timeout = Some(left);
                self.failures = 0;
                self.position.advance(batch);
                self.unsaved = self.unsaved.saturating_add(1);
                self.pending = None;
            }
            Err(error) => self.fail(timer, &error),
        }
    }

    /// The log holds a batch: one that has not taken it reads it there, later.
    pub(super) fn logged(&mut self, batch: &Batch) {
        if self.state != State::Even {
            return;
        }
        if self.backlog.is_empty() {
            self.position.advance(batch);
            self.unsaved = self.unsaved.saturating_add(1);
        } else if self.may_lag() {
            self.backlog.clear();
            self.state = State::Behind;
            self.unsaved = REMEMBERED_EVERY;
        }
    }

    /// Whether its position is to be kept now.
    pub(super) fn is_to_be_remembered(&mut self, now: bool) -> bool {
        let due = self.unsaved >= if now { 1 } else { REMEMBERED_EVERY };
        if due {
            self.unsaved = 0;
        }
        due && self.remembered
    }

    fn fail(&mut self, timer: &dyn Timer, error: &SinkError) {
        // All wait for one that must take each batch: it is asked again soon. Before it has fallen behind it is the worker
        // that pauses, and the batch comes again.
        let (first, longest) = if self.may_lag() {
            (Duration::from_secs(1), Duration::from_secs(60))
        } else {
            (Duration::from_millis(250), Duration::from_secs(5))
        };
        if self.may_lag() || self.is_behind() {
            let grown = first.saturating_mul(1 << self.failures.min(6));
            self.rests = Some(timer.sleep(grown.min(longest)));
        }
        self.failures = self.failures.saturating_add(1);
        tracing::error!(
            error = error as &dyn std::error::Error,
            sink = self.name,
            optional = self.is_optional(),
            "one of several audit sinks failed; what it did not take is kept for it"
        );
    }
}

/// Lets a sink do something in time, and gives what is left of it.
pub(super) async fn within(
    append: BoxFuture<'_, Result<(), SinkError>>,
    timeout: BoxFuture<'static, ()>,
) -> Result<BoxFuture<'static, ()>, SinkError> {
    match select(append, timeout).await {
        Either::Left((taken, left)) => taken.map(|()| left),
        Either::Right(_) => Err(SinkError::new("the sink did not answer in time")),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::{ChainBatch, ChainId, Head, MemorySink};
    use tenant_context::UnixTime;

    fn batch(bytes: usize) -> Arc<Batch> {
        let mut lines = ChainBatch::new(ChainId::platform(), Head::default(), Vec::new(), None);
        let Ok(()) = lines.push(UnixTime::default(), |out| {
            out.resize(bytes, b'x');
            Ok::<_, std::convert::Infallible>(())
        });
        Arc::new(Batch::new(vec![lines]))
    }

    /// How many batches it keeps of those it is offered and does not take, and whether it still gets any.
    fn kept(need: Need, offered: &[Arc<Batch>]) -> (usize, bool) {
        let mut target = Target::new(Box::new(MemorySink::new()), "copy".to_owned(), need);
        for batch in offered {
            target.offer(batch);
        }
        (target.backlog.len(), !target.is_given_up())
    }

    #[test]
    fn i6_what_is_kept_without_a_log_is_bounded_in_bytes() {
        let half = || batch(MOST_BYTES / 2);
        assert_eq!(kept(Need::Never, &[half(), half()]), (2, true));
        assert_eq!(kept(Need::Never, &[half(), half(), batch(1)]), (0, false));
        assert_eq!(
            kept(Need::OneOfAll, &[half(), half(), batch(1)]),
            (0, false)
        );
        // All wait for it: there is no more than the one batch that is tried again.
        assert_eq!(kept(Need::Always, &[batch(MOST_BYTES + 1)]), (1, true));
    }

    #[test]
    fn i6_what_is_kept_without_a_log_is_bounded_in_batches() {
        let small: Vec<_> = (0..=MOST_BATCHES).map(|_| batch(1)).collect();
        assert_eq!(kept(Need::Never, &small[1..]), (MOST_BATCHES, true));
        assert_eq!(kept(Need::Never, &small), (0, false));
    }
}
