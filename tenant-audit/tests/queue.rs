//! What happens when there is no place in the queue, and when the sink fails or hangs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{Audit, Mood, Unreliable, ok, request};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tenant_audit::{AuditBody, AuditErrorKind, Event, SystemContext, WhenFull};
use tenant_context::Rejection;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

type Answer = Response<AuditBody<common::Body>>;

const WAIT: WhenFull = WhenFull::Wait {
    deadline: Duration::from_secs(1),
};

/// A queue of one place, in this mode.
fn narrow(when_full: WhenFull) -> Audit {
    Audit::with(|builder| builder.queue(1).in_flight(1).when_full(when_full))
}

fn send(audit: &Audit) -> impl Future<Output = Answer> + use<> {
    let service = audit.layer.layer(service_fn(ok));
    async { service.oneshot(request("/")).await.unwrap() }
}

fn served(audit: &Audit) -> Answer {
    let answer = send(audit).now_or_never().expect("it waits");
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.reason(), "audit-unavailable");
}

fn read(answer: Answer) {
    let body = answer.into_body().collect().now_or_never().unwrap();
    assert_eq!(body.unwrap().to_bytes(), "hello");
}

fn counts(records: &[Value], action: &str) -> Vec<u64> {
    let of = records.iter().filter(|record| record["action"] == action);
    of.map(|record| record["metadata"]["requests"].as_u64().unwrap())
        .collect()
}

#[test]
fn i7_a_full_queue_refuses_and_says_how_many() {
    let audit = narrow(WhenFull::Refuse);
    let first = served(&audit);
    for _ in 0..3 {
        assert_refused(&send(&audit).now_or_never().unwrap());
    }
    read(first);
    let records = audit.records();
    assert_eq!(counts(&records, "audit.refused"), [3]);
    assert_eq!(records.len(), 2, "{records:#?}");
    read(served(&audit));
    assert_eq!(audit.records().len(), 3);
}

#[test]
fn i7_a_request_waits_for_a_place_and_then_is_served() {
    let audit = narrow(WAIT);
    let first = served(&audit);
    let mut second = Box::pin(send(&audit));
    assert!(second.as_mut().now_or_never().is_none());
    read(first);
    audit.work();
    read(second.as_mut().now_or_never().expect("it still waits"));
    assert_eq!(audit.records().len(), 2);
}

#[test]
fn i9_a_wait_counts_into_the_duration() {
    let audit = narrow(WAIT);
    let first = served(&audit);
    let mut second = Box::pin(send(&audit));
    assert!(second.as_mut().now_or_never().is_none());
    audit.clock.advance(Duration::from_millis(300));
    drop(first);
    audit.work();
    read(second.as_mut().now_or_never().unwrap());
    assert_eq!(audit.records()[1]["duration_us"], 300_000);
}

#[test]
fn a_hung_audit_device_costs_a_request_its_deadline_and_no_more() {
    let sink = Unreliable::default();
    sink.mood(Mood::Hangs);
    let audit = Audit::on(sink, |builder| {
        builder.queue(2).in_flight(2).when_full(WAIT)
    });
    let places: Vec<Answer> = (0..2).map(|_| served(&audit)).collect();
    drop(places);
    // The worker takes two records, and hangs with them.
    assert!(audit.work().is_none());
    let places: Vec<Answer> = (0..2).map(|_| served(&audit)).collect();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(send(&audit))).collect();
    for request in &mut waiting {
        assert!(request.as_mut().now_or_never().is_none());
    }
    audit.clock.advance(Duration::from_millis(999));
    for request in &mut waiting {
        assert!(request.as_mut().now_or_never().is_none());
    }
    audit.clock.advance(Duration::from_millis(1));
    for request in &mut waiting {
        assert_refused(
            &request
                .as_mut()
                .now_or_never()
                .expect("it waits beyond its deadline"),
        );
    }
    drop(places);
}

#[test]
fn i9_requests_that_wait_in_vain_or_hang_up_meanwhile_are_counted() {
    let audit = narrow(WAIT);
    let first = served(&audit);
    let mut late = Box::pin(send(&audit));
    let mut gone = Box::pin(send(&audit));
    assert!(late.as_mut().now_or_never().is_none());
    assert!(gone.as_mut().now_or_never().is_none());
    drop(gone);
    audit.clock.advance(Duration::from_secs(1));
    assert_refused(&late.as_mut().now_or_never().unwrap());
    read(first);
    assert_eq!(
        counts(&audit.records(), "audit.refused")
            .iter()
            .sum::<u64>(),
        2
    );
}

#[test]
fn any_loss_is_a_gap_record_with_the_exact_count() {
    let audit = narrow(WhenFull::DropAndRecord);
    let first = served(&audit);
    // One that found no place on arrival finds one at its end; then the queue is full too.
    for _ in 0..6 {
        read(served(&audit));
    }
    read(first);
    let records = audit.records();
    assert_eq!(counts(&records, "audit.gap"), [5]);
    assert_eq!(records.len(), 3);
}

#[test]
fn a_gap_is_recorded_also_if_nothing_follows_it() {
    let audit = narrow(WhenFull::DropAndRecord);
    assert!(audit.records().is_empty());
    let open = served(&audit);
    read(served(&audit));
    read(served(&audit));
    // The one place is still taken, by a request in flight.
    assert_eq!(counts(&audit.records(), "audit.gap"), [1]);
    drop(open);
}

#[test]
fn i7_without_a_worker_nothing_is_admitted_in_any_mode() {
    for mode in [WhenFull::Refuse, WhenFull::DropAndRecord, WAIT] {
        let audit = narrow(mode);
        audit.stop();
        assert_refused(&send(&audit).now_or_never().expect("it waits for nobody"));
        let system = SystemContext::begin("t");
        let event = audit.handle.record_system(&system, Event::new("e"));
        let error = event.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::WorkerGone, "{mode:?}");
        let flush = audit.handle.flush().now_or_never().unwrap();
        assert_eq!(flush.unwrap_err().kind(), AuditErrorKind::WorkerGone);
    }
}

#[test]
fn an_event_without_a_place_is_an_error_of_its_caller() {
    let audit = narrow(WhenFull::Refuse);
    let _open = served(&audit);
    let system = SystemContext::begin("t");
    let event = audit.handle.record_system(&system, Event::new("e"));
    let error = event.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::QueueFull);
    assert!(
        counts(&audit.records(), "audit.refused").is_empty(),
        "no request was refused"
    );
}

#[test]
fn the_trail_is_one_extension_and_no_request_is_changed_otherwise() {
    let audit = Audit::new();
    let service = audit
        .layer
        .layer(service_fn(|request: Request<common::Body>| {
            assert_eq!(request.extensions().len(), 1);
            assert!(request.headers().is_empty());
            ok(request)
        }));
    drop(
        service
            .oneshot(request("/"))
            .now_or_never()
            .unwrap()
            .unwrap(),
    );
}

#[test]
fn i6_a_flood_of_refusals_before_identity_is_counted_and_leaves_room() {
    const PLACES: usize = 64;
    let audit = Audit::with(|builder| builder.queue(PLACES).when_full(WhenFull::Refuse));
    let (identity, _) = common::identity(&audit.clock);
    let stack = tenant_audit::TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|_| async {
        Ok::<_, std::convert::Infallible>(Response::new(common::Body::default()))
    }));
    let send = |request| {
        let answer = service.clone().oneshot(request).now_or_never().unwrap();
        let (head, body) = answer.unwrap().into_parts();
        drop(body.collect().now_or_never().unwrap());
        head.status
    };
    for _ in 0..1000 {
        assert_eq!(send(request("/invoices")), 401);
    }
    assert_eq!(send(common::by("ada", "/invoices")), 200);
    let records = audit.records();
    assert_eq!(counts(&records, "audit.refusals"), [1000 - 4]);
    assert_eq!(records.len(), 4 + 1 + 1, "each is recorded or counted");
    let counted = records
        .iter()
        .find(|record| record["action"] == "audit.refusals")
        .unwrap();
    assert_eq!(counted["metadata"]["reason"], "credential_missing");
    // The next ones are recorded again, each time that the worker has taken all.
    for round in 1..8 {
        assert_eq!(send(request("/invoices")), 401);
        let records = audit.records();
        assert_eq!(records.len(), 6 + round);
        assert_eq!(records[5 + round]["action"], "http.get", "by itself");
    }
}

#[test]
fn who_waits_for_a_place_already_comes_first() {
    let audit = narrow(WAIT);
    let first = served(&audit);
    let mut second = Box::pin(send(&audit));
    assert!(second.as_mut().now_or_never().is_none());
    read(first);
    audit.work();
    // The place is free, and not for whoever comes now.
    let mut third = Box::pin(send(&audit));
    let mut fourth = Box::pin(send(&audit));
    assert!(third.as_mut().now_or_never().is_none());
    assert!(fourth.as_mut().now_or_never().is_none());
    read(second.as_mut().now_or_never().expect("it still waits"));
    // Of those that are told of it, whoever looks first has it.
    audit.work();
    read(third.as_mut().now_or_never().expect("it still waits"));
    audit.work();
    read(fourth.as_mut().now_or_never().expect("it still waits"));
}

#[test]
fn i9_what_an_application_refuses_on_a_public_route_is_recorded_one_by_one() {
    let audit = Audit::with(|builder| builder.queue(64).when_full(WhenFull::Refuse));
    let service = audit
        .layer
        .layer(audit.layer.gate().layer(service_fn(|_| async {
            let refused = Rejection::credential_invalid("password");
            let answer = refused.to_response(tenant_context::Protocol::Http);
            Ok::<_, std::convert::Infallible>(answer.map(|()| common::Body::default()))
        })));
    for _ in 0..3 {
        for _ in 0..20 {
            let answer = service.clone().oneshot(request("/login")).now_or_never();
            let (head, body) = answer.unwrap().unwrap().into_parts();
            drop(body.collect().now_or_never().unwrap());
            assert_eq!(head.status, 401);
        }
        audit.records();
    }
    let records = audit.records();
    assert_eq!(counts(&records, "audit.refusals"), [0_u64; 0]);
    assert_eq!(records.len(), 60);
}

#[test]
fn i7_an_audit_inside_of_another_or_of_identity_refuses() {
    let audit = Audit::new();
    let nested = audit.layer.layer(audit.layer.layer(service_fn(ok)));
    let answer = nested.oneshot(request("/")).now_or_never().unwrap();
    assert_eq!(answer.unwrap().status(), 500);

    let (identity, _) = common::identity(&audit.clock);
    let inside = audit.layer.layer(service_fn(
        |_: Request<tenant_context::GuardedBody<common::Body>>| async {
            Ok::<_, std::convert::Infallible>(Response::new(common::Body::default()))
        },
    ));
    let misplaced = identity.layer(inside);
    let answer = misplaced
        .oneshot(common::by("ada", "/"))
        .now_or_never()
        .unwrap();
    assert_eq!(answer.unwrap().status(), 500);
}
