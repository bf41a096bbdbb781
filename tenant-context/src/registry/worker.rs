//! The worker: it looks at tenants whose streams are open.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use futures_util::{StreamExt, future::BoxFuture, stream};

use super::Directory;
use crate::{TenantState, Timer};

/// The most tenants that are looked at at a time.
const AT_ONCE: usize = 16;

/// The worker of a [`CachedRegistry`](crate::CachedRegistry): made by
/// [`CachedRegistry::worker`](crate::CachedRegistry::worker).
#[must_use = "spawn it: without the worker, a suspension elsewhere does not reach what is open already"]
pub struct RegistryWorker {
    work: BoxFuture<'static, ()>,
}

impl RegistryWorker {
    pub(super) fn new(directory: Weak<Directory>, timer: Arc<dyn Timer>) -> Self {
        Self {
            work: Box::pin(run(directory, timer)),
        }
    }
}

async fn run(directory: Weak<Directory>, timer: Arc<dyn Timer>) {
    while let Some(period) = directory.upgrade().map(|tenants| tenants.settings().ttl) {
        timer.sleep(period).await;
        let Some(tenants) = directory.upgrade() else {
            return;
        };
        let states = stream::iter(tenants.waited_for());
        states
            .for_each_concurrent(AT_ONCE, |state| look(&tenants, state))
            .await;
    }
}

/// A record that is fresh costs a reading of the clock.
async fn look(tenants: &Directory, state: Arc<TenantState>) {
    let settings = tenants.settings();
    let fresh = state.ensure_fresh(settings.clock.monotonic());
    if fresh.wait().await.is_err() {
        state.lapse(settings.clock.monotonic(), settings.max_stale);
    }
}

impl Future for RegistryWorker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for RegistryWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryWorker").finish_non_exhaustive()
    }
}
