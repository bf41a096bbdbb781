//! The response future of the response cache layer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::{CacheBody, body::Stored, plan::Plan};

/// The response future of [`ResponseCache`](crate::ResponseCache): no box. Dropped before the handler
/// has answered, it stores nothing; if the request may have written, what is stored is forgotten.
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    Ready(Option<Response<Stored>>),
    Calling {
        #[pin]
        inner: F,
        plan: Option<Plan>,
    },
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn ready(response: Response<Stored>) -> Self {
        Self {
            state: State::Ready(Some(response)),
        }
    }

    pub(crate) const fn calling(inner: F, plan: Plan) -> Self {
        Self {
            state: State::Calling {
                inner,
                plan: Some(plan),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Ready(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(CacheBody::stored))),
                None => Poll::Pending,
            },
            StateProj::Calling { inner, plan } => {
                let answer = ready!(inner.poll(cx));
                let plan = plan.take().unwrap_or(Plan::Nothing);
                Poll::Ready(match answer {
                    Ok(response) => Ok(plan.finish(response)),
                    Err(error) => plan.stand_in().ok_or(error),
                })
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
