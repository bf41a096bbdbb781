//! The work of a job, in its tenant's scope.

use std::{fmt, future::poll_fn, pin::pin, task::Poll};

use serde::de::DeserializeOwned;
use tenant_context::TenantContext;

use super::{JobEnvelope, JobId, Jobs, RunError, replays::Hold};

/// An open job: its context, and its payload. Dropped before [`complete`](Self::complete), it may be opened
/// again.
#[must_use = "do its work with `run`, or call `complete` when it is done"]
pub struct Job {
    tenant: TenantContext,
    id: JobId,
    payload: Vec<u8>,
    hold: Hold,
}

impl Jobs {
    /// Opens an envelope and does its work: [`open`](Self::open) and [`Job::run`].
    ///
    /// # Errors
    ///
    /// [`RunError`]: not opened, cancelled, or the work's own error.
    pub async fn run<F, W, T, E>(
        &self,
        envelope: Option<&JobEnvelope>,
        work: F,
    ) -> Result<T, RunError<E>>
    where
        F: FnOnce(TenantContext, Vec<u8>) -> W,
        W: Future<Output = Result<T, E>>,
    {
        let job = self.open(envelope).await.map_err(RunError::Open)?;
        job.run(work).await
    }
}

impl Job {
    pub(super) const fn new(
        tenant: TenantContext,
        id: JobId,
        payload: Vec<u8>,
        hold: Hold,
    ) -> Self {
        Self {
            tenant,
            id,
            payload,
            hold,
        }
    }

    /// On whose behalf.
    pub const fn context(&self) -> &TenantContext {
        &self.tenant
    }

    /// Which job, the same at every delivery: for results, and for what must not happen twice.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// What was sealed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What was sealed, as JSON.
    ///
    /// # Errors
    ///
    /// If it is none, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }

    /// Does the work in the scope of the job's context, so that
    /// [`TenantContext::current`] finds it wherever the work looks.
    ///
    /// When the tenant is suspended, the credential revoked or the job's life over, the work is dropped where
    /// it stands: it is looked at before each poll, and a wait is ended. For the end of a life while the work
    /// waits, the registry needs a timer ([`TenantContext::ended`]). The worker's thread is left as it was
    /// found, without a tenant.
    ///
    /// # Errors
    ///
    /// [`RunError::Cancelled`], or [`RunError::Failed`] with the work's own error; both leave the job to be
    /// delivered again.
    pub async fn run<F, W, T, E>(self, work: F) -> Result<T, RunError<E>>
    where
        F: FnOnce(TenantContext, Vec<u8>) -> W,
        W: Future<Output = Result<T, E>>,
    {
        let Self {
            tenant,
            payload,
            hold,
            ..
        } = self;
        let mut ended = pin!(tenant.ended());
        let context = tenant.clone();
        let mut work = pin!(tenant.scope(async move { work(context, payload).await }));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(reason) = ended.as_mut().poll(cx) {
                return Poll::Ready(Err(RunError::Cancelled(reason)));
            }
            work.as_mut().poll(cx).map_err(RunError::Failed)
        })
        .await;
        if outcome.is_ok() {
            hold.done();
        }
        outcome
    }

    /// Says that the work is done: the envelope is not opened again.
    pub fn complete(self) {
        self.hold.done();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
