//! Recording from code that serves no request.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{FutureExt, pending, select};
use tenant_context::{SystemContext, TenantContext};
use tokio::sync::oneshot;

use crate::{
    AuditError, AuditErrorKind, Event,
    queue::{Door, Entrance, Entry, Left, Place, Waiter, Who},
};

/// What an [`AuditHandle::close`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Requests that had not ended, open streams included.
    pub in_flight: usize,
    /// Records that were not written and synced.
    pub unwritten: usize,
    /// Whether the worker has ended: the last checkpoint is signed, and the sink is closed.
    pub ended: bool,
}

impl Closed {
    /// Nothing was left.
    pub const fn is_clean(&self) -> bool {
        self.in_flight == 0 && self.unwritten == 0 && self.ended
    }
}

/// Records from code that serves no request, and waits until all is written. Clones share one queue;
/// the [`AuditWorker`](crate::AuditWorker) ends when all handles and layers are dropped.
#[derive(Clone)]
pub struct AuditHandle {
    door: Arc<Door>,
}

impl AuditHandle {
    pub(crate) const fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// Waits until everything that was queued before is written and synced.
    ///
    /// # Errors
    ///
    /// [`Sink`](crate::AuditErrorKind::Sink) if the sink failed to write it: the worker keeps it and tries again.
    /// [`WorkerGone`](crate::AuditErrorKind::WorkerGone) if there is no worker.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (done, written) = oneshot::channel();
        if !self.door.queue.flush(done) {
            return Err(AuditError::worker_gone());
        }
        written
            .await
            .unwrap_or_else(|_| Err(AuditError::worker_gone()))
    }

    /// Ends the audit: from now on no request is let in (503) and no event is taken; requests in flight may end, and
    /// all that was queued is written, synced and signed. Then the worker ends, although handles and layers are left.
    /// At the deadline it says what was left, and lets it go on for as long as the worker is polled.
    ///
    /// Call it after the server has stopped to accept. Without a [`timer`](crate::AuditLayerBuilder::timer) there is no
    /// deadline.
    ///
    /// ```
    /// # use tenant_audit::{DiscardSink, TokioTimer};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (audit, worker) = tenant_audit::layer(DiscardSink::new()).timer(TokioTimer::new()).build()?;
    /// let worker = tokio::spawn(worker);
    /// // … serve …
    /// let closed = audit.handle().close(Duration::from_secs(10)).await;
    /// assert!(closed.is_clean(), "{closed:?}");
    /// worker.await??;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self, deadline: Duration) -> Closed {
        self.door.queue.refuse_all();
        let timer = self.door.timer.as_ref();
        let timeout = timer.map_or_else(|| pending().boxed(), |timer| timer.sleep(deadline));
        {
            let drained = pin!(self.drained());
            // Whichever comes first: what is left is said below.
            let _in_time = select(drained, timeout).await;
        }
        let Left {
            in_flight,
            unwritten,
            gone,
        } = self.door.queue.left();
        if in_flight > 0 || unwritten > 0 || !gone {
            tracing::error!(in_flight, unwritten, "the audit was not drained in time");
        }
        Closed {
            in_flight,
            unwritten,
            ended: gone,
        }
    }

    async fn drained(&self) {
        let queue = &*self.door.queue;
        // Told when a request ends.
        let waiter = Waiter::new(queue);
        loop {
            let mut told = pin!(queue.ended());
            told.as_mut().enable();
            let left = queue.left();
            if left.gone {
                return;
            }
            if left.in_flight == 0 {
                break;
            }
            told.await;
        }
        drop(waiter);
        // One is told of each end: whoever else closes looks now.
        queue.tell_all();
        // A sink that fails is tried again by the worker, for as long as there is time.
        while let Err(error) = self.flush().await {
            if error.kind() == AuditErrorKind::WorkerGone {
                return;
            }
        }
        queue.close();
        loop {
            let mut told = pin!(queue.ended());
            told.as_mut().enable();
            if queue.left().gone {
                return;
            }
            told.await;
        }
    }

    /// Records what was done for a tenant: by a job, a message's handler, a task.
    ///
    /// It is recorded also if the context has ended meanwhile: what was done was done.
    ///
    /// # Errors
    ///
    /// [`QueueFull`](crate::AuditErrorKind::QueueFull) if there is no place, for as long as [`WhenFull`](crate::WhenFull) says; with
    /// [`WhenFull::DropAndRecord`](crate::WhenFull::DropAndRecord) the loss is counted instead. [`WorkerGone`](crate::AuditErrorKind::WorkerGone) if
    /// there is no worker.
    pub async fn record(&self, tenant: &TenantContext, event: Event) -> Result<(), AuditError> {
        self.put(Who::Tenant(tenant.clone()), event).await
    }

    /// Records what was done for no tenant, in the platform's chain.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    pub async fn record_system(
        &self,
        system: &SystemContext,
        event: Event,
    ) -> Result<(), AuditError> {
        self.put(Who::System(system.task()), event).await
    }

    /// [`record`](Self::record) without a wait, for code that is not async.
    ///
    /// # Errors
    ///
    /// [`QueueFull`](crate::AuditErrorKind::QueueFull) if there is no place now, whatever the policy;
    /// [`WorkerGone`](crate::AuditErrorKind::WorkerGone) if there is no worker.
    pub fn try_record(&self, tenant: &TenantContext, event: Event) -> Result<(), AuditError> {
        self.try_put(Who::Tenant(tenant.clone()), event)
    }

    /// [`record_system`](Self::record_system) without a wait.
    ///
    /// # Errors
    ///
    /// As [`try_record`](Self::try_record).
    pub fn try_record_system(
        &self,
        system: &SystemContext,
        event: Event,
    ) -> Result<(), AuditError> {
        self.try_put(Who::System(system.task()), event)
    }

    fn try_put(&self, who: Who, event: Event) -> Result<(), AuditError> {
        let place = match self.door.enter() {
            Entrance::Open(place) => place,
            Entrance::Wait(_) => return Err(AuditError::queue_full()),
            Entrance::Closed(error) => return Err(error),
        };
        self.fill(place, who, event);
        Ok(())
    }

    fn fill(&self, place: Place, who: Who, event: Event) {
        let at = self.door.clock.coarse_unix();
        place.fill(Entry::Event(event.occurred(who, at)));
    }

    async fn put(&self, who: Who, event: Event) -> Result<(), AuditError> {
        let at = self.door.clock.unix();
        let place = self.door.place().await?;
        place.fill(Entry::Event(event.occurred(who, at)));
        Ok(())
    }
}

impl fmt::Debug for AuditHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditHandle")
            .field("queue", &self.door)
            .finish_non_exhaustive()
    }
}
