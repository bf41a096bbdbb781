//! What is sent, and what never is.

use futures_util::FutureExt;
use http::Request;
use tenant_auth::{RejectionKind, propagate::PropagateError};
use tenant_context::TenantId;
use tower::{Layer, ServiceExt};

use crate::fixture::Fixture;

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
