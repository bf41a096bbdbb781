//! Calls from one service to another, over HTTP on loopback: what arrives, and what is refused.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use parking_lot::Mutex;
use tenant_auth::{
    CachedRegistry, CredentialId, Issuer, Principal, PrincipalId, RejectionKind, TenantContext,
    TokenMinter,
    propagate::{Propagate, PropagateError, PropagateLayer, ServiceTokens},
};
use tenant_context::{
    Claims, MemoryRegistry, RequestHead, RequestId, RoleGrants, RoleMapping, Roles, TenantId,
    TenantRecord, TenantStack, TenantState, TraceParent, Trail, TrailCell,
};
use tenant_testkit::{ManualClock, claims, context_with, tenants};
use tower::{Layer, Service, ServiceExt, make::Shared, util::MapResponse};

const ISSUER: &str = "https://orders.internal";
const MINUTE: Duration = Duration::from_secs(60);

/// Keeps the headers of what is sent.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<HeaderMap>>>);

impl<B> Service<Request<B>> for Wire {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(
            TenantContext::of(request.extensions()).is_none(),
            "the proof left the process"
        );
        self.0.lock().push(request.headers().clone());
        std::future::ready(Ok(Response::new(())))
    }
}

struct Fixture {
    clock: ManualClock,
    tenants: CachedRegistry,
    minter: TokenMinter,
    wire: Wire,
    client: Propagate<Wire>,
}

impl Fixture {
    fn new() -> Self {
        let clock = ManualClock::new();
        let minter = TokenMinter::eddsa_generate("2026-01").unwrap();
        let wire = Wire::default();
        let client = Self::layer(&clock, &minter).layer(wire.clone());
        Self {
            tenants: tenants(&["acme", "globex"], &clock),
            clock,
            minter,
            wire,
            client,
        }
    }

    fn layer(clock: &ManualClock, minter: &TokenMinter) -> PropagateLayer {
        let tokens = ServiceTokens::new(ISSUER, "orders", minter.clone())
            .unwrap()
            .clock(clock.clone());
        PropagateLayer::new(tokens, "billing")
            .unwrap()
            .scopes(["invoices:write"])
            .unwrap()
    }

    fn send(
        &self,
        tenant: &TenantContext,
        request: Request<()>,
    ) -> Result<HeaderMap, RejectionKind> {
        match tenant
            .scope(self.client.clone().oneshot(request))
            .now_or_never()
            .unwrap()
        {
            Ok(_) => Ok(self.wire.0.lock().last().cloned().unwrap()),
            Err(PropagateError::Refused(rejection)) => Err(rejection.kind()),
            Err(PropagateError::Inner(never)) => match never {},
            Err(other) => panic!("a new kind of error: {other}"),
        }
    }

    fn context(&self, change: impl FnOnce(Claims) -> Claims) -> TenantContext {
        let claims = claims("acme", "ada").scopes(["invoices:*", "orders:read"]);
        context_with(&self.tenants, change(claims))
    }

    fn token(&self, tenant: &TenantContext) -> String {
        let headers = self.send(tenant, Request::new(())).unwrap();
        headers["authorization"]
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap()
            .to_owned()
    }

    /// The service that is called: a whole stack.
    fn billing(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + use<>
    + Clone
    + Send
    + 'static {
        async fn who(tenant: TenantContext) -> String {
            let chain: Vec<_> = tenant
                .actors()
                .iter()
                .map(|actor| actor.id().as_str())
                .collect();
            let scopes: Vec<_> = tenant.scopes().collect();
            format!(
                "{} {} {} {}",
                tenant.tenant_id(),
                tenant.principal().id(),
                chain.join(","),
                scopes.join(",")
            )
        }
        let identity = tenant_auth::layer(self.tenants.clone())
            .jwt(
                Issuer::new(ISSUER)
                    .audience("billing")
                    .leeway(Duration::ZERO)
                    .key(self.minter.verifying_key()),
            )
            .build()
            .unwrap();
        let router = Router::new().route("/who", get(who));
        let stack = TenantStack::new().identity(identity).layer(router);
        MapResponse::new(stack, |answer: Response<_>| answer.map(Body::new))
    }

    /// What the other side makes of them.
    fn context_of(&self, headers: HeaderMap) -> TenantContext {
        let issuer = Issuer::new(ISSUER)
            .audience("billing")
            .key(self.minter.verifying_key());
        let auth = tenant_auth::layer(self.tenants.clone())
            .jwt(issuer)
            .authenticate()
            .unwrap();
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        let (head, ()) = request.into_parts();
        let admitted = TenantContext::admit(&auth, &RequestHead::new(&head));
        admitted.wait().now_or_never().unwrap().unwrap()
    }

    fn ask(&self, headers: HeaderMap) -> (StatusCode, String) {
        let mut request = Request::builder().uri("/who").body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        let answer = self
            .billing()
            .oneshot(request)
            .now_or_never()
            .unwrap()
            .unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 10_000)
            .now_or_never()
            .unwrap()
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[test]
fn the_other_side_sees_the_tenant_the_chain_and_the_scopes_of_the_operation() {
    let fixture = Fixture::new();
    let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
    let ada = fixture.context(|claims| claims.actor(bot));
    let headers = fixture.send(&ada, Request::new(())).unwrap();
    let (status, seen) = fixture.ask(headers);
    assert_eq!(
        (status, &*seen),
        (StatusCode::OK, "acme ada orders,bot invoices:write")
    );
}

/// MCP authorization: inbound tokens are never passed upstream.
#[test]
fn a_deputy_never_passes_the_inbound_token_on() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let mut request = Request::new(());
    for name in [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "txn-token",
        "dpop",
        "x-tenant-id",
    ] {
        for canary in ["canary-1", "canary-2"] {
            request.headers_mut().append(name, canary.parse().unwrap());
        }
    }
    request
        .headers_mut()
        .insert("accept", "text/plain".parse().unwrap());
    let sent = fixture.send(&ada, request).unwrap();
    assert!(
        !sent
            .values()
            .any(|value| value.to_str().unwrap().contains("canary"))
    );
    assert_eq!(
        (
            sent.get_all("authorization").iter().count(),
            &sent["accept"]
        ),
        (1, &"text/plain".parse().unwrap())
    );
    assert!(sent["authorization"].is_sensitive());
}

#[test]
fn i7_nothing_is_sent_without_a_context_or_with_one_that_has_ended() {
    let fixture = Fixture::new();
    let outside = fixture
        .client
        .clone()
        .oneshot(Request::new(()))
        .now_or_never()
        .unwrap();
    let Err(PropagateError::Refused(rejection)) = outside else {
        panic!("it was sent")
    };
    assert_eq!(rejection.kind(), RejectionKind::ContextMissing);
    let ada = fixture.context(|claims| claims);
    fixture.tenants.suspend(ada.tenant_id());
    assert_eq!(
        fixture.send(&ada, Request::new(())),
        Err(RejectionKind::TenantSuspended)
    );
    fixture.tenants.resume(ada.tenant_id());
    let gone = fixture.context(|claims| claims);
    gone.revoke();
    assert_eq!(
        fixture.send(&gone, Request::new(())),
        Err(RejectionKind::CredentialInvalid)
    );
    assert!(fixture.wire.0.lock().is_empty());
}

/// The wire looks that none arrives.
#[test]
fn the_proof_that_a_request_is_given_for_its_call_stays_in_the_process() {
    let fixture = Fixture::new();
    let mut request = Request::new(());
    request
        .extensions_mut()
        .insert(fixture.context(|claims| claims));
    let sent = fixture.client.clone().oneshot(request).now_or_never();
    assert!(sent.unwrap().is_ok());
    assert_eq!(fixture.wire.0.lock().len(), 1);
}

/// The token has no words for whose staff acts.
#[test]
fn an_operators_context_is_not_passed_on() {
    let fixture = Fixture::new();
    let visiting = fixture.context(|mut claims| {
        claims.operator_of = Some(TenantId::parse("globex").unwrap());
        claims
    });
    assert_eq!(
        fixture.send(&visiting, Request::new(())),
        Err(RejectionKind::InsufficientScope)
    );
    assert!(fixture.wire.0.lock().is_empty());
}

#[test]
fn a_token_allows_no_more_than_its_context_and_ends_no_later() {
    let fixture = Fixture::new();
    let reader = context_with(
        &fixture.tenants,
        claims("acme", "ada").scopes(["invoices:read"]),
    );
    assert_eq!(
        fixture.send(&reader, Request::new(())),
        Err(RejectionKind::InsufficientScope)
    );
    let deep = fixture.context(|mut claims| {
        let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
        claims.actors = vec![bot; Claims::MAX_ACTORS];
        claims
    });
    assert_eq!(
        fixture.send(&deep, Request::new(())),
        Err(RejectionKind::CredentialInvalid)
    );
    let short = fixture.context(|mut claims| {
        let end = ManualClock::START.saturating_add(MINUTE);
        claims.stated_expiry = Some(end);
        claims.expires_at = end.saturating_add(MINUTE);
        claims
    });
    let headers = fixture.send(&short, Request::new(())).unwrap();
    assert_eq!(fixture.ask(headers.clone()).0, StatusCode::OK);
    fixture.clock.advance(MINUTE);
    assert_eq!(fixture.ask(headers).0, StatusCode::UNAUTHORIZED);
    assert!(short.check().is_ok(), "the leeway");
    assert_eq!(
        fixture.send(&short, Request::new(())),
        Err(RejectionKind::CredentialInvalid),
        "what would be minted in it would outlive it"
    );
}

#[test]
fn a_token_is_reused_until_shortly_before_its_end_and_by_its_own_identity_alone() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let first = fixture.token(&ada);
    fixture.clock.advance(4 * MINUTE);
    assert_eq!(fixture.token(&ada), first);
    fixture.clock.advance(MINUTE / 2);
    assert_ne!(fixture.token(&ada), first, "30 s before its end");
    let other = fixture.context(|claims| claims.credential(CredentialId::parse("2").unwrap()));
    assert_ne!(fixture.token(&other), fixture.token(&ada));
    let gus = context_with(
        &fixture.tenants,
        claims("globex", "ada").scopes(["invoices:*"]),
    );
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", fixture.token(&gus)).parse().unwrap(),
    );
    assert!(fixture.ask(headers).1.starts_with("globex "));
}

/// One text that is read as two scopes on the other side.
#[test]
fn i3_two_scopes_in_one_text_are_refused() {
    let fixture = Fixture::new();
    for text in ["invoices:read billing:write", "", "a\\b"] {
        let layer = Fixture::layer(&fixture.clock, &fixture.minter).scopes([text]);
        let error = layer.unwrap_err().to_string();
        assert!(error.contains("name each by itself"), "{error}");
    }
}

struct Changing(Arc<Mutex<Roles>>);

impl RoleMapping for Changing {
    fn grants(&self, tenant: &TenantState, role: &str) -> Option<Arc<RoleGrants>> {
        self.0.lock().grants(tenant, role)
    }
}

#[test]
fn a_role_that_is_taken_away_is_gone_with_the_next_call() {
    let roles = Arc::new(Mutex::new(Roles::ready()));
    let mut fixture = Fixture::new();
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(TenantId::parse("acme").unwrap()));
    fixture.tenants = CachedRegistry::builder(registry)
        .clock(fixture.clock.clone())
        .roles(Changing(Arc::clone(&roles)))
        .build()
        .unwrap();
    let ada = context_with(&fixture.tenants, claims("acme", "ada").roles(["admin"]));
    fixture.token(&ada);
    *roles.lock() = Roles::none();
    assert_eq!(
        fixture.send(&ada, Request::new(())),
        Err(RejectionKind::InsufficientScope)
    );
}

#[test]
fn budgets_and_what_the_network_says_in_its_own_words() {
    let fixture = Fixture::new();
    let ada = fixture.context(|mut claims| {
        let budget = serde_json::json!([{"requests": 7, "seconds": 60}]);
        claims.custom.insert("budget".to_owned(), budget);
        claims
    });
    let mine = http::HeaderName::from_static("x-acting-for");
    let client = Fixture::layer(&fixture.clock, &fixture.minter)
        .never_send(mine.clone())
        .layer(fixture.wire.clone());
    let request = Request::builder()
        .header(&mine, "gus")
        .header("x-goog-iap-jwt-assertion", "inbound");
    let sent = ada.scope(client.oneshot(request.body(()).unwrap()));
    sent.now_or_never().unwrap().unwrap();
    let headers = fixture.wire.0.lock().last().cloned().unwrap();
    assert!(!headers.contains_key(&mine) && !headers.contains_key("x-goog-iap-jwt-assertion"));
    let seen = fixture.context_of(headers);
    assert_eq!(
        seen.claim::<serde_json::Value>("budget").unwrap(),
        serde_json::json!([null, {"requests": 7, "seconds": 60}]),
        "the agent's, after that of the service, which has none"
    );
}

#[test]
fn a_trace_goes_on_or_begins() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let with = |values: &[&str]| {
        let mut request = Request::new(());
        for value in values {
            request
                .headers_mut()
                .append("traceparent", value.parse().unwrap());
        }
        let sent = fixture.send(&ada, request).unwrap();
        assert_eq!(sent.get_all("traceparent").iter().count(), 1);
        assert_eq!(sent.get_all("x-request-id").iter().count(), 1);
        sent["traceparent"].to_str().unwrap().to_owned()
    };
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(with(&[good]), good);
    for bad in [
        &[][..],
        &[good, good],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
        &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
        &["00-4bf9-00f067aa0ba902b7-01"],
        &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ] {
        let made = with(bad);
        assert!(
            made != good && made.len() == 55 && made.starts_with("00-") && made.ends_with("-01"),
            "{made}"
        );
        assert_eq!(with(&[&made]), made, "what is made is valid");
    }
}

/// What a handler calls is part of the request's trace, if the audit layer takes it, and has the request's id.
#[test]
fn the_inbound_trace_and_id_go_on() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let inbound = fixture.send(&ada, Request::new(())).unwrap();
    let identity = tenant_auth::layer(fixture.tenants.clone())
        .jwt(
            Issuer::new(ISSUER)
                .audience("billing")
                .key(fixture.minter.verifying_key()),
        )
        .build()
        .unwrap();
    let client = fixture.client.clone();
    let handler = tower::service_fn(move |_: Request<_>| {
        let sent = client.clone().oneshot(Request::new(()));
        async move { sent.await.map(|_| Response::new(String::new())) }
    });
    let service = TenantStack::new().identity(identity).layer(handler);
    let sent = |trace: Option<TraceParent>| {
        let id = RequestId::make();
        let cell = Arc::new(
            TrailCell::new(())
                .with_request_id(Some(id.clone()))
                .with_trace(trace),
        );
        let mut request = Request::new(String::new());
        *request.headers_mut() = inbound.clone();
        request.extensions_mut().insert(Trail::on(&cell));
        let answer = service.clone().oneshot(request).now_or_never().unwrap();
        assert_eq!(answer.unwrap().status(), 200);
        let headers = fixture.wire.0.lock().last().cloned().unwrap();
        assert_eq!(headers["x-request-id"].to_str().unwrap(), id.to_string());
        TraceParent::of(&headers).unwrap()
    };
    for flags in ["00", "01"] {
        let line = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let trace = TraceParent::parse(line.as_bytes());
        let (one, other) = (sent(trace), sent(trace));
        for next in [one, other] {
            assert_eq!(next.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_ne!(next.span_id(), "00f067aa0ba902b7");
            assert_eq!(next.is_sampled(), flags == "01");
        }
        assert_ne!(one.span_id(), other.span_id(), "each call is a span");
    }
    assert_ne!(sent(None).trace_id(), sent(None).trace_id());
}

/// reqwest calls over a socket, with a token that a deputy might have left on the request.
#[tokio::test]
async fn a_client_not_written_by_us_carries_it_over_a_socket() {
    let fixture = Fixture::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(axum::serve(listener, Shared::new(fixture.billing())).into_future());
    let client = reqwest::Client::new();
    let send = tower::service_fn(move |request: Request<Vec<u8>>| {
        let client = client.clone();
        async move { client.execute(request.try_into()?).await }
    });
    let billing = Fixture::layer(&fixture.clock, &fixture.minter).layer(send);
    let request = || {
        Request::get(format!("http://{address}/who"))
            .header("authorization", "Bearer inbound")
            .header("x-tenant-id", "globex")
            .body(Vec::new())
            .unwrap()
    };
    let ada = fixture.context(|claims| claims);
    let answer = ada.scope(billing.clone().oneshot(request())).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = answer.text().await.unwrap();
    assert_eq!(seen, "acme ada orders invoices:write");
    let without = billing.oneshot(request()).await;
    assert!(
        matches!(without, Err(PropagateError::Refused(_))),
        "sent without a context: {without:?}"
    );
    served.abort();
}

/// Each forgery, at the service that is called.
#[test]
fn the_called_service_refuses_each_forgery() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let good = fixture.send(&ada, Request::new(())).unwrap();
    assert_eq!(fixture.ask(good.clone()).0, StatusCode::OK);
    let with = |name: &'static str, value: String| {
        let mut headers = good.clone();
        headers.insert(name, value.parse().unwrap());
        fixture.ask(headers).0
    };
    let token = fixture.token(&ada);
    assert_eq!(
        with("x-tenant-id", "globex".into()),
        StatusCode::FORBIDDEN,
        "another tenant in the metadata"
    );
    assert_eq!(with("x-tenant-id", "acme".into()), StatusCode::OK);
    let stranger = TokenMinter::eddsa_generate("2026-01").unwrap();
    let forge = |layer: PropagateLayer| {
        let wire = Wire::default();
        ada.scope(layer.layer(wire.clone()).oneshot(Request::new(())))
            .now_or_never()
            .unwrap()
            .unwrap();
        let headers = wire.0.lock().pop().unwrap();
        fixture.ask(headers).0
    };
    assert_eq!(
        forge(Fixture::layer(&fixture.clock, &stranger)),
        StatusCode::UNAUTHORIZED,
        "another key"
    );
    let tokens = |issuer: &str| {
        ServiceTokens::new(issuer, "orders", fixture.minter.clone())
            .unwrap()
            .clock(fixture.clock.clone())
    };
    let elsewhere = PropagateLayer::new(tokens(ISSUER), "payroll").unwrap();
    assert_eq!(
        forge(elsewhere),
        StatusCode::UNAUTHORIZED,
        "for another service"
    );
    let issuer = PropagateLayer::new(tokens("https://evil.example"), "billing").unwrap();
    assert_eq!(forge(issuer), StatusCode::UNAUTHORIZED, "another issuer");
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        with("authorization", format!("Bearer {signed}.")),
        StatusCode::UNAUTHORIZED
    );
    fixture.clock.advance(5 * MINUTE);
    assert_eq!(
        fixture.ask(good.clone()).0,
        StatusCode::UNAUTHORIZED,
        "replayed after its end"
    );
    let mut without = good;
    without.remove("authorization");
    assert_eq!(fixture.ask(without).0, StatusCode::UNAUTHORIZED);
}
