//! Layers that do not survive what interrupts a request, or hide it.

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

use futures_util::future::{self, FutureExt, Ready};
use http::{Request, Response};
use tenant_testkit::contract::{Clause, ProbeBody, ProbeError, ProbeFuture, ProbeService};
use tower_service::Service;

use crate::{With, calling, caught, poll_ready, probe, refusal};

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
fn a_layer_that_waits_and_is_never_woken() {
    let report = probe(calling(|inner, request| {
        let call = inner.call(request);
        async move {
            let mut waited = false;
            future::poll_fn(|_| {
                if mem::replace(&mut waited, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            call.await
        }
    }));
    caught(&report, Clause::RightClone, "pending, and nobody wakes it");
}
