//! One record for each request, however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    clippy::unnecessary_wraps,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use common::{Audit, Body, by, chain, ended, exchange, identity, now, ok, request};
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tenant_audit::{ChainId, TenantStack};
use tenant_context::{ForTenant, Lookup, Rejection, Resolver, TenantContext, TenantScoped};
use tenant_testkit::{claims, tenants};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

type Failure = Box<dyn std::error::Error + Send + Sync>;
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn i9_each_refusal_is_one_record_in_the_right_chain() {
    let audit = Audit::new();
    let (identity, tenants) = identity(&audit.clock);
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|request: Request<_>| async move {
        let foreign = Some(TenantScoped::new("globex".parse().unwrap(), ()));
        let answer = match TenantContext::of(request.extensions()) {
            None => Response::new(Body::default()),
            Some(tenant) => match foreign.for_tenant(tenant) {
                Ok(()) => Response::new(Body::default()),
                Err(rejection) => rejection
                    .to_response(tenant_context::Protocol::Http)
                    .map(|()| Body::default()),
            },
        };
        Ok::<_, Infallible>(answer)
    }));
    let send = |request| exchange(service.clone(), request);

    assert_eq!(send(request("/invoices")), 401);
    assert_eq!(send(by("forged", "/invoices")), 401);
    assert_eq!(send(request("/health")), 200);
    let platform: Vec<Value> = audit.records();
    assert_eq!(
        platform.iter().map(ended).collect::<Vec<_>>(),
        [
            ("blocked", Some("credential_missing")),
            ("blocked", Some("token_unknown")),
            ("success", None)
        ]
    );
    assert!(
        platform
            .iter()
            .all(|record| record["actor_type"] == "anonymous" && record.get("tenant_id").is_none())
    );
    assert_eq!(audit.sink.lines(&ChainId::platform()).len(), 3);

    let mut mismatch = by("ada", "/invoices");
    mismatch
        .headers_mut()
        .insert("x-tenant-id", "globex".parse().unwrap());
    assert_eq!(send(mismatch), 403);
    assert_eq!(send(by("ada", "/invoices")), 404);
    tenants.suspend(&"acme".parse().unwrap());
    assert_eq!(send(by("ada", "/invoices")), 403);
    let all = audit.records();
    assert_eq!(
        all[3..].iter().map(ended).collect::<Vec<_>>(),
        [
            ("blocked", Some("tenant_mismatch")),
            ("blocked", Some("cross_tenant")),
            ("blocked", Some("tenant_suspended"))
        ]
    );
    assert_eq!(audit.sink.lines(&chain("acme")).len(), 3);
    assert_eq!(audit.sink.lines(&chain("globex")).len(), 0);
}

#[test]
fn i9_an_answer_with_an_error_status_is_a_failure() {
    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    }));
    exchange(service, request("/nothing/here"));
    let record = audit.one();
    assert_eq!(ended(&record), ("failure", None));
    assert_eq!(
        (&record["status"], &record["action"]),
        (&json!(404), &json!("http.get"))
    );
}

#[test]
fn i9_a_service_that_fails_is_a_failure() {
    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, _>(Failure::from("broken"))
    }));
    assert!(now(service.oneshot(request("/"))).is_err());
    let record = audit.one();
    assert_eq!(ended(&record), ("failure", Some("service_error")));
    assert!(record.get("status").is_none());
}

struct Explosive(&'static str);

impl http_body::Body for Explosive {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        assert_ne!(self.0, "body", "on command");
        Poll::Ready(Some(Err(self.0.into())))
    }
}

#[test]
fn i9_a_panic_is_one_record_wherever_it_happens() {
    for place in ["call", "future", "body"] {
        let audit = Audit::new();
        let service = audit.layer.layer(service_fn(move |_: Request<Body>| {
            assert_ne!(place, "call", "on command");
            async move {
                assert_ne!(place, "future", "on command");
                Ok::<_, Infallible>(Response::new(Explosive(place)))
            }
        }));
        let run = || {
            now(now(service.oneshot(request("/")))
                .unwrap()
                .into_body()
                .collect())
            .map(drop)
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(ended(&audit.one()), ("failure", Some("panic")), "{place}");
    }
}

/// Pending `polls` times.
async fn pending(polls: usize) {
    let mut left = polls;
    std::future::poll_fn(|_| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        Poll::Pending
    })
    .await;
}

#[test]
fn i9_a_client_that_hangs_up_leaves_one_record_at_every_await() {
    for polls in 0..=3 {
        let audit = Audit::new();
        let mut service = audit
            .layer
            .layer(service_fn(|request: Request<Body>| async move {
                pending(3).await;
                ok(request).await
            }));
        let mut call = Box::pin(service.call(request("/")));
        for _ in 0..polls {
            assert!(poll_once(call.as_mut()).is_pending());
        }
        drop(call);
        assert_eq!(
            ended(&audit.one()),
            ("failure", Some("cancelled")),
            "after {polls} polls"
        );
    }
}

fn frames(
    frames: Vec<Result<Frame<Bytes>, Failure>>,
) -> impl http_body::Body<Data = Bytes, Error = Failure> {
    StreamBody::new(stream::iter(frames))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Failure> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// What is recorded of an answer whose body is read for so many frames, and then dropped.
fn read_frames<B>(
    mut request: Request<Body>,
    configure: impl Fn(http::response::Builder) -> http::response::Builder,
    body: impl Fn() -> B,
    reads: usize,
) -> Value
where
    B: http_body::Body<Data = Bytes, Error = Failure>,
{
    let audit = Audit::new();
    request.extensions_mut().insert(());
    let answer = configure(Response::builder()).body(body()).unwrap();
    let answer = parking_lot::Mutex::new(Some(answer));
    let service = audit.layer.layer(service_fn(|_: Request<Body>| {
        let answer = answer.lock().take().unwrap();
        async { Ok::<_, Infallible>(answer) }
    }));
    let response = now(pin!(service.clone()).call(request)).unwrap();
    let mut body = Box::pin(response.into_body());
    for _ in 0..reads {
        let _frame = now(body.frame());
    }
    drop(body);
    audit.one()
}

#[test]
fn i9_a_body_that_is_not_read_to_its_end_is_said_to_be() {
    let body = || frames(vec![data("one"), data("two")]);
    for (reads, bytes, end) in [
        (0, 0, ("failure", Some("body_dropped"))),
        (1, 3, ("failure", Some("body_dropped"))),
        (2, 6, ("failure", Some("body_dropped"))),
        (3, 6, ("success", None)),
    ] {
        let record = read_frames(request("/"), |head| head, body, reads);
        assert_eq!(
            (ended(&record), &record["bytes"]),
            (end, &json!(bytes)),
            "{reads} reads"
        );
    }
}

#[test]
fn a_body_of_known_length_is_complete_when_all_of_it_was_taken() {
    let body = || frames(vec![data("one"), data("two")]);
    for (reads, end) in [
        (1, ("failure", Some("body_dropped"))),
        (2, ("success", None)),
    ] {
        let record = read_frames(
            request("/"),
            |head| head.header("content-length", "6"),
            body,
            reads,
        );
        assert_eq!(ended(&record), end, "{reads} reads");
    }
    let head = Request::head("/").body(Body::default()).unwrap();
    let record = read_frames(head, |head| head.header("content-length", "6"), body, 0);
    assert_eq!(ended(&record), ("success", None));
}

#[test]
fn i9_a_body_that_fails_is_one_record() {
    let body = || frames(vec![data("one"), Err("broken".into())]);
    let record = read_frames(request("/"), |head| head, body, 2);
    assert_eq!(ended(&record), ("failure", Some("body_error")));
    assert_eq!(
        (&record["status"], &record["bytes"]),
        (&json!(200), &json!(3))
    );
}

/// tonic answers gRPC whatever the request calls itself: its failures are no successes for that.
#[test]
fn i9_a_grpc_call_under_another_name_is_recorded_by_its_own_status() {
    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(async |_: Request<Body>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "7".parse().unwrap());
        let end = stream::iter([Ok::<_, Failure>(Frame::<Bytes>::trailers(trailers))]);
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(StreamBody::new(end))
    }));
    let call = Request::post("/pkg.Pay/Charge").header("content-type", "text/plain");
    assert_eq!(exchange(service, call.body(Body::default()).unwrap()), 200);
    let record = audit.one();
    assert_eq!(record["grpc_status"], 7);
    assert_ne!(record["outcome"], "success");

    // Trailers only: the status stands in the head.
    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(async |_: Request<Body>| {
        let head = Response::builder().header("content-type", "application/grpc");
        let response = head.header("grpc-status", "13").body(Body::default());
        Ok::<_, Infallible>(response.unwrap())
    }));
    assert_eq!(exchange(service, request("/pkg.Pay/Charge")), 200);
    let record = audit.one();
    assert_eq!(
        (&record["grpc_status"], &record["outcome"]),
        (&13.into(), &"failure".into())
    );
}

#[test]
fn i9_a_refusal_that_names_whose_credential_it_refuses_goes_to_its_tenants_chain() {
    let audit = Audit::new();
    let registry = tenants(&["acme"], &audit.clock);
    let lookup = Resolver::new(registry).resolve(claims("acme", "ada"));
    let Lookup::Pending(identity) = lookup else {
        panic!("a tenant that was never looked up");
    };
    let identity = now(identity).unwrap();
    let service = audit.layer.layer(service_fn(move |_: Request<Body>| {
        let refused = Rejection::tenant_mismatch().with_identity(identity.clone());
        let answer = refused.to_response(tenant_context::Protocol::Http);
        async { Ok::<_, Infallible>(answer.map(|()| Body::default())) }
    }));
    assert_eq!(exchange(service, request("/")), 403);
    assert_eq!(audit.one()["tenant_id"], "acme");
    assert_eq!(audit.sink.lines(&chain("acme")).len(), 1);
}

#[test]
fn grpc_is_recorded_by_its_own_status() {
    let grpc = || {
        Request::post("/billing.v1.Invoices/Read")
            .header("content-type", "application/grpc")
            .body(Body::default())
            .unwrap()
    };
    let trailers = |status: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        Ok(Frame::trailers(trailers))
    };
    for (status, end) in [("0", ("success", None)), ("13", ("failure", None))] {
        // A server stops after the trailers.
        let record = read_frames(
            grpc(),
            |head| head,
            || frames(vec![data("one"), trailers(status)]),
            2,
        );
        assert_eq!(ended(&record), end);
        assert_eq!(record["grpc_status"].to_string(), status);
        assert_eq!(record["action"], "billing.v1.Invoices/Read");
    }
    let cut = read_frames(
        grpc(),
        |head| head,
        || frames(vec![data("one"), trailers("0")]),
        1,
    );
    assert_eq!(ended(&cut), ("failure", Some("body_dropped")));

    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(
            Rejection::quota_exceeded("tenant", None)
                .to_response(tenant_context::Protocol::Grpc)
                .map(|()| Body::default()),
        )
    }));
    assert_eq!(exchange(service, grpc()), 200);
    let record = audit.one();
    assert_eq!(ended(&record), ("blocked", Some("rate_limited:tenant")));
    assert_eq!(
        (&record["limit"], &record["grpc_status"]),
        (&json!("tenant"), &json!(8))
    );
}

#[test]
fn i5_a_stream_that_suspension_cuts_is_recorded_as_cut() {
    let audit = Audit::new();
    let (identity, tenants) = identity(&audit.clock);
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|_| async {
        let endless = stream::repeat_with(|| data("tick"));
        Ok::<_, Infallible>(Response::new(StreamBody::new(endless)))
    }));
    let mut body = Box::pin(
        now(service.oneshot(by("ada", "/events")))
            .unwrap()
            .into_body(),
    );
    assert!(now(body.frame()).unwrap().is_ok());
    tenants.suspend(&"acme".parse().unwrap());
    assert!(now(body.frame()).unwrap().is_err());
    assert_eq!(ended(&audit.one()), ("blocked", Some("tenant_suspended")));
}

#[test]
fn i9_the_record_is_written_when_the_answer_has_left_and_not_before() {
    let audit = Audit::new();
    let service = audit.layer.layer(service_fn(ok));
    let response = now(service.oneshot(request("/"))).unwrap();
    assert!(audit.records().is_empty());
    now(response.into_body().collect()).unwrap();
    assert_eq!(audit.records().len(), 1);
}
