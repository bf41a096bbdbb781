//! The worker: what it does when its sink fails, and when it ends.

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

use common::{Audit, Mood, Unreliable, exchange, ok, request};
use futures_util::FutureExt;
use tenant_audit::{AuditErrorKind, ChannelSink, WhenFull, layer};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

fn serve(audit: &Audit) {
    assert_eq!(
        exchange(audit.layer.layer(service_fn(ok)), request("/")),
        200
    );
}

#[test]
fn a_sink_that_fails_loses_nothing_and_repeats_nothing() {
    let sink = Unreliable::default();
    sink.mood(Mood::Fails);
    let kept = sink.inner.clone();
    let audit = Audit::on(sink.clone(), |builder| {
        builder.queue(8).when_full(WhenFull::Refuse)
    });
    for _ in 0..3 {
        serve(&audit);
    }
    let mut flush = Box::pin(audit.handle.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    audit.work();
    let error = flush
        .now_or_never()
        .expect("a failure is said at once")
        .unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Sink);

    // The pauses grow: 50 ms, 100 ms.
    audit.clock.advance(Duration::from_millis(50));
    audit.work();
    sink.mood(Mood::Well);
    audit.clock.advance(Duration::from_millis(99));
    audit.work();
    assert!(kept.records().is_empty());
    audit.clock.advance(Duration::from_millis(1));
    serve(&audit);
    audit.work();
    assert_eq!(kept.records().len(), 4);
}

#[test]
fn without_a_timer_a_failing_sink_ends_the_worker_with_its_error() {
    let sink = Unreliable::default();
    sink.mood(Mood::Fails);
    let (audit, worker) = layer(sink).when_full(WhenFull::Refuse).build().unwrap();
    let mut worker = Box::pin(worker);
    assert!(worker.as_mut().now_or_never().is_none());
    let service = audit.layer(service_fn(ok));
    drop(
        service
            .oneshot(request("/"))
            .now_or_never()
            .unwrap()
            .unwrap(),
    );
    let error = worker.as_mut().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Sink);
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "the disk is full"
    );
}

#[test]
fn the_worker_ends_when_the_last_request_has_ended_and_everything_is_written() {
    let audit = Audit::new();
    let open = audit.layer.layer(service_fn(ok)).oneshot(request("/"));
    let open = open.now_or_never().unwrap().unwrap();
    let (sink, work) = (audit.sink.clone(), audit.working());
    let Audit { layer, handle, .. } = audit;
    drop((layer, handle));
    work();
    assert!(sink.records().is_empty());
    drop(open);
    work();
    assert_eq!(sink.records().len(), 1);
}

#[test]
fn a_listener_hears_every_record() {
    let (sink, mut records) = ChannelSink::new(8);
    let audit = Audit::on(sink, |builder| builder.queue(8).when_full(WhenFull::Refuse));
    serve(&audit);
    audit.work();
    let heard = records.next().now_or_never().unwrap().unwrap();
    assert_eq!(heard["action"], "http.get");
    drop(records);
    serve(&audit);
    let mut flush = Box::pin(audit.handle.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    audit.work();
    assert!(flush.now_or_never().unwrap().is_err());
}
