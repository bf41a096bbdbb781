//! The layers that require scopes and roles: their contract, and what they refuse.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests"
)]

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{Method, Request, Response};
use tenant_auth::{RequireRole, RequireScope};
use tenant_context::{
    CachedRegistry, Claims, IdentityLayer, Rejection, TenantContext, TenantStack, Trail,
};
use tenant_testkit::{
    ManualClock, TestAuth, claims, context_with,
    contract::{Probe, ProbeBody},
    tenants,
};
use tower::{Layer, ServiceExt, service_fn};

fn acme() -> CachedRegistry {
    tenants(&["acme"], &ManualClock::new())
}

fn reader() -> Claims {
    claims("acme", "ada")
        .scopes(["reports:read"])
        .roles(["viewer"])
}

fn carrying(context: TenantContext) -> Request<ProbeBody> {
    let mut request = Request::new(ProbeBody::default());
    request.extensions_mut().insert(context);
    request
}

#[test]
fn i10_the_layers_keep_the_tower_contract() {
    let context = context_with(&acme(), reader());
    let viewer = context_with(&acme(), claims("acme", "ada").roles(["viewer"]));
    let scope = RequireScope::new("reports:read");
    Probe::new("require scope")
        .layer(move |handler| scope.layer(handler))
        .admitted(move || carrying(context.clone()))
        .refused(|| Request::new(ProbeBody::default()))
        .check();
    let refusing = RequireRole::any(["viewer", "admin"]).unwrap();
    Probe::new("require role")
        .layer(move |handler| refusing.layer(handler))
        .admitted(move || carrying(viewer.clone()))
        .refused(move || {
            let mut request = Request::new(ProbeBody::default());
            let stranger = context_with(&acme(), claims("acme", "eve"));
            request.extensions_mut().insert(stranger);
            request
        })
        .check();
}

fn send<L, S>(layer: &L, request: Request<ProbeBody>) -> (u16, Option<String>)
where
    L: Layer<Handler, Service = S>,
    S: tower::Service<
            Request<ProbeBody>,
            Response = Response<tenant_context::RefusalBody<ProbeBody>>,
            Error = Infallible,
        >,
{
    let response = layer
        .layer(handler())
        .oneshot(request)
        .now_or_never()
        .unwrap()
        .unwrap();
    let reason = response.extensions().get::<Rejection>();
    (
        response.status().as_u16(),
        reason.map(|rejection| rejection.reason().to_owned()),
    )
}

type Handler =
    tower::util::BoxCloneSyncService<Request<ProbeBody>, Response<ProbeBody>, Infallible>;

fn handler() -> Handler {
    Handler::new(service_fn(async |_: Request<ProbeBody>| {
        Ok::<_, Infallible>(Response::new(ProbeBody::default()))
    }))
}

#[test]
fn without_a_context_nobody_passes() {
    let request = || Request::new(ProbeBody::default());
    let missing = (500, Some("context_missing".to_owned()));
    assert_eq!(send(&RequireScope::new("reports:read"), request()), missing);
    assert_eq!(send(&RequireRole::new("viewer"), request()), missing);
    let lenient = RequireScope::new("reports:read").except_public_routes();
    assert_eq!(send(&lenient, request()), missing);
}

#[test]
fn the_refusal_is_in_the_trail() {
    let trail = Trail::open();
    let mut request = carrying(context_with(&acme(), reader()));
    request.extensions_mut().insert(trail.clone());
    let refused = send(&RequireScope::new("reports:write"), request);
    assert_eq!(refused, (403, Some("scope".to_owned())));
    let recorded = trail.with(|facts| facts.rejection.as_ref().unwrap().reason().to_owned());
    assert_eq!(recorded.as_deref(), Some("scope"));

    // Its token is for less than a viewer may see.
    for role in ["admin", "viewer"] {
        let request = carrying(context_with(&acme(), reader()));
        assert_eq!(
            send(&RequireRole::new(role), request),
            (403, Some("role".to_owned()))
        );
    }
}

#[test]
fn a_layer_that_requires_nothing_is_not_built() {
    assert!(RequireScope::all(None::<&str>).is_err());
    assert!(RequireRole::any(None::<&str>).is_err());
}

#[test]
fn on_a_public_route_a_caller_without_credential_passes_only_where_that_was_said() {
    let answer = |authority: RequireScope, path: &str, token: Option<&str>| {
        let auth = TestAuth::new(acme()).accept("reader", reader());
        let identity = IdentityLayer::builder()
            .public(Method::GET, "/health")
            .build(auth)
            .unwrap();
        let stack = TenantStack::new().identity(identity).authority(authority);
        let service = stack.layer(service_fn(async |_: Request<_>| {
            Ok::<_, Infallible>(Response::new(
                http_body_util::Full::new(bytes::Bytes::new()),
            ))
        }));
        let mut request = Request::builder().uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Test {token}"));
        }
        let request = request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = service.oneshot(request).now_or_never().unwrap().unwrap();
        response.status().as_u16()
    };
    let (read, write) = (
        RequireScope::new("reports:read"),
        RequireScope::new("reports:write"),
    );
    assert_eq!(answer(read.clone(), "/health", None), 401);
    assert_eq!(
        answer(read.clone().except_public_routes(), "/health", None),
        200
    );
    assert_eq!(
        answer(read.clone().except_public_routes(), "/reports", None),
        401
    );
    assert_eq!(answer(read, "/reports", Some("reader")), 200);
    assert_eq!(answer(write.clone(), "/reports", Some("reader")), 403);
    // Whoever presents a credential is measured by it, on public routes too.
    assert_eq!(
        answer(write.except_public_routes(), "/health", Some("reader")),
        403
    );
}
