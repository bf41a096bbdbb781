//! A service that ends: what is drained, and what is said of the rest.

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

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use common::{
    Audit, Mood, Unreliable, by, identity, ok, request,
    said::{Said, heard_by},
};
use futures_util::{FutureExt, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tenant_audit::{
    AuditErrorKind, Durability, Event, FileSink, SystemContext, TenantStack, WhenFull, verify,
};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn closing_drains_signs_and_ends_although_layers_are_left() {
    let tmp = tempfile::tempdir().unwrap();
    let audit = Audit::on(FileSink::open(tmp.path()).unwrap(), |builder| {
        builder.when_full(WhenFull::Refuse)
    });
    let service = audit.layer.layer(service_fn(ok));
    for _ in 0..3 {
        let sent = service.clone().oneshot(request("/invoices")).now_or_never();
        drop(sent.unwrap().unwrap().into_body());
    }
    let mut closing = Box::pin(audit.handle.close(DEADLINE));
    let closed = loop {
        if let Some(closed) = closing.as_mut().now_or_never() {
            break closed;
        }
        // The sink has a thread of its own.
        audit.work();
        std::thread::yield_now();
    };
    assert!(closed.is_clean(), "{closed:?}");
    assert_eq!(verify(tmp.path()).unwrap().records, 3);
    // Its lock is given back.
    FileSink::open(tmp.path()).unwrap();

    let late = service.oneshot(request("/invoices")).now_or_never();
    let late = late.unwrap().unwrap();
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn what_is_left_at_the_deadline_is_said() {
    let audit = Audit::with(|builder| builder.when_full(WhenFull::Refuse));
    let endless = audit
        .layer
        .layer(service_fn(|_: Request<common::Body>| async {
            let frames = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::new())));
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }));
    let open = endless.oneshot(request("/events")).now_or_never();
    let open = open.unwrap().unwrap();
    let mut closing = Box::pin(audit.handle.close(DEADLINE));
    // However often both are asked: the worker does not end before the request does.
    for _ in 0..4 {
        assert!(closing.as_mut().now_or_never().is_none());
        audit.work();
    }
    audit.clock.advance(DEADLINE);
    let closed = closing.now_or_never().expect("beyond its deadline");
    assert_eq!((closed.in_flight, closed.ended), (1, false));
    // Nobody enters any more, and what is in flight is still recorded when it ends.
    let system = SystemContext::begin("billing");
    let refused = audit.handle.try_record_system(&system, Event::new("late"));
    assert_eq!(refused.unwrap_err().kind(), AuditErrorKind::Closed);
    drop(open);
    assert_eq!(audit.one()["path"], "/events");
}

#[test]
fn a_sink_that_hangs_leaves_its_records_and_they_are_counted() {
    let sink = Unreliable::default();
    let audit = Audit::on(sink.clone(), |builder| builder.when_full(WhenFull::Refuse));
    let system = SystemContext::begin("billing");
    for _ in 0..5 {
        audit
            .handle
            .try_record_system(&system, Event::new("run"))
            .unwrap();
    }
    sink.mood(Mood::Hangs);
    audit.work();
    audit
        .handle
        .try_record_system(&system, Event::new("run"))
        .unwrap();
    let mut closing = Box::pin(audit.handle.close(DEADLINE));
    assert!(closing.as_mut().now_or_never().is_none());
    audit.work();
    audit.clock.advance(DEADLINE);
    let closed = closing.now_or_never().expect("beyond its deadline");
    assert_eq!(
        (closed.in_flight, closed.unwritten, closed.ended),
        (0, 6, false)
    );
}

#[test]
fn who_waits_at_the_door_is_sent_away_when_it_is_closed() {
    let audit = Audit::with(|builder| {
        builder
            .queue(1)
            .in_flight(1)
            .when_full(WhenFull::Wait { deadline: DEADLINE })
            .unsafe_methods(Durability::Deferred)
    });
    let (identity, _) = identity(&audit.clock);
    let service = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity)
        .layer(service_fn(|_| {
            std::future::pending::<Result<Response<common::Body>, Infallible>>()
        }));
    let mut first = Box::pin(service.clone().oneshot(by("ada", "/a")));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(service.oneshot(by("ada", "/b")));
    assert!(second.as_mut().now_or_never().is_none());
    let mut closing = Box::pin(audit.handle.close(DEADLINE));
    assert!(closing.as_mut().now_or_never().is_none());
    let refused = second.now_or_never().expect("it waits for nobody").unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The client of the first hangs up: nothing is in flight any more.
    drop(first);
    for _ in 0..4 {
        audit.work();
        if let Some(closed) = closing.as_mut().now_or_never() {
            assert!(closed.is_clean(), "{closed:?}");
            return;
        }
    }
    panic!("it does not end");
}

#[test]
fn a_sink_that_is_back_before_the_deadline_gets_all_and_the_end_is_clean() {
    let sink = Unreliable::default();
    sink.mood(Mood::Fails);
    let audit = Audit::on(sink.clone(), |builder| builder.when_full(WhenFull::Refuse));
    let system = SystemContext::begin("billing");
    audit
        .handle
        .try_record_system(&system, Event::new("run"))
        .unwrap();
    let mut closing = Box::pin(audit.handle.close(DEADLINE));
    for _ in 0..3 {
        assert!(closing.as_mut().now_or_never().is_none());
        audit.work();
        audit.clock.advance(Duration::from_secs(1));
    }
    sink.mood(Mood::Well);
    for _ in 0..3 {
        audit.work();
        audit.clock.advance(Duration::from_secs(1));
        if let Some(closed) = closing.as_mut().now_or_never() {
            assert!(closed.is_clean(), "{closed:?}");
            assert_eq!(sink.inner.records().len(), 1);
            return;
        }
    }
    panic!("it is not closed");
}

#[test]
fn a_worker_that_is_dropped_says_how_much_is_lost() {
    let said = Said::default();
    heard_by(said.clone(), || {
        let audit = Audit::on(Unreliable::default(), |builder| {
            builder
                .queue(16)
                .in_flight(32)
                .when_full(WhenFull::DropAndRecord)
        });
        let (identity, _) = identity(&audit.clock);
        let service = TenantStack::new()
            .audit(audit.layer.clone())
            .identity(identity)
            .layer(service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(common::Body::from("hello")))
            }));
        let send = |request| drop(service.clone().oneshot(request).now_or_never().unwrap());
        // A sixteenth of the queue is theirs: the others are counted.
        for _ in 0..4 {
            send(by("nobody", "/"));
        }
        let system = SystemContext::begin("billing");
        for _ in 0..20 {
            audit
                .handle
                .try_record_system(&system, Event::new("run"))
                .unwrap();
        }
        audit.stop();
        assert!(
            audit
                .handle
                .try_record_system(&system, Event::new("run"))
                .is_err()
        );
    });
    let said = said.0.lock();
    let lines = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("lost=16 "), 1, "{said}");
    assert_eq!(lines("dropped=5 refused=0 refusals=3 "), 1, "{said}");
}

#[test]
fn a_sink_that_hangs_when_its_worker_is_dropped_leaves_a_count_of_what_it_was_given() {
    let said = Said::default();
    heard_by(said.clone(), || {
        let sink = Unreliable::default();
        sink.mood(Mood::Hangs);
        let audit = Audit::on(sink, |builder| builder.when_full(WhenFull::Refuse));
        let system = SystemContext::begin("billing");
        let record = || {
            audit
                .handle
                .try_record_system(&system, Event::new("run"))
                .unwrap();
        };
        (0..5).for_each(|_| record());
        audit.work();
        (0..2).for_each(|_| record());
        audit.stop();
    });
    let said = said.0.lock();
    assert!(said.contains("lost=7 "), "{said}");
}
