//! A key's holder rotates it, over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use axum::Router;
use common::{Fixture, ISSUER, ada, both, in_header, new_key, now, reason};
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tenant_auth::{Issuer, NewToken, TenantContext, TenantStack};
use tenant_context::Rejection;
use tower::{Layer, ServiceExt};

/// The answer's status, its reason for the audit, and its body.
struct Answer {
    status: StatusCode,
    reason: String,
    cache: String,
    body: Value,
}

async fn send(fixture: &Fixture, request: Request<()>) -> Answer {
    let issuer = Issuer::new(ISSUER)
        .audience("api")
        .key(fixture.minter.verifying_key());
    let identity = tenant_auth::layer(fixture.tenants.clone())
        .jwt(issuer)
        .api_keys(fixture.keys.clone())
        .build()
        .unwrap();
    let router: Router =
        Router::new().route_service("/api-key/rotate", fixture.keys.rotation_service());
    let app = TenantStack::new().identity(identity).layer(router);
    let (mut head, ()) = request.into_parts();
    head.uri = "/api-key/rotate".parse().unwrap();
    let request = Request::from_parts(head, axum::body::Body::empty());
    let response = app.oneshot(request).await.unwrap();
    let reason = response.extensions().get::<Rejection>();
    let reason = reason.map_or_else(String::new, |rejection| rejection.reason().to_owned());
    let cache = response.headers().get(header::CACHE_CONTROL);
    let cache = cache.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = axum::body::Body::new(response.into_body());
    let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer {
        status,
        reason,
        cache,
        body,
    }
}

fn post(mut request: Request<()>) -> Request<()> {
    *request.method_mut() = Method::POST;
    request
}

#[tokio::test]
async fn a_keys_holder_rotates_it_once_and_both_are_valid() {
    let fixture = Fixture::new();
    let (old, _) = now(fixture
        .keys
        .issue(new_key("acme", "ci").scopes(["reports:read"])));
    let answer = send(&fixture, post(in_header(old.expose()))).await;
    assert_eq!(
        (answer.status, &*answer.cache),
        (StatusCode::OK, "no-store")
    );
    let days = answer.body["old_valid_until"].as_u64().unwrap() - common::NOW;
    assert_eq!(days, 7 * 86_400);
    let new = answer.body["key"].as_str().unwrap();
    let context: TenantContext = fixture.admit(in_header(new)).unwrap();
    assert_eq!(
        context.credential().unwrap().as_str(),
        answer.body["key_id"]
    );
    assert!(context.allows("reports:read") && !context.allows("reports:write"));
    assert_eq!(reason(fixture.admit(in_header(old.expose()))), "ok");

    let again = send(&fixture, post(in_header(old.expose()))).await;
    assert_eq!(
        (again.status, again.body),
        (StatusCode::CONFLICT, Value::Null)
    );
}

#[tokio::test]
async fn nobody_else_rotates_a_key() {
    let fixture = Fixture::new();
    let (key, id) = fixture.api_key("acme", "ada");
    let token = fixture.good();
    // A token whose id is the key's.
    let named = fixture.token(ada().claim("jti", id.as_str()));
    let agent = fixture.token(
        ada()
            .act(tenant_auth::PrincipalKind::Agent, "bot")
            .claim("jti", id.as_str()),
    );
    let foreign =
        fixture.token(NewToken::new(ISSUER, "api", "globex", "ada").claim("jti", id.as_str()));
    for request in [
        common::bearer(&token),
        common::bearer(&named),
        common::bearer(&agent),
        common::bearer(&foreign),
        both(&token, key.expose()),
        both(&named, key.expose()),
    ] {
        let answer = send(&fixture, post(request)).await;
        assert_eq!(
            (answer.status, &*answer.reason),
            (StatusCode::FORBIDDEN, "api_key_rotation")
        );
        assert!(answer.body.get("key").is_none());
    }
    let nobody = send(&fixture, post(Request::new(()))).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let get = send(&fixture, in_header(key.expose())).await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    now(fixture.keys.revoke(
        &TenantContext::tenant_id(&fixture.bearer(&token).unwrap()).clone(),
        &id,
    ));
    let revoked = send(&fixture, post(in_header(key.expose()))).await;
    assert_eq!(revoked.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        now(fixture
            .keys
            .list(&tenant_auth::TenantId::parse("acme").unwrap()))
        .len(),
        1
    );
}

#[tokio::test]
async fn without_a_context_nothing_is_rotated() {
    let fixture = Fixture::new();
    let (key, _) = fixture.api_key("acme", "ci");
    let service = fixture.keys.rotation_service();
    let response = service
        .oneshot(post(in_header(key.expose())))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
