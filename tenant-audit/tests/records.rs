//! One record for each request, whatever happens to it.

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
    time::Duration,
};

use bytes::Bytes;
use common::{Audit, Body, by, chain, identity, ok, request};
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tenant_audit::{ChainId, Event, Outcome, SystemContext, TenantStack, Trail};
use tenant_context::{ForTenant, Principal, PrincipalId, Rejection, TenantContext, TenantScoped};
use tenant_testkit::{TestAuth, claims, context, tenants};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("it waits")
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Sends a request, and reads the answer to its end.
fn exchange<S, B>(service: S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let response = now(service.oneshot(request)).unwrap();
    let status = response.status();
    now(response.into_body().collect()).unwrap();
    status
}

fn ended(record: &Value) -> (&str, Option<&str>) {
    (
        record["outcome"].as_str().unwrap(),
        record.get("reason").map(|reason| reason.as_str().unwrap()),
    )
}

#[test]
fn i9_a_success_is_one_record_with_all_that_is_known() {
    let audit = Audit::new();
    let (identity, _) = identity(&audit.clock);
    let clock = audit.clock.clone();
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(move |request: Request<_>| {
        Trail::of(request.extensions())
            .action("invoice.read")
            .resource("invoice", 17)
            .detail("amount", 3);
        clock.advance(Duration::from_micros(1500));
        async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) }
    }));
    assert_eq!(exchange(service, by("ada", "/invoices/17?secret=1")), 200);

    let mut record = audit.one();
    let event_id = record["event_id"].take();
    assert!(
        event_id
            .as_str()
            .unwrap()
            .starts_with(&format!("{:014x}-", 1_767_225_600_000_000_u64))
    );
    assert_eq!(
        record,
        json!({
            "schema": "tenant-audit/1",
            "event_id": null,
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "duration_us": 1500,
            "tenant_id": "acme",
            "actor_id": "ada",
            "actor_type": "human",
            "action": "invoice.read",
            "resource_type": "invoice",
            "resource_id": "17",
            "outcome": "success",
            "method": "GET",
            "path": "/invoices/17",
            "status": 200,
            "bytes": 5,
            "metadata": {"amount": 3},
        })
    );
    assert_eq!(audit.sink.lines(&chain("acme")).len(), 1);
}

#[test]
fn an_agent_is_told_from_whom_it_acts_for() {
    let audit = Audit::new();
    let mut agent = claims("acme", "ada").credential("jti-1".parse().unwrap());
    agent = agent.actor(Principal::agent(PrincipalId::parse("bot-7").unwrap()));
    let auth = TestAuth::new(tenants(&["acme"], &audit.clock)).accept("bot", agent);
    let identity = tenant_context::IdentityLayer::builder()
        .build(auth)
        .unwrap();
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    exchange(
        stack.layer(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        })),
        by("bot", "/"),
    );
    let record = audit.one();
    assert_eq!(record["actor_id"], "bot-7");
    assert_eq!(record["actor_type"], "agent");
    assert_eq!(record["on_behalf_of"], "ada");
    assert_eq!(record["on_behalf_of_type"], "human");
    assert_eq!(record["actors"], json!([{"id": "bot-7", "type": "agent"}]));
    assert_eq!(record["credential_id"], "jti-1");
}

#[test]
fn an_operator_is_told_from_the_tenants_own_and_says_why() {
    let audit = Audit::new();
    let olga = PrincipalId::parse("olga").unwrap();
    let mut visiting = claims("acme", "ada").actor(Principal::human(olga));
    visiting.operator_of = Some("staff".parse().unwrap());
    visiting.purpose = Some("ticket 4711: \u{202e}invoices do not show".to_owned());
    let auth = TestAuth::new(tenants(&["acme"], &audit.clock)).accept("olga", visiting);
    let identity = tenant_context::IdentityLayer::builder()
        .build(auth)
        .unwrap();
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    exchange(
        stack.layer(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        })),
        by("olga", "/"),
    );
    let record = audit.one();
    assert_eq!(record["actor_id"], "olga");
    assert_eq!(record["on_behalf_of"], "ada");
    assert_eq!(record["operator_of"], "staff");
    let purpose = record["purpose"].as_str().unwrap();
    assert!(
        purpose.starts_with("ticket 4711") && !purpose.contains('\u{202e}'),
        "{purpose:?}"
    );
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

#[test]
fn code_that_serves_no_request_records_too() {
    let audit = Audit::new();
    let tenants = tenants(&["acme"], &audit.clock);
    let tenant = context(&tenants, "acme", "ada");
    // What was done before the suspension is recorded after it.
    tenants.suspend(tenant.tenant_id());
    let event = Event::new("report.sent")
        .resource("report", 17)
        .outcome(Outcome::Failure)
        .reason("mailbox_full");
    now(audit.handle.record(&tenant, event)).unwrap();
    let system = SystemContext::begin("monthly-billing");
    now(audit
        .handle
        .record_system(&system, Event::new("billing.run")))
    .unwrap();

    let records = audit.records();
    let of = |name: &str| {
        records
            .iter()
            .find(|record| record["action"] == name)
            .unwrap()
    };
    let sent = of("report.sent");
    assert_eq!(
        (&sent["tenant_id"], &sent["actor_id"]),
        (&json!("acme"), &json!("ada"))
    );
    assert_eq!(ended(sent), ("failure", Some("mailbox_full")));
    let run = of("billing.run");
    assert_eq!(
        (&run["actor_type"], &run["actor_id"]),
        (&json!("system"), &json!("monthly-billing"))
    );
    assert!(run.get("tenant_id").is_none());
}

#[test]
fn event_ids_are_ordered_by_time_and_show_no_other_tenant() {
    let audit = Audit::new();
    let tenants = tenants(&["acme", "globex"], &audit.clock);
    let (ada, gil) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "gil"),
    );
    for _ in 0..3 {
        now(audit.handle.record(&ada, Event::new("a"))).unwrap();
        now(audit.handle.record(&gil, Event::new("g"))).unwrap();
        audit.clock.advance(Duration::from_micros(1));
    }
    let records = audit.records();
    let ids = |tenant: &str| -> Vec<String> {
        records
            .iter()
            .filter(|record| record["tenant_id"] == tenant)
            .map(|record| record["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (acme, globex) = (ids("acme"), ids("globex"));
    assert!(acme.is_sorted() && globex.is_sorted());
    // Numbers without gaps, and marks of its own: nothing of the other chain.
    let parts = |id: &String| id.split('-').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        acme.iter()
            .map(|id| parts(id)[2].clone())
            .collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    assert_ne!(parts(&acme[0])[1], parts(&globex[0])[1]);
}
