//! The tower contract.

#![allow(clippy::unwrap_used, reason = "tests")]

use http::Request;
use tenant_ratelimit::{Headers, Quota, layer};
use tenant_testkit::{
    ManualClock, context,
    contract::{Probe, ProbeBody},
    tenants,
};
use tower::Layer;

#[test]
fn i10_the_layer_keeps_the_tower_contract() {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme", "spent"], &clock);
    for headers in [Headers::OnRefusal, Headers::Always] {
        let layer = layer()
            .global(Quota::per_minute(1_000_000))
            .tenant(
                |tenant: &tenant_ratelimit::TenantState| match tenant.id().as_str() {
                    "spent" => Quota::per_minute(1),
                    _ => Quota::per_minute(1_000_000),
                },
            )
            .headers(headers)
            .clock(clock.clone())
            .build()
            .unwrap();
        let spent = context(&tenants, "spent", "ada");
        layer.limits().check(&spent, None, 1).unwrap();
        let request = |context: tenant_ratelimit::TenantContext| {
            move || {
                let mut request = Request::new(ProbeBody::default());
                request.extensions_mut().insert(context.clone());
                request
            }
        };
        Probe::new("limits")
            .layer(move |handler| layer.layer(handler))
            .admitted(request(context(&tenants, "acme", "ada")))
            .refused(request(spent))
            .check();
    }
}
