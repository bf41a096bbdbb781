//! Layers that keep, lend or make up reservations.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use futures_util::future::{self, Either, FutureExt};
use tenant_testkit::contract::{Clause, Outcome, ProbeService};
use tower_service::Service;

use crate::{
    With, calling, caught, poll_ready, probe, refusal, refuses, refusing, sound, waiting, waits,
    yield_once,
};

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
