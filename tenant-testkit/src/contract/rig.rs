//! The bench on which a layered service is put, and the hands that poll it.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tenant_context::BoxError;

use super::{
    Behaviour, Layered, Ledger, Probe, ProbeBody, ProbeError, ProbeService,
    body::{Announced, ProbePanic},
};
use crate::polls::Polls;

pub(super) type Check = Result<(), String>;

/// What a request is to the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Admitted,
    Pending,
    Refused,
    PendingRefused,
}

/// As the probe's methods are called.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted => "`admitted`",
            Self::Pending => "`pending`",
            Self::Refused => "`refused`",
            Self::PendingRefused => "`pending_refused`",
        })
    }
}

impl Kind {
    pub(super) fn calls(self) -> usize {
        match self {
            Self::Admitted | Self::Pending => 1,
            Self::Refused | Self::PendingRefused => 0,
        }
    }
}

/// How often anything is polled before it counts as stuck.
const PATIENCE: usize = 1_000;

/// The bench: a handler, its books, and the waker of whoever polls.
pub(super) struct Rig<'a, F> {
    pub(super) probe: &'a Probe<F>,
    pub(super) handler: ProbeService,
    pub(super) ledger: Ledger,
    pub(super) polls: Polls,
}

type Answer<S> = Result<Response<<S as Layered>::Body>, <S as Layered>::Failure>;

impl<'a, F, S> Rig<'a, F>
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    /// A handler of this behaviour, and the layer's service around it.
    pub(super) fn new(probe: &'a Probe<F>, behaviour: Behaviour) -> (Self, S) {
        let handler = ProbeService::new(behaviour);
        let service = probe.wrap(handler.clone());
        let rig = Self {
            probe,
            ledger: handler.ledger(),
            handler,
            polls: Polls::new(),
        };
        (rig, service)
    }

    /// A request with a body that the ledger follows.
    pub(super) fn request(&self, kind: Kind) -> Request<ProbeBody> {
        self.probe.request(kind).map(|_| {
            let body = ProbeBody::new(["one", "three"]).yielding();
            self.handler.request_body(body)
        })
    }

    /// Polls until the answer is there, or nobody has called for another poll.
    pub(super) fn rest<T>(
        &self,
        polls: &Polls,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..PATIENCE {
            let woken = polls.woken();
            if let Poll::Ready(answer) = poll(&mut polls.context()) {
                return Poll::Ready(answer);
            }
            self.probe.turn();
            if polls.woken() == woken {
                break;
            }
        }
        Poll::Pending
    }

    /// As [`rest`](Self::rest), where an answer must come.
    fn drive<T>(
        &self,
        what: &str,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, String> {
        match self.rest(&self.polls, poll) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => Err(format!("{what} is pending, and nobody wakes it")),
        }
    }

    pub(super) fn poll_ready(&self, service: &mut S) -> Poll<Result<(), String>> {
        self.rest(&self.polls, |cx| service.poll_ready(cx))
            .map_err(said)
    }

    pub(super) fn ready(&self, service: &mut S) -> Check {
        self.drive("`poll_ready`", |cx| service.poll_ready(cx))?
            .map_err(|error| format!("`poll_ready` failed: {}", said(error)))
    }

    pub(super) fn finish(&self, call: Pin<&mut S::Future>) -> Result<Answer<S>, String> {
        let mut call = call;
        self.drive("the response future", |cx| call.as_mut().poll(cx))
    }

    /// A response that must come.
    pub(super) fn response(&self, call: Pin<&mut S::Future>) -> Result<Response<S::Body>, String> {
        let answer = self.finish(call)?;
        answer.map_err(|error| {
            format!(
                "the service failed, where a response was due: {}",
                said(error)
            )
        })
    }

    /// Makes `service` ready, sends it a request, and reads the response to its end.
    pub(super) fn exchange(&self, service: &mut S, kind: Kind) -> Check {
        self.ready(service)?;
        let response = self.response(pin!(service.call(self.request(kind))))?;
        self.read(response.into_body()).map(drop)
    }

    pub(super) fn read(&self, body: S::Body) -> Result<Read, String> {
        let mut body = pin!(body);
        let (mut announced, mut read) = (Announced::default(), Read::default());
        loop {
            announced.look(&*body);
            match self.drive("the response's body", |cx| body.as_mut().poll_frame(cx))? {
                None => {
                    announced
                        .kept()
                        .map_err(|why| format!("the response's body: {why}"))?;
                    return Ok(read);
                }
                Some(Err(error)) => {
                    read.error = Some(error.into());
                    return Ok(read);
                }
                Some(Ok(frame)) => {
                    announced.frame(&frame);
                    read.trailers |= frame.is_trailers();
                    read.data.extend(frame.into_data());
                }
            }
        }
    }

    /// Nothing is held, and nothing was done that is forbidden.
    pub(super) fn at_rest(&self) -> Check {
        let ledger = &self.ledger;
        if let Some(violation) = ledger.violations().first() {
            return Err(violation.clone());
        }
        for (count, what) in [
            (ledger.reserved(), "a reservation was not given back"),
            (ledger.running(), "a call was never completed nor dropped"),
            (ledger.request_bodies(), "a request's body was kept"),
            (ledger.response_bodies(), "a response's body was kept"),
        ] {
            ensure(count == 0, || format!("{what} ({ledger:?})"))?;
        }
        Ok(())
    }

    pub(super) fn called(&self, calls: usize) -> Check {
        let found = self.ledger.calls();
        ensure(found == calls, || {
            format!("the handler was called {found} times instead of {calls}")
        })
    }
}

/// A response's body, as the client has read it.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) data: Vec<Bytes>,
    pub(super) trailers: bool,
    pub(super) error: Option<BoxError>,
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn said(error: impl Into<BoxError>) -> String {
    error.into().to_string()
}

/// Whether an error is the handler's, or says that it came from it.
pub(super) fn is_the_handlers(error: impl Into<BoxError>) -> bool {
    let error = error.into();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(link) = cause {
        if link.is::<ProbeError>() {
            return true;
        }
        cause = link.source();
    }
    false
}

/// Runs a check; a panic is its failure.
pub(super) fn caught(check: impl FnOnce() -> Check) -> Check {
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(checked) => checked,
        Err(panic) => Err(format!("it panicked: {}", payload(&*panic))),
    }
}

/// Runs what may panic as the handler was told to. `Ok(None)`: it did.
pub(super) fn handler_may_panic<T>(
    run: impl FnOnce() -> Result<T, String>,
) -> Result<Option<T>, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map(Some),
        Err(panic) if panic.is::<ProbePanic>() => Ok(None),
        Err(panic) => Err(format!("the layer panicked itself: {}", payload(&*panic))),
    }
}

fn payload(panic: &(dyn Any + Send)) -> String {
    if panic.is::<ProbePanic>() {
        return "the handler's panic came up where it was not expected".to_owned();
    }
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}
