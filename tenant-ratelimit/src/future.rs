//! The response future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project::pin_project;
use tenant_context::{Protocol, RefusalBody, Rejection};

use crate::headers::Told;

/// The response future of [`RateLimit`](crate::RateLimit): the inner service's, or a refusal.
#[pin_project]
pub struct ResponseFuture<F>(#[pin] State<F>);

#[pin_project(project = StateProj)]
enum State<F> {
    Calling {
        #[pin]
        inner: F,
        told: Option<Told>,
    },
    Refused(Option<Response<()>>),
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn calling(inner: F, told: Option<Told>) -> Self {
        Self(State::Calling { inner, told })
    }

    pub(crate) fn refused(rejection: &Rejection, protocol: Protocol) -> Self {
        Self(State::Refused(Some(rejection.to_response(protocol))))
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<RefusalBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Calling { inner, told } => {
                let mut response = ready!(inner.poll(cx))?;
                if let Some(told) = told.take() {
                    told.write(response.headers_mut());
                }
                Poll::Ready(Ok(response.map(RefusalBody::Inner)))
            }
            StateProj::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(|()| RefusalBody::Empty))),
                None => Poll::Pending,
            },
        }
    }
}

impl<F: fmt::Debug> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
