//! How many requests are in flight, and how many records wait: three counters that only grow.
//! `tests/loom.rs` builds this file on loom's atomics.

use crate::sync::{AtomicU64, Ordering};

/// The most of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests that have entered and not ended.
    pub(crate) in_flight: u64,
    /// Records that have ended and are not taken for writing.
    pub(crate) waiting: u64,
}

/// A request enters by one addition; it ends, and the worker takes, under the queue's lock.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    entered: AtomicU64,
    ended: AtomicU64,
    taken: AtomicU64,
}

/// What is between two counters. The later one may be read later, and so be ahead.
const fn between(ahead: u64, behind: u64) -> u64 {
    let apart = ahead.wrapping_sub(behind);
    if apart > u64::MAX / 2 { 0 } else { apart }
}

impl Counts {
    /// Enters, unless a bound is reached. Never more than the bound are in: whoever adds last sees all
    /// who added before and have not ended. Two that come at once for the last place may both be
    /// turned away.
    pub(crate) fn enter(&self, bounds: Bounds) -> bool {
        let entered = self.entered.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        let ended = self.ended.load(Ordering::Acquire);
        let waiting = between(ended, self.taken.load(Ordering::Relaxed));
        if between(entered, ended) <= bounds.in_flight && waiting < bounds.waiting {
            return true;
        }
        self.entered.fetch_sub(1, Ordering::SeqCst);
        false
    }

    /// Enters beyond the bound on requests in flight, to end at once. Under the lock.
    pub(crate) fn pass(&self, bounds: Bounds) -> bool {
        let free = self.waiting() < bounds.waiting;
        if free {
            self.entered.fetch_add(1, Ordering::SeqCst);
            self.end();
        }
        free
    }

    /// One that has entered ends. Under the lock.
    pub(crate) fn end(&self) {
        let ended = self.ended.load(Ordering::Relaxed).wrapping_add(1);
        self.ended.store(ended, Ordering::Release);
    }

    /// The worker takes so many.
    pub(crate) fn take(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let taken = self.taken.load(Ordering::Relaxed).wrapping_add(count);
        self.taken.store(taken, Ordering::Release);
    }

    /// How many are in flight, about.
    pub(crate) fn in_flight(&self) -> u64 {
        let entered = self.entered.load(Ordering::Relaxed);
        between(entered, self.ended.load(Ordering::Relaxed))
    }

    /// How many wait, about.
    pub(crate) fn waiting(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        between(ended, self.taken.load(Ordering::Relaxed))
    }
}
