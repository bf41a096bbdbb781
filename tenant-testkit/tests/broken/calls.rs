//! Layers that call the wrong instance, or too often.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use parking_lot::Mutex;
use tenant_testkit::contract::{Clause, ProbeBody, ProbeError, ProbeFuture, ProbeService};
use tower_service::Service;

use crate::{
    calling, caught, poll_ready, probe, refusal, refuses, refusing, sound, waiting, waits,
    yield_once,
};

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
