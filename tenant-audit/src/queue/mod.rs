//! The bounded queue between requests and worker: a place is reserved before the work begins, so
//! that finishing never waits.
//!
//! One short lock, which the worker holds only to take all there is at once: nothing here is
//! lock-free but the counters at the door.

mod counts;
mod door;
mod losses;

use std::{
    borrow::Cow,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;
use tenant_context::{TenantContext, TenantId, TrailCell, TrailFacts, UnixTime};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::{
    counts::Bounds,
    door::{Door, Entrance, Place, Unplaced, Waiting},
    losses::Losses,
};
use self::counts::Counts;
use crate::{AuditError, Outcome, request::Request};

/// What goes to the worker.
#[derive(Debug)]
pub(crate) enum Entry {
    Request(Arc<TrailCell<Request>>),
    Event(Box<Occurred>),
}

/// Something that happened outside a request.
#[derive(Debug)]
pub(crate) struct Occurred {
    pub(crate) who: Who,
    pub(crate) at: UnixTime,
    pub(crate) facts: TrailFacts,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Cow<'static, str>>,
}

#[derive(Debug)]
pub(crate) enum Who {
    Tenant(TenantContext),
    System(&'static str),
}

impl Who {
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(context) => Some(context.tenant_id()),
            Self::System(_) => None,
        }
    }
}

/// Who waits for all that was queued before to be written.
pub(crate) type Flush = oneshot::Sender<Result<(), AuditError>>;

/// Whether the worker sees by itself what is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doze {
    #[default]
    Awake,
    /// It looks again soon: only what is urgent wakes it, so that requests need not pay for that.
    Lingers,
    /// Whatever comes wakes it.
    Asleep,
}

/// All that waits for the worker.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) entries: Vec<Entry>,
    pub(crate) flushes: Vec<Flush>,
    pub(crate) losses: Losses,
}

impl Load {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.flushes.is_empty() && self.losses.is_empty()
    }
}

#[derive(Debug, Default)]
struct Lane {
    load: Load,
    doze: Doze,
    waker: Option<Waker>,
    /// Nobody is left to queue anything.
    closed: bool,
}

impl Lane {
    fn rouse(&mut self, urgent: bool) -> Option<Waker> {
        let sleeps = match self.doze {
            Doze::Awake => false,
            Doze::Lingers => urgent,
            Doze::Asleep => true,
        };
        if !sleeps {
            return None;
        }
        self.doze = Doze::Awake;
        self.waker.take()
    }
}

/// What the requests' side and the worker share.
#[derive(Debug)]
pub(crate) struct Queue {
    counts: Counts,
    bounds: Bounds,
    lane: Mutex<Lane>,
    /// How many wait at the door. Changed under the lock.
    waiters: AtomicUsize,
    /// The worker has ended. Changed under the lock.
    gone: AtomicBool,
    freed: Notify,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            counts: Counts::default(),
            bounds,
            lane: Mutex::default(),
            waiters: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    fn waiters(&self) -> usize {
        self.waiters.load(Ordering::SeqCst)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Changes the lane, and wakes the worker if it sleeps too deeply for what was changed.
    fn change(&self, urgent: bool, change: impl FnOnce(&mut Lane)) {
        let waker = {
            let mut lane = self.lane.lock();
            change(&mut lane);
            lane.rouse(urgent)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands an entry over, in a place that was reserved for it. Never waits.
    fn fill(&self, entry: Entry) {
        let (waker, waiters) = {
            let mut lane = self.lane.lock();
            self.counts.end();
            if self.is_gone() {
                drop(lane);
                return lost(&entry);
            }
            lane.load.entries.push(entry);
            // Half full: the worker should look now.
            let urgent = self.counts.waiting() >= self.bounds.waiting / 2;
            (lane.rouse(urgent), self.waiters())
        };
        if waiters > 0 {
            self.freed.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands an entry over if there is room; else it is counted as lost.
    fn squeeze(&self, entry: Entry) {
        let counts = &self.counts;
        self.change(false, |lane| {
            if !self.is_gone() && counts.pass(self.bounds) {
                lane.load.entries.push(entry);
            } else {
                lane.load.losses.dropped(&entry);
            }
        });
    }

    pub(crate) fn count_refused(&self, why: &AuditError) {
        self.change(false, |lane| lane.load.losses.refused(why));
    }

    /// Asks to be told when all that is queued now is written. `false`: there is no worker.
    pub(crate) fn flush(&self, done: Flush) -> bool {
        let mut gone = false;
        self.change(true, |lane| {
            gone = self.is_gone();
            if !gone {
                lane.load.flushes.push(done);
            }
        });
        !gone
    }

    /// Nobody is left who could queue anything.
    fn close(&self) {
        self.change(true, |lane| lane.closed = true);
    }
}

fn lost(entry: &Entry) {
    let event = matches!(entry, Entry::Event(_));
    tracing::error!(event, "a record is lost: the audit worker has ended");
}

/// The worker's end of the queue.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: Arc<Queue>,
    /// Records that are with the sink, or taken for it.
    unwritten: usize,
}

impl Intake {
    pub(crate) const fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            unwritten: 0,
        }
    }

    /// Exchanges what waits for `load`, which is empty. `Some(false)`: there is nothing and nobody is
    /// left to send any. `None`: not yet, `waker` is woken when the time has come.
    pub(crate) fn take(&self, load: &mut Load, doze: Doze, waker: &Waker) -> Option<bool> {
        let mut lane = self.queue.lane.lock();
        if !lane.load.is_empty() {
            mem::swap(&mut lane.load, load);
            lane.doze = Doze::Awake;
            return Some(true);
        }
        if lane.closed {
            return Some(false);
        }
        lane.doze = doze;
        match &mut lane.waker {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        None
    }

    /// Makes room: so many records no longer wait, they are with the sink; `left` more are at hand.
    pub(crate) fn taken(&mut self, count: usize, left: usize) {
        self.unwritten = count.saturating_add(left);
        if count == 0 {
            return;
        }
        let waiters = {
            let _lane = self.queue.lane.lock();
            self.queue.counts.take(count);
            self.queue.waiters()
        };
        if waiters > 0 {
            self.queue.freed.notify_waiters();
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let load = {
            let mut lane = self.queue.lane.lock();
            self.queue.gone.store(true, Ordering::SeqCst);
            mem::take(&mut lane.load)
        };
        let lost = self.unwritten.saturating_add(load.entries.len());
        if lost > 0 {
            tracing::error!(lost, "the audit worker ended before everything was written");
        }
        self.queue.freed.notify_waiters();
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} in flight, {} of {} waiting",
            self.counts.in_flight(),
            self.bounds.in_flight,
            self.counts.waiting(),
            self.bounds.waiting
        )
    }
}

#[cfg(test)]
mod tests {
    use super::counts::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn i6_the_counts_are_those_of_a_plain_list(steps in proptest::collection::vec(0_u8..4, 0..200)) {
            let bounds = Bounds { in_flight: 5, waiting: 7 };
            let counts = Counts::default();
            let (mut flying, mut waiting) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    0 => {
                        let free = flying < bounds.in_flight && waiting < bounds.waiting;
                        prop_assert_eq!(counts.enter(bounds), free);
                        flying += u64::from(free);
                    }
                    1 if flying > 0 => {
                        counts.end();
                        flying -= 1;
                        waiting += 1;
                    }
                    2 => {
                        let free = waiting < bounds.waiting;
                        prop_assert_eq!(counts.pass(bounds), free);
                        waiting += u64::from(free);
                    }
                    3 => {
                        counts.take(usize::try_from(waiting).unwrap());
                        waiting = 0;
                    }
                    _ => {}
                }
                prop_assert_eq!((counts.in_flight(), counts.waiting()), (flying, waiting));
            }
        }
    }
}
