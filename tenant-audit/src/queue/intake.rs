//! The worker's end of the queue.

use std::{collections::hash_map, mem, sync::Arc, task::Waker};

use tenant_context::TenantId;

use super::{Doze, Load, Queue};
use crate::sync::Ordering;

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
