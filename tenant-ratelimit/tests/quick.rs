//! The way of most requests and the whole decision answer the same.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::time::Duration;

use common::{agent, tenants};
use proptest::prelude::*;
use tenant_context::{Protocol, TenantContext};
use tenant_ratelimit::{Decision, Denied, DeniedKind, Dimension, Limits, Quota, layer};
use tenant_testkit::{ManualClock, context};

const OPERATION: &str = "export";

/// Quotas of: the whole, a tenant, an agent, a principal, an operation.
type Quotas = [Option<(u64, u64)>; 5];

struct World {
    clock: ManualClock,
    limits: Limits,
    who: Vec<TenantContext>,
}

impl World {
    fn new(quotas: &Quotas) -> Self {
        let clock = ManualClock::new();
        let known = tenants(&clock);
        let quota = |(ms, burst): (u64, u64)| Quota::per(1, Duration::from_millis(ms)).burst(burst);
        // Of a limiter without any budget there would be nothing to compare.
        let mut builder = layer()
            .public(Quota::per_second(1))
            .clock(clock.clone())
            .max_keys_per_tenant(2);
        for (at, quoted) in quotas.iter().enumerate() {
            let Some(quota) = quoted.map(quota) else {
                continue;
            };
            builder = match at {
                0 => builder.global(quota),
                1 => builder.tenant(quota),
                2 => builder.agent(quota),
                3 => builder.principal(quota),
                _ => builder.operation(OPERATION, quota),
            };
        }
        if quotas[4].is_none() {
            builder = builder.operation(OPERATION, Quota::per_second(1_000_000_000));
        }
        Self {
            limits: builder.build().unwrap().limits().clone(),
            who: vec![
                context(&known, "acme", "ada"),
                agent(&known, "acme", "a"),
                agent(&known, "acme", "b"),
                agent(&known, "globex", "a"),
            ],
            clock,
        }
    }
}

/// Why it was refused, and what clients are told: all budgets that refuse.
type Refused = (
    DeniedKind,
    Option<Dimension>,
    Option<Duration>,
    http::HeaderMap,
);

fn said(decided: Result<Decision, Denied>) -> Result<Decision, Box<Refused>> {
    decided.map_err(|denied| {
        let (kind, dimension, wait) = (denied.kind(), denied.dimension(), denied.wait());
        let response = denied.rejection().to_response(Protocol::Http);
        Box::new((kind, dimension, wait, response.headers().clone()))
    })
}

proptest! {
    #[test]
    fn i4_the_quick_way_decides_as_the_whole_one_does(
        quotas in prop::array::uniform5(prop::option::weighted(0.7, (1..2_000_u64, 1..6_u64))),
        asked in prop::collection::vec(
            (0..4_usize, prop::bool::ANY, 0..4_u64, prop_oneof![3 => Just(0), 1 => 0..3_000_u64]),
            1..80,
        ),
    ) {
        let (quick, whole) = (World::new(&quotas), World::new(&quotas));
        for (who, named, cost, pause) in asked {
            for world in [&quick, &whole] {
                world.clock.advance(Duration::from_millis(pause));
            }
            let (one, other) = if named {
                (
                    quick.limits.check(&quick.who[who], OPERATION, cost),
                    whole.limits.reserve(&whole.who[who], OPERATION, cost),
                )
            } else {
                (
                    quick.limits.check(&quick.who[who], None, cost),
                    whole.limits.reserve(&whole.who[who], None, cost),
                )
            };
            // What is reserved and dropped stays charged; only the whole decision counts what is in flight.
            prop_assert_eq!(said(one), said(other.map(|reserved| reserved.decision())));
            for at in [0, 3] {
                let usage = [&quick, &whole].map(|world| world.limits.usage(&world.who[at]));
                prop_assert_eq!(&usage[0], &usage[1]);
            }
        }
        prop_assert_eq!(quick.limits.counts(), whole.limits.counts());
        prop_assert_eq!(quick.limits.keys(), whole.limits.keys());
    }
}
