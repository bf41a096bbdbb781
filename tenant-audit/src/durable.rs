//! Waiting until a record is durable.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tenant_context::Trail;

use crate::{
    AuditError,
    queue::Door,
    request::Request,
    sync::{AtomicU8, AtomicWaker, Ordering},
};

const WANTED: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;

/// Where the worker tells a request that its record is durable.
#[derive(Debug, Default)]
pub(crate) struct SyncCell {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl SyncCell {
    /// Before the record is queued.
    pub(crate) fn want(&self) {
        self.state.store(WANTED, Ordering::Release);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.state.load(Ordering::Acquire) == WANTED
    }

    pub(crate) fn settle(&self, durable: bool) {
        let settled = if durable { DONE } else { FAILED };
        // What has failed for its client stays so.
        let _already =
            self.state
                .compare_exchange(WANTED, settled, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<bool> {
        self.waker.register(cx.waker());
        match self.state.load(Ordering::Acquire) {
            WANTED => Poll::Pending,
            state => Poll::Ready(state == DONE),
        }
    }
}

/// Waits until a request's record is durable, at most until the deadline.
pub(crate) struct Wait {
    trail: Trail,
    door: Arc<Door>,
    timeout: Option<BoxFuture<'static, ()>>,
}

impl Wait {
    pub(crate) fn new(trail: Trail, door: Arc<Door>) -> Self {
        let timeout = door
            .timer
            .as_ref()
            .map(|timer| timer.sleep(door.sync_deadline));
        Self {
            trail,
            door,
            timeout,
        }
    }

    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }
}

impl Future for Wait {
    type Output = Result<(), AuditError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(request) = this.trail.record::<Request>() else {
            return Poll::Ready(Err(AuditError::unsynced()));
        };
        match request.sync.poll(cx) {
            Poll::Ready(true) => return Poll::Ready(Ok(())),
            Poll::Ready(false) => {}
            Poll::Pending => {
                let timeout = this.timeout.as_mut();
                if timeout.is_none_or(|timeout| timeout.as_mut().poll(cx).is_pending()) {
                    return Poll::Pending;
                }
                // A sink that hangs is as good as one that fails.
                this.door.queue.sink_failed();
            }
        }
        Poll::Ready(Err(AuditError::unsynced()))
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}
