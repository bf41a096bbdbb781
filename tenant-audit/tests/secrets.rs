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

use std::convert::Infallible;

use common::{Audit, Body, identity, ok};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use tenant_audit::TenantStack;
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
