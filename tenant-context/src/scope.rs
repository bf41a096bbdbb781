//! The context of the code that runs now, for code that has no request at hand.

use std::{
    cell::RefCell,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{Rejection, TenantContext, Trail};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// What a scope carries.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) context: TenantContext,
    pub(crate) trail: Trail,
}

/// There is no tenant here: the code runs outside any request's or job's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoContext;

impl fmt::Display for NoContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no tenant here: this code runs outside any request; carry the context into a spawned future with `TenantContext::scope` or `propagate`",
        )
    }
}

impl Error for NoContext {}

impl From<NoContext> for Rejection {
    fn from(_: NoContext) -> Self {
        Self::context_missing()
    }
}

/// Puts the scope's content in place for the duration of a call, and back after it: also when the
/// call panics, and also when scopes nest. Nothing is cloned.
pub(crate) struct Entered<'a>(&'a mut Option<Current>);

impl<'a> Entered<'a> {
    pub(crate) fn new(slot: &'a mut Option<Current>) -> Self {
        swap(slot);
        Self(slot)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(slot: &mut Option<Current>) {
    // Fails only while the thread ends: then there is no current context to be seen either.
    let _gone = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), slot));
}

fn enter<R>(slot: &mut Option<Current>, f: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(slot);
    f()
}

pub(crate) fn current_trail() -> Option<Trail> {
    CURRENT
        .try_with(|current| {
            current
                .borrow()
                .as_ref()
                .map(|current| current.trail.clone())
        })
        .ok()
        .flatten()
}

impl TenantContext {
    /// The context whose scope this code runs in. The identity layer runs handlers, response
    /// futures and response bodies in the scope of their request.
    ///
    /// # Errors
    ///
    /// [`NoContext`] outside any scope, such as in a spawned task that was not given one.
    pub fn current() -> Result<Self, NoContext> {
        CURRENT
            .try_with(|current| {
                current
                    .borrow()
                    .as_ref()
                    .map(|current| current.context.clone())
            })
            .ok()
            .flatten()
            .ok_or(NoContext)
    }

    /// Runs a future in this context's scope, wherever it is polled: for jobs, and for work that is
    /// spawned.
    ///
    /// ```
    /// # async fn example(tenant: tenant_context::TenantContext) {
    /// use tenant_context::TenantContext;
    ///
    /// let work = tenant.scope(async { TenantContext::current().map(|tenant| tenant.tenant_id().clone()) });
    /// // tokio::spawn(work);
    /// assert_eq!(work.await.as_ref(), Ok(tenant.tenant_id()));
    /// # }
    /// ```
    pub fn scope<F>(&self, future: F) -> Scoped<F> {
        Scoped {
            inner: future,
            current: Some(Current {
                context: self.clone(),
                trail: current_trail().unwrap_or_default(),
            }),
        }
    }

    /// Carries the current scope, context and trail, into a future that is spawned.
    ///
    /// # Errors
    ///
    /// [`NoContext`] outside any scope: the future is not made, so it cannot run without a tenant.
    pub fn propagate<F>(future: F) -> Result<Scoped<F>, NoContext> {
        let current = CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
            .ok_or(NoContext)?;
        Ok(Scoped {
            inner: future,
            current: Some(current),
        })
    }

    /// Runs a closure in this context's scope: for `spawn_blocking` and threads.
    pub fn scope_sync<R>(&self, f: impl FnOnce() -> R) -> R {
        let trail = current_trail().unwrap_or_default();
        enter(
            &mut Some(Current {
                context: self.clone(),
                trail,
            }),
            f,
        )
    }
}

impl Trail {
    /// The trail of the request whose scope this code runs in; a detached one elsewhere.
    pub fn current() -> Self {
        current_trail().unwrap_or_default()
    }
}

/// A future or body that runs in a context's scope.
#[must_use = "futures and bodies do nothing unless polled"]
#[pin_project]
#[derive(Debug)]
pub struct Scoped<T> {
    #[pin]
    inner: T,
    current: Option<Current>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        enter(this.current, || this.inner.poll(cx))
    }
}

impl<B: Body> Body for Scoped<B>
where
    B::Data: Buf,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        enter(this.current, || this.inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
