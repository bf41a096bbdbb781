//! The response future of the response cache layer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use crate::{
    CacheBody,
    body::Stored,
    collapse::{End, Follower},
    layer::Shared,
    plan::Plan,
    service::{Next, next_after_waiting},
};

/// The response future of [`ResponseCache`](crate::ResponseCache): no box, unless it waits for another request's answer. Dropped
/// before the handler has answered, it stores nothing; if the request may have written, what is stored is forgotten.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    state: State<S, B>,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Request<B>>, B> {
    Ready(Option<Response<Stored>>),
    Calling {
        #[pin]
        inner: S::Future,
        plan: Option<Plan>,
        /// The field that is for the cache alone.
        withheld: Option<HeaderName>,
    },
    Waiting(Option<Box<Waiting<S, B>>>),
}

/// A request that waits, with the service that was ready for it.
pub(crate) struct Waiting<S, B> {
    pub(crate) follower: Follower,
    /// How often it may yet wait for another, if the one it waits for is given up.
    pub(crate) turns: u8,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inner: S,
    pub(crate) request: Request<B>,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(crate) const fn ready(response: Response<Stored>) -> Self {
        Self {
            state: State::Ready(Some(response)),
        }
    }

    pub(crate) fn calling(inner: S::Future, plan: Plan, shared: &Shared) -> Self {
        Self {
            state: State::calling(inner, plan, shared),
        }
    }

    pub(crate) fn waiting(waiting: Waiting<S, B>) -> Self {
        Self {
            state: State::Waiting(Some(Box::new(waiting))),
        }
    }
}

impl<S: Service<Request<B>>, B> State<S, B> {
    fn calling(inner: S::Future, plan: Plan, shared: &Shared) -> Self {
        Self::Calling {
            inner,
            plan: Some(plan),
            withheld: shared.surrogate_key.clone(),
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<CacheBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let then = match state.as_mut().project() {
                StateProj::Ready(response) => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response.map(CacheBody::stored))),
                        None => Poll::Pending,
                    };
                }
                StateProj::Calling {
                    inner,
                    plan,
                    withheld,
                } => {
                    let answer = ready!(inner.poll(cx));
                    let plan = plan.take().unwrap_or(Plan::Nothing);
                    return Poll::Ready(match answer {
                        Ok(response) => {
                            let mut response = plan.finish(response, cx);
                            if let Some(name) = withheld {
                                response.headers_mut().remove(&*name);
                            }
                            Ok(response)
                        }
                        Err(error) => plan.stand_in().ok_or(error),
                    });
                }
                StateProj::Waiting(waiting) => {
                    let Some(waits) = waiting else {
                        return Poll::Pending;
                    };
                    let end = ready!(waits.follower.poll_end(cx));
                    let turns = match end {
                        End::Answered => 0,
                        End::Abandoned => waits.turns,
                    };
                    match next_after_waiting(&waits.shared, &mut waits.request, turns > 0) {
                        Next::Answer(response) => State::Ready(Some(response)),
                        Next::Wait(follower) => {
                            waits.follower = follower;
                            waits.turns = turns.saturating_sub(1);
                            continue;
                        }
                        Next::Call(plan) => {
                            let Some(waiting) = waiting.take() else {
                                return Poll::Pending;
                            };
                            let Waiting {
                                mut inner,
                                request,
                                shared,
                                ..
                            } = *waiting;
                            State::calling(inner.call(request), plan, &shared)
                        }
                    }
                }
            };
            state.set(then);
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
