//! The whole identity layer under test, around a handler that says who was admitted.

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use tenant_auth::{AuthLayerBuilder, Authenticated, IdentityLayer, Issuer, TenantContext};
use tenant_context::Rejection;
use tower::{Layer, ServiceExt};

use crate::common::{Fixture, ISSUER};

pub const GATEWAY: &str = "10.1.0.1";
pub const STRANGER: &str = "192.0.2.66";

/// The internal headers of which a handler sees none.
const INTERNAL: [&str; 4] = ["x-tenant-id", "x-edge-tenant", "x-user-id", "x-org-id"];

pub struct Door {
    pub fixture: Fixture,
    layer: IdentityLayer<Authenticated>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// By tenant and principal.
    Served(String, String),
    Refused(u16, String),
}

impl Answer {
    pub fn refused(status: u16, reason: &str) -> Self {
        Self::Refused(status, reason.to_owned())
    }
}

impl Door {
    /// Accepts tokens and API keys, and what is added.
    pub fn new(add: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> Self {
        let fixture = Fixture::new();
        let issuer = Issuer::new(ISSUER).audience("api");
        let layer = tenant_auth::layer(fixture.tenants.clone())
            .jwt(issuer.key(fixture.minter.verifying_key()))
            .api_keys(fixture.keys.clone());
        let layer = add(layer).build().unwrap();
        Self { fixture, layer }
    }

    pub fn raw(&self, request: Request<()>) -> Response<()> {
        let handler = tower::service_fn(async |request: Request<_>| {
            assert!(
                INTERNAL
                    .iter()
                    .all(|name| !request.headers().contains_key(*name))
            );
            let tenant = TenantContext::of(request.extensions()).cloned();
            let mut response = Response::new(());
            if let Some(tenant) = tenant {
                response.extensions_mut().insert(tenant);
            }
            Ok::<_, Infallible>(response)
        });
        let request = request.map(|()| Empty::<&'static [u8]>::new());
        let answer = self.layer.layer(handler).oneshot(request).now_or_never();
        answer.unwrap().unwrap().map(|_| ())
    }

    pub fn send(&self, request: Request<()>) -> Answer {
        let answer = self.raw(request);
        if let Some(tenant) = TenantContext::of(answer.extensions()) {
            let principal = tenant.principal().id().to_string();
            return Answer::Served(tenant.tenant_id().to_string(), principal);
        }
        let rejection: Option<&Rejection> = answer.extensions().get();
        let reason = rejection.map_or("served without a context", Rejection::reason);
        Answer::Refused(answer.status().as_u16(), reason.to_owned())
    }
}
