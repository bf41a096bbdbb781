//! Two services: one that calls, with the wire it sends on, and one that is called.

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
    CachedRegistry, Issuer, RejectionKind, TenantContext, TokenMinter,
    propagate::{Propagate, PropagateError, PropagateLayer, ServiceTokens},
};
use tenant_context::{Claims, RequestHead, TenantStack};
use tenant_testkit::{ManualClock, claims, context_with, tenants};
use tower::{Layer, Service, ServiceExt, util::MapResponse};

pub const ISSUER: &str = "https://orders.internal";
pub const MINUTE: Duration = Duration::from_secs(60);

/// Keeps the headers of what is sent.
#[derive(Clone, Default)]
pub struct Wire(pub Arc<Mutex<Vec<HeaderMap>>>);

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

pub struct Fixture {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub minter: TokenMinter,
    pub wire: Wire,
    pub client: Propagate<Wire>,
}

impl Fixture {
    pub fn new() -> Self {
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

    pub fn layer(clock: &ManualClock, minter: &TokenMinter) -> PropagateLayer {
        let tokens = ServiceTokens::new(ISSUER, "orders", minter.clone())
            .unwrap()
            .clock(clock.clone());
        PropagateLayer::new(tokens, "billing")
            .unwrap()
            .scopes(["invoices:write"])
            .unwrap()
    }

    pub fn send(
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

    pub fn context(&self, change: impl FnOnce(Claims) -> Claims) -> TenantContext {
        let claims = claims("acme", "ada").scopes(["invoices:*", "orders:read"]);
        context_with(&self.tenants, change(claims))
    }

    pub fn token(&self, tenant: &TenantContext) -> String {
        let headers = self.send(tenant, Request::new(())).unwrap();
        headers["authorization"]
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap()
            .to_owned()
    }

    /// The service that is called: a whole stack.
    pub fn billing(
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
    pub fn context_of(&self, headers: HeaderMap) -> TenantContext {
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

    pub fn ask(&self, headers: HeaderMap) -> (StatusCode, String) {
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
