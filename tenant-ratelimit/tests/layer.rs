//! The layer in a stack: what a client gets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use common::{SECOND, tenants};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tenant_context::{IdentityLayer, PublicRoute, TenantStack, Trail};
use tenant_ratelimit::{Headers, Quota, RateLimitLayer, RateLimitLayerBuilder, layer};
use tenant_testkit::{ManualClock, TestAuth, claims};
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, service_fn};

/// The policies, without the names of their partitions.
fn policy(headers: &HeaderMap) -> String {
    let list = headers["ratelimit-policy"].to_str().unwrap().split(", ");
    let short = |policy: &str| policy.split(";pk=:").next().unwrap().to_owned();
    list.map(short).collect::<Vec<_>>().join(", ")
}

struct Api {
    clock: ManualClock,
    identity: IdentityLayer<TestAuth>,
    limits: RateLimitLayer,
}

type Answer = (http::response::Parts, String);

impl Api {
    fn new(limits: impl FnOnce(RateLimitLayerBuilder) -> RateLimitLayerBuilder) -> Self {
        let clock = ManualClock::new();
        let auth = ["acme", "globex"]
            .into_iter()
            .fold(TestAuth::new(tenants(&clock)), |auth, tenant| {
                auth.accept(tenant, claims(tenant, "ada"))
            });
        Self {
            identity: IdentityLayer::builder()
                .public(Method::GET, "/health")
                .build(auth)
                .unwrap(),
            limits: limits(layer().clock(clock.clone())).build().unwrap(),
            clock,
        }
    }

    fn router() -> Router {
        let ok = || async { "ok" };
        Router::new()
            .route("/invoices/{id}", get(ok))
            .route("/reports", post(ok).get(ok))
            .route("/health", get(ok))
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let stack = TenantStack::new()
            .identity(self.identity.clone())
            .limits(self.limits.clone());
        let response = stack.layer(Self::router()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, tenant: &str, path: &str) -> Answer {
        self.send(request(Method::GET, tenant, path)).await
    }

    /// The same layers around a gRPC server.
    async fn call(&self, tenant: &str) -> tonic::Status {
        let stack = TenantStack::new()
            .identity(self.identity.clone())
            .limits(self.limits.clone());
        let mut request = request(Method::POST, tenant, "/pkg.Service/Method");
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        let server = stack.layer(tonic::service::Routes::default());
        let response = server.oneshot(request).await.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "a gRPC client is never sent another"
        );
        assert!(!response.headers().contains_key("ratelimit"));
        assert!(!response.headers().contains_key("retry-after"));
        tonic::Status::from_header_map(response.headers()).unwrap()
    }
}

fn request(method: Method, tenant: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Test {tenant}"))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_spent_budget_is_429_with_the_binding_policy() {
    let api = Api::new(|limits| {
        limits
            .global(Quota::per_minute(100))
            .tenant(Quota::per_minute(2))
    });
    for _ in 0..2 {
        let (parts, body) = api.get("acme", "/invoices/1").await;
        assert_eq!((parts.status, body.as_str()), (StatusCode::OK, "ok"));
        assert!(!parts.headers.contains_key("ratelimit"), "on refusal only");
    }
    let (parts, body) = api.get("acme", "/invoices/2").await;
    assert_eq!(parts.status, StatusCode::TOO_MANY_REQUESTS);
    let headers = &parts.headers;
    assert_eq!(policy(headers), r#""tenant";q=2;w=60"#);
    assert_eq!(headers["ratelimit"], r#""tenant";r=0;t=30"#);
    assert_eq!(headers["retry-after"], "30");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(body.contains("http-problem-types#quota-exceeded"), "{body}");
    assert!(body.contains(r#""violated-policies":["tenant"]"#), "{body}");
    assert_eq!(
        api.get("globex", "/invoices/1").await.0.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_policy_names_its_partition_and_never_the_tenant() {
    let api = Api::new(|limits| {
        let limits = limits.tenant(Quota::per_minute(1));
        limits.headers(Headers::Always)
    });
    let mut partitions = Vec::new();
    for tenant in ["acme", "globex"] {
        let [admitted, refused] = [
            api.get(tenant, "/invoices/1").await,
            api.get(tenant, "/invoices/1").await,
        ];
        assert_eq!(refused.0.status, StatusCode::TOO_MANY_REQUESTS);
        let policy = |answer: &Answer| {
            let policy = answer.0.headers["ratelimit-policy"].to_str().unwrap();
            assert!(!policy.contains(tenant), "{policy}");
            let pk = policy.strip_prefix(r#""tenant";q=1;w=60;pk=:"#);
            pk.unwrap_or_else(|| panic!("{policy}")).to_owned()
        };
        assert_eq!(policy(&admitted), policy(&refused), "one cell, one name");
        partitions.push(policy(&refused));
    }
    assert_ne!(partitions[0], partitions[1]);
}

#[tokio::test]
async fn i6_unverified_issuers_tenants_and_agents_mint_no_bucket() {
    let api = Api::new(|limits| {
        let limits = limits.tenant(Quota::per_minute(1));
        limits.agent(Quota::per_minute(1))
    });
    for made_up in 0..100 {
        let (head, _) = api.get(&format!("made-up-{made_up}"), "/invoices/1").await;
        assert_eq!(head.status, StatusCode::UNAUTHORIZED);
    }
    let limits = api.limits.limits();
    assert_eq!((limits.tenants(), limits.keys()), (0, 0));
}

#[tokio::test]
async fn retry_after_is_rounded_up_and_never_0() {
    for (quota, pause) in [
        (Quota::per_second(4000).burst(1), Duration::ZERO),
        (Quota::per_second(1).burst(1), Duration::from_nanos(1)),
        (Quota::per_minute(7).burst(1), Duration::from_millis(7_999)),
    ] {
        let api = Api::new(|limits| limits.tenant(quota));
        api.get("acme", "/invoices/1").await;
        api.clock.advance(pause);
        let (parts, _) = api.get("acme", "/invoices/1").await;
        let secs: u64 = parts.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let field = parts.headers["ratelimit"].to_str().unwrap();
        assert!(secs >= 1);
        assert!(
            field.ends_with(&format!(";t={secs}")),
            "Retry-After is never earlier than t: {field}"
        );
        api.clock.advance(Duration::from_secs(secs));
        assert_eq!(
            api.get("acme", "/invoices/1").await.0.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn grpc_and_http_servers_spend_one_budget() {
    let api = Api::new(|limits| limits.tenant(Quota::per_minute(3)));
    api.get("acme", "/invoices/1").await;
    for _ in 0..2 {
        let status = api.call("acme").await;
        assert_eq!(
            status.code(),
            tonic::Code::Unimplemented,
            "it reached the server"
        );
    }
    assert_eq!(
        api.get("acme", "/invoices/1").await.0.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    let status = api.call("acme").await;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(20 * SECOND));
    let violations = &details.quota_failure().unwrap().violations;
    assert_eq!(violations[0].subject, "tenant");
    assert_eq!(details.error_info().unwrap().reason, "QUOTA_EXCEEDED");
}

#[tokio::test]
async fn a_grpc_method_is_an_endpoint() {
    let api = Api::new(|limits| limits.endpoint("gRPC /pkg.Service/Method", Quota::per_minute(1)));
    assert_eq!(api.call("acme").await.code(), tonic::Code::Unimplemented);
    assert_eq!(
        api.call("acme").await.code(),
        tonic::Code::ResourceExhausted
    );
    assert_eq!(api.call("globex").await.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn endpoints_are_templates_and_never_raw_paths() {
    let api = Api::new(|limits| {
        limits
            .endpoint("GET /invoices/{id}", Quota::per_minute(2))
            .endpoint("POST /reports", Quota::per_minute(1))
    });
    assert_eq!(
        api.get("acme", "/invoices/1").await.0.status,
        StatusCode::OK
    );
    assert_eq!(
        api.get("acme", "/invoices/2?x=1").await.0.status,
        StatusCode::OK
    );
    let (parts, _) = api.get("acme", "/invoices/3").await;
    assert_eq!(policy(&parts.headers), r#""endpoint";q=2;w=60"#);
    let head = request(Method::HEAD, "acme", "/invoices/4");
    assert_eq!(api.send(head).await.0.status, StatusCode::TOO_MANY_REQUESTS);
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let post = request(Method::POST, "acme", "/reports");
        assert_eq!(api.send(post).await.0.status, status);
    }
    assert_eq!(
        api.get("acme", "/reports").await.0.status,
        StatusCode::OK,
        "another method"
    );
}

#[tokio::test]
async fn i7_without_a_context_it_refuses_and_says_why() {
    let api = Api::new(|limits| limits.tenant(Quota::per_minute(10)));
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    // For the whole process: another thread's test must not switch the event off.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let service = api.limits.layer(Api::router());
    let response = at_once(service.oneshot(request(Method::GET, "acme", "/health")));
    assert_eq!(
        response.unwrap().status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let log = log.text();
    assert!(
        log.contains("ERROR") && log.contains("put the identity layer"),
        "{log}"
    );
}

#[tokio::test]
async fn anonymous_requests_spend_a_budget_of_their_own_and_no_tenants() {
    let api = Api::new(|limits| {
        limits
            .global(Quota::per_minute(1))
            .public(Quota::per_minute(3))
            .endpoint("GET /health", Quota::per_minute(1))
    });
    let health = || Request::get("/health").body(Body::empty()).unwrap();
    for _ in 0..3 {
        assert_eq!(api.send(health()).await.0.status, StatusCode::OK);
    }
    let (parts, _) = api.send(health()).await;
    assert_eq!(parts.headers["ratelimit-policy"], r#""public";q=3;w=60"#);
    assert_eq!(
        api.get("acme", "/invoices/1").await.0.status,
        StatusCode::OK,
        "the global budget is whole"
    );
    let undeclared = Request::get("/reports").body(Body::empty()).unwrap();
    assert_eq!(
        api.send(undeclared).await.0.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_credential_on_a_public_route_is_counted_as_its_tenants() {
    let api = Api::new(|limits| limits.tenant(Quota::per_minute(1)));
    let seen = |request: &Request<Body>| PublicRoute::of(request.extensions());
    assert!(!seen(&request(Method::GET, "acme", "/health")));
    assert_eq!(api.get("acme", "/health").await.0.status, StatusCode::OK);
    assert_eq!(
        api.get("acme", "/health").await.0.status,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn headers_on_every_response_name_the_binding_budget() {
    let api = Api::new(|limits| {
        limits
            .global(Quota::per_minute(5))
            .public(Quota::per_minute(1))
            .tenant(Quota::per_minute(3))
            .headers(Headers::Always)
    });
    let (parts, _) = api.get("acme", "/invoices/1").await;
    assert_eq!(policy(&parts.headers), r#""tenant";q=3;w=60"#);
    assert_eq!(parts.headers["ratelimit"], r#""tenant";r=2;t=20"#);
    assert_eq!(api.call("acme").await.code(), tonic::Code::Unimplemented);
    for state in [r#""tenant";r=2;t=20"#, r#""tenant";r=1;t=40"#] {
        let (parts, _) = api.get("globex", "/invoices/1").await;
        assert_eq!(parts.headers["ratelimit"], state);
    }
    let health = Request::get("/health").body(Body::empty()).unwrap();
    let (parts, _) = api.send(health).await;
    assert_eq!(parts.headers["ratelimit"], r#""public";r=0;t=60"#);
    api.call("globex").await;
    assert_eq!(
        api.call("globex").await.code(),
        tonic::Code::ResourceExhausted
    );
}

#[tokio::test]
async fn stacked_limiters_keep_the_inner_headers() {
    // The outer limiter's headers overwrote those of the one that bound.
    let outer = Api::new(|limits| {
        limits
            .tenant(Quota::per_minute(100))
            .headers(Headers::Always)
    });
    let inner = Api::new(|limits| limits.tenant(Quota::per_minute(1)).headers(Headers::Always));
    let service = outer
        .identity
        .layer(outer.limits.layer(inner.limits.layer(Api::router())));
    for (status, state) in [(200, r#""tenant";r=0;t=60"#), (429, r#""tenant";r=0;t=60"#)] {
        let request = request(Method::GET, "acme", "/invoices/1");
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(
            response.headers()["ratelimit"],
            state,
            "the outer one's of that name is left out"
        );
        assert_eq!(
            response
                .headers()
                .get_all("ratelimit-policy")
                .iter()
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn the_trail_holds_the_binding_dimension() {
    let api = Api::new(|limits| limits.tenant(Quota::per_minute(1)));
    let trail = Trail::open();
    for _ in 0..2 {
        let mut request = request(Method::GET, "acme", "/invoices/1");
        request.extensions_mut().insert(trail.clone());
        api.send(request).await;
    }
    let reason = trail.with(|facts| facts.rejection.as_ref().unwrap().reason().to_owned());
    assert_eq!(reason.unwrap(), "rate_limited:tenant");
}

#[tokio::test]
async fn a_refusal_never_reaches_the_handler() {
    let api = Api::new(|limits| limits.tenant(Quota::per_minute(1)));
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let handler = service_fn(move |_: Request<_>| {
        *counted.lock() += 1;
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let stack = TenantStack::new().identity(api.identity).limits(api.limits);
    let service = stack.layer(handler);
    for _ in 0..5 {
        let request = request(Method::GET, "acme", "/");
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(*calls.lock(), 1);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn inside_the_router_its_own_template_counts() {
    let api = Api::new(|limits| {
        limits
            .endpoint("GET /v1/invoices/{number}", Quota::per_minute(1))
            .endpoint("GET /v1/{other}", Quota::per_minute(1))
    });
    let ok = || async { "ok" };
    let routes = Router::new()
        .route("/invoices/{id}", get(ok))
        .route("/status", get(ok))
        .layer(api.limits.clone());
    let app = api.identity.layer(Router::new().nest("/v1", routes));
    let get = async |path: &str| {
        let request = request(Method::GET, "acme", path);
        app.clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(get("/v1/invoices/1").await, 200);
    assert_eq!(
        get("/v1/invoices/2").await,
        429,
        "the nested path is one endpoint"
    );
    for _ in 0..3 {
        assert_eq!(
            get("/v1/status").await,
            200,
            "a route of its own that is not declared"
        );
    }
}

/// Polls a future that never waits.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waited"),
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
