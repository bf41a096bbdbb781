//! The response future of the audit layer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, response::Parts};
use http_body::Body;
use pin_project::pin_project;
use tenant_context::{Monotonic, Protocol, Rejection};
use tower_service::Service;

use crate::{
    AuditBody, AuditError,
    held::{Held, Whole},
    open::Open,
    outcome::End,
    queue::{Unplaced, Waiting},
};

/// The response future of [`AuditService`](crate::AuditService): no box unless the queue was full.
#[pin_project]
pub struct ResponseFuture<S, B, R: Body>
where
    S: Service<Request<B>>,
{
    #[pin]
    state: State<S, B, R>,
}

#[pin_project(project = StateProj)]
enum State<S, B, R: Body>
where
    S: Service<Request<B>>,
{
    Waiting(Option<Box<AtDoor<S, B>>>),
    Calling {
        #[pin]
        inner: S::Future,
        open: Option<Open>,
    },
    Holding(Option<Box<Holding<R>>>),
    Refused(Option<Response<()>>),
}

/// A whole answer that waits for its record, so that it can still become another.
struct Holding<R: Body> {
    head: Parts,
    body: Box<Held<R>>,
    protocol: Protocol,
}

struct AtDoor<S, B> {
    waiting: Waiting,
    unplaced: Unplaced,
    service: S,
    request: Request<B>,
    arrival: Monotonic,
}

impl<S, B, R: Body> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(crate) fn waiting(
        waiting: Waiting,
        unplaced: Unplaced,
        service: S,
        request: Request<B>,
        arrival: Monotonic,
    ) -> Self {
        Self {
            state: State::Waiting(Some(Box::new(AtDoor {
                waiting,
                unplaced,
                service,
                request,
                arrival,
            }))),
        }
    }

    pub(crate) fn calling(service: &mut S, request: Request<B>, open: Open) -> Self {
        Self {
            state: call(service, request, open),
        }
    }

    pub(crate) fn misplaced(rejection: &Rejection, protocol: Protocol) -> Self {
        Self {
            state: State::Refused(Some(rejection.to_response(protocol))),
        }
    }

    pub(crate) fn refused(error: AuditError, protocol: Protocol) -> Self {
        Self {
            state: State::Refused(Some(refusal(error, protocol))),
        }
    }
}

fn call<S, B, R: Body>(service: &mut S, request: Request<B>, open: Open) -> State<S, B, R>
where
    S: Service<Request<B>>,
{
    open.running(true);
    let inner = service.call(request);
    open.running(false);
    State::Calling {
        inner,
        open: Some(open),
    }
}

/// 503, `audit-unavailable`: fail closed.
pub(crate) fn refusal(error: AuditError, protocol: Protocol) -> Response<()> {
    Rejection::store_unavailable()
        .with_reason("audit-unavailable")
        .with_source(error)
        .to_response(protocol)
}

impl<S, B, ResBody> Future for ResponseFuture<S, B, ResBody>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: Body,
    ResBody: Body,
{
    type Output = Result<Response<AuditBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Calling { inner, open } => {
                    let Some(running) = open.as_ref() else {
                        return Poll::Pending;
                    };
                    running.running(true);
                    let polled = inner.poll(cx);
                    running.running(false);
                    let answer = ready!(polled);
                    let Some(open) = open.take() else {
                        return Poll::Pending;
                    };
                    let response = match conclude(answer, open) {
                        Ok(Concluded::Now(response)) => return Poll::Ready(Ok(response)),
                        Ok(Concluded::Held(holding)) => holding,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    State::Holding(Some(response))
                }
                StateProj::Holding(slot) => {
                    let Some(holding) = slot.as_mut() else {
                        return Poll::Pending;
                    };
                    let whole = ready!(holding.body.poll_whole(cx));
                    let Some(holding) = slot.take() else {
                        return Poll::Pending;
                    };
                    let Holding {
                        head,
                        body,
                        protocol,
                    } = *holding;
                    match whole {
                        Whole::Unsynced(error) => State::Refused(Some(refusal(error, protocol))),
                        Whole::Durable | Whole::Stream => {
                            let body = AuditBody::held(body);
                            return Poll::Ready(Ok(Response::from_parts(head, body)));
                        }
                    }
                }
                StateProj::Refused(response) => match response.take() {
                    Some(response) => {
                        return Poll::Ready(Ok(response.map(|()| AuditBody::empty())));
                    }
                    None => return Poll::Pending,
                },
                StateProj::Waiting(slot) => {
                    let Some(at_door) = slot.as_mut() else {
                        return Poll::Pending;
                    };
                    let place = ready!(at_door.waiting.as_mut().poll(cx));
                    let Some(at_door) = slot.take() else {
                        return Poll::Pending;
                    };
                    let AtDoor {
                        unplaced,
                        mut service,
                        mut request,
                        arrival,
                        ..
                    } = *at_door;
                    match place {
                        Ok(place) => {
                            unplaced.placed();
                            let open = Open::begin(place, &mut request, arrival);
                            call(&mut service, request, open)
                        }
                        Err(error) => {
                            let protocol = Protocol::of(request.headers());
                            State::Refused(Some(refusal(error, protocol)))
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}

enum Concluded<B: Body> {
    Now(Response<AuditBody<B>>),
    Held(Box<Holding<B>>),
}

fn conclude<B: Body, E>(answer: Result<Response<B>, E>, mut open: Open) -> Result<Concluded<B>, E> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            open.finish(End::ServiceError);
            return Err(error);
        }
    };
    open.answer(&response);
    if !open.is_synced() {
        return Ok(Concluded::Now(
            response.map(|body| AuditBody::new(body, open)),
        ));
    }
    let protocol = open.protocol();
    let (head, body) = response.into_parts();
    Ok(Concluded::Held(Box::new(Holding {
        head,
        body: Box::new(Held::new(body, open)),
        protocol,
    })))
}

impl<S, B, R: Body> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
