//! The bounded queue between requests and worker: a place is reserved before the work begins, so
//! that finishing never waits.
//!
//! One short lock, taken when a request comes and when it ends, and by the worker to take all there is
//! at once. Under it every count is exact, and what a request needs to be woken or woken by is decided
//! in one place.

mod door;
mod losses;

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;
use tenant_context::{TenantContext, TenantId, Trail, TrailCell, TrailFacts, UnixTime};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::{
    door::{Door, Entrance, Place, Unplaced, Waiter, Waiting},
    losses::Losses,
};
use crate::{AuditError, Outcome, request::Request};

/// A request's record, with its trail.
pub(crate) type Cell = Arc<TrailCell<Request>>;

/// The most of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests that have entered and not ended.
    pub(crate) in_flight: usize,
    /// Records that are queued and not yet with the sink.
    pub(crate) waiting: usize,
}

/// What goes to the worker.
#[derive(Debug)]
pub(crate) enum Entry {
    Request(Cell),
    /// A request's handler is about to run.
    Intent(Trail),
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

#[cfg(test)]
impl Occurred {
    fn nothing() -> Self {
        Self {
            who: Who::System("test"),
            at: UnixTime::default(),
            facts: TrailFacts::default(),
            outcome: Outcome::Success,
            reason: None,
        }
    }
}

impl Who {
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(context) => Some(context.tenant_id()),
            Self::System(_) => None,
        }
    }
}

/// What is left when a queue is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) in_flight: usize,
    pub(crate) unwritten: usize,
    pub(crate) gone: bool,
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
    /// Refusals before a tenant was known, among the entries.
    anonymous: usize,
    pub(crate) losses: Losses,
}

/// What is not written is not durable: who waits for it is told.
impl Drop for Load {
    fn drop(&mut self) {
        for entry in &self.entries {
            entry.settle(false);
        }
    }
}

impl Entry {
    /// Why a request was refused before its tenant was known, if it was. One that has passed the gate holds a
    /// share and may be waited for; what refused it is the application, on a public route.
    fn refused_anonymously(&self) -> Option<String> {
        let Self::Request(cell) = self else {
            return None;
        };
        let progress = &cell.record().progress;
        if !progress.is_refused() || progress.has_passed() {
            return None;
        }
        cell.with(|facts| match (&facts.identity, &facts.rejection) {
            (None, Some(rejection)) => Some(rejection.reason().to_owned()),
            _ => None,
        })
    }

    fn is_urgent(&self) -> bool {
        match self {
            Self::Request(cell) => cell.record().sync.is_wanted(),
            Self::Intent(_) => true,
            Self::Event(_) => false,
        }
    }

    fn settle(&self, durable: bool) {
        let request = match self {
            Self::Request(cell) => Some(cell.record()),
            Self::Intent(trail) => trail.record::<Request>(),
            Self::Event(_) => None,
        };
        if let Some(request) = request {
            request.sync.settle(durable);
        }
    }
}

impl Load {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.flushes.is_empty() && self.losses.is_empty()
    }
}

#[derive(Debug, Default)]
struct Lane {
    load: Load,
    /// Requests that have entered and not ended.
    in_flight: usize,
    /// Records that are queued and not yet with the sink.
    waiting: usize,
    /// Records that the worker has taken and the sink has not.
    writing: usize,
    /// Nobody enters any more.
    closing: bool,
    /// How many wait at the door.
    waiters: usize,
    /// The places of each tenant that entered while many were taken; `None`: of no tenant.
    shares: HashMap<Option<TenantId>, usize>,
    doze: Doze,
    waker: Option<Waker>,
    /// Nobody is left to queue anything.
    closed: bool,
    /// The worker has ended.
    gone: bool,
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

    /// Takes a place, if one is free.
    const fn enter(&mut self, bounds: Bounds) -> bool {
        let free =
            self.in_flight < bounds.in_flight && self.waiting < bounds.waiting && !self.closing;
        if free {
            self.in_flight = self.in_flight.saturating_add(1);
        }
        free
    }

    /// Whether so many places are taken that one tenant may have taken its share.
    const fn is_pressed(&self, bounds: Bounds) -> bool {
        self.in_flight > quarter(bounds.in_flight) || self.waiting > quarter(bounds.waiting)
    }

    /// How many places one tenant may hold now, among those that are counted.
    const fn share(&self, bounds: Bounds) -> usize {
        let flying = bounds.in_flight.saturating_sub(self.in_flight);
        let waiting = bounds.waiting.saturating_sub(self.waiting);
        let free = if flying < waiting { flying } else { waiting };
        if free < 2 { 1 } else { free / 2 }
    }

    fn push(&mut self, entry: Entry) {
        self.waiting = self.waiting.saturating_add(1);
        self.load.entries.push(entry);
    }
}

/// A quarter may be taken before anybody's places are counted. Then one tenant may hold half as many as are free:
/// alone it ends with half of all.
const fn quarter(bound: usize) -> usize {
    if bound < 4 { 1 } else { bound / 4 }
}

/// Refusals before a tenant is known have a small share of what waits: a sixteenth. Beyond it they are
/// counted, by reason, so that a flood of them fills neither queue nor disk.
const fn anonymous_share(waiting: usize) -> usize {
    if waiting < 16 { 1 } else { waiting / 16 }
}

/// What the requests' side and the worker share.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    /// The sink has failed, and has not taken anything since.
    broken: AtomicBool,
    lane: Mutex<Lane>,
    /// Told when a place has become free and somebody waits for one.
    freed: Notify,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            broken: AtomicBool::new(false),
            lane: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Changes the lane, and wakes the worker if it sleeps too deeply for what was changed.
    fn change<R>(&self, urgent: bool, change: impl FnOnce(&mut Lane) -> R) -> R {
        let (result, waker) = {
            let mut lane = self.lane.lock();
            (change(&mut lane), lane.rouse(urgent))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Hands an entry over, in a place that was reserved for it. Never waits.
    fn fill(&self, entry: Entry) {
        let anonymous = entry.refused_anonymously();
        let (waker, waiters) = {
            let mut lane = self.lane.lock();
            lane.in_flight = lane.in_flight.saturating_sub(1);
            if let Some(reason) = anonymous {
                if lane.load.anonymous >= anonymous_share(self.bounds.waiting) && !lane.gone {
                    lane.load.losses.anonymous(reason);
                    let (waker, waiters) = (lane.rouse(false), lane.waiters);
                    drop(lane);
                    return self.tell(waker, waiters);
                }
                lane.load.anonymous = lane.load.anonymous.saturating_add(1);
            }
            if lane.gone {
                drop(lane);
                entry.settle(false);
                return lost(&entry);
            }
            let awaited = entry.is_urgent();
            lane.push(entry);
            // Half full: the worker should look now.
            let urgent = awaited || lane.waiting >= self.bounds.waiting / 2;
            (lane.rouse(urgent), lane.waiters)
        };
        self.tell(waker, waiters);
    }

    /// A place has become free.
    fn tell(&self, waker: Option<Waker>, waiters: usize) {
        if waiters > 0 {
            self.freed.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands an intent over. Its request is in flight, so intents have a bound.
    fn intend(&self, entry: Entry) {
        self.change(true, |lane| {
            if lane.gone {
                entry.settle(false);
            } else {
                lane.push(entry);
            }
        });
    }

    /// Takes a place of a tenant's share: at most half as many as are free. So each further tenant finds a third
    /// of what the ones before left, and no few of them take all.
    pub(crate) fn charge(&self, tenant: Option<&TenantId>) -> bool {
        let mut lane = self.lane.lock();
        let key = tenant.cloned();
        let taken = lane.shares.get(&key).copied().unwrap_or_default();
        let free = taken < lane.share(self.bounds);
        if free {
            lane.shares.insert(key, taken.saturating_add(1));
        }
        free
    }

    pub(crate) fn sink_failed(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Hands an entry over if there is room; else it is counted as lost.
    fn squeeze(&self, entry: Entry) {
        let waiting = self.bounds.waiting;
        self.change(false, |lane| {
            if !lane.gone && lane.waiting < waiting {
                lane.push(entry);
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
        self.change(true, |lane| {
            if !lane.gone {
                lane.load.flushes.push(done);
            }
            !lane.gone
        })
    }

    /// Lets nobody in any more.
    pub(crate) fn refuse_all(&self) {
        self.change(false, |lane| lane.closing = true);
        self.tell_all();
    }

    /// Whoever waits looks again.
    pub(crate) fn tell_all(&self) {
        self.freed.notify_waiters();
    }

    /// Told when a place has become free, or the worker has ended.
    pub(crate) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// What is in flight, what is not written, and whether the worker has ended.
    pub(crate) fn left(&self) -> Left {
        let lane = self.lane.lock();
        Left {
            in_flight: lane.in_flight,
            unwritten: lane.waiting.saturating_add(lane.writing),
            gone: lane.gone,
        }
    }

    /// Nobody is left who could queue anything.
    pub(crate) fn close(&self) {
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
            lane.load.anonymous = 0;
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
    /// Those that held a place of their tenant's share give it back.
    pub(crate) fn taken(&mut self, count: usize, left: usize, charged: &mut Vec<Option<TenantId>>) {
        self.unwritten = count.saturating_add(left);
        let waiters = {
            let mut lane = self.queue.lane.lock();
            lane.waiting = lane.waiting.saturating_sub(count);
            lane.writing = self.unwritten;
            for tenant in charged.drain(..) {
                if let hash_map::Entry::Occupied(mut share) = lane.shares.entry(tenant) {
                    *share.get_mut() = share.get().saturating_sub(1);
                    if *share.get() == 0 {
                        share.remove();
                    }
                }
            }
            lane.waiters
        };
        if waiters > 0 {
            self.queue.freed.notify_waiters();
        }
    }

    pub(crate) fn sink_failed(&self) {
        self.queue.sink_failed();
    }

    pub(crate) fn sink_works(&self) {
        self.queue.broken.store(false, Ordering::Release);
    }

    /// All that was taken is written.
    pub(crate) fn written(&mut self) {
        self.unwritten = 0;
        self.queue.lane.lock().writing = 0;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let load = {
            let mut lane = self.queue.lane.lock();
            lane.gone = true;
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
        let (in_flight, waiting) = {
            let lane = self.lane.lock();
            (lane.in_flight, lane.waiting)
        };
        write!(
            f,
            "{in_flight} of {} in flight, {waiting} of {} waiting",
            self.bounds.in_flight, self.bounds.waiting
        )
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn i6_no_few_tenants_take_all_places() {
        let bounds = Bounds {
            in_flight: 4096,
            waiting: 4096,
        };
        let queue = Queue::new(bounds);
        let mut taken = Vec::new();
        for n in 0..12 {
            let tenant = TenantId::parse(format!("t{n}")).unwrap();
            let before = queue.lane.lock().in_flight;
            loop {
                let pressed = {
                    let mut lane = queue.lane.lock();
                    assert!(lane.enter(bounds), "tenant {n} finds no place");
                    lane.is_pressed(bounds)
                };
                if pressed && !queue.charge(Some(&tenant)) {
                    queue.lane.lock().in_flight -= 1;
                    break;
                }
            }
            taken.push(queue.lane.lock().in_flight - before);
        }
        assert!((2047..=2050).contains(&taken[0]), "{taken:?}");
        assert!(taken.iter().all(|places| *places > 0), "{taken:?}");
    }

    proptest! {
        #[test]
        fn i6_a_place_is_free_as_long_as_both_bounds_hold(steps in proptest::collection::vec(0_u8..3, 0..200)) {
            let bounds = Bounds { in_flight: 5, waiting: 7 };
            let queue = Arc::new(Queue::new(bounds));
            let mut intake = Intake::new(Arc::clone(&queue));
            let (mut flying, mut waiting) = (0, 0);
            let mut load = Load::default();
            for step in steps {
                match step {
                    0 => {
                        let free = flying < bounds.in_flight && waiting < bounds.waiting;
                        prop_assert_eq!(queue.lane.lock().enter(bounds), free);
                        flying += usize::from(free);
                    }
                    1 if flying > 0 => {
                        queue.fill(Entry::Event(Box::new(Occurred::nothing())));
                        flying -= 1;
                        waiting += 1;
                    }
                    2 => {
                        let more = intake.take(&mut load, Doze::Awake, Waker::noop());
                        prop_assert_eq!(more.is_some(), waiting > 0);
                        prop_assert_eq!(load.entries.drain(..).count(), waiting);
                        intake.taken(waiting, 0, &mut Vec::new());
                        waiting = 0;
                    }
                    _ => {}
                }
            }
        }
    }
}
