//! Public routes within an axum router, and headers that are set apart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use futures_util::FutureExt;
use http::{HeaderName, Method, Request};
use tenant_context::{
    Authenticate, Identity, IdentityLayer, Lookup, Rejection, RenderLayer, RequestHead,
    TenantContext,
};
use tenant_testkit::{ManualClock, TestAuth, claims, tenants};
use tower::ServiceExt;

fn auth() -> TestAuth {
    TestAuth::new(tenants(&["acme"], &ManualClock::new())).accept("ada", claims("acme", "ada"))
}

fn status(app: &Router, method: &Method, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = app.clone().oneshot(request).now_or_never().unwrap();
    answer.unwrap().status().as_u16()
}

#[test]
fn i7_a_router_that_chose_another_route_than_the_declared_one_serves_no_anonymous_request() {
    let identity = IdentityLayer::builder()
        .public(Method::GET, "/users/{id}")
        .public(Method::GET, "/health")
        .build(auth())
        .unwrap();
    let inner = Router::new()
        .route("/users/{id}", get(async || "somebody"))
        .route("/users/me", get(async || "me"))
        .route("/health", get(async || "up"))
        .route("/late/health", get(async || "not declared"));
    let layered = inner
        .clone()
        .layer(identity.clone())
        .layer(RenderLayer::new());
    let nested = Router::new().nest("/api", layered.clone());
    let behind = Router::new().route("/{*rest}", axum::routing::any_service(layered.clone()));
    for (app, prefix) in [(&layered, ""), (&nested, "/api"), (&behind, "")] {
        for (path, expected) in [
            ("/users/7", 200),
            ("/health", 200),
            ("/users/me", 401),
            ("/late/health", 401),
        ] {
            let path = format!("{prefix}{path}");
            assert_eq!(status(app, &Method::GET, &path, &[]), expected, "{path}");
        }
    }
    assert_eq!(status(&layered, &Method::GET, "/nowhere", &[]), 401);
    let bad = [("authorization", "Test nobody")];
    assert_eq!(status(&layered, &Method::GET, "/health", &bad), 401);
    assert_eq!(status(&layered, &Method::POST, "/health", &[]), 401);
}

#[test]
fn a_public_route_in_the_old_syntax_does_not_build() {
    let error = IdentityLayer::builder()
        .public(Method::GET, "/users/:id")
        .build(auth())
        .unwrap_err();
    assert!(error.to_string().contains("`{id}`"), "{error}");
}

/// Admits whom the asserted header names.
struct Gateway(TestAuth);

impl Authenticate for Gateway {
    fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
        let asserted = head
            .internal()
            .iter()
            .any(|(name, value)| name == "x-user-id" && value == "ada");
        assert!(!head.headers().contains_key("x-user-id"), "it is set apart");
        if asserted {
            self.0.authenticate(head)
        } else {
            Lookup::Ready(Err(Rejection::credential_missing()))
        }
    }
}

#[test]
fn an_asserted_header_is_set_apart_and_not_compared() {
    let identity = IdentityLayer::builder()
        .asserted_header(HeaderName::from_static("x-user-id"))
        .build(Gateway(auth()))
        .unwrap();
    let app: Router = Router::new()
        .fallback(
            async |tenant: TenantContext, request: axum::extract::Request| {
                assert!(!request.headers().contains_key("x-user-id"));
                assert!(!request.headers().contains_key("x-tenant-id"));
                tenant.tenant_id().to_string()
            },
        )
        .layer(identity);
    let ada = ("authorization", "Test ada");
    for (headers, expected) in [
        (vec![ada, ("x-user-id", "ada")], 200),
        (
            vec![ada, ("x-user-id", "ada"), ("x-tenant-id", "acme")],
            200,
        ),
        (
            vec![ada, ("x-user-id", "ada"), ("x-tenant-id", "globex")],
            403,
        ),
        (vec![ada, ("x-user-id", "eve")], 401),
        (vec![ada], 401),
    ] {
        assert_eq!(
            status(&app, &Method::GET, "/", &headers),
            expected,
            "{headers:?}"
        );
    }
}
