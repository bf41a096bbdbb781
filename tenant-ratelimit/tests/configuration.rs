//! What `build()` refuses, and what it says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tenant_ratelimit::{Quota, RateLimitLayerBuilder, TenantState, layer};

#[test]
fn a_configuration_that_would_not_limit_says_what_to_do() {
    let some = Quota::per_minute(10);
    let cases: [(RateLimitLayerBuilder, &str); 13] = [
        (layer(), "no budget is configured"),
        (
            layer().global(Quota::per_second(0)),
            "`global`: a quota of 0 requests",
        ),
        (
            layer().tenant(Quota::per_second(1).burst(0)),
            "`tenant`: a quota of 1 requests with a burst of 0",
        ),
        (
            layer().agent(Quota::per(1, Duration::ZERO)),
            "`agent`: a quota of 1 requests per 0ns is more than one per nanosecond",
        ),
        (
            layer().agent(Quota::per(1, Duration::MAX)),
            "must not exceed ten years",
        ),
        (
            layer().global(Quota::per_minute(1).burst(u64::MAX)),
            "must not exceed ten years",
        ),
        (
            layer().endpoint("POST /reports", Quota::per_minute(0)),
            "endpoint \"POST /reports\": a quota of 0",
        ),
        (layer().endpoint("POST reports", some), "begins with `/`"),
        (
            layer().endpoint("reports", some),
            "write method and template",
        ),
        (layer().endpoint("GET /a/:id", some), "`{id}`"),
        (
            layer().endpoint("GET /a", some).endpoint("GET /a", some),
            "declare one of them",
        ),
        (layer().tenant(some).max_tenants(0), "`max_tenants` is 0"),
        (
            layer().agent(some).max_agents_per_tenant(0),
            "`max_agents_per_tenant` is 0",
        ),
    ];
    for (builder, says) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.starts_with("limits: ") && error.contains(says),
            "{error}"
        );
    }
}

#[test]
fn each_budget_may_stand_alone() {
    let some = Quota::per_minute(10);
    for builder in [
        layer().global(some),
        layer().tenant(some),
        layer().tenant(|_: &TenantState| Quota::per_second(1)),
        layer().agent(some),
        layer().endpoint("POST /pkg.Service/Method", some),
    ] {
        assert!(builder.build().is_ok());
    }
}
