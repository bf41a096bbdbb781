//! The end of a credential's life as an event, for streams that are to be cut then.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::{Identity, Timer};

/// Timers have bounds of their own: sleep a day at most, then look again.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Resolves when an identity expires.
pub(crate) struct Expiry {
    timer: Arc<dyn Timer>,
    /// In a lock that is never taken, which only makes it `Sync`.
    sleep: Option<Mutex<BoxFuture<'static, ()>>>,
}

impl Expiry {
    pub(crate) fn new(timer: Arc<dyn Timer>) -> Self {
        Self { timer, sleep: None }
    }

    pub(crate) const fn timer(&self) -> &Arc<dyn Timer> {
        &self.timer
    }

    pub(crate) fn poll(&mut self, identity: &Identity, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = identity.clock().unix();
            if now >= identity.expires_at() {
                return Poll::Ready(());
            }
            let sleep = self.sleep.get_or_insert_with(|| {
                let left = identity.expires_at().saturating_since(now);
                Mutex::new(self.timer.sleep(left.min(LONGEST)))
            });
            ready!(sleep.get_mut().as_mut().poll(cx));
            self.sleep = None;
        }
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry")
            .field("sleeping", &self.sleep.is_some())
            .finish_non_exhaustive()
    }
}
