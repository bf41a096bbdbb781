//! While it runs: quotas and plans that change, shadows, what is spent, who is noisy, two registries.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::doc_markdown,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{SECOND, agent, record, spend, tenants};
use tenant_context::SystemContext;
use tenant_ratelimit::{Budget, Dimension, Floors, Limits, Quota, TenantState, layer};
use tenant_testkit::{ManualClock, context};

fn by_plan(tenant: &TenantState) -> Quota {
    match &*tenant.plan() {
        "pro" => Quota::per_minute(10),
        _ => Quota::per_minute(5),
    }
}

fn all(clock: &ManualClock) -> Limits {
    let layer = layer()
        .global(Quota::per_minute(10))
        .tenant(Quota::per_minute(1_000))
        .agent(Quota::per_minute(10))
        .endpoint("POST /reports", Quota::per_minute(10))
        .endpoint_across("POST /across", Quota::per_minute(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    layer.limits().clone()
}

#[test]
fn changing_a_quota_keeps_what_was_spent_in_every_dimension() {
    for (burst, left) in [(20, 13), (5, 0)] {
        let clock = ManualClock::new();
        let (tenants, limits) = (tenants(&clock), all(&clock));
        let bot = agent(&tenants, "acme", "bot");
        for name in ["POST /reports", "POST /across"] {
            let changed = limits.endpoint(name).unwrap();
            for _ in 0..7 {
                limits.check(&bot, changed, 1).unwrap();
            }
            for budget in [
                Budget::Global,
                Budget::Agent,
                Budget::Endpoint("POST /reports"),
                Budget::EndpointAcross("POST /across"),
            ] {
                limits.set_quota(budget, Quota::per_minute(burst)).unwrap();
            }
            let admitted = (0..100).filter(|_| limits.check(&bot, changed, 1).is_ok());
            assert_eq!(
                admitted.count(),
                left,
                "{name}, 7 of 10 were spent, now {burst}"
            );
            clock.advance(Duration::from_secs(60 / burst));
            assert!(limits.check(&bot, changed, 1).is_ok(), "at the new pace");
            assert!(limits.check(&bot, changed, 1).is_err());
            for budget in [
                Budget::Global,
                Budget::Agent,
                Budget::EndpointAcross("POST /across"),
            ] {
                limits.set_quota(budget, Quota::per_minute(10)).unwrap();
            }
            clock.advance(Duration::from_secs(3_600));
        }
    }
}

#[test]
fn a_quota_that_does_not_fit_changes_nothing() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = all(&clock);
    let ada = context(&tenants, "acme", "ada");
    for (budget, quota, says) in [
        (Budget::Global, Quota::per_minute(0), "at least one request"),
        (
            Budget::Principal,
            Quota::per_minute(1),
            "no such budget was declared",
        ),
        (
            Budget::Endpoint("POST /nowhere"),
            Quota::per_minute(1),
            "no endpoint",
        ),
        (
            Budget::EndpointAcross("POST /reports"),
            Quota::per_minute(1),
            "no such budget",
        ),
        (
            Budget::Custom("project"),
            Quota::per_minute(1),
            "no dimension",
        ),
    ] {
        let error = limits.set_quota(budget, quota).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(spend(&limits, &ada).0, 10);
    let floors = layer()
        .global(Quota::per_minute(100))
        .floors(Floors::each(Quota::per_minute(10), 5))
        .build()
        .unwrap();
    let error = floors
        .limits()
        .set_quota(Budget::Global, Quota::per_minute(50))
        .unwrap_err();
    assert!(error.to_string().contains("bursts add up"), "{error}");
    let slower = Quota::per_minute(49).burst(100);
    let error = floors
        .limits()
        .set_quota(Budget::Global, slower)
        .unwrap_err();
    assert!(error.to_string().contains("more requests"), "{error}");
}

#[test]
fn i4_quotas_that_change_under_load_lose_no_charge() {
    // No time passes: whatever the quota is, no more than the largest burst is ever admitted.
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = all(&clock);
    limits
        .set_quota(Budget::Global, Quota::per_minute(2_000))
        .unwrap();
    limits
        .set_quota(Budget::Agent, Quota::per_minute(100_000))
        .unwrap();
    let (admitted, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for id in ["acme", "globex"] {
            let context = agent(&tenants, id, "bot");
            let (limits, admitted, done) = (&limits, &admitted, &done);
            scope.spawn(move || {
                for _ in 0..5_000 {
                    if limits.check(&context, None, 1).is_ok() {
                        admitted.fetch_add(1, Ordering::SeqCst);
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
        }
        let mut round = 0;
        while !done.load(Ordering::SeqCst) {
            round += 1;
            let burst = 1_000 + round % 7 * 100;
            limits
                .set_quota(Budget::Global, Quota::per_minute(burst))
                .unwrap();
            limits
                .set_quota(Budget::Agent, Quota::per_minute(90_000 + burst))
                .unwrap();
        }
        limits
            .set_quota(Budget::Global, Quota::per_minute(2_000))
            .unwrap();
    });
    let spare = {
        let mut spare = 0;
        let ada = context(&tenants, "initech", "ada");
        while limits.check(&ada, None, 1).is_ok() {
            spare += 1;
        }
        spare
    };
    let admitted = admitted.into_inner();
    assert!(admitted <= 2_000, "{admitted}");
    assert!(admitted + spare <= 2_000, "{admitted} + {spare}");
}

#[test]
fn a_plan_down_and_up_again_forgets_no_debt() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(by_plan)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    let ada = context(&tenants, "acme", "ada");
    for _ in 0..9 {
        limits.check(&ada, None, 1).unwrap();
    }
    for version in 2..20 {
        let plan = if version % 2 == 0 { "free" } else { "pro" };
        tenants.apply(record("acme", plan, version));
        let left = u64::from(plan == "pro");
        let denied = limits.peek(&ada, None, left + 1).unwrap_err();
        assert_eq!(denied.dimension(), Some(Dimension::Tenant));
        assert!(limits.peek(&ada, None, left).is_ok());
    }
}

#[test]
fn an_agents_and_an_endpoints_quota_down_and_up_again_forget_no_debt() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), all(&clock));
    let bot = agent(&tenants, "acme", "bot");
    let reports = limits.endpoint("POST /reports").unwrap();
    for _ in 0..9 {
        limits.check(&bot, reports, 1).unwrap();
    }
    let set = |per_minute| {
        for budget in [Budget::Agent, Budget::Endpoint("POST /reports")] {
            limits
                .set_quota(budget, Quota::per_minute(per_minute))
                .unwrap();
        }
        // Whoever asks takes up the new quota.
        limits.check(&bot, reports, 1)
    };
    assert!(set(2).is_err(), "9 of 10 were spent: none of 2 is left");
    assert!(set(10).is_ok(), "1 of 10 is left");
    assert!(limits.check(&bot, reports, 1).is_err(), "and no more");
}

#[test]
fn what_agents_share_beyond_the_bound_down_and_up_again_forgets_no_debt() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .agent(Quota::per_minute(10))
        .max_keys_per_tenant(1)
        .clock(clock.clone());
    let layer = layer.build().unwrap();
    let limits = layer.limits();
    let [first, beyond] = ["first", "beyond"].map(|id| agent(&tenants, "acme", id));
    limits.check(&first, None, 1).unwrap();
    limits.check(&beyond, None, 9).unwrap();
    let set = |per_minute| {
        let quota = Quota::per_minute(per_minute);
        limits.set_quota(Budget::Agent, quota).unwrap();
        limits.check(&beyond, None, 1)
    };
    assert!(set(2).is_err(), "9 of 10 were spent: none of 2 is left");
    assert!(set(20).is_ok());
    assert_eq!(spend(limits, &beyond).0, 10, "of 20, with the one before");
}

#[test]
fn under_another_global_quota_as_much_is_kept_for_floors() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .global(Quota::per_second(1_000).burst(2_000))
        .floors(Floors::plan("pro", Quota::per_second(1).burst(10), 50))
        .clock(clock.clone());
    let layer = layer.build().unwrap();
    let limits = layer.limits();
    let without = context(&tenants, "globex", "eve");
    for quota in [
        Quota::per_second(1_000),
        Quota::per_second(60),
        Quota::per_minute(100_000),
    ] {
        let quota = quota.burst(2_000);
        limits.set_quota(Budget::Global, quota).unwrap();
        assert!(limits.peek(&without, None, 1_500).is_ok());
        assert!(limits.peek(&without, None, 1_501).is_err(), "{quota:?}");
    }
}

/// One unit is one second.
fn per_second(burst: u64) -> Quota {
    Quota::per_second(1).burst(burst)
}

#[test]
fn what_tenants_share_down_and_up_again_forgets_no_debt() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    for floors in [false, true] {
        let mut builder = layer()
            .global(per_second(40))
            .endpoint_across("POST /across", per_second(20))
            .clock(clock.clone());
        if floors {
            builder = builder.floors(Floors::each(Quota::per_minute(6).burst(2), 2));
        }
        let layer = builder.build().unwrap();
        let limits = layer.limits();
        // With floors, whoever holds nothing of the rest may take all that is free of it.
        let (ada, eve) = (
            context(&tenants, "acme", "ada"),
            context(&tenants, "globex", "eve"),
        );
        let across = limits.endpoint("POST /across").unwrap();
        let left = |endpoint| {
            let fits = |cost: &u64| limits.peek(&eve, endpoint, *cost).is_ok();
            (0..=40).rev().find(fits).unwrap()
        };
        limits.check(&ada, across, 18).unwrap();
        let set = |budget, burst| limits.set_quota(budget, per_second(burst)).unwrap();
        let shared = [
            (Budget::EndpointAcross("POST /across"), 20, Some(across)),
            (Budget::Global, 40, None),
        ];
        for (budget, _, endpoint) in shared {
            set(budget, 5);
            assert_eq!(left(endpoint), 0, "18 are spent, of 5");
        }
        // Five come back first; only then does what waits behind them, 13, become less.
        clock.advance(5 * SECOND);
        let whole = if floors { 2 } else { 5 };
        assert_eq!(left(Some(across)), whole, "4 of 5 are kept for two floors");
        clock.advance(3 * SECOND);
        for (budget, burst, _) in shared {
            set(budget, burst);
        }
        assert_eq!(left(Some(across)), 20 - 10, "13, less three seconds");
        assert_eq!(left(None), 40 - 10 - if floors { 4 } else { 0 });
        clock.advance(600 * SECOND);
    }
}

#[test]
fn what_waits_behind_a_smaller_plan_comes_back_at_its_pace_and_once() {
    // 7 of 10 spent, then a burst of 5 at 5 a minute: none is left, and 2 wait behind it.
    let after = |waits: &[(u64, u32)]| {
        let clock = ManualClock::new();
        let tenants = tenants(&clock);
        let layer = layer()
            .tenant(by_plan)
            .clock(clock.clone())
            .build()
            .unwrap();
        let limits = layer.limits();
        let ada = context(&tenants, "acme", "ada");
        limits.check(&ada, None, 7).unwrap();
        tenants.apply(record("acme", "free", 2));
        assert!(limits.check(&ada, None, 1).is_err());
        for (secs, spend) in waits {
            clock.advance(Duration::from_secs(*secs));
            for _ in 0..*spend {
                limits.check(&ada, None, 1).unwrap();
            }
        }
        tenants.apply(record("acme", "pro", 3));
        limits.peek(&ada, None, 0).unwrap().remaining().unwrap()
    };
    assert_eq!(after(&[]), 3);
    assert_eq!(after(&[(12, 0)]), 4, "one unit in 12 s");
    assert_eq!(after(&[(60, 0)]), 8, "the small one is whole, the two wait");
    assert_eq!(after(&[(72, 0)]), 9);
    assert_eq!(after(&[(84, 0)]), 10);
    let all = after(&[(12, 1), (12, 1)]);
    assert_eq!(all, 3, "who spends all that comes back pays nothing off");
    assert_eq!(after(&[(73, 5), (60, 0)]), 9, "one was paid off before");
}

#[test]
fn two_registries_on_one_limiter_spend_one_budget() {
    let clock = ManualClock::new();
    let (one, two) = (tenants(&clock), tenants(&clock));
    let layer = layer()
        .tenant(by_plan)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    // The second one knows the tenant under a smaller plan.
    two.apply(record("acme", "free", 2));
    let (ada, bob) = (context(&one, "acme", "ada"), context(&two, "acme", "bob"));
    let mut admitted = 0;
    for _ in 0..50 {
        admitted += u32::from(limits.check(&bob, None, 1).is_ok());
        admitted += u32::from(limits.check(&ada, None, 1).is_ok());
    }
    assert_eq!(
        admitted, 10,
        "as many as the larger plan allows, however they take turns"
    );
    assert_eq!(limits.tenants(), 1);
}

#[test]
fn an_operator_overrides_one_tenants_quota() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(by_plan)
        .clock(clock.clone())
        .build()
        .unwrap();
    let (limits, system) = (layer.limits(), SystemContext::begin("support"));
    let (ada, eve) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "eve"),
    );
    assert_eq!(spend(limits, &ada).0, 10);
    limits
        .override_quota(&system, ada.tenant_id(), Some(Quota::per_minute(15)))
        .unwrap();
    assert_eq!(spend(limits, &ada).0, 5);
    assert_eq!(spend(limits, &eve).0, 5, "nobody else's");
    limits
        .override_quota(&system, ada.tenant_id(), None)
        .unwrap();
    assert_eq!(spend(limits, &ada).0, 0);
    let error = limits.override_quota(&system, ada.tenant_id(), Some(Quota::per_minute(0)));
    assert!(error.is_err());
}

#[test]
fn an_override_that_comes_while_the_plan_is_asked_for_holds() {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    // The operator is as fast as this: the tenant's request has asked for its plan, and has no answer yet.
    let plan = |tenant: &TenantState| {
        if let Some(limits) = LIMITS.get() {
            let system = SystemContext::begin("support");
            let quota = Some(Quota::per_minute(15));
            limits.override_quota(&system, tenant.id(), quota).unwrap();
        }
        by_plan(tenant)
    };
    let layer = layer().tenant(plan).clock(clock.clone()).build().unwrap();
    let limits = LIMITS.get_or_init(|| layer.limits().clone());
    let ada = context(&tenants, "acme", "ada");
    assert_eq!(spend(limits, &ada).0, 15);
}

#[test]
fn a_shadow_reports_and_refuses_nothing() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(Quota::per_minute(10))
        .agent(Quota::per_minute(3))
        .shadow(Dimension::Agent)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    let (admitted, denied) = spend(limits, &agent(&tenants, "acme", "bot"));
    assert_eq!(
        (admitted, denied.dimension()),
        (10, Some(Dimension::Tenant))
    );
    let counts = |dimension| {
        let counts = limits.counts();
        let counts = counts
            .iter()
            .find(|counts| counts.dimension == dimension)
            .unwrap();
        (counts.refused, counts.shadowed)
    };
    assert_eq!(counts(Dimension::Agent), (0, 7));
    assert_eq!(counts(Dimension::Tenant), (1, 0));
}

#[test]
fn what_is_spent_is_told_and_given_back_on_demand() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), all(&clock));
    let system = SystemContext::begin("support");
    let bot = agent(&tenants, "acme", "bot");
    assert_eq!(limits.usage(&bot), None, "not known yet");
    for _ in 0..4 {
        limits
            .check(&bot, "POST /reports", 2)
            .unwrap_or_else(|_| limits.check(&bot, None, 1).unwrap());
    }
    assert!(
        limits.peek(&bot, None, 2_000).is_err(),
        "a look is not counted"
    );
    let usage = limits.usage_by_id(&system, bot.tenant_id()).unwrap();
    assert_eq!(
        (usage.admitted, usage.refused, usage.recent, usage.keys),
        (4, 0, 4, 1)
    );
    let budgets: Vec<_> = usage
        .budgets
        .iter()
        .map(|budget| {
            (
                budget.dimension,
                budget.endpoint.as_deref(),
                budget.remaining,
                budget.reset,
            )
        })
        .collect();
    assert_eq!(
        budgets,
        [
            (Dimension::Tenant, None, 992, Duration::from_millis(480)),
            (Dimension::Endpoint, Some("POST /reports"), 2, 48 * SECOND),
        ]
    );
    let peeked = limits.peek(&bot, "POST /reports", 1).unwrap();
    assert_eq!(
        (peeked.dimension(), peeked.remaining()),
        (Some(Dimension::Endpoint), Some(1))
    );
    limits.reset(&system, bot.tenant_id());
    let usage = limits.usage(&bot).unwrap();
    assert!(
        usage
            .budgets
            .iter()
            .all(|budget| budget.reset == Duration::ZERO)
    );
    let denied = spend(&limits, &bot).1;
    assert_eq!(
        denied.dimension(),
        Some(Dimension::Global),
        "what tenants share stays spent"
    );
}

#[test]
fn the_noisiest_tenants_are_named_on_demand() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(Quota::per_minute(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    let (limits, system) = (layer.limits(), SystemContext::begin("support"));
    for (id, requests) in [("acme", 3), ("globex", 500), ("initech", 20)] {
        let context = context(&tenants, id, "ada");
        for _ in 0..requests {
            limits.check(&context, None, 1).ok();
        }
    }
    let noisiest = |most| {
        let all = limits.noisiest(&system, most).into_iter();
        all.map(|(id, recent)| (id.to_string(), recent))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        noisiest(2),
        [("globex".to_owned(), 500), ("initech".to_owned(), 20)]
    );
    assert_eq!(noisiest(9).len(), 3);
    clock.advance(Duration::from_secs(600));
    assert!(noisiest(9).is_empty());
}
