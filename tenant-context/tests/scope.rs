//! The context of code that has no request at hand.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use tenant_context::{
    ForTenant, IdentityLayer, NoContext, Rejection, TenantContext, TenantId, TenantScoped, Trail,
};
use tenant_testkit::{ManualClock, TestAuth, claims, context, tenants};
use tower::{Layer, ServiceExt, service_fn};

fn two() -> (TenantContext, TenantContext) {
    let tenants = tenants(&["acme", "globex"], &ManualClock::new());
    (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "gus"),
    )
}

/// The error of code that runs outside: it cannot be made by hand.
fn outside() -> NoContext {
    std::thread::spawn(TenantContext::current)
        .join()
        .unwrap()
        .unwrap_err()
}

fn here() -> Result<String, NoContext> {
    TenantContext::current().map(|tenant| tenant.tenant_id().to_string())
}

#[tokio::test]
async fn code_outside_any_scope_has_no_tenant_and_says_so() {
    assert_eq!(here(), Err(outside()));
    assert!(outside().to_string().contains("TenantContext::scope"));
    assert!(TenantContext::propagate(async {}).is_err());
}

#[tokio::test]
async fn scopes_nest_and_give_back_what_was_there() {
    let (acme, globex) = two();
    let inner = globex.scope(async {
        tokio::task::yield_now().await;
        here().unwrap()
    });
    let seen = acme
        .scope(async { (here().unwrap(), inner.await, here().unwrap()) })
        .await;
    assert_eq!(seen, ("acme".into(), "globex".into(), "acme".into()));
    assert_eq!(here(), Err(outside()));
}

#[tokio::test]
async fn interleaved_futures_on_one_thread_keep_their_own_tenant() {
    let (acme, globex) = two();
    let work = |expected: &'static str| async move {
        for _ in 0..50 {
            assert_eq!(here().unwrap(), expected);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(acme.scope(work("acme")), globex.scope(work("globex")));
}

#[tokio::test]
async fn a_spawned_task_has_a_tenant_only_if_it_was_carried() {
    let (acme, _) = two();
    let (bare, carried) = acme
        .scope(async {
            let bare = tokio::spawn(async { here() });
            let carried = tokio::spawn(TenantContext::propagate(async { here() }).unwrap());
            (bare.await.unwrap(), carried.await.unwrap())
        })
        .await;
    assert_eq!((bare, carried), (Err(outside()), Ok("acme".into())));
    let tenant = acme.clone();
    assert_eq!(
        tokio::task::spawn_blocking(move || tenant.scope_sync(here))
            .await
            .unwrap(),
        Ok("acme".into())
    );
}

#[test]
fn a_panic_leaves_no_tenant_behind_on_the_thread() {
    let (acme, _) = two();
    let panicked = catch_unwind(AssertUnwindSafe(|| acme.scope_sync(|| panic!("handler"))));
    assert!(panicked.is_err());
    assert_eq!(
        here(),
        Err(outside()),
        "a reused worker starts without a tenant"
    );
}

#[tokio::test]
async fn i12_only_the_owner_gets_the_value_and_the_trail_knows_who_else_asked() {
    let (acme, globex) = two();
    let invoice = || Some(TenantScoped::new(TenantId::parse("acme").unwrap(), 3));
    assert_eq!(invoice().for_tenant(&acme).unwrap(), 3);
    let foreign: Rejection = invoice().for_tenant(&globex).unwrap_err();
    let missing: Rejection = None::<TenantScoped<u32>>.for_tenant(&globex).unwrap_err();
    assert_eq!(foreign.to_string(), missing.to_string());
    assert_eq!(
        (foreign.reason(), missing.reason()),
        ("cross_tenant", "not_found")
    );
    acme.revoke();
    assert!(
        invoice().for_tenant(&acme).is_err(),
        "every use checks the context"
    );
}

#[test]
fn a_case_variant_is_another_tenant() {
    let (acme, _) = two();
    let value = TenantScoped::new(TenantId::parse("Acme").unwrap(), ());
    assert_eq!(
        value.for_tenant(&acme).unwrap_err().reason(),
        "cross_tenant"
    );
}

#[test]
fn i8_debug_shows_the_owner_and_never_the_value() {
    let value = TenantScoped::new(TenantId::parse("acme").unwrap(), "canary");
    assert!(!format!("{value:?}").contains("canary"));
    assert!(!Trail::current().is_open());
}

/// A request that an outer tenant's code makes is not the outer tenant's: on a public route it is nobody's.
#[tokio::test]
async fn i1_a_public_route_within_a_scope_is_nobodys() {
    let tenants = tenants(&["acme"], &ManualClock::new());
    let outer = context(&tenants, "acme", "ada");
    let door = IdentityLayer::builder()
        .public(Method::GET, "/health")
        .build(TestAuth::new(tenants).accept("ada", claims("acme", "ada")))
        .unwrap();
    let app = door.layer(service_fn(|_: Request<_>| {
        let called = here();
        async move {
            let polled = here();
            let body = Body::from_stream(stream::once(async move {
                Ok::<_, Infallible>(format!("{called:?} {polled:?} {:?}", here()))
            }));
            Ok::<_, Infallible>(Response::new(body))
        }
    }));
    let ask = |token: Option<&str>| {
        let request = Request::builder().uri("/health");
        let request = match token {
            Some(token) => request.header("authorization", format!("Test {token}")),
            None => request,
        };
        let app = app.clone();
        async move {
            let answer = app
                .oneshot(request.body(Empty::<Bytes>::new()).unwrap())
                .await;
            answer
                .unwrap()
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
        }
    };
    let (nobody, ada) = outer
        .scope(async { (ask(None).await, ask(Some("ada")).await) })
        .await;
    let no = "Err(NoContext)";
    assert_eq!(nobody, format!("{no} {no} {no}"));
    let yes = "Ok(\"acme\")";
    assert_eq!(ada, format!("{yes} {yes} {yes}"));
}
