//! What got no record is counted, and the count is a record.

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

use std::convert::Infallible;

use common::{Audit, Body, by, now, request};
use futures_util::FutureExt;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tenant_audit::{Durability, Event, FileSink, SystemContext, TenantStack, WhenFull, verify};
use tenant_testkit::{ManualClock, context, tenants};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

#[test]
fn a_gap_is_told_to_each_tenant_in_its_own_chain_with_its_own_exact_count() {
    let audit = Audit::with(|builder| {
        builder
            .queue(1)
            .in_flight(1)
            .when_full(WhenFull::DropAndRecord)
    });
    let (identity, _) = common::identity(&audit.clock);
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Body::from("hello")))
    }));
    let send = |request| now(service.clone().oneshot(request)).unwrap();
    // The one place is taken; the next one finds one at its end.
    let first = send(by("ada", "/"));
    drop(send(by("ada", "/")));
    for (token, count) in [("ada", 3), ("gil", 2), ("nobody", 1)] {
        for _ in 0..count {
            let answer = send(by(token, "/"));
            let refused = answer.status() == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, token == "nobody");
            drop(now(answer.into_body().collect()).unwrap());
        }
    }
    drop(first);
    let records = audit.records();
    let gaps = records
        .iter()
        .filter(|record| record["action"] == "audit.gap");
    let mut gaps: Vec<_> = gaps
        .map(|gap| {
            assert_eq!(
                (&gap["outcome"], &gap["reason"]),
                (&"failure".into(), &"queue_full".into())
            );
            let tenant = gap["tenant_id"].as_str().unwrap_or("platform").to_owned();
            (tenant, gap["metadata"]["requests"].as_u64().unwrap())
        })
        .collect();
    gaps.sort();
    let expected = [("acme", 3), ("globex", 2), ("platform", 1)];
    assert_eq!(
        gaps,
        expected.map(|(tenant, count)| (tenant.to_owned(), count))
    );
    for tenant in ["acme", "globex"] {
        let lines = audit.sink.lines(&common::chain(tenant));
        let gaps = lines.iter().filter(|line| line.contains("audit.gap"));
        assert_eq!(gaps.count(), 1, "{tenant}");
    }
}

#[tokio::test]
async fn an_event_that_found_no_place_is_in_its_tenants_gap_and_the_gap_is_in_the_chain() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let contexts = tenants(&["acme"], &clock);
    let context = context(&contexts, "acme", "ada");
    let (layer, worker) = tenant_audit::layer(FileSink::open(dir.path()).unwrap())
        .queue(2)
        .in_flight(1)
        .when_full(WhenFull::DropAndRecord)
        .clock(clock.clone())
        .timer(clock)
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    for _ in 0..6 {
        handle.record(&context, Event::new("a")).await.unwrap();
    }
    let system = SystemContext::begin("billing");
    handle
        .record_system(&system, Event::new("b"))
        .await
        .unwrap();
    let (ended, ()) = tokio::join!(worker, async move { drop(handle) });
    ended.unwrap();
    // Two are there, and two gaps.
    assert_eq!(verify(dir.path()).unwrap().records, 4);
    let acme = std::fs::read_to_string(dir.path().join("tenant-acme.jsonl")).unwrap();
    assert!(acme.contains(r#""metadata":{"requests":4}"#), "{acme}");
    let platform = std::fs::read_to_string(dir.path().join("platform.jsonl")).unwrap();
    assert!(
        platform.contains(r#""metadata":{"requests":1}"#),
        "{platform}"
    );
}

#[test]
fn i7_a_request_that_waited_in_vain_has_not_reached_its_handler() {
    let served = std::cell::Cell::new(0);
    let audit = Audit::with(|builder| {
        builder
            .queue(1)
            .in_flight(1)
            .unsafe_methods(Durability::Deferred)
    });
    let service = audit.layer.layer(service_fn(|_| {
        served.set(served.get() + 1);
        async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) }
    }));
    // The default: it waits for one second.
    let _open = now(service.clone().oneshot(request("/")))
        .unwrap()
        .into_parts();
    let mut late = Box::pin(service.clone().oneshot(request("/")));
    for _ in 0..2 {
        assert!(late.as_mut().now_or_never().is_none());
        audit.clock.advance(std::time::Duration::from_millis(500));
    }
    let answer = now(late).unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(served.get(), 1);
}
