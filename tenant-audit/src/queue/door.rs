//! The queue's entrance: who gets a place, who waits for one, who is turned away.

use std::{fmt, mem, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tenant_context::{Clock, Timer, Trail};

use super::{Entry, Queue};
use crate::{AuditError, WhenFull, durability::Policy, durable::Wait, request::Request};

/// What layers, services, requests in flight and handles hold, and the worker does not: when the last of
/// them is gone, the worker ends.
pub(crate) struct Door {
    pub(crate) queue: Arc<Queue>,
    pub(crate) when_full: WhenFull,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) policy: Policy,
    pub(crate) sync_deadline: Duration,
    pub(crate) continue_unsynced: bool,
    /// Whether the ids of a request's trace are taken.
    pub(crate) trace: bool,
}

/// A place for one entry.
#[derive(Debug)]
pub(crate) enum Place {
    Reserved {
        door: Arc<Door>,
        pressed: bool,
    },
    /// Nothing was free on arrival: one more look when the request ends.
    Late(Arc<Door>),
}

impl Place {
    pub(crate) fn door(&self) -> &Door {
        match self {
            Self::Reserved { door, .. } | Self::Late(door) => door,
        }
    }

    pub(crate) const fn is_pressed(&self) -> bool {
        matches!(self, Self::Reserved { pressed: true, .. })
    }

    pub(crate) const fn is_reserved(&self) -> bool {
        matches!(self, Self::Reserved { .. })
    }

    pub(crate) fn reserved(&self) -> Option<Arc<Door>> {
        match self {
            Self::Reserved { door, .. } => Some(Arc::clone(door)),
            Self::Late(_) => None,
        }
    }

    /// Hands the entry over. Never waits.
    pub(crate) fn fill(self, entry: Entry) {
        match self {
            Self::Reserved { door, .. } => door.queue.fill(entry),
            Self::Late(door) => door.queue.squeeze(entry),
        }
    }
}

/// Waits for a place, as long as the policy says.
pub(crate) type Waiting = BoxFuture<'static, Result<Place, AuditError>>;

/// What the door says to who comes.
pub(crate) enum Entrance {
    Open(Place),
    Wait(Waiting),
    Closed(AuditError),
}

impl Door {
    /// Asks for a place. Without a worker nobody enters, whatever the policy: not even a gap could
    /// be recorded.
    pub(crate) fn enter(self: &Arc<Self>) -> Entrance {
        {
            let mut lane = self.queue.lane.lock();
            if lane.gone {
                return Entrance::Closed(AuditError::worker_gone());
            }
            if lane.closing {
                return Entrance::Closed(AuditError::closed());
            }
            // Who waits already comes first.
            if lane.waiters == 0 && lane.enter(self.queue.bounds) {
                let pressed = lane.is_pressed(self.queue.bounds);
                drop(lane);
                return Entrance::Open(Place::Reserved {
                    door: Arc::clone(self),
                    pressed,
                });
            }
        }
        match (self.when_full, &self.timer) {
            (WhenFull::DropAndRecord, _) => Entrance::Open(Place::Late(Arc::clone(self))),
            (WhenFull::Wait { deadline }, Some(timer)) => {
                Entrance::Wait(wait(Arc::clone(self), timer.as_ref(), deadline))
            }
            (WhenFull::Wait { .. }, None) | (WhenFull::Refuse, _) => {
                Entrance::Closed(AuditError::queue_full())
            }
        }
    }

    /// Queues an intent, and waits for it.
    pub(crate) fn intend(self: &Arc<Self>, trail: Trail) -> Wait {
        if let Some(request) = trail.record::<Request>() {
            request.sync.want();
        }
        self.queue.intend(Entry::Intent(trail.clone()));
        Wait::new(trail, Arc::clone(self))
    }

    /// [`enter`](Self::enter), and the wait if there is one.
    pub(crate) async fn place(self: &Arc<Self>) -> Result<Place, AuditError> {
        match self.enter() {
            Entrance::Open(place) => Ok(place),
            Entrance::Wait(waiting) => waiting.await,
            Entrance::Closed(error) => Err(error),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Counted as one who waits, as long as it lives.
pub(crate) struct Waiter<'a> {
    queue: &'a Queue,
    /// Somebody waits already, who comes first where there is not room for all, and tells of what it leaves.
    behind: bool,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(queue: &'a Queue) -> Self {
        // The worker is to make room now.
        let behind = queue.change(true, |lane| {
            lane.waiters = lane.waiters.saturating_add(1);
            lane.waiters > 1
        });
        Self { queue, behind }
    }

    fn enter(&mut self) -> Result<bool, AuditError> {
        let behind = mem::take(&mut self.behind);
        let mut lane = self.queue.lane.lock();
        if lane.gone {
            return Err(AuditError::worker_gone());
        }
        if lane.closing {
            return Err(AuditError::closed());
        }
        let bounds = self.queue.bounds;
        Ok((!behind || lane.has_room_for_all(bounds)) && lane.enter(bounds))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let left = {
            let mut lane = self.queue.lane.lock();
            lane.waiters = lane.waiters.saturating_sub(1);
            lane.waiters > 0 && lane.is_free(self.queue.bounds)
        };
        if left {
            self.queue.freed.notify_one();
        }
    }
}

fn wait(door: Arc<Door>, timer: &dyn Timer, deadline: Duration) -> Waiting {
    let mut timeout = timer.sleep(deadline);
    async move {
        {
            let queue = &*door.queue;
            let mut waiter = Waiter::new(queue);
            loop {
                let mut freed = pin!(queue.freed.notified());
                // Registered before the look: what is freed after it is heard.
                freed.as_mut().enable();
                if waiter.enter()? {
                    break;
                }
                match select(freed, timeout).await {
                    Either::Left(((), left)) => timeout = left,
                    Either::Right(_) => return Err(AuditError::queue_full()),
                }
            }
        }
        Ok(Place::Reserved {
            door,
            // Who had to wait came when all places were taken.
            pressed: true,
        })
    }
    .boxed()
}

/// A request that waits at the door. If it goes away, or is sent away, it is counted.
pub(crate) struct Unplaced(Option<Arc<Door>>);

impl Unplaced {
    pub(crate) fn new(door: &Arc<Door>) -> Self {
        Self(Some(Arc::clone(door)))
    }

    /// It found its place.
    pub(crate) fn placed(mut self) {
        self.0 = None;
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        if let Some(door) = self.0.take() {
            door.queue.count_refused(&AuditError::queue_full());
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("queue", &format_args!("{}", self.queue))
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}
