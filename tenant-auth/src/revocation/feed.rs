//! The worker that reads what other processes revoke.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{self, BoxFuture, Either},
};
use tenant_context::{BoxError, Timer};

use super::{
    Revocations,
    store::{FeedPosition, RevocationNews, Store},
};

/// Reads the store and applies what it says. It runs until it is dropped: spawn it. When it stops,
/// requests are refused after the longest silence.
#[must_use = "spawn it: without it every request is refused"]
pub struct RevocationFeed(BoxFuture<'static, ()>);

impl RevocationFeed {
    pub(super) fn new(
        revocations: Revocations,
        store: Arc<dyn Store>,
        timer: Arc<dyn Timer>,
        max_silence: Duration,
        interval: Duration,
    ) -> Self {
        let feed = Feed {
            revocations,
            store,
            timer,
            max_silence,
            interval,
        };
        Self(feed.run().boxed())
    }
}

struct Feed {
    revocations: Revocations,
    store: Arc<dyn Store>,
    timer: Arc<dyn Timer>,
    max_silence: Duration,
    interval: Duration,
}

impl Feed {
    async fn run(self) {
        let mut position = None;
        loop {
            // What the answer holds was known when it was asked for, not when it came.
            let asked = self.revocations.clock().monotonic();
            match self.read(position.clone()).await {
                Ok(news) => {
                    for revocation in &news.revocations {
                        self.revocations.apply(revocation);
                    }
                    let advanced = news.position != position;
                    position = news.position.or(position);
                    if news.more && advanced {
                        continue;
                    }
                    self.revocations
                        .heard(asked.saturating_add(self.max_silence));
                }
                Err(error) => {
                    tracing::warn!(
                        error = &*error as &dyn std::error::Error,
                        "revocations of other processes cannot be read"
                    );
                }
            }
            self.timer.sleep(self.interval).await;
        }
    }

    async fn read(&self, after: Option<FeedPosition>) -> Result<RevocationNews, BoxError> {
        // Users' code: its panic must not end the worker.
        let asked = AssertUnwindSafe(async { Arc::clone(&self.store).read(after).await });
        let timeout = self.timer.sleep(self.max_silence);
        match future::select(std::pin::pin!(asked.catch_unwind()), timeout).await {
            Either::Left((Ok(answer), _)) => answer,
            Either::Left((Err(_panic), _)) => Err("the revocation store panicked".into()),
            Either::Right(_) => Err("the revocation store did not answer in time".into()),
        }
    }
}

impl Future for RevocationFeed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for RevocationFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationFeed").finish_non_exhaustive()
    }
}
