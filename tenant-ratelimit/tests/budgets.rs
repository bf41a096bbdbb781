//! What the budgets of tenants, agents and endpoints do, through the handle.

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
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{SECOND, agent, binding, record, spend, tenants};
use tenant_context::{CachedRegistry, Claims, Principal, PrincipalId, UnixTime};
use tenant_ratelimit::{Decision, DeniedKind, Dimension, Limits, Quota, TenantState, layer};
use tenant_testkit::{ManualClock, claims, context, context_with};

fn by_plan(tenant: &TenantState) -> Quota {
    match &*tenant.plan() {
        "pro" => Quota::per_minute(10),
        "max" => Quota::per_minute(20),
        "broken" => Quota::per_minute(0),
        _ => Quota::per_minute(5),
    }
}

fn four(clock: &ManualClock) -> Limits {
    let layer = layer()
        .global(Quota::per_minute(100))
        .tenant(by_plan)
        .agent(Quota::per_minute(3))
        .endpoint("POST /reports", Quota::per_minute(2))
        .clock(clock.clone())
        .build()
        .unwrap();
    layer.limits().clone()
}

fn left(decision: Decision) -> (Option<Dimension>, Option<u64>) {
    (decision.dimension(), decision.remaining())
}

#[test]
fn each_dimension_binds_in_its_turn() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let (ada, bot) = (
        context(&tenants, "acme", "ada"),
        agent(&tenants, "acme", "bot"),
    );
    let reports = limits.endpoint("POST /reports").unwrap();
    let one = limits.check(&ada, Some(reports), 1).unwrap();
    assert_eq!(left(one), (Some(Dimension::Endpoint), Some(1)));
    assert_eq!(one.reset(), Some(30 * SECOND));
    limits.check(&bot, Some(reports), 1).unwrap();
    let denied = limits.check(&ada, Some(reports), 1).unwrap_err();
    assert_eq!(
        binding(&denied),
        (Some(Dimension::Endpoint), Some(30 * SECOND))
    );
    assert_eq!(
        left(limits.check(&bot, None, 1).unwrap()),
        (Some(Dimension::Agent), Some(1))
    );
    let (admitted, denied) = spend(&limits, &bot);
    assert_eq!(
        (admitted, binding(&denied)),
        (1, (Some(Dimension::Agent), Some(20 * SECOND)))
    );
    let (admitted, denied) = spend(&limits, &ada);
    assert_eq!(
        (admitted, binding(&denied)),
        (6, (Some(Dimension::Tenant), Some(6 * SECOND)))
    );
    assert_eq!(denied.quota(), Some(Quota::per_minute(10)));
    let eve = context(&tenants, "globex", "eve");
    assert_eq!(
        spend(&limits, &eve).0,
        5,
        "another tenant goes on, by its own plan"
    );
}

#[test]
fn i4_stacked_a_denial_changes_no_budget() {
    // A refused request drained the outer budget: here none of the three others moves.
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let (ada, bot) = (
        context(&tenants, "acme", "ada"),
        agent(&tenants, "acme", "bot"),
    );
    let reports = limits.endpoint("POST /reports").unwrap();
    for _ in 0..2 {
        limits.check(&bot, Some(reports), 1).unwrap();
    }
    for _ in 0..1000 {
        assert_eq!(
            limits
                .check(&bot, Some(reports), 1)
                .unwrap_err()
                .dimension(),
            Some(Dimension::Endpoint)
        );
    }
    assert_eq!(spend(&limits, &bot).0, 1, "the agent's: 3 - 2");
    assert_eq!(spend(&limits, &ada).0, 7, "the tenant's: 10 - 3");
    let others: usize = ["globex", "initech"]
        .map(|id| spend(&limits, &context(&tenants, id, "eve")).0)
        .iter()
        .sum();
    assert_eq!(others, 10);
}

#[test]
fn i4_the_global_budget_refuses_without_draining_the_tenants() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .global(Quota::per_minute(3))
        .tenant(by_plan)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    let (ada, eve) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "eve"),
    );
    let (admitted, denied) = spend(limits, &ada);
    assert_eq!(
        (admitted, binding(&denied)),
        (3, (Some(Dimension::Global), Some(20 * SECOND)))
    );
    for _ in 0..100 {
        assert_eq!(
            limits.check(&eve, None, 1).unwrap_err().dimension(),
            Some(Dimension::Global)
        );
    }
    let mut admitted = 0;
    for _ in 0..5 {
        clock.advance(20 * SECOND);
        admitted += usize::from(limits.check(&eve, None, 1).is_ok());
    }
    assert_eq!(admitted, 5, "the tenant's budget of 5 was whole");
}

#[test]
fn the_stated_wait_satisfies_every_budget() {
    // In stacked limiters the next budget breaks the wait that the first one stated.
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let bot = agent(&tenants, "acme", "bot");
    let reports = limits.endpoint("POST /reports").unwrap();
    for _ in 0..40 {
        if let Err(denied) = limits.check(&bot, Some(reports), 1) {
            let wait = denied.wait().unwrap();
            assert!(wait > Duration::ZERO);
            clock.advance(wait.saturating_sub(Duration::from_nanos(1)));
            assert!(
                limits.check(&bot, Some(reports), 1).is_err(),
                "a nanosecond early"
            );
            clock.advance(Duration::from_nanos(1));
            assert!(limits.check(&bot, Some(reports), 1).is_ok());
        }
    }
}

#[test]
fn i4_threads_at_limit_1_admit_exactly_one() {
    const THREADS: usize = 4;
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    for _ in 0..200 {
        let layer = layer()
            .global(Quota::per_minute(50))
            .tenant(Quota::per_minute(1))
            .clock(clock.clone())
            .build()
            .unwrap();
        let limits = layer.limits();
        // Cold: resolving the tenant's cells races too.
        let ada = context(&tenants, "acme", "ada");
        let (admitted, start) = (AtomicUsize::new(0), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    if limits.check(&ada, None, 1).is_ok() {
                        admitted.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1);
        assert_eq!(limits.tenants(), 1);
    }
}

#[test]
fn a_tier_change_grants_no_fresh_bucket() {
    let clock = ManualClock::new();
    for (plan, left, step) in [("max", 13, 3), ("free", 0, 12), ("other", 0, 12)] {
        let (tenants, limits) = (tenants(&clock), four(&clock));
        let ada = context(&tenants, "acme", "ada");
        for _ in 0..7 {
            limits.check(&ada, None, 1).unwrap();
        }
        tenants.apply(record("acme", plan, 2));
        assert_eq!(
            spend(&limits, &ada).0,
            left,
            "7 of 10 were spent, now {plan}"
        );
        clock.advance(step * SECOND);
        assert_eq!(spend(&limits, &ada).0, 1, "it refills at the new pace");
        clock.advance(3600 * SECOND);
    }
}

#[test]
fn the_plan_is_asked_for_once_per_change_and_not_per_request() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let layer = layer()
        .tenant(move |tenant: &TenantState| {
            counted.fetch_add(1, Ordering::SeqCst);
            by_plan(tenant)
        })
        .clock(clock.clone())
        .build()
        .unwrap();
    let (ada, bob) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "acme", "bob"),
    );
    for _ in 0..3 {
        layer.limits().check(&ada, None, 1).unwrap();
        layer.limits().check(&bob, None, 1).unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tenants.apply(record("acme", "max", 2));
    layer.limits().check(&bob, None, 1).unwrap();
    layer.limits().check(&ada, None, 1).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn i7_a_quota_that_is_none_refuses_its_tenant_and_nobody_else() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let (ada, eve) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "eve"),
    );
    tenants.apply(record("acme", "broken", 2));
    let denied = limits.check(&ada, None, 1).unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::Misconfigured);
    let rejection = denied.rejection();
    assert_eq!(
        (rejection.status().as_u16(), rejection.reason()),
        (503, "quota_invalid")
    );
    assert!(limits.check(&eve, None, 1).is_ok());
    tenants.apply(record("acme", "pro", 3));
    assert_eq!(
        spend(&limits, &ada).0,
        10,
        "the refused requests were not charged"
    );
}

#[test]
fn agents_are_counted_within_their_tenant() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let bot = agent(&tenants, "acme", "bot");
    assert_eq!(spend(&limits, &bot).1.dimension(), Some(Dimension::Agent));
    let again = agent(&tenants, "acme", "bot");
    assert_eq!(
        spend(&limits, &again).0,
        0,
        "another credential of the same agent"
    );
    assert_eq!(
        spend(&limits, &agent(&tenants, "globex", "bot")).0,
        3,
        "another tenant's agent of that name"
    );
    assert_eq!(
        spend(&limits, &agent(&tenants, "acme", "Bot")).0,
        3,
        "ids are case-sensitive"
    );
    let id = |text| PrincipalId::parse(text).unwrap();
    let human_named_bot = context(&tenants, "acme", "bot");
    assert!(limits.check(&human_named_bot, None, 1).is_ok(), "a human");
    let principal = Claims::new(
        record("acme", "", 0).id,
        Principal::agent(id("bot")),
        UnixTime::MAX,
    );
    let principal = context_with(&tenants, principal);
    assert_eq!(
        spend(&limits, &principal).0,
        0,
        "an agent that acts for itself"
    );
    let behind = claims("acme", "ada")
        .actor(Principal::service(id("gateway")))
        .actor(Principal::agent(id("bot")));
    assert_eq!(
        spend(&limits, &context_with(&tenants, behind)).0,
        0,
        "a gateway that acts for it spends its budget"
    );
}

#[test]
fn i6_eviction_is_no_amnesty() {
    // An exhausted key came back full after a flood of new ones.
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .agent(Quota::per_minute(3))
        .max_keys_per_tenant(10)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    let exhausted = agent(&tenants, "acme", "exhausted");
    assert_eq!(spend(limits, &exhausted).0, 3);
    drop(exhausted);
    let mut admitted = 0;
    for n in 0..1000 {
        admitted += spend(limits, &agent(&tenants, "acme", &format!("made-up-{n}"))).0;
    }
    assert_eq!(
        admitted,
        10 * 3,
        "9 cells of their own, and one that all the others share"
    );
    let denied = limits
        .check(&agent(&tenants, "acme", "exhausted"), None, 1)
        .unwrap_err();
    assert_eq!(
        binding(&denied),
        (Some(Dimension::Agent), Some(20 * SECOND))
    );
    assert_eq!(
        spend(limits, &agent(&tenants, "globex", "bot")).0,
        3,
        "neighbours notice nothing"
    );
    clock.advance(60 * SECOND);
    assert_eq!(
        spend(limits, &agent(&tenants, "acme", "newcomer")).0,
        3,
        "whole cells give way"
    );
}

#[test]
fn i6_a_flood_of_made_up_agents_changes_nobody_elses_decisions() {
    // A million in a release build; where every step is checked, enough to use up the share a hundred times.
    let flood = if cfg!(debug_assertions) {
        20_000
    } else {
        1_000_000
    };
    let world = || {
        let clock = ManualClock::new();
        let tenants = tenants(&clock);
        let builder = layer().tenant(Quota::per_second(1_000_000_000));
        let builder = builder.agent(Quota::per_minute(3)).max_keys(1_000);
        let layer = builder
            .max_keys_per_tenant(200)
            .clock(clock.clone())
            .build();
        (clock, tenants, layer.unwrap().limits().clone())
    };
    let (flooded, calm) = (world(), world());
    let said = |(_, tenants, limits): &(ManualClock, CachedRegistry, Limits), n: usize| {
        let agent = agent(tenants, "globex", &format!("agent-{}", n % 150));
        let decided = limits.check(&agent, None, 1);
        decided.map_err(|denied| (denied.dimension(), denied.wait()))
    };
    for n in 0..flood {
        let made_up = agent(&flooded.1, "acme", &format!("made-up-{n}"));
        let admitted = flooded.2.check(&made_up, None, 1).is_ok();
        assert!(
            n > 300 || admitted == (n < 203),
            "{n}: 200 cells and one for all others"
        );
        if n % 16 == 0 {
            for (clock, ..) in [&flooded, &calm] {
                clock.advance(Duration::from_micros(1));
            }
            assert_eq!(said(&flooded, n / 16), said(&calm, n / 16));
        }
    }
    assert_eq!(flooded.2.keys(), 200 + calm.2.keys());
}

#[test]
fn i6_as_many_tenants_as_declared_are_known_and_none_is_forgotten_while_it_owes() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(Quota::per_minute(1))
        .max_tenants(2)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    for id in ["acme", "globex"] {
        assert_eq!(spend(limits, &context(&tenants, id, "ada")).0, 1);
    }
    let denied = limits
        .check(&context(&tenants, "initech", "ada"), None, 1)
        .unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::TooManyTenants);
    let rejection = denied.rejection();
    assert_eq!(rejection.status().as_u16(), 503);
    assert!(rejection.retry_after().is_some());
    assert_eq!(
        spend(limits, &context(&tenants, "acme", "ada")).0,
        0,
        "still spent"
    );
    clock.advance(60 * SECOND);
    assert_eq!(spend(limits, &context(&tenants, "initech", "ada")).0, 1);
    assert_eq!(limits.tenants(), 2);
}

#[test]
fn i5_a_context_that_ended_is_refused() {
    let clock = ManualClock::new();
    let (tenants, limits) = (tenants(&clock), four(&clock));
    let ada = context(&tenants, "acme", "ada");
    limits.check(&ada, None, 1).unwrap();
    tenants.suspend(ada.tenant_id());
    let denied = limits.check(&ada, None, 1).unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::ContextEnded);
    assert_eq!(denied.rejection().status().as_u16(), 403);
}

#[test]
fn an_endpoint_belongs_to_the_limiter_that_handed_it_out() {
    let clock = ManualClock::new();
    let (tenants, one, two) = (tenants(&clock), four(&clock), four(&clock));
    let reports = one.endpoint("POST /reports").unwrap();
    let ada = context(&tenants, "acme", "ada");
    assert!(one.check(&ada, Some(reports), 1).is_ok());
    let denied = two.check(&ada, Some(reports), 1).unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::Misconfigured);
    let error = one.endpoint("POST /report").unwrap_err().to_string();
    assert!(error.contains(".endpoint(\"POST /report\""), "{error}");
}

#[test]
fn two_limiters_on_one_identity_keep_apart() {
    let clock = ManualClock::new();
    let (tenants, one, two) = (tenants(&clock), four(&clock), four(&clock));
    let ada = context(&tenants, "acme", "ada");
    assert_eq!(spend(&one, &ada).0, 10);
    assert_eq!(spend(&two, &ada).0, 10);
    assert_eq!(spend(&one, &ada).0, 0);
}

#[test]
fn an_identity_without_room_for_its_cells_spends_the_same_budgets() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let ada = context(&tenants, "acme", "ada");
    for at in 0..=2 * tenant_context::Attachments::MAX {
        let two = Quota::per_minute(2);
        let layer = layer().tenant(two).principal(two).clock(clock.clone());
        let layer = layer.build().unwrap();
        let admitted = (0..5).filter(|_| layer.limits().check(&ada, None, 1).is_ok());
        assert_eq!(admitted.count(), 2, "limiter {at}");
    }
}

#[test]
fn who_falls_under_no_budget_is_admitted() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .agent(Quota::per_minute(1))
        .clock(clock)
        .build()
        .unwrap();
    let decision = layer
        .limits()
        .check(&context(&tenants, "acme", "ada"), None, 1)
        .unwrap();
    assert_eq!(left(decision), (None, None));
}
