//! Deferred, synced, intent first: what a client sees, and what is durable when.

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

use std::{cell::Cell, convert::Infallible, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use common::{Audit, Body, Mood, Unreliable, by, identity, ok};
use futures_util::{FutureExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Either, StreamBody};
use serde_json::Value;
use tenant_audit::{AuditLayerBuilder, Durability, TenantStack, Trail, WhenFull};
use tenant_context::Rejection;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const DEADLINE: Duration = Duration::from_secs(5);

/// An audit on a sink that obeys, a stack around a handler that counts, and one request to it.
struct Rig {
    audit: Audit,
    sink: Unreliable,
    served: Rc<Cell<usize>>,
}

impl Rig {
    fn new(configure: impl FnOnce(AuditLayerBuilder) -> AuditLayerBuilder) -> Self {
        let sink = Unreliable::default();
        let audit = Audit::on(sink.clone(), |builder| {
            configure(builder.when_full(WhenFull::Refuse))
        });
        Self {
            audit,
            sink,
            served: Rc::default(),
        }
    }

    fn send(
        &self,
        method: Method,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>>>> {
        let (identity, _) = identity(&self.audit.clock);
        let stack = TenantStack::new()
            .audit(self.audit.layer.clone())
            .identity(identity);
        let served = Rc::clone(&self.served);
        let service = stack.layer(service_fn(move |_| {
            served.set(served.get() + 1);
            async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) }
        }));
        let mut request = by("ada", "/invoices");
        *request.method_mut() = method;
        Box::pin(async move {
            let (head, body) = service.oneshot(request).await.unwrap().into_parts();
            match body.collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
        let records = self.sink.inner.records();
        records
            .iter()
            .map(|record| (text(record, "outcome"), text(record, "event_id")))
            .collect()
    }
}

#[track_caller]
fn assert_unavailable(answer: Result<Response<Bytes>, String>) {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.reason(), "audit-unavailable");
}

#[test]
fn a_safe_method_waits_for_nothing_and_an_unsafe_one_for_the_sync() {
    let rig = Rig::new(|builder| builder);
    let read = rig.send(Method::GET).now_or_never().expect("it waits");
    assert_eq!(read.unwrap().body(), "hello");
    assert!(rig.outcomes().is_empty());

    let mut write = rig.send(Method::POST);
    assert!(write.as_mut().now_or_never().is_none(), "not yet durable");
    assert_eq!(rig.served.get(), 2);
    rig.audit.work();
    assert_eq!(write.now_or_never().unwrap().unwrap().body(), "hello");
    assert_eq!(rig.outcomes().len(), 2);
}

#[test]
fn i7_a_sync_that_fails_is_a_503_and_the_class_is_refused_until_the_sink_is_back() {
    let rig = Rig::new(|builder| builder);
    rig.sink.mood(Mood::Fails);
    let mut write = rig.send(Method::POST);
    assert!(write.as_mut().now_or_never().is_none());
    rig.audit.work();
    assert_unavailable(
        write
            .now_or_never()
            .expect("it waits for a sink that failed"),
    );
    assert_eq!(rig.served.get(), 1);

    // Before its handler runs.
    assert_unavailable(rig.send(Method::POST).now_or_never().unwrap());
    assert_eq!(rig.served.get(), 1);
    // The other class is served.
    let read = rig.send(Method::GET).now_or_never().unwrap().unwrap();
    assert_eq!(read.status(), StatusCode::OK);

    rig.sink.mood(Mood::Well);
    rig.audit.clock.advance(Duration::from_millis(50));
    rig.audit.work();
    let mut write = rig.send(Method::POST);
    assert!(write.as_mut().now_or_never().is_none());
    rig.audit.work();
    assert_eq!(
        write.now_or_never().unwrap().unwrap().status(),
        StatusCode::OK
    );
    // Nothing is lost: what was refused after its handler ran is recorded too.
    assert_eq!(rig.outcomes().len(), 4);
}

#[test]
fn a_sink_that_hangs_costs_a_synced_answer_its_deadline_and_no_more() {
    let rig = Rig::new(|builder| builder.sync_deadline(DEADLINE));
    rig.sink.mood(Mood::Hangs);
    let mut write = rig.send(Method::POST);
    assert!(write.as_mut().now_or_never().is_none());
    rig.audit.work();
    rig.audit.clock.advance(Duration::from_millis(4_999));
    assert!(write.as_mut().now_or_never().is_none());
    rig.audit.clock.advance(Duration::from_millis(1));
    assert_unavailable(write.now_or_never().expect("beyond its deadline"));
    assert_unavailable(rig.send(Method::POST).now_or_never().unwrap());
}

#[test]
fn who_chose_availability_is_served_unsynced() {
    let rig = Rig::new(AuditLayerBuilder::continue_unsynced);
    rig.sink.mood(Mood::Fails);
    for _ in 0..2 {
        let mut write = rig.send(Method::POST);
        if write.as_mut().now_or_never().is_none() {
            rig.audit.work();
            rig.audit.clock.advance(DEADLINE);
            let answer = write.now_or_never().unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    assert_eq!(rig.served.get(), 2);
}

#[test]
fn i7_a_worker_that_ends_fails_whoever_waits_for_it() {
    for taken in [false, true] {
        let rig = Rig::new(|builder| builder);
        let mut write = rig.send(Method::POST);
        assert!(write.as_mut().now_or_never().is_none());
        if taken {
            rig.sink.mood(Mood::Hangs);
            rig.audit.work();
        }
        rig.audit.stop();
        assert_unavailable(write.now_or_never().expect("it waits for nobody"));
    }
}

#[test]
fn an_intent_is_durable_before_the_handler_runs() {
    let rig = Rig::new(|builder| builder.unsafe_methods(Durability::IntentFirst));
    let mut write = rig.send(Method::POST);
    assert!(write.as_mut().now_or_never().is_none());
    assert_eq!(rig.served.get(), 0);
    rig.audit.work();
    assert_eq!(rig.served.get(), 0);
    assert_eq!(rig.outcomes()[0].0, "intent");
    assert_eq!(write.now_or_never().unwrap().unwrap().body(), "hello");
    assert_eq!(rig.served.get(), 1);
    rig.audit.work();
    let outcomes = rig.outcomes();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[1].0, "success");
    assert_eq!(outcomes[0].1, outcomes[1].1, "one event id for both");
}

#[test]
fn i7_without_its_intent_a_handler_does_not_run() {
    for mood in [Mood::Fails, Mood::Hangs] {
        let rig = Rig::new(|builder| builder.unsafe_methods(Durability::IntentFirst));
        rig.sink.mood(mood);
        let mut write = rig.send(Method::POST);
        assert!(write.as_mut().now_or_never().is_none());
        rig.audit.work();
        rig.audit.clock.advance(DEADLINE);
        assert_unavailable(write.now_or_never().unwrap());
        assert_eq!(rig.served.get(), 0);
    }
}

#[test]
fn i9_a_client_that_hangs_up_at_any_await_leaves_one_outcome() {
    for durability in [Durability::Synced, Durability::IntentFirst] {
        for polls in 1..=3 {
            let rig = Rig::new(|builder| builder.unsafe_methods(durability));
            let mut write = rig.send(Method::POST);
            for _ in 1..polls {
                let _pending = write.as_mut().now_or_never();
                rig.audit.work();
            }
            drop(write);
            rig.audit.work();
            let outcomes = rig.outcomes();
            let intents = outcomes.iter().filter(|(outcome, _)| outcome == "intent");
            let expected = usize::from(polls > 1);
            assert_eq!(
                outcomes.len() - intents.count(),
                expected,
                "{durability:?}, {polls}"
            );
        }
    }
}

#[test]
fn i6_one_tenants_streams_leave_room_for_the_others() {
    const PLACES: usize = 64;
    let audit = Audit::with(|builder| {
        builder
            .queue(PLACES)
            .in_flight(PLACES)
            .when_full(WhenFull::Refuse)
    });
    let (identity, _) = identity(&audit.clock);
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|_| async {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::new())));
        Ok::<_, Infallible>(Response::new(StreamBody::new(endless)))
    }));
    let send = |token: &str| {
        let answer = service.clone().oneshot(by(token, "/events"));
        answer.now_or_never().unwrap().unwrap()
    };
    let open: Vec<_> = (0..PLACES)
        .map(|_| send("ada"))
        .filter(|answer| answer.status() == 200)
        .collect();
    assert!(
        (PLACES / 4..=PLACES / 2 + 1).contains(&open.len()),
        "{} streams of one tenant",
        open.len()
    );
    assert_eq!(send("gil").status(), 200);
    // They give their places back when they end, and their share: then others press, and it has it again.
    drop(open);
    audit.work();
    let others: Vec<_> = (0..PLACES)
        .map(|_| send("gil"))
        .filter(|answer| answer.status() == 200)
        .collect();
    assert_eq!(send("ada").status(), 200);
    drop(others);
}

#[test]
fn i7_a_refusal_of_the_gate_gives_back_what_was_reserved_inside() {
    let audit = Audit::new();
    let inside = tower::limit::ConcurrencyLimit::new(service_fn(ok), 1);
    let mut gate = audit.layer.gate().layer(inside.clone());
    // It has the one place, and refuses: no audit layer stands outside.
    let ready = gate.ready().now_or_never().unwrap().unwrap();
    let refused = tower::Service::call(ready, common::request("/")).now_or_never();
    assert_eq!(refused.unwrap().unwrap().status(), 500);
    assert!(inside.clone().ready().now_or_never().is_some());
}

#[test]
fn what_a_handler_refuses_itself_is_synced_as_what_it_grants() {
    let sink = Unreliable::default();
    let audit = Audit::on(sink.clone(), |builder| builder.when_full(WhenFull::Refuse));
    let (identity, _) = identity(&audit.clock);
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(|_| async {
        let refused = Rejection::not_found().to_response(tenant_context::Protocol::Http);
        Ok::<_, Infallible>(refused.map(|()| Body::default()))
    }));
    let mut request = by("ada", "/invoices/17");
    *request.method_mut() = Method::POST;
    let mut sent = Box::pin(service.clone().oneshot(request));
    assert!(sent.as_mut().now_or_never().is_none(), "not yet durable");
    audit.work();
    assert_eq!(sent.now_or_never().unwrap().unwrap().status(), 404);
    // Whoever is refused before it makes no disk work.
    let mut request = common::request("/invoices/17");
    *request.method_mut() = Method::POST;
    let refused = service.oneshot(request).now_or_never().expect("it waits");
    assert_eq!(refused.unwrap().status(), 401);
}

#[test]
fn i7_a_gate_without_its_layer_refuses() {
    let audit = Audit::new();
    let service = audit.layer.gate().layer(service_fn(ok));
    let answer = service.oneshot(common::request("/")).now_or_never();
    assert_eq!(answer.unwrap().unwrap().status(), 500);
}

#[test]
fn a_hit_of_a_cache_before_the_gate_needs_no_intent() {
    let audit = Audit::with(|builder| {
        builder
            .when_full(WhenFull::Refuse)
            .safe_methods(Durability::IntentFirst)
    });
    let gate = audit.layer.gate().layer(service_fn(ok));
    let cached = audit.layer.layer(service_fn(move |request: Request<Body>| {
        let gate = gate.clone();
        async move {
            let trail = Trail::of(request.extensions());
            if request.uri().path() == "/known" {
                trail.with(|facts| facts.cache = Some("hit"));
                return Ok(Response::new(Body::from("hello")).map(Either::Left));
            }
            trail.with(|facts| facts.cache = Some("miss"));
            let answer = gate.oneshot(request).await;
            answer.map(|answer| answer.map(Either::Right))
        }
    }));
    let send = |path| {
        let service = cached.clone();
        Box::pin(async move {
            let answer = service.oneshot(common::request(path)).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes()
        })
    };
    let hit = send("/known").now_or_never().expect("it waits");
    assert_eq!(hit, "hello");
    // What is not known reaches a handler, which waits.
    let mut miss = send("/new");
    assert!(miss.as_mut().now_or_never().is_none());
    audit.work();
    assert_eq!(miss.now_or_never().unwrap(), "hello");
    let records = audit.records();
    let of = |record: &Value| {
        let text = |name| record.get(name).and_then(Value::as_str);
        format!("{:?} {:?}", text("cache"), text("outcome"))
    };
    assert_eq!(
        records.iter().map(of).collect::<Vec<_>>(),
        [
            r#"Some("hit") Some("success")"#,
            r#"Some("miss") Some("intent")"#,
            r#"Some("miss") Some("success")"#
        ]
    );
}
