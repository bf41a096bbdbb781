//! The tower contract, kept by every layer of this crate, singly and stacked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;
use http::{Method, Request};
use tenant_context::{IdentityLayer, RenderLayer, Rendered, RequestIdLayer, TenantStack};
use tenant_testkit::{
    ManualClock, TestAuth, claims,
    contract::{Behaviour, Clause, Layered, Outcome, Probe, ProbeBody, ProbeService, Report},
    tenants,
};
use tower::{Layer, Service, limit::ConcurrencyLimit};

fn auth() -> TestAuth {
    let tenants = tenants(&["acme"], &ManualClock::new());
    TestAuth::new(tenants)
        .accept("ada", claims("acme", "ada"))
        .accept_pending("cold", claims("acme", "bob"))
        .accept_pending("unknown", claims("globex", "eve"))
}

fn identity() -> IdentityLayer<TestAuth> {
    IdentityLayer::builder()
        .public(Method::GET, "/health")
        .build(auth())
        .unwrap()
}

fn with(credential: &'static str) -> impl Fn() -> Request<ProbeBody> + 'static {
    move || {
        let request = Request::post("/invoices").header("authorization", credential);
        request.body(ProbeBody::default()).unwrap()
    }
}

/// Puts a layer with an identity layer in it to the contract.
fn admits<S: Layered>(name: &str, layer: impl Fn(ProbeService) -> S) -> Report {
    Probe::new(name)
        .layer(layer)
        .admitted(with("Test ada"))
        .pending(with("Test cold"))
        .refused(with("Test nobody"))
        .pending_refused(with("Test unknown"))
        .check()
}

#[track_caller]
fn all_held(report: &Report) {
    for (clause, outcome) in report.outcomes() {
        assert_eq!(*outcome, Outcome::Held, "{clause}");
    }
}

#[test]
fn i10_identity_keeps_the_contract() {
    let layer = identity();
    all_held(&admits("identity", |handler| layer.layer(handler)));
}

#[test]
fn i10_identity_keeps_the_contract_on_a_public_route_and_for_every_refusal() {
    let layer = identity();
    let refusals: [fn(http::request::Builder) -> http::request::Builder; 4] = [
        |request| request,
        |request| {
            request
                .header("authorization", "Test ada")
                .header("authorization", "Test ada")
        },
        |request| {
            request
                .header("authorization", "Test ada")
                .header("x-tenant-id", "globex")
        },
        |request| (0..101).fold(request, |request, n| request.header(format!("x-{n}"), "")),
    ];
    for refusal in refusals {
        Probe::new("identity")
            .layer(|handler| layer.layer(handler))
            .admitted(|| {
                let request = Request::get("/health");
                request.body(ProbeBody::default()).unwrap()
            })
            .refused(move || {
                let request = refusal(Request::post("/health"));
                request.body(ProbeBody::default()).unwrap()
            })
            .check();
    }
}

#[test]
fn i10_identity_keeps_the_contract_when_it_cuts_requests_in_flight() {
    let layer = IdentityLayer::builder().cut_in_flight(true).build(auth());
    let layer = layer.unwrap();
    all_held(&admits("identity, cutting", |handler| layer.layer(handler)));
}

#[test]
fn i10_identity_keeps_the_contract_around_and_inside_a_concurrency_limit() {
    let layer = identity();
    all_held(&admits("identity over a limit", |handler| {
        layer.layer(ConcurrencyLimit::new(handler, 4))
    }));
    all_held(&admits("identity under a limit", |handler| {
        ConcurrencyLimit::new(layer.layer(handler), 4)
    }));
}

#[test]
fn i10_render_keeps_the_contract() {
    let report = Probe::new("render")
        .layer(|handler| RenderLayer::new().layer(handler))
        .check();
    assert_eq!(report.outcome(Clause::Errors), Some(&Outcome::Held));
    let identity = identity();
    all_held(&admits("render over identity", |handler| {
        RenderLayer::new().layer(identity.layer(handler))
    }));
    let own = RenderLayer::new().render_with(|rejection| {
        let body = rejection.to_string();
        Rendered::new(http::HeaderValue::from_static("text/plain"), body)
    });
    all_held(&admits("render in the application's form", |handler| {
        own.layer(identity.layer(handler))
    }));
}

#[test]
fn i10_request_id_keeps_the_contract() {
    Probe::new("request id")
        .layer(|handler| RequestIdLayer::new().layer(handler))
        .check();
}

#[test]
fn i10_the_stack_keeps_the_contract() {
    let stack = TenantStack::new()
        .request_id(RequestIdLayer::new())
        .identity(identity());
    all_held(&admits("the stack", |handler| stack.layer(handler)));
    all_held(&admits("the stack over a limit", |handler| {
        stack.layer(ConcurrencyLimit::new(handler, 4))
    }));
}

#[test]
fn i10_grpc_refusals_keep_the_contract() {
    let stack = TenantStack::new().identity(identity());
    let grpc = |credential: &'static str| {
        move || {
            let request = Request::post("/pkg.Service/Method")
                .header("content-type", "application/grpc")
                .header("authorization", credential);
            request.body(ProbeBody::default()).unwrap()
        }
    };
    Probe::new("the stack, over gRPC")
        .layer(|handler| stack.layer(handler))
        .admitted(grpc("Test ada"))
        .refused(grpc("Test nobody"))
        .pending_refused(grpc("Test unknown"))
        .check();
}

fn ready<S: Layered>(service: &mut S) -> bool {
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    matches!(ready, Poll::Ready(Ok(())))
}

#[test]
fn a_rejecting_layer_kept_the_inner_services_permit() {
    let handler = ProbeService::new(Behaviour::new());
    let mut one = identity().layer(ConcurrencyLimit::new(handler.clone(), 1));
    let mut other = one.clone();
    for credential in ["Test nobody", "Test unknown"] {
        assert!(ready(&mut one));
        assert!(!ready(&mut other), "the limit of 1 is taken");
        let mut refused = pin!(one.call(with(credential)()));
        let mut cx = Context::from_waker(Waker::noop());
        while refused.as_mut().poll_unpin(&mut cx).is_pending() {}
        assert!(ready(&mut other), "the limit's only permit was kept");
        other = one.clone();
    }
    assert_eq!(handler.ledger().calls(), 0);
}

#[test]
fn an_async_decision_called_an_unpolled_clone_under_a_concurrency_limit() {
    let handler = ProbeService::new(Behaviour::new());
    let mut service = identity().layer(ConcurrencyLimit::new(handler.clone(), 1));
    assert!(ready(&mut service));
    let mut cold = pin!(service.call(with("Test cold")()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(cold.as_mut().poll_unpin(&mut cx).is_pending());
    assert!(!ready(&mut service), "the cold request holds the permit");
    while cold.as_mut().poll_unpin(&mut cx).is_pending() {}
    assert_eq!(handler.ledger().calls(), 1);
    assert_eq!(handler.ledger().violations(), [""; 0]);
}
