//! The service that a probed layer wraps: it does what it is told and keeps books.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use parking_lot::Mutex;
use tower_service::Service;

use super::{
    body::{Announced, ProbeBody, ProbeError, panic_quietly},
    ledger::{Held, Holding, Ledger, Received},
};
use crate::{Gate, Pass};

/// How a [`ProbeService`] behaves.
///
/// ```
/// use tenant_testkit::contract::{Behaviour, ProbeService};
///
/// let handler = ProbeService::new(Behaviour::new().capacity(1).pending(2).frames(["a", "b"]));
/// let ledger = handler.ledger();
/// // wrap `handler` in a layer, send requests, then:
/// assert_eq!((ledger.calls(), ledger.reserved()), (0, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Behaviour {
    capacity: usize,
    pending: usize,
    frames: Vec<&'static str>,
    trailers: bool,
    sized: bool,
    ready: Gate,
    respond: Gate,
    body: Gate,
}

impl Behaviour {
    /// Answers at once, with an empty body and status 200. Four calls may run or be reserved at a
    /// time.
    pub fn new() -> Self {
        Self {
            capacity: 4,
            pending: 0,
            frames: Vec::new(),
            trailers: false,
            sized: true,
            ready: Gate::opened(),
            respond: Gate::opened(),
            body: Gate::opened(),
        }
    }

    /// How many calls may run or be reserved at a time, over all clones.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How many polls of a call are pending before it completes.
    #[must_use]
    pub fn pending(mut self, polls: usize) -> Self {
        self.pending = polls;
        self
    }

    /// The frames of the response's body.
    #[must_use]
    pub fn frames(mut self, frames: impl IntoIterator<Item = &'static str>) -> Self {
        self.frames = frames.into_iter().collect();
        self
    }

    /// The response's body ends with trailers.
    #[must_use]
    pub fn trailers(mut self) -> Self {
        self.trailers = true;
        self
    }

    /// The response's body does not tell its length in advance.
    #[must_use]
    pub fn unsized_hint(mut self) -> Self {
        self.sized = false;
        self
    }

    /// Not ready until this gate lets it through.
    #[must_use]
    pub fn ready_behind(mut self, gate: &Gate) -> Self {
        self.ready = gate.clone();
        self
    }

    /// No response until this gate lets it through.
    #[must_use]
    pub fn respond_behind(mut self, gate: &Gate) -> Self {
        self.respond = gate.clone();
        self
    }

    /// No frame of the response's body until this gate lets it through.
    #[must_use]
    pub fn body_behind(mut self, gate: &Gate) -> Self {
        self.body = gate.clone();
        self
    }

    /// The bytes of the response's body, and whether trailers follow.
    pub(crate) fn sends(&self) -> (Vec<u8>, bool) {
        (self.frames.concat().into_bytes(), self.trailers)
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::new()
    }
}

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `poll_ready` fails with a [`ProbeError`].
    ErrorInReady,
    /// The call fails with a [`ProbeError`].
    Error,
    /// The response's body fails after its first frame.
    ErrorInBody,
    /// `call` panics.
    PanicInCall,
    /// The call's future panics.
    PanicInFuture,
    /// The response's body panics after its first frame.
    PanicInBody,
}

/// A handler that takes every request, whatever its body's type, does what it is told and keeps a
/// [`Ledger`].
///
/// It is as strict as the strictest of tower's own: `poll_ready` takes a reservation for *this*
/// clone, `call` uses it up, and a call without one is a violation in the ledger. A call reads the
/// request's body to its end before it responds.
pub struct ProbeService {
    shared: Arc<Shared>,
    reservation: Option<Held>,
    opening: Option<Pass>,
}

struct Shared {
    behaviour: Behaviour,
    ledger: Ledger,
    fault: Mutex<Option<Fault>>,
}

impl ProbeService {
    /// A handler of this behaviour, with new books.
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            shared: Arc::new(Shared {
                ledger: Ledger::new(behaviour.capacity),
                behaviour,
                fault: Mutex::new(None),
            }),
            reservation: None,
            opening: None,
        }
    }

    /// The books of this handler and all its clones.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.clone()
    }

    /// Makes something go wrong once, at the next opportunity, in this handler or a clone.
    pub fn inject(&self, fault: Fault) {
        *self.shared.fault.lock() = Some(fault);
    }

    /// Whether an injected fault has not come to pass yet.
    pub fn fault_is_due(&self) -> bool {
        self.shared.fault.lock().is_some()
    }

    /// A request's body whose life the ledger follows.
    pub fn request_body(&self, body: ProbeBody) -> ProbeBody {
        let held = self.shared.ledger.hold(Holding::RequestBody);
        body.watched(&self.shared.ledger, held)
    }
}

impl Shared {
    fn takes_place(&self, fault: Fault) -> bool {
        self.fault.lock().take_if(|due| *due == fault).is_some()
    }

    fn response(&self) -> Response<ProbeBody> {
        let behaviour = &self.behaviour;
        let mut body = ProbeBody::new(behaviour.frames.iter().copied());
        if self.takes_place(Fault::ErrorInBody) {
            body = body.failing();
        } else if self.takes_place(Fault::PanicInBody) {
            body = body.panicking();
        } else {
            if behaviour.trailers {
                body = body.trailers();
            }
            if !behaviour.sized {
                body = body.unsized_hint();
            }
        }
        let held = self.ledger.hold(Holding::ResponseBody);
        Response::new(body.waiting(&behaviour.body).watched(&self.ledger, held))
    }
}

impl<B: Body> Service<Request<B>> for ProbeService {
    type Response = Response<ProbeBody>;
    type Error = ProbeError;
    type Future = ProbeFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        if self.reservation.is_some() {
            return Poll::Ready(Ok(()));
        }
        let gate = &self.shared.behaviour.ready;
        let opening = self.opening.get_or_insert_with(|| gate.pass());
        if Pin::new(opening).poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.shared.takes_place(Fault::ErrorInReady) {
            return Poll::Ready(Err(ProbeError));
        }
        match self.shared.ledger.reserve(cx.waker()) {
            None => Poll::Pending,
            reserved => {
                self.reservation = reserved;
                self.opening = None;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, request: Request<B>) -> ProbeFuture<B> {
        let ledger = &self.shared.ledger;
        ledger.called();
        let running = ledger.hold(Holding::Call);
        if self.reservation.take().is_none() {
            ledger.violated("the handler was called on a clone that had not been polled ready");
        }
        if self.shared.takes_place(Fault::PanicInCall) {
            panic_quietly();
        }
        ProbeFuture {
            shared: Arc::clone(&self.shared),
            running: Some(running),
            body: Some(Box::pin(request.into_body())),
            announced: Announced::default(),
            received: Received::default(),
            pending: self.shared.behaviour.pending,
            responding: self.shared.behaviour.respond.pass(),
        }
    }
}

impl Clone for ProbeService {
    /// A clone has reserved nothing.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            reservation: None,
            opening: None,
        }
    }
}

impl fmt::Debug for ProbeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeService")
            .field("ready", &self.reservation.is_some())
            .field("ledger", &self.shared.ledger)
            .finish_non_exhaustive()
    }
}

/// The future of a [`ProbeService`]'s call.
#[must_use = "futures do nothing unless polled"]
pub struct ProbeFuture<B> {
    shared: Arc<Shared>,
    /// `None` when it has completed.
    running: Option<Held>,
    body: Option<Pin<Box<B>>>,
    announced: Announced,
    received: Received,
    pending: usize,
    responding: Pass,
}

impl<B: Body> ProbeFuture<B> {
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(body) = &mut self.body {
            self.announced.look(body);
            match body.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    self.announced.frame(&frame);
                    self.received.trailers |= frame.is_trailers();
                    if let Ok(mut data) = frame.into_data() {
                        let length = data.remaining();
                        self.received.data.push(data.copy_to_bytes(length));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.received.failed = true;
                    self.body = None;
                }
                Poll::Ready(None) => {
                    self.body = None;
                    if let Err(why) = self.announced.kept() {
                        let ledger = &self.shared.ledger;
                        ledger
                            .violated(format!("the request's body, as the handler sees it: {why}"));
                    }
                }
            }
        }
        Poll::Ready(())
    }
}

impl<B: Body> Future for ProbeFuture<B> {
    type Output = Result<Response<ProbeBody>, ProbeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.running.is_none() {
            let ledger = &this.shared.ledger;
            ledger.violated("the handler's future was polled after it had completed");
            return Poll::Pending;
        }
        if let Some(left) = this.pending.checked_sub(1) {
            this.pending = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.shared.takes_place(Fault::PanicInFuture) {
            panic_quietly();
        }
        if this.poll_request(cx).is_pending()
            || Pin::new(&mut this.responding).poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        this.running = None;
        this.shared.ledger.read(std::mem::take(&mut this.received));
        if this.shared.takes_place(Fault::Error) {
            return Poll::Ready(Err(ProbeError));
        }
        Poll::Ready(Ok(this.shared.response()))
    }
}

impl<B> fmt::Debug for ProbeFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture")
            .field("completed", &self.running.is_none())
            .finish_non_exhaustive()
    }
}
