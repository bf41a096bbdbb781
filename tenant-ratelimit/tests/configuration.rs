//! What `build()` refuses, and what it says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use tenant_ratelimit::{Floors, Quota, RateLimitLayerBuilder, TenantState, layer};

#[test]
fn a_configuration_that_would_not_limit_says_what_to_do() {
    let some = Quota::per_minute(10);
    let cases: [(RateLimitLayerBuilder, &str); 25] = [
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
            "say it once",
        ),
        (layer().tenant(some).max_tenants(0), "`max_tenants` is 0"),
        (
            layer().agent(some).max_keys_per_tenant(0),
            "`max_keys_per_tenant` is 0",
        ),
        (layer().tenant(some).max_keys(0), "`max_keys` is 0"),
        (layer().tenant_in_flight(0), "`tenant_in_flight` is 0"),
        (layer().endpoint_in_flight("GET /a", 0), "0 in flight"),
        (
            layer().endpoint_cost("GET /a", 5),
            "no budget is configured",
        ),
        (
            layer()
                .endpoint("GET /a/{id}", some)
                .endpoint_cost("GET /a/{name}", 5),
            "declare one of them",
        ),
        (layer().operation("a/b", some), "by a word without `/`"),
        (
            layer().dimension("Project", some, |_, _| None),
            "1 to 32 of `a-z0-9_-`",
        ),
        (
            layer().dimension("tenant", some, |_, _| None),
            "\"tenant\" is there already",
        ),
        (
            layer().tenant(some).floors(Floors::each(some, 1)),
            "there is none; add `.global(quota)`",
        ),
        (
            layer()
                .global(Quota::per_minute(99).burst(1_000))
                .floors(Floors::each(some, 10)),
            "more requests than the global quota allows",
        ),
        (
            layer()
                .global(Quota::per_minute(100).burst(100))
                .floors(Floors::each(some, 10)),
            "100 of the global burst of 100",
        ),
        (
            (0..5).fold(layer(), |layer, n| {
                let name = ["a", "b", "c", "d", "e"][n];
                layer.dimension(name, some, |_, _| None)
            }),
            "at most 4",
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
        layer().endpoint("gRPC /pkg.Service/Method", some),
    ] {
        assert!(builder.build().is_ok());
    }
}
