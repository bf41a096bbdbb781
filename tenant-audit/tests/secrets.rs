//! No secret reaches a record.

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

use std::{convert::Infallible, fs, path::Path, time::Duration};

use common::{Audit, Body, identity, ok, said::Said};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use tenant_audit::{
    CheckpointSigner, Durability, Export, FanOut, FileSink, TenantStack, TracingSink, Verifier,
};
use tenant_testkit::ManualClock;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const CANARY: &str = "canary-5f1e";

/// A request with a canary in every input but its path.
fn laden(token: &str) -> Request<Body> {
    Request::post(format!(
        "https://user:{CANARY}@{CANARY}.example/invoices?key={CANARY}#{CANARY}"
    ))
    .header("authorization", format!("Test {token}"))
    .header("proxy-authorization", format!("Basic {CANARY}"))
    .header("cookie", format!("session={CANARY}"))
    .header("x-api-key", CANARY)
    .header("x-tenant-id", CANARY)
    .header("user-agent", CANARY)
    .header("referer", CANARY)
    .header("forwarded", format!("for={CANARY}"))
    .header("content-type", format!("application/{CANARY}"))
    .body(Body::from(CANARY))
    .unwrap()
}

#[test]
fn i8_a_canary_in_every_input_is_in_no_record() {
    for token in ["ada", CANARY] {
        let audit = Audit::new();
        let (identity, _) = identity(&audit.clock);
        let stack = TenantStack::new()
            .audit(audit.layer.clone())
            .identity(identity);
        let inner = stack.layer(service_fn(|_| async {
            let response = Response::builder().header("set-cookie", CANARY);
            Ok::<_, Infallible>(response.body(Body::from(CANARY)).unwrap())
        }));
        let answer = inner.oneshot(laden(token)).now_or_never().unwrap().unwrap();
        drop(answer.into_body().collect().now_or_never().unwrap());

        // And without an identity layer, the handler being reached.
        let plain = audit.layer.layer(service_fn(ok));
        let answer = plain.oneshot(laden(token)).now_or_never().unwrap().unwrap();
        drop(answer.into_body().collect().now_or_never().unwrap());

        let records = audit.records();
        assert_eq!(records.len(), 2);
        for record in &records {
            assert!(!record.to_string().contains("canary"), "{record:#}");
            assert_eq!(record["path"], "/invoices");
        }
        let shown = format!("{:?} {:?}", audit.layer, audit.handle);
        assert!(!shown.contains("canary"), "{shown}");
    }
}

/// All bytes of all files of a directory.
fn files(dir: &Path) -> String {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let texts = files.map(|path| {
        let bytes = fs::read(&path).unwrap();
        format!("{} {}\n", path.display(), String::from_utf8_lossy(&bytes))
    });
    texts.collect()
}

#[tokio::test]
async fn i8_a_canary_in_every_input_is_in_no_file_log_export_or_error() {
    let said = Said::default();
    tracing::subscriber::set_global_default(said.clone()).unwrap();
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let signer = CheckpointSigner::generate("log").unwrap();
    let key = signer.key();
    let file = FileSink::open(dir.path())
        .unwrap()
        .signed(signer, Duration::from_secs(60), |_| ());
    let sink = FanOut::all(clock.clone(), Duration::from_secs(2))
        .sink(file)
        .best_effort(TracingSink::new());
    let (audit, worker) = tenant_audit::layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .unsafe_methods(Durability::IntentFirst)
        .trace_context()
        .build()
        .unwrap();
    let (identity, _) = identity(&clock);
    let stack = TenantStack::new().audit(audit.clone()).identity(identity);
    let service = stack.layer(service_fn(|_| async {
        // The handler fails, and says why to whoever asks.
        Err::<Response<Body>, _>(std::io::Error::other(CANARY))
    }));
    let handle = audit.handle();
    let shown = format!("{audit:?} {handle:?}");
    drop((audit, stack, handle));
    let sent = async move {
        for token in ["ada", CANARY] {
            for grpc in [false, true] {
                let mut request = laden(token);
                let headers = request.headers_mut();
                if token == "ada" {
                    // Another tenant's name would be refused.
                    headers.insert("x-tenant-id", "acme".parse().unwrap());
                }
                headers.insert("traceparent", CANARY.parse().unwrap());
                headers.insert("x-request-id", CANARY.parse().unwrap());
                if grpc {
                    headers.insert("content-type", "application/grpc".parse().unwrap());
                    headers.insert("grpc-timeout", CANARY.parse().unwrap());
                }
                drop(service.clone().oneshot(request).await);
            }
        }
    };
    let (ended, ()) = tokio::join!(worker, sent);
    ended.unwrap();

    let (mut bundle, mut events) = (Vec::new(), Vec::new());
    let acme = Export::of("acme".parse().unwrap());
    acme.bundle(dir.path(), &mut bundle).unwrap();
    acme.ocsf(dir.path(), &mut events).unwrap();
    let verified = Verifier::new().key(key).verify(dir.path()).unwrap();
    assert_eq!(
        verified.records,
        2 * 2 + 2,
        "two intents and outcomes, two refusals"
    );
    let (bundle, events) = (String::from_utf8(bundle), String::from_utf8(events));
    let said = said.0.lock().clone();
    assert!(said.contains("http.request.method"), "the records are said");
    for (what, text) in [
        ("files", files(dir.path())),
        ("bundle", bundle.unwrap()),
        ("events", events.unwrap()),
        ("log", said),
        ("debug", shown),
        ("verdict", format!("{verified:?}")),
    ] {
        assert!(!text.contains("canary"), "{what}: {text}");
        assert!(!text.is_empty());
    }
}
