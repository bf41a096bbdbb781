//! What the service that is called sees, and what it refuses.

use futures_util::FutureExt;
use http::{Request, StatusCode};
use tenant_auth::{
    Principal, PrincipalId, TokenMinter,
    propagate::{PropagateError, PropagateLayer, ServiceTokens},
};
use tower::{Layer, ServiceExt, make::Shared};

use crate::fixture::{Fixture, ISSUER, MINUTE, Wire};

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
