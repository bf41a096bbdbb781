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

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, Either, FutureExt, Ready};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tenant_testkit::contract::{
    Clause, Outcome, Probe, ProbeBody, ProbeError, ProbeFuture, ProbeService, Report,
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
    S: tenant_testkit::contract::Layered,
{
    Probe::new("broken").layer(layer).run()
}

fn refusing<S>(layer: impl Fn(ProbeService) -> S) -> Report
where
    S: tenant_testkit::contract::Layered,
{
    let probe = Probe::new("broken").layer(layer);
    probe.refused(header("refuse")).run()
}

fn waiting<S>(layer: impl Fn(ProbeService) -> S) -> Report
where
    S: tenant_testkit::contract::Layered,
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

#[test]
fn a_sound_layer_and_no_layer_at_all_keep_every_clause() {
    let probe = Probe::new("sound").layer(calling(sound));
    let report = probe
        .refused(header("refuse"))
        .pending(header("wait"))
        .pending_refused(|| {
            let request = Request::builder().header("wait", "").header("refuse", "");
            request.body(ProbeBody::default()).unwrap()
        })
        .check();
    assert!(
        report
            .outcomes()
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Held),
        "{report}"
    );
    let report = Probe::new("none").layer(|handler| handler).check();
    assert_eq!(
        report.row(),
        "| none | ✓ | ✓ | – | – | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |"
    );
    assert_eq!(
        Report::header()
            .lines()
            .next()
            .unwrap()
            .matches('|')
            .count(),
        report.row().matches('|').count()
    );
}

#[test]
fn a_clone_that_was_not_polled_is_called() {
    let report = probe(calling(|inner, request| inner.clone().call(request)));
    caught(&report, Clause::RightClone, "had not been polled ready");
}

#[test]
fn the_ready_instance_is_lost_when_the_decision_waits() {
    let report = waiting(calling(|inner, request| {
        if !waits(&request) {
            return sound(inner, request);
        }
        let mut unready = inner.clone();
        async move {
            yield_once().await;
            unready.call(request).await
        }
        .boxed()
    }));
    caught(&report, Clause::RightClone, "had not been polled ready");
    caught(&report, Clause::PendingKeeps, "ready again");
}

#[test]
fn an_async_wrapper_reserves_only_when_it_runs() {
    let report = waiting(calling(|inner, request| {
        if !waits(&request) {
            return sound(inner, request);
        }
        *inner = inner.clone();
        let mut later = inner.clone();
        async move {
            yield_once().await;
            future::poll_fn(|cx| poll_ready(&mut later, cx)).await?;
            later.call(request).await
        }
        .boxed()
    }));
    caught(&report, Clause::PendingKeeps, "given up");
}

#[test]
fn a_rejecting_layer_kept_the_inner_services_permit() {
    let report = refusing(calling(|inner, request| {
        if refuses(&request) {
            Either::Left(future::ok(refusal()))
        } else {
            Either::Right(inner.call(request))
        }
    }));
    caught(&report, Clause::RefusalReturns, "its reservation was kept");
    assert_eq!(report.outcome(Clause::Errors), Some(&Outcome::Held));
}

#[test]
fn a_refused_request_is_called_and_its_answer_thrown_away() {
    let report = refusing(calling(|inner, request| {
        let refused = refuses(&request);
        let call = inner.call(request);
        async move {
            let response = call.await?;
            Ok(if refused { refusal() } else { response })
        }
    }));
    caught(&report, Clause::ExactlyOnce, "1 calls of the handler");
    caught(&report, Clause::RefusalReturns, "called 1 times");
}

#[test]
fn a_request_is_called_twice() {
    let report = probe(calling(|inner, request| {
        drop(inner.call(Request::new(ProbeBody::default())));
        inner.call(request)
    }));
    caught(&report, Clause::ExactlyOnce, "2 calls of the handler");
}

#[test]
fn a_dropped_future_leaves_its_call_behind() {
    struct Leaks(Option<Pin<Box<ProbeFuture<ProbeBody>>>>);

    impl Future for Leaks {
        type Output = Result<Response<ProbeBody>, ProbeError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let inner = self.0.as_mut().unwrap();
            let polled = inner.as_mut().poll(cx);
            if polled.is_ready() {
                self.0 = None;
            }
            polled
        }
    }

    impl Drop for Leaks {
        fn drop(&mut self) {
            mem::forget(self.0.take());
        }
    }

    let report = probe(calling(|inner, request| {
        Leaks(Some(Box::pin(inner.call(request))))
    }));
    caught(
        &report,
        Clause::DroppedAnywhere,
        "dropped after 0 polls: a call was never completed",
    );
}

#[test]
fn a_future_dropped_while_the_decision_waits_leaves_its_reservation_behind() {
    let report = waiting(calling(|inner, request| {
        if !waits(&request) {
            return sound(inner, request);
        }
        let fresh = inner.clone();
        let mut ready = mem::ManuallyDrop::new(mem::replace(inner, fresh));
        async move {
            yield_once().await;
            let response = ready.call(request).await;
            drop(mem::ManuallyDrop::into_inner(ready));
            response
        }
        .boxed()
    }));
    caught(&report, Clause::PendingKeeps, "its reservation was kept");
    caught(&report, Clause::DroppedAnywhere, "not given back");
}

#[test]
fn readiness_is_made_up() {
    let report = probe(|inner| With {
        inner,
        ready: |_: &mut ProbeService, _: &mut Context<'_>| Poll::Ready(Ok(())),
        call: |inner: &mut ProbeService, request| inner.call(request),
    });
    caught(
        &report,
        Clause::Readiness,
        "ready while the inner service is not",
    );
    caught(&report, Clause::RightClone, "had not been polled ready");
}

#[test]
fn an_error_of_readiness_is_swallowed() {
    let report = probe(|inner| With {
        inner,
        ready: |inner: &mut ProbeService, cx: &mut Context<'_>| {
            poll_ready(inner, cx).map(|_| Ok(()))
        },
        call: |inner: &mut ProbeService, request| inner.call(request),
    });
    caught(&report, Clause::Readiness, "says that it is ready");
}

#[test]
fn whoever_waits_for_readiness_is_forgotten() {
    let report = probe(|inner| With {
        inner,
        ready: |inner: &mut ProbeService, _: &mut Context<'_>| {
            poll_ready(inner, &mut Context::from_waker(Waker::noop()))
        },
        call: |inner: &mut ProbeService, request| inner.call(request),
    });
    caught(&report, Clause::Readiness, "is not woken");
}

#[test]
fn the_first_waker_is_kept_for_ever() {
    struct FirstWaker<F>(Pin<Box<F>>, Option<Waker>);

    impl<F: Future> Future for FirstWaker<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let this = &mut *self;
            let waker = this.1.get_or_insert_with(|| cx.waker().clone());
            this.0.as_mut().poll(&mut Context::from_waker(waker))
        }
    }

    let report = probe(calling(|inner, request| {
        FirstWaker(Box::pin(inner.call(request)), None)
    }));
    caught(&report, Clause::Wakers, "polled the response future last");
}

#[test]
fn clones_share_one_ready_instance() {
    #[derive(Clone)]
    struct Shares(Arc<Mutex<ProbeService>>);

    impl Service<Request<ProbeBody>> for Shares {
        type Response = Response<ProbeBody>;
        type Error = ProbeError;
        type Future = ProbeFuture<ProbeBody>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
            poll_ready(&mut self.0.lock(), cx)
        }

        fn call(&mut self, request: Request<ProbeBody>) -> Self::Future {
            self.0.lock().call(request)
        }
    }

    let report = probe(|inner| Shares(Arc::new(Mutex::new(inner))));
    caught(&report, Clause::Clones, "its clone keeps its reservation");
}

#[test]
fn a_layer_that_polls_too_often() {
    struct Again<F>(Pin<Box<F>>);

    impl<F: Future> Future for Again<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let polled = self.0.as_mut().poll(cx);
            if polled.is_ready() {
                drop(self.0.as_mut().poll(cx));
            }
            polled
        }
    }

    let report = probe(calling(|inner, request| {
        Again(Box::pin(inner.call(request)))
    }));
    caught(&report, Clause::ExactlyOnce, "after it had completed");
}

#[test]
fn a_panic_leaves_the_layer_without_its_service() {
    #[derive(Clone)]
    struct Takes(Option<ProbeService>);

    impl Service<Request<ProbeBody>> for Takes {
        type Response = Response<ProbeBody>;
        type Error = ProbeError;
        type Future = ProbeFuture<ProbeBody>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
            poll_ready(self.0.as_mut().expect("the service is gone"), cx)
        }

        fn call(&mut self, request: Request<ProbeBody>) -> Self::Future {
            let mut inner = self.0.take().unwrap();
            let call = inner.call(request);
            self.0 = Some(inner);
            call
        }
    }

    let report = probe(|inner| Takes(Some(inner)));
    caught(&report, Clause::HandlerPanics, "the service is gone");
}

#[test]
fn a_panic_poisons_the_layer() {
    let report = probe(|inner| {
        let poisoned = Arc::new(AtomicBool::new(false));
        calling(move |inner: &mut ProbeService, request| {
            let poisoned = Arc::clone(&poisoned);
            let call = inner.call(request);
            async move {
                if poisoned.swap(true, Ordering::SeqCst) {
                    future::pending::<()>().await;
                }
                let response = call.await;
                poisoned.store(false, Ordering::SeqCst);
                response
            }
        })(inner)
    });
    caught(&report, Clause::HandlerPanics, "not usable any more");
    caught(&report, Clause::DroppedAnywhere, "not usable any more");
}

#[test]
fn an_error_becomes_a_response() {
    let report = probe(calling(|inner, request| {
        inner
            .call(request)
            .map(|answer| Ok::<_, ProbeError>(answer.unwrap_or_else(|_| refusal())))
    }));
    caught(&report, Clause::Errors, "answered with 403");
}

#[test]
fn an_error_loses_its_source() {
    let report = probe(|inner| With {
        inner,
        ready: |inner: &mut ProbeService, cx: &mut Context<'_>| {
            poll_ready(inner, cx).map_err(|_| "failed")
        },
        call: |inner: &mut ProbeService, request| {
            inner
                .call(request)
                .map(|answer| answer.map_err(|_| "failed"))
        },
    });
    caught(&report, Clause::Errors, "does not name the handler's");
    caught(&report, Clause::Readiness, "not the inner service's");
}

/// A body that lies in one way.
struct Lies<B> {
    inner: B,
    lie: Lie,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    Ended,
    Length,
    Truncates,
    SwallowsErrors,
    DropsTrailers,
    PollsAfterEnd,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lies<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let lie = self.lie;
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match (&polled, lie) {
            (Poll::Ready(Some(Err(_))), Lie::SwallowsErrors) => Poll::Ready(None),
            (Poll::Ready(Some(Ok(frame))), Lie::DropsTrailers) if frame.is_trailers() => {
                Poll::Ready(None)
            }
            (Poll::Ready(Some(Ok(_))), Lie::Truncates)
                if self.inner.size_hint().exact() == Some(5) =>
            {
                self.lie = Lie::Ended;
                Poll::Ready(None)
            }
            (Poll::Ready(None), Lie::PollsAfterEnd) => {
                drop(Pin::new(&mut self.inner).poll_frame(cx));
                Poll::Ready(None)
            }
            _ => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lie == Lie::Ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lie == Lie::Length {
            return SizeHint::with_exact(1);
        }
        self.inner.size_hint()
    }
}

fn response_body(lie: Lie) -> Report {
    probe(calling(move |inner, request| {
        inner
            .call(request)
            .map(move |answer| answer.map(|response| response.map(|inner| Lies { inner, lie })))
    }))
}

#[test]
fn a_response_body_that_lies() {
    for (lie, message) in [
        (Lie::Ended, "`is_end_stream` was true"),
        (Lie::Length, "`size_hint` said 1 to"),
        (Lie::Truncates, "`size_hint` said 8 to"),
        (Lie::SwallowsErrors, "sees a complete response"),
        (Lie::DropsTrailers, "the client read"),
        (Lie::PollsAfterEnd, "after its end"),
    ] {
        caught(&response_body(lie), Clause::ResponseBody, message);
    }
}

fn request_body(lie: Lie) -> Report {
    #[derive(Clone)]
    struct Wraps(ProbeService, Lie);

    impl Service<Request<ProbeBody>> for Wraps {
        type Response = Response<ProbeBody>;
        type Error = ProbeError;
        type Future = ProbeFuture<Lies<ProbeBody>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
            poll_ready(&mut self.0, cx)
        }

        fn call(&mut self, request: Request<ProbeBody>) -> Self::Future {
            let lie = self.1;
            self.0.call(request.map(|inner| Lies { inner, lie }))
        }
    }

    probe(move |inner| Wraps(inner, lie))
}

#[test]
fn a_request_body_that_lies() {
    for (lie, message) in [
        (Lie::Length, "`size_hint` said 1 to"),
        (Lie::SwallowsErrors, "the handler read"),
        (Lie::DropsTrailers, "the handler read"),
        (Lie::PollsAfterEnd, "after its end"),
    ] {
        caught(&request_body(lie), Clause::RequestBody, message);
    }
}

#[test]
fn a_request_body_that_is_thrown_away() {
    let report = probe(calling(|inner, request| {
        inner.call(request.map(|_| ProbeBody::default()))
    }));
    caught(&report, Clause::RequestBody, "the handler read");
}

#[test]
fn a_layer_that_panics_itself() {
    #[derive(Clone)]
    struct Panics;

    impl Service<Request<ProbeBody>> for Panics {
        type Response = Response<ProbeBody>;
        type Error = ProbeError;
        type Future = Ready<Result<Response<ProbeBody>, ProbeError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
            panic!("no readiness here");
        }

        fn call(&mut self, _: Request<ProbeBody>) -> Self::Future {
            future::ok(refusal())
        }
    }

    let report = probe(|_| Panics);
    caught(
        &report,
        Clause::RightClone,
        "it panicked: no readiness here",
    );
    caught(&report, Clause::HandlerPanics, "panicked itself");
}

#[test]
fn an_exception_is_shown_and_does_not_outlive_its_reason() {
    let calls_clone = calling(|inner: &mut ProbeService, request| inner.clone().call(request));
    let probe = Probe::new("meant").layer(calls_clone);
    let report = probe.except(Clause::RightClone, "so it is").run();
    assert_eq!(
        report.outcome(Clause::RightClone),
        Some(&Outcome::Excepted("so it is"))
    );
    let probe = Probe::new("sound").layer(calling(sound));
    let report = probe.except(Clause::RightClone, "so it was").run();
    caught(&report, Clause::RightClone, "remove the exception");
}

#[test]
#[should_panic(expected = "BROKEN    the handler is called once if admitted, else never")]
fn check_fails_the_test_with_the_list_of_clauses() {
    let twice = calling(|inner: &mut ProbeService, request| {
        drop(inner.call(Request::new(ProbeBody::default())));
        inner.call(request)
    });
    Probe::new("twice").layer(twice).check();
}

#[test]
fn requests_that_are_not_what_the_test_says() {
    let report = Probe::new("mislabelled")
        .layer(calling(sound))
        .admitted(header("refuse"))
        .refused(|| Request::new(ProbeBody::default()))
        .pending(|| Request::new(ProbeBody::default()))
        .run();
    caught(
        &report,
        Clause::ExactlyOnce,
        "the `admitted` request was answered with 403 Forbidden after 0 calls",
    );
    caught(&report, Clause::PendingKeeps, "there at once");
}
