//! The layer among the others: refusals, the trail, public routes, the whole stack.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use http::{Method, Request};
use http_body_util::BodyExt;
use support::{Content, House, Origin, counted, get, request, response, send, with_trail};
use tenant_context::{IdentityLayer, Rejection, TenantStack, Trail};
use tenant_testkit::{TestAuth, claims};
use tower::ServiceExt;
use tower_layer::Layer;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn a_refusal_is_never_stored_whatever_its_fields_say() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let refusing = |recorded: bool| {
        Origin::new(move |request: &Request<Content>| {
            let rejection = Rejection::not_found();
            let mut response = response(FRESH, "no such thing");
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            if recorded {
                drop(Trail::of(request.extensions()).deny(rejection));
            } else {
                response.extensions_mut().insert(rejection);
            }
            response
        })
    };
    for recorded in [false, true] {
        let origin = refusing(recorded);
        let service = house.around(&origin);
        for _ in 0..2 {
            let (request, _trail) = with_trail(get(&ada, "/a"));
            assert!(!send(&service, request).await.is_stored());
        }
        assert_eq!(origin.calls(), 2);
    }
}

#[tokio::test]
async fn a_hit_writes_to_the_trail_what_the_handler_had_written() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let origin = Origin::new(|request: &Request<Content>| {
        Trail::of(request.extensions())
            .action("invoice.read")
            .resource("invoice", 17)
            .detail("n", 1);
        response(FRESH, "x")
    });
    let service = house.around(&origin);
    for (cache, details) in [("miss", 1), ("hit", 0)] {
        let (request, trail) = with_trail(get(&ada, "/a"));
        send(&service, request).await;
        trail
            .with(|facts| {
                assert_eq!(facts.cache, Some(cache));
                assert_eq!(facts.action.as_deref(), Some("invoice.read"));
                assert_eq!(facts.resource_type.as_deref(), Some("invoice"));
                assert_eq!(facts.resource_id.as_deref(), Some("17"));
                assert_eq!(facts.details.len(), details);
            })
            .unwrap();
    }
    let (request, trail) = with_trail(request(Method::GET, &ada, "/a", &[("range", "bytes=0-1")]));
    send(&service, request).await;
    assert_eq!(trail.with(|facts| facts.cache), Some(Some("pass")));
}

#[tokio::test]
async fn i7_without_a_context_nothing_is_served() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let request = Request::builder()
            .method(method)
            .uri("/a")
            .body(Content::default())
            .unwrap();
        assert_eq!(send(&service, request).await.status, 500);
    }
    let grpc = Request::builder()
        .method("POST")
        .header("content-type", "application/grpc");
    let answer = send(&service, grpc.body(Content::default()).unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("grpc-status")),
        (200, Some("13"))
    );
    assert_eq!(origin.calls(), 0);
}

fn asked(path: &str, token: Option<&str>) -> Request<Content> {
    let mut builder = Request::builder().uri(path);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Test {token}"));
    }
    builder.body(Content::default()).unwrap()
}

#[tokio::test]
async fn in_a_stack_public_routes_pass_and_admitted_requests_are_cached() {
    let house = House::new();
    let origin =
        axum::Router::<()>::new().fallback(|| async { ([("cache-control", "max-age=60")], "x") });
    let auth = TestAuth::new(house.tenants.clone()).accept("ada", claims("acme", "ada"));
    let identity = IdentityLayer::builder()
        .public(Method::GET, "/health")
        .build(auth)
        .unwrap();
    let stack = TenantStack::new().identity(identity).cache(house.layer());
    let service = stack.layer(origin);
    let health = service
        .clone()
        .oneshot(asked("/health", None))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
    assert!(!health.headers().contains_key("cache-status"));
    let refused = service.clone().oneshot(asked("/a", None)).await.unwrap();
    assert_eq!(refused.status(), 401);
    for expected in [
        "tenant-cache; fwd=uri-miss; stored",
        "tenant-cache; hit; ttl=60",
    ] {
        let answer = service
            .clone()
            .oneshot(asked("/a", Some("ada")))
            .await
            .unwrap();
        assert_eq!(answer.headers()["cache-status"], expected);
        answer.into_body().collect().await.unwrap();
    }
    house.tenants.suspend(house.of("acme", "bob").tenant_id());
    let refused = service.oneshot(asked("/a", Some("ada"))).await.unwrap();
    assert_eq!(refused.status(), 403);
}
