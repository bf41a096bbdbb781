//! The response future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Response};
use pin_project::pin_project;

use crate::{LimitedBody, Settle, body::Tail, headers::Told, hold::Hold};

/// The response future of [`RateLimit`](crate::RateLimit): the inner service's, or a refusal.
#[pin_project]
pub struct ResponseFuture<F>(#[pin] State<F>);

#[pin_project(project = StateProj)]
enum State<F> {
    Calling {
        #[pin]
        inner: F,
        after: Option<Box<After>>,
    },
    Refused(Option<Response<()>>),
}

/// What is to be done when a request is answered.
pub(crate) struct After {
    pub(crate) told: Option<Told>,
    pub(crate) hold: Option<Box<Hold>>,
    pub(crate) settle: Option<Arc<Settle>>,
}

impl After {
    /// What is left to be done when the body has ended.
    fn answered(self, headers: &mut HeaderMap) -> Option<Box<Tail>> {
        if let Some(told) = self.told {
            told.write(headers);
        }
        let mut hold = self.hold?;
        let settle = self
            .settle
            .filter(|settle| match settle.of_header(headers) {
                None => true,
                Some(actual) => {
                    hold.settle(actual);
                    false
                }
            });
        Some(Box::new(Tail::new(hold, settle)))
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(crate) const fn calling(inner: F, after: Option<Box<After>>) -> Self {
        Self(State::Calling { inner, after })
    }

    #[cold]
    pub(crate) const fn refused(response: Response<()>) -> Self {
        Self(State::Refused(Some(response)))
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<LimitedBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Calling { inner, after } => {
                let mut response = ready!(inner.poll(cx))?;
                let tail = after
                    .take()
                    .and_then(|after| after.answered(response.headers_mut()));
                Poll::Ready(Ok(response.map(|body| LimitedBody::inner(body, tail))))
            }
            StateProj::Refused(refused) => match refused.take() {
                Some(response) => Poll::Ready(Ok(response.map(|()| LimitedBody::empty()))),
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
