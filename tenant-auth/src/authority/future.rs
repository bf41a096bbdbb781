//! The response future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project::pin_project;
use tenant_context::{Protocol, RefusalBody, Rejection};

/// The response future of [`Require`](crate::Require): the inner service's, or a refusal.
#[pin_project]
pub struct RequireFuture<F>(#[pin] State<F>);

#[pin_project(project = StateProj)]
enum State<F> {
    Calling(#[pin] F),
    Refused(Option<Response<()>>),
}

impl<F> RequireFuture<F> {
    pub(super) const fn calling(inner: F) -> Self {
        Self(State::Calling(inner))
    }

    pub(super) fn refused(rejection: &Rejection, protocol: Protocol) -> Self {
        Self(State::Refused(Some(rejection.to_response(protocol))))
    }
}

impl<F, B, E> Future for RequireFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<RefusalBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Calling(inner) => inner
                .poll(cx)
                .map_ok(|response| response.map(RefusalBody::Inner)),
            StateProj::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(|()| RefusalBody::Empty))),
                None => Poll::Pending,
            },
        }
    }
}

impl<F: fmt::Debug> fmt::Debug for RequireFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFuture").finish_non_exhaustive()
    }
}
