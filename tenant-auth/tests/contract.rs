//! The tower contract.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use common::{Fixture, ada};
use http::{HeaderValue, Request};
use http_body_util::{Either, Empty};
use tenant_auth::{
    Authenticated, CachedRegistry, IdentityLayer, Issuer, TenantId, TenantRecord,
    propagate::{PropagateError, PropagateLayer, ServiceTokens},
};
use tenant_context::{BoxError, Protocol, TenantRegistry};
use tenant_testkit::{
    Gate,
    contract::{Probe, ProbeBody},
};
use tower::{Layer, ServiceExt};

fn request(credential: &str) -> Request<ProbeBody> {
    let mut request = Request::new(ProbeBody::default());
    let value = HeaderValue::try_from(credential).unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

fn layer(fixture: &Fixture, tenants: CachedRegistry) -> IdentityLayer<Authenticated> {
    tenant_auth::layer(tenants)
        .jwt(
            Issuer::new(common::ISSUER)
                .audience("api")
                .key(fixture.minter.verifying_key()),
        )
        .api_keys(fixture.keys.clone())
        .build()
        .unwrap()
}

#[test]
fn i10_the_layer_keeps_the_tower_contract() {
    let fixture = Fixture::new();
    let layer = layer(&fixture, fixture.tenants.clone());
    let good = format!("Bearer {}", fixture.good());
    Probe::new("tenant-auth, warm")
        .layer(|handler| layer.layer(handler))
        .admitted(move || request(&good))
        .refused(|| request("Bearer x.y.z"))
        .check();
}

/// The layer of the other side: around a client.
#[test]
fn i10_the_propagating_layer_keeps_the_tower_contract() {
    let fixture = Fixture::new();
    let tokens = ServiceTokens::new(common::ISSUER, "orders", fixture.minter.clone())
        .unwrap()
        .clock(fixture.clock.clone());
    let layer = PropagateLayer::new(tokens, "billing").unwrap();
    let ada = tenant_testkit::context(&fixture.tenants, "acme", "ada");
    let dressed = move || {
        let mut request = request("Bearer inbound");
        request.extensions_mut().insert(ada.clone());
        request
    };
    Probe::new("tenant-auth, propagate")
        .layer(|handler| {
            // A refusal is an error of the call; a handler answers with it.
            let client = layer.layer(handler);
            ServiceExt::<Request<ProbeBody>>::map_result(client, |result| match result {
                Ok(answer) => Ok(answer.map(Either::Left)),
                Err(PropagateError::Refused(rejection)) => {
                    let answer = rejection.to_response(Protocol::Http);
                    Ok(answer.map(|()| Either::Right(Empty::new())))
                }
                Err(failed) => Err(failed),
            })
        })
        .admitted(dressed)
        .refused(|| request("Bearer inbound"))
        .check();
}

/// Knows every tenant, after the gate has let the look-up pass.
struct Slow(Gate);

impl TenantRegistry for Slow {
    async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
        self.0.pass().await;
        let known = !id.as_str().starts_with("unknown");
        Ok(known.then(|| TenantRecord::new(id.clone())))
    }
}

#[test]
fn i10_the_layer_keeps_the_tower_contract_while_a_tenant_is_looked_up() {
    let fixture = Fixture::new();
    let gate = Gate::closed();
    let tenants = CachedRegistry::builder(Slow(gate.clone()))
        .clock(fixture.clock.clone())
        .build()
        .unwrap();
    // Each request names a tenant that nobody has asked for yet.
    let next = std::rc::Rc::new(std::cell::Cell::new(0_u32));
    let minter = fixture.minter.clone();
    let clock = fixture.clock.clone();
    let token = move |tenant: &str| {
        let token = ada().claim("tenant_id", tenant);
        format!("Bearer {}", minter.mint(&token, &clock).unwrap())
    };
    let fresh = |prefix: &'static str| {
        let (token, next) = (token.clone(), next.clone());
        move || {
            next.set(next.get() + 1);
            request(&token(&format!("{prefix}-{}", next.get())))
        }
    };
    let warm = token("acme");
    gate.open();
    let layer = layer(&fixture, tenants);
    warm_up(&layer, &warm);
    gate.close();
    Probe::new("tenant-auth, cold")
        .layer(|handler| layer.layer(handler))
        .admitted(move || request(&warm))
        .pending(fresh("tenant"))
        .pending_refused(fresh("unknown"))
        .between_polls(move || gate.release())
        .check();
}

fn warm_up(layer: &IdentityLayer<Authenticated>, credential: &str) {
    use futures_util::FutureExt;
    use tower::ServiceExt;
    let handler = tower::service_fn(async |_: Request<_>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(ProbeBody::default()))
    });
    let answer = layer
        .layer(handler)
        .oneshot(request(credential))
        .now_or_never()
        .unwrap();
    assert_eq!(answer.unwrap().status(), 200);
}
