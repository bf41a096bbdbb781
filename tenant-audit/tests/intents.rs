//! An intent without its outcome is reported when the service starts again.

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

use std::{convert::Infallible, fs, future::pending, path::Path};

use common::{Body, by, identity, log::released};
use futures_util::FutureExt;
use http::{Method, Response};
use serde_json::Value;
use tenant_audit::{Durability, FileSink, TenantStack, layer, verify};
use tenant_testkit::ManualClock;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

/// A request whose intent is written; its handler answers, or the process ends while it works.
async fn serve(dir: &Path, answers: bool) {
    let clock = ManualClock::new();
    let (audit, worker) = layer(FileSink::open(dir).unwrap())
        .clock(clock.clone())
        .timer(clock.clone())
        .unsafe_methods(Durability::IntentFirst)
        .build()
        .unwrap();
    let handle = audit.handle();
    let (identity, _) = identity(&clock);
    let stack = TenantStack::new().audit(audit).identity(identity);
    let service = stack.layer(service_fn(move |_| async move {
        if !answers {
            pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Body::default()))
    }));
    let mut request = by("ada", "/payments/17");
    *request.method_mut() = Method::POST;
    let mut sent = Box::pin(service.oneshot(request));
    let mut worker = Box::pin(worker);
    assert!(sent.as_mut().now_or_never().is_none());
    let intended = async {
        handle.flush().await.unwrap();
        if answers {
            drop(sent.as_mut().await.unwrap());
            handle.flush().await.unwrap();
        } else {
            assert!(sent.as_mut().now_or_never().is_none(), "it works");
        }
    };
    tokio::select! {
        _ = worker.as_mut() => panic!("it ended"),
        () = intended => {}
    }
    // As a process ends: nobody writes what becomes of the request.
    drop(worker);
}

/// Opens the directory as a service does when it starts, and closes it.
async fn restart(dir: &Path) {
    released(dir);
    let clock = ManualClock::new();
    let builder = layer(FileSink::open(dir).unwrap());
    let (audit, worker) = builder.clock(clock.clone()).timer(clock).build().unwrap();
    drop(audit);
    worker.await.unwrap();
}

fn records(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("tenant-acme.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|mut line| line["record"].take()).collect()
}

fn reports(dir: &Path) -> Vec<Value> {
    let mut records = records(dir);
    records.retain(|record| record["action"] == "audit.intent_open");
    records
}

#[tokio::test]
async fn an_intent_without_an_outcome_is_reported_once_in_its_tenants_chain() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    serve(dir, false).await;
    restart(dir).await;
    let intent = &records(dir)[0];
    assert_eq!(intent["outcome"], "intent");
    let reports = reports(dir);
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    assert_eq!(
        (&report["outcome"], &report["reason"], &report["actor_id"]),
        (
            &"failure".into(),
            &"unclean_shutdown".into(),
            &"tenant-audit".into()
        )
    );
    assert_eq!(report["metadata"]["intents"], 1);
    assert_eq!(report["metadata"]["event_ids"][0], intent["event_id"]);
    // It is said once.
    restart(dir).await;
    assert_eq!(self::reports(dir).len(), 1);
    assert_eq!(verify(dir).unwrap().records, 2);
}

#[tokio::test]
async fn an_intent_with_its_outcome_is_not_reported() {
    let tmp = tempfile::tempdir().unwrap();
    serve(tmp.path(), true).await;
    restart(tmp.path()).await;
    assert!(reports(tmp.path()).is_empty());
    assert_eq!(records(tmp.path()).len(), 2);
}

#[tokio::test]
async fn an_intent_beyond_the_checkpoint_is_reported_and_an_outcome_there_counts() {
    for answers in [false, true] {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        restart(dir).await;
        // As after a crash between the lines and their checkpoint.
        let before = fs::read(dir.join("heads.json")).unwrap();
        serve(dir, answers).await;
        released(dir);
        fs::write(dir.join("heads.json"), &before).unwrap();
        restart(dir).await;
        assert_eq!(reports(dir).len(), usize::from(!answers));
        verify(dir).unwrap();
    }
}
