//! The probe catches what it is for: each layer here breaks the contract in one way that was seen in
//! the field, and the probe names the clause.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    missing_debug_implementations,
    reason = "tests"
)]

mod bodies;
mod calls;
mod interruptions;
mod reports;
mod reservations;

use std::{
    future::Future,
    mem,
    task::{Context, Poll},
};

use futures_util::future::{self, BoxFuture, FutureExt};
use http::{Request, Response};
use tenant_testkit::contract::{
    Clause, Layered, Outcome, Probe, ProbeBody, ProbeError, ProbeService, Report,
};
use tower_service::Service;

type Fut = BoxFuture<'static, Result<Response<ProbeBody>, ProbeError>>;

fn header(name: &'static str) -> impl Fn() -> Request<ProbeBody> + 'static {
    move || {
        let request = Request::builder().header(name, "yes");
        request.body(ProbeBody::default()).unwrap()
    }
}

fn refuses(request: &Request<ProbeBody>) -> bool {
    request.headers().contains_key("refuse")
}

fn waits(request: &Request<ProbeBody>) -> bool {
    request.headers().contains_key("wait")
}

fn refusal() -> Response<ProbeBody> {
    let mut response = Response::new(ProbeBody::default());
    *response.status_mut() = http::StatusCode::FORBIDDEN;
    response
}

async fn yield_once() {
    let mut yielded = false;
    future::poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn probe<S>(layer: impl Fn(ProbeService) -> S) -> Report
where
    S: Layered,
{
    Probe::new("broken").layer(layer).run()
}

fn refusing<S>(layer: impl Fn(ProbeService) -> S) -> Report
where
    S: Layered,
{
    let probe = Probe::new("broken").layer(layer);
    probe.refused(header("refuse")).run()
}

fn waiting<S>(layer: impl Fn(ProbeService) -> S) -> Report
where
    S: Layered,
{
    let probe = Probe::new("broken").layer(layer);
    probe.pending(header("wait")).run()
}

#[track_caller]
fn caught(report: &Report, clause: Clause, message: &str) {
    match report.outcome(clause).unwrap() {
        Outcome::Broken(why) => assert!(why.contains(message), "{why}"),
        other => panic!("{clause:?} is {other:?}\n{report}"),
    }
}

/// A service whose `poll_ready` and `call` are closures over the inner service.
#[derive(Clone)]
struct With<S, R, C> {
    inner: S,
    ready: R,
    call: C,
}

impl<S, R, C, F, B, E> Service<Request<ProbeBody>> for With<S, R, C>
where
    R: Fn(&mut S, &mut Context<'_>) -> Poll<Result<(), E>>,
    C: Fn(&mut S, Request<ProbeBody>) -> F,
    F: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = F;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        (self.ready)(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<ProbeBody>) -> F {
        (self.call)(&mut self.inner, request)
    }
}

fn poll_ready(inner: &mut ProbeService, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
    Service::<Request<ProbeBody>>::poll_ready(inner, cx)
}

type PollReady = fn(&mut ProbeService, &mut Context<'_>) -> Poll<Result<(), ProbeError>>;

fn calling<C, F>(call: C) -> impl Fn(ProbeService) -> With<ProbeService, PollReady, C>
where
    C: Fn(&mut ProbeService, Request<ProbeBody>) -> F + Clone,
    F: Future,
{
    move |inner| With {
        inner,
        ready: poll_ready,
        call: call.clone(),
    }
}

/// How it is done right.
fn sound(inner: &mut ProbeService, request: Request<ProbeBody>) -> Fut {
    let fresh = inner.clone();
    let mut ready = mem::replace(inner, fresh);
    if waits(&request) {
        async move {
            yield_once().await;
            if refuses(&request) {
                return Ok(refusal());
            }
            ready.call(request).await
        }
        .boxed()
    } else if refuses(&request) {
        future::ok(refusal()).boxed()
    } else {
        ready.call(request).boxed()
    }
}
