//! The bounded queue between requests and worker: a place is reserved before the work begins, so
//! that finishing never waits.
//!
//! One short lock, taken when a request comes and when it ends, and by the worker to take all there is
//! at once. Under it every count is exact, and what a request needs to be woken or woken by is decided
//! in one place.

mod door;
mod entry;
mod intake;
mod lane;
#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
mod losses;

use std::{fmt, task::Waker};

use tenant_context::TenantId;
use tokio::sync::Notify;

use self::lane::{Lane, anonymous_share};
pub(crate) use self::{
    door::{Door, Entrance, Place, Unplaced, Waiter, Waiting},
    entry::{Cell, Entry, Occurred, Who},
    intake::Intake,
    lane::{Bounds, Doze, Flush, Load},
    losses::Losses,
};
use crate::{
    AuditError,
    sync::{AtomicBool, Mutex, Ordering},
};

/// What is left when a queue is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) in_flight: usize,
    pub(crate) unwritten: usize,
    pub(crate) gone: bool,
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
            if lane.gone {
                lost(&entry);
            } else if lane.waiting < waiting {
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
#[cfg(not(loom))]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

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
