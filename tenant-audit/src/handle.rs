//! Recording from code that serves no request.

use std::{fmt, sync::Arc};

use tenant_context::{SystemContext, TenantContext};
use tokio::sync::oneshot;

use crate::{
    AuditError, Event,
    queue::{Door, Entrance, Entry, Place, Who},
};

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
