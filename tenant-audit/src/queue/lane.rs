//! The lane under the queue's lock: who has a place, and what waits for the worker. Every count is exact here.

use std::{collections::HashMap, task::Waker};

use tenant_context::TenantId;
use tokio::sync::oneshot;

use super::{Entry, Losses};
use crate::AuditError;

/// The most of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests that have entered and not ended.
    pub(crate) in_flight: usize,
    /// Records that are queued and not yet with the sink.
    pub(crate) waiting: usize,
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
    pub(super) anonymous: usize,
    pub(crate) losses: Losses,
}

/// What is not written is not durable: who waits for it is told. What was counted and is in no record is said in the log at least.
impl Drop for Load {
    fn drop(&mut self) {
        self.losses.say_unrecorded();
        for entry in &self.entries {
            entry.settle(false);
        }
    }
}

impl Load {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.flushes.is_empty() && self.losses.is_empty()
    }
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) load: Load,
    /// Requests that have entered and not ended.
    pub(super) in_flight: usize,
    /// Records that are queued and not yet with the sink.
    pub(super) waiting: usize,
    /// Records that the worker has taken and the sink has not.
    pub(super) writing: usize,
    /// Nobody enters any more.
    pub(super) closing: bool,
    /// How many wait at the door.
    pub(super) waiters: usize,
    /// The places of each tenant that entered while many were taken; `None`: of no tenant.
    pub(super) shares: HashMap<Option<TenantId>, usize>,
    pub(super) doze: Doze,
    pub(super) waker: Option<Waker>,
    /// Nobody is left to queue anything.
    pub(super) closed: bool,
    /// The worker has ended.
    pub(super) gone: bool,
}

impl Lane {
    pub(super) fn rouse(&mut self, urgent: bool) -> Option<Waker> {
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
    pub(super) const fn enter(&mut self, bounds: Bounds) -> bool {
        let free = self.is_free(bounds);
        if free {
            self.in_flight = self.in_flight.saturating_add(1);
        }
        free
    }

    /// Whether a place is free.
    pub(super) const fn is_free(&self, bounds: Bounds) -> bool {
        self.in_flight < bounds.in_flight && self.waiting < bounds.waiting && !self.closing
    }

    /// Whether there is a place for all who wait at the door.
    pub(super) const fn has_room_for_all(&self, bounds: Bounds) -> bool {
        self.free(bounds) >= self.waiters
    }

    const fn free(&self, bounds: Bounds) -> usize {
        let flying = bounds.in_flight.saturating_sub(self.in_flight);
        let waiting = bounds.waiting.saturating_sub(self.waiting);
        if flying < waiting { flying } else { waiting }
    }

    /// Whether so many places are taken that one tenant may have taken its share.
    pub(super) const fn is_pressed(&self, bounds: Bounds) -> bool {
        self.in_flight > quarter(bounds.in_flight) || self.waiting > quarter(bounds.waiting)
    }

    /// How many places one tenant may hold now, among those that are counted.
    pub(super) const fn share(&self, bounds: Bounds) -> usize {
        let free = self.free(bounds);
        if free < 2 { 1 } else { free / 2 }
    }

    pub(super) fn push(&mut self, entry: Entry) {
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
pub(super) const fn anonymous_share(waiting: usize) -> usize {
    if waiting < 16 { 1 } else { waiting / 16 }
}
