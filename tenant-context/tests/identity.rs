//! The door: what it admits, what it refuses, what it puts in place.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use tenant_context::{
    CachedRegistry, ConfigError, GuardedBody, IdentityLayer, IdentityLayerBuilder, PublicRoute,
    Rejection, TenantContext, TenantId, Trail,
};
use tenant_testkit::{ManualClock, TestAuth, claims, context, tenants};
use tower::{Layer, ServiceExt, service_fn};

struct World {
    clock: ManualClock,
    tenants: CachedRegistry,
    auth: TestAuth,
    reached: Arc<AtomicUsize>,
}

fn world() -> World {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme", "globex"], &clock);
    let auth = TestAuth::new(tenants.clone())
        .accept("ada", claims("acme", "ada"))
        .accept("gus", claims("globex", "gus"));
    World {
        clock,
        tenants,
        auth,
        reached: Arc::default(),
    }
}

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn get(path: &str, token: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::get(path).body(Empty::new()).unwrap();
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Test {token}")).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}

impl World {
    async fn send(
        &self,
        layer: IdentityLayerBuilder,
        request: Request<Empty<Bytes>>,
    ) -> (Response<Bytes>, HeaderMap) {
        let reached = Arc::clone(&self.reached);
        let (seen, mut seen_headers) = tokio::sync::mpsc::unbounded_channel();
        let handler = service_fn(move |request: Request<GuardedBody<Empty<Bytes>>>| {
            reached.fetch_add(1, Ordering::SeqCst);
            seen.send(request.headers().clone()).unwrap();
            let tenant = TenantContext::of(request.extensions());
            let current = TenantContext::current().ok();
            assert_eq!(
                tenant.map(TenantContext::tenant_id),
                current.as_ref().map(TenantContext::tenant_id)
            );
            assert_eq!(PublicRoute::of(request.extensions()), tenant.is_none());
            let text = tenant.map_or("anonymous".to_owned(), |tenant| {
                tenant.tenant_id().to_string()
            });
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))) }
        });
        let service = layer.build(self.auth.clone()).unwrap().layer(handler);
        let response = service.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            Response::from_parts(parts, body),
            seen_headers.try_recv().unwrap_or_default(),
        )
    }

    async fn status(&self, request: Request<Empty<Bytes>>) -> u16 {
        self.send(IdentityLayer::builder(), request)
            .await
            .0
            .status()
            .as_u16()
    }

    fn reached(&self) -> usize {
        self.reached.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_verified_request_carries_its_tenant_and_no_other() {
    let world = world();
    for (token, tenant) in [("ada", "acme"), ("gus", "globex")] {
        let (response, _) = world
            .send(IdentityLayer::builder(), get("/", Some(token)))
            .await;
        assert_eq!(
            (response.status().as_u16(), response.body().as_ref()),
            (200, tenant.as_bytes())
        );
    }
}

#[tokio::test]
async fn i7_no_credential_and_a_bad_one_never_reach_the_handler() {
    let world = world();
    assert_eq!(world.status(get("/", None)).await, 401);
    assert_eq!(world.status(get("/", Some("forged"))).await, 401);
    let _shared = world
        .auth
        .clone()
        .accept("nobody", claims("no-such-tenant", "x"));
    assert_eq!(world.status(get("/", Some("nobody"))).await, 401);
    assert_eq!(world.reached(), 0);
}

#[tokio::test]
async fn a_header_that_names_the_victim_beside_a_good_token_is_a_forgery_and_gone_before_the_handler()
 {
    let world = world();
    for name in [
        "x-tenant-id",
        "X-Tenant",
        "x-organization-id",
        "x-org-id",
        "organization-id",
    ] {
        for value in ["globex", "ACME", "acme ", "", "acme,globex", "\u{e9}"] {
            let mut request = get("/", Some("ada"));
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request
                .headers_mut()
                .insert(name.parse::<http::HeaderName>().unwrap(), value);
            assert_eq!(world.status(request).await, 403, "{name}");
        }
        let mut request = get("/", Some("ada"));
        request.headers_mut().insert(
            name.parse::<http::HeaderName>().unwrap(),
            HeaderValue::from_static("acme"),
        );
        let (response, seen) = world.send(IdentityLayer::builder(), request).await;
        assert_eq!(response.status(), 200, "an equal value is ignored");
        assert!(
            !seen.contains_key(name),
            "{name} must not reach the handler"
        );
        assert_eq!(world.reached(), 1);
    }
}

#[tokio::test]
async fn i3_a_repeated_tenant_header_must_agree_in_every_line() {
    let world = world();
    for values in [["acme", "globex"], ["globex", "acme"]] {
        let mut request = get("/", Some("ada"));
        for value in values {
            request
                .headers_mut()
                .append("x-tenant-id", HeaderValue::from_static(value));
        }
        assert_eq!(world.status(request).await, 403, "{values:?}");
    }
    assert_eq!(world.reached(), 0);
}

#[tokio::test]
async fn i1_a_context_left_by_an_outer_layer_is_removed() {
    let world = world();
    let mut request = get("/", Some("ada"));
    request
        .extensions_mut()
        .insert(context(&world.tenants, "globex", "gus"));
    let (response, _) = world.send(IdentityLayer::builder(), request).await;
    assert_eq!(response.body(), "acme");
    let mut request = get("/", None);
    request
        .extensions_mut()
        .insert(context(&world.tenants, "globex", "gus"));
    assert_eq!(world.status(request).await, 401);
    // Nor is it somebody's on a route that is public.
    let mut request = get("/health", None);
    request
        .extensions_mut()
        .insert(context(&world.tenants, "globex", "gus"));
    let layer = IdentityLayer::builder().public(Method::GET, "/health");
    let (response, _) = world.send(layer, request).await;
    assert_eq!(response.body(), "anonymous");
}

#[tokio::test]
async fn i1_a_mark_of_a_public_route_left_by_an_outer_layer_is_removed() {
    let world = world();
    let (sender, mut marks) = tokio::sync::mpsc::unbounded_channel();
    let handler = service_fn(move |request: Request<GuardedBody<Empty<Bytes>>>| {
        let mark = request.extensions().get::<PublicRoute>().copied();
        sender.send(mark).unwrap();
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let layer = IdentityLayer::builder().public(Method::GET, "/health");
    let outer = layer.build(world.auth.clone()).unwrap().layer(handler);
    outer.oneshot(get("/health", None)).await.unwrap();
    let mark = marks.recv().await.unwrap().unwrap();
    let mut request = get("/", Some("ada"));
    request.extensions_mut().insert(mark);
    // The handler looks that whoever has a context has no mark.
    let (response, _) = world.send(IdentityLayer::builder(), request).await;
    assert_eq!(response.body(), "acme");
}

#[tokio::test]
async fn a_public_route_is_public_because_it_is_declared_so() {
    let world = world();
    let layer = || IdentityLayer::builder().public(Method::GET, "/health");
    let (response, _) = world.send(layer(), get("/health", None)).await;
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (200, &b"anonymous"[..])
    );
    for path in [
        "/health/",
        "//health",
        "/Health",
        "/%68ealth",
        "/healthy",
        "/other",
        "/health/../invoices",
    ] {
        assert_eq!(
            world.send(layer(), get(path, None)).await.0.status(),
            401,
            "{path}"
        );
    }
    let post = Request::post("/health").body(Empty::new()).unwrap();
    assert_eq!(world.send(layer(), post).await.0.status(), 401);
    // A credential presented on a public route is verified like anywhere else.
    assert_eq!(
        world
            .send(layer(), get("/health", Some("forged")))
            .await
            .0
            .status(),
        401
    );
    assert_eq!(
        world
            .send(layer(), get("/health", Some("ada")))
            .await
            .0
            .body(),
        "acme"
    );
    // An internal header does not survive there either.
    let mut request = get("/health", None);
    request
        .headers_mut()
        .insert("x-tenant-id", HeaderValue::from_static("acme"));
    assert!(
        !world
            .send(layer(), request)
            .await
            .1
            .contains_key("x-tenant-id")
    );
}

#[tokio::test]
async fn i5_suspension_holds_for_the_next_request_and_for_nobody_else() {
    let world = world();
    assert_eq!(world.status(get("/", Some("ada"))).await, 200);
    world.tenants.suspend(&id("acme"));
    assert_eq!(world.status(get("/", Some("ada"))).await, 403);
    assert_eq!(world.status(get("/", Some("gus"))).await, 200);
    world.tenants.resume(&id("acme"));
    assert_eq!(world.status(get("/", Some("ada"))).await, 200);
}

#[tokio::test]
async fn i5_a_revoked_identity_is_refused_wherever_it_is_held() {
    let world = world();
    let held = context(&world.tenants, "acme", "ada");
    assert!(held.check().is_ok());
    held.revoke();
    assert_eq!(held.check().unwrap_err().reason(), "revoked");
}

#[tokio::test]
async fn an_expired_identity_is_refused_at_its_last_second() {
    let world = world();
    let mut short = claims("acme", "ada");
    short.expires_at =
        tenant_context::Clock::unix(&world.clock).saturating_add(Duration::from_secs(10));
    let _shared = world.auth.clone().accept("short", short);
    world.clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(world.status(get("/", Some("short"))).await, 200);
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(world.status(get("/", Some("short"))).await, 401);
}

#[tokio::test]
async fn too_many_header_lines_are_a_malformed_request() {
    let world = world();
    let with = |lines: usize| {
        let mut request = get("/", Some("ada"));
        while request.headers().len() < lines {
            request
                .headers_mut()
                .append("x-filler", HeaderValue::from_static("x"));
        }
        request
    };
    assert_eq!(world.status(with(100)).await, 200);
    assert_eq!(world.status(with(101)).await, 400);
}

#[tokio::test]
async fn i8_credentials_are_sensitive_and_stay_outside_on_demand() {
    let world = world();
    let (_, seen) = world
        .send(IdentityLayer::builder(), get("/", Some("ada")))
        .await;
    assert!(seen[header::AUTHORIZATION].is_sensitive());
    assert!(!format!("{seen:?}").contains("ada"));
    let (response, seen) = world
        .send(
            IdentityLayer::builder().forward_credentials(false),
            get("/", Some("ada")),
        )
        .await;
    assert_eq!(response.status(), 200);
    assert!(!seen.contains_key(header::AUTHORIZATION));
}

#[tokio::test]
async fn grpc_under_another_method_than_post_is_malformed() {
    let world = world();
    for (method, content_type, expected) in [
        (Method::POST, "application/grpc", 200),
        (Method::PUT, "application/grpc", 16),
        (Method::GET, "application/grpc+proto", 16),
        (Method::GET, "application/json", 200),
        (Method::PUT, "application/grpc-web", 200),
    ] {
        let mut request = get("/pkg.Service/Method", Some("ada"));
        *request.method_mut() = method;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let (response, _) = world.send(IdentityLayer::builder(), request).await;
        let grpc = response
            .headers()
            .get("grpc-status")
            .map(|status| status.to_str().unwrap().to_owned());
        let status = grpc.map_or(response.status().as_u16(), |status| status.parse().unwrap());
        assert_eq!(status, expected, "{content_type}");
    }
    assert_eq!(world.reached(), 3);
}

#[tokio::test]
async fn a_pending_decision_is_the_same_decision() {
    let world = world();
    let _shared = world.auth.clone().pending(true);
    assert_eq!(world.status(get("/", Some("ada"))).await, 200);
    assert_eq!(world.status(get("/", Some("forged"))).await, 401);
    let mut request = get("/", Some("ada"));
    request
        .headers_mut()
        .insert("x-tenant-id", HeaderValue::from_static("globex"));
    assert_eq!(world.status(request).await, 403);
    world.tenants.suspend(&id("acme"));
    assert_eq!(world.status(get("/", Some("ada"))).await, 403);
}

#[tokio::test]
async fn i9_the_trail_learns_whose_request_was_refused() {
    let world = world();
    world.tenants.suspend(&id("acme"));
    let trail = Trail::open();
    let mut request = get("/", Some("ada"));
    request.extensions_mut().insert(trail.clone());
    assert_eq!(world.status(request).await, 403);
    let tenant = trail.with(|facts| {
        facts
            .identity
            .as_ref()
            .map(|identity| identity.tenant().id().clone())
    });
    assert_eq!(tenant.flatten(), Some(id("acme")));
}

#[tokio::test]
async fn absurd_paths_and_hosts_are_answered_without_a_panic() {
    let world = world();
    let layer = || IdentityLayer::builder().public(Method::GET, "/docs/{*path}");
    for path in [
        "/%00",
        "/..%2f..%2f",
        "/a//b///c",
        "/%",
        "/%zz",
        "*",
        &format!("/{}", "a/".repeat(20_000)),
    ] {
        let Ok(uri) = path.parse::<http::Uri>() else {
            continue;
        };
        let mut request = get("/", None);
        *request.uri_mut() = uri;
        assert_eq!(
            world.send(layer(), request).await.0.status(),
            401,
            "{path:.40}"
        );
    }
}

#[test]
fn misconfiguration_says_what_to_do() {
    let auth = || world().auth;
    let error =
        |builder: IdentityLayerBuilder| -> ConfigError { builder.build(auth()).unwrap_err() };
    assert!(
        error(IdentityLayer::builder().public(Method::GET, "health"))
            .to_string()
            .contains("begins with `/`")
    );
    assert!(
        error(IdentityLayer::builder().max_headers(0))
            .to_string()
            .contains("leave it at 100")
    );
    let conflict = IdentityLayer::builder()
        .public(Method::GET, "/a/{x}")
        .public(Method::GET, "/a/{y}");
    assert!(error(conflict).to_string().contains("/a/{y}"));
}

#[tokio::test]
async fn i7_without_the_layer_nobody_is_taken_for_anonymous() {
    async fn optional(tenant: Option<TenantContext>) -> &'static str {
        tenant.map_or("anonymous", |_| "known")
    }
    let app = || axum::Router::<()>::new().route("/", axum::routing::get(optional));
    let ask = |token: &str| {
        Request::get("/")
            .header("authorization", token)
            .body(axum::body::Body::empty())
    };
    let bare = app().oneshot(ask("Test ada").unwrap()).await.unwrap();
    assert_eq!(bare.status(), 500);

    let tenants = tenants(&["acme"], &ManualClock::new());
    let auth = TestAuth::new(tenants).accept("ada", claims("acme", "ada"));
    let door = IdentityLayer::builder()
        .public(Method::GET, "/")
        .build(auth)
        .unwrap();
    let app = door.layer(app());
    let text = async |request| {
        let answer = app.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    assert_eq!(text(ask("Test ada").unwrap()).await, "known");
    let without = Request::get("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(text(without).await, "anonymous");
}

#[tokio::test]
async fn i7_a_handler_without_the_layer_answers_500_and_says_what_is_missing() {
    use axum::{Router, body::Body, routing::get};
    let app = Router::new().route("/", get(|_: TenantContext| async {}));
    let response = app
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    let rejection = response
        .extensions()
        .get::<Rejection>()
        .expect("the rejection travels with the response");
    assert_eq!(rejection.reason(), "context_missing");
}
