//! The bounded queue between requests and worker: a place is reserved before the work begins, so
//! that finishing never waits.

use std::{
    borrow::Cow,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tenant_context::{TenantContext, Timer, TrailFacts, UnixTime};
use tokio::sync::{
    Notify,
    mpsc::{self, OwnedPermit, error::TrySendError},
    oneshot,
};

use crate::{AuditError, Outcome, WhenFull, open::Finished};

/// What goes to the worker.
#[derive(Debug)]
pub(crate) enum Entry {
    Request(Finished),
    Event(Box<Occurred>),
    /// Answered when all before it is written and synced.
    Flush(oneshot::Sender<Result<(), AuditError>>),
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

/// Requests that got no record, until the worker writes down how many they were.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Served without a record.
    dropped: AtomicU64,
    /// Refused, because there was no place for their record.
    refused: AtomicU64,
    changed: Notify,
}

impl Losses {
    fn count_dropped(&self) {
        if self.dropped.fetch_add(1, Ordering::AcqRel) == 0 {
            tracing::error!("the audit queue is full: requests are served without a record");
        }
        self.changed.notify_one();
    }

    pub(crate) fn count_refused(&self, why: &AuditError) {
        if self.refused.fetch_add(1, Ordering::AcqRel) == 0 {
            tracing::error!(
                error = why as &dyn std::error::Error,
                "requests are refused: they cannot be recorded"
            );
        }
        self.changed.notify_one();
    }

    /// Takes the counts: served without a record, refused.
    pub(crate) fn take(&self) -> (u64, u64) {
        (
            self.dropped.swap(0, Ordering::AcqRel),
            self.refused.swap(0, Ordering::AcqRel),
        )
    }

    /// Resolves when something was lost since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Where one entry goes.
pub(crate) enum Place {
    Reserved(OwnedPermit<Entry>),
    /// Nothing was free on arrival: one more look when the request ends.
    Late(mpsc::Sender<Entry>, Arc<Losses>),
}

impl Place {
    /// Hands the entry over. Never waits.
    pub(crate) fn fill(self, entry: Entry) {
        match self {
            Self::Reserved(permit) => drop(permit.send(entry)),
            Self::Late(sender, losses) => {
                if sender.try_send(entry).is_err() {
                    losses.count_dropped();
                }
            }
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

/// The queue's entrance.
pub(crate) struct Door {
    pub(crate) sender: mpsc::Sender<Entry>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) when_full: WhenFull,
    pub(crate) timer: Option<Arc<dyn Timer>>,
}

impl Door {
    /// Asks for a place. Without a worker nobody enters, whatever the policy: not even a gap could
    /// be recorded.
    pub(crate) fn enter(&self) -> Entrance {
        match self.sender.clone().try_reserve_owned() {
            Ok(permit) => Entrance::Open(Place::Reserved(permit)),
            Err(TrySendError::Closed(_)) => Entrance::Closed(AuditError::worker_gone()),
            Err(TrySendError::Full(sender)) => match (self.when_full, &self.timer) {
                (WhenFull::DropAndRecord, _) => {
                    Entrance::Open(Place::Late(sender, Arc::clone(&self.losses)))
                }
                (WhenFull::Wait { deadline }, Some(timer)) => {
                    Entrance::Wait(wait(sender, timer.as_ref(), deadline))
                }
                (WhenFull::Wait { .. }, None) | (WhenFull::Refuse, _) => {
                    Entrance::Closed(AuditError::queue_full())
                }
            },
        }
    }

    /// [`enter`](Self::enter), and the wait if there is one.
    pub(crate) async fn place(&self) -> Result<Place, AuditError> {
        match self.enter() {
            Entrance::Open(place) => Ok(place),
            Entrance::Wait(waiting) => waiting.await,
            Entrance::Closed(error) => Err(error),
        }
    }
}

fn wait(sender: mpsc::Sender<Entry>, timer: &dyn Timer, deadline: Duration) -> Waiting {
    let timeout = timer.sleep(deadline);
    async move {
        let reserving = pin!(sender.reserve_owned());
        match select(reserving, timeout).await {
            Either::Left((Ok(permit), _)) => Ok(Place::Reserved(permit)),
            Either::Left((Err(_closed), _)) => Err(AuditError::worker_gone()),
            Either::Right(_) => Err(AuditError::queue_full()),
        }
    }
    .boxed()
}

/// A request that waits at the door. If it goes away, or is sent away, it is counted.
pub(crate) struct Unplaced(Option<Arc<Losses>>);

impl Unplaced {
    pub(crate) fn new(losses: &Arc<Losses>) -> Self {
        Self(Some(Arc::clone(losses)))
    }

    /// It found its place.
    pub(crate) fn placed(mut self) {
        self.0 = None;
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        if let Some(losses) = self.0.take() {
            losses.count_refused(&AuditError::queue_full());
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("capacity", &self.sender.max_capacity())
            .field("free", &self.sender.capacity())
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}
