//! The audit's inner part: inside of all other layers, where the tenant is known and a cached answer has
//! gone by.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tenant_context::{Protocol, RefusalBody, Rejection, TenantContext, Trail};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AuditError, Durability, durable::Wait, future::refusal, queue::Door, request::Request as Record,
};

/// The audit's inner part, which [`TenantStack::audit`](crate::TenantStack) places by itself. It writes
/// intents before the handler runs, refuses what could not be synced, and keeps one tenant from taking all
/// places of the queue.
///
/// Without a [`TenantStack`](crate::TenantStack): [`AuditLayer::gate`](crate::AuditLayer::gate), directly
/// around the application.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct AuditGate {
    door: Arc<Door>,
}

impl AuditGate {
    pub(crate) const fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

impl<S> Layer<S> for AuditGate {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService {
            inner,
            door: Arc::clone(&self.door),
        }
    }
}

/// See [`AuditGate`].
pub struct GateService<S> {
    inner: S,
    door: Arc<Door>,
}

/// What the gate does with a request.
enum Passage {
    Open,
    Intent(Trail),
    Closed(AuditError),
    Misplaced,
}

impl<S> GateService<S> {
    fn decide<B>(&self, request: &Request<B>) -> Passage {
        let extensions = request.extensions();
        let Some(trail) = extensions.get::<Trail>() else {
            return Passage::Misplaced;
        };
        let Some(record) = trail.record::<Record>() else {
            return Passage::Misplaced;
        };
        record.progress.passed();
        let queue = &self.door.queue;
        if record.pressed {
            let tenant = TenantContext::of(extensions).map(TenantContext::tenant_id);
            if !queue.charge(tenant) {
                return Passage::Closed(AuditError::share_taken());
            }
            record.progress.charged();
        }
        if record.durability == Durability::Deferred || self.door.continue_unsynced {
            return Passage::Open;
        }
        if queue.is_broken() {
            return Passage::Closed(AuditError::unsynced());
        }
        record.progress.admitted();
        if record.durability == Durability::IntentFirst {
            Passage::Intent(trail.clone())
        } else {
            Passage::Open
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GateService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<RefusalBody<ResBody>>;
    type Error = S::Error;
    type Future = GateFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let refused = match self.decide(&request) {
            Passage::Open => {
                return GateFuture {
                    state: State::Calling(self.inner.call(request)),
                };
            }
            Passage::Intent(trail) => {
                let wait = self.door.intend(trail);
                let fresh = self.inner.clone();
                let service = mem::replace(&mut self.inner, fresh);
                return GateFuture {
                    state: State::Intending(Some(Box::new(Intending {
                        wait,
                        service,
                        request,
                    }))),
                };
            }
            Passage::Closed(error) => refusal(error, Protocol::of(request.headers())),
            Passage::Misplaced => {
                tracing::error!(
                    "an audit gate stands without its audit layer outside of it: use `TenantStack`, or put `AuditLayer` outermost"
                );
                Rejection::context_missing().to_response(Protocol::of(request.headers()))
            }
        };
        // What the inner service reserved for this request goes back: a clone has reserved nothing.
        self.inner = self.inner.clone();
        GateFuture {
            state: State::Refused(Some(refused)),
        }
    }
}

impl<S: Clone> Clone for GateService<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            door: Arc::clone(&self.door),
        }
    }
}

/// The response future of [`GateService`]: no box unless an intent is written.
#[pin_project]
pub struct GateFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[pin]
    state: State<S, B>,
}

#[pin_project(project = StateProj)]
enum State<S, B>
where
    S: Service<Request<B>>,
{
    Calling(#[pin] S::Future),
    Intending(Option<Box<Intending<S, B>>>),
    Refused(Option<Response<()>>),
}

struct Intending<S, B> {
    wait: Wait,
    service: S,
    request: Request<B>,
}

impl<S, B, ResBody> Future for GateFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<RefusalBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Calling(inner) => {
                    return inner
                        .poll(cx)
                        .map_ok(|response| response.map(RefusalBody::Inner));
                }
                StateProj::Refused(response) => match response.take() {
                    Some(response) => {
                        return Poll::Ready(Ok(response.map(|()| RefusalBody::Empty)));
                    }
                    None => return Poll::Pending,
                },
                StateProj::Intending(slot) => {
                    let Some(intending) = slot.as_mut() else {
                        return Poll::Pending;
                    };
                    let written = ready!(Pin::new(&mut intending.wait).poll(cx));
                    let Some(intending) = slot.take() else {
                        return Poll::Pending;
                    };
                    let Intending {
                        mut service,
                        request,
                        ..
                    } = *intending;
                    match written {
                        Ok(()) => State::Calling(service.call(request)),
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

impl fmt::Debug for AuditGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditGate")
            .field("queue", &self.door)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B> fmt::Debug for GateFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}
