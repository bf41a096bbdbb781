//! Agents along a chain, principals, delegations, dimensions of one's own, endpoints across tenants.

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

use common::{SECOND, agent, binding, spend, tenants};
use http::Request;
use serde_json::{Value, json};
use tenant_context::{Principal, PrincipalId, Protocol, TenantContext};
use tenant_ratelimit::{
    Denied, DeniedKind, Dimension, Key, Limits, Quota, RateLimitLayerBuilder, TenantState, layer,
};
use tenant_testkit::{ManualClock, claims, context, context_with};

fn limits(
    clock: &ManualClock,
    with: impl FnOnce(RateLimitLayerBuilder) -> RateLimitLayerBuilder,
) -> Limits {
    let layer = with(layer().clock(clock.clone())).build().unwrap();
    layer.limits().clone()
}

fn bot(id: &str) -> Principal {
    Principal::agent(PrincipalId::parse(id).unwrap())
}

/// A chain of agents for `ada`, the current actor first.
fn chain(
    tenants: &tenant_context::CachedRegistry,
    actors: &[&str],
    budget: Option<Value>,
) -> TenantContext {
    let mut claims = actors
        .iter()
        .fold(claims("acme", "ada"), |claims, id| claims.actor(bot(id)));
    if let Some(budget) = budget {
        claims.custom.insert("budget".to_owned(), budget);
    }
    context_with(tenants, claims)
}

#[test]
fn a_sub_agent_also_spends_its_parents_budget() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| layer.agent(Quota::per_minute(10)));
    let subs = ["one", "two", "three"].map(|sub| chain(&tenants, &[sub, "parent"], None));
    for sub in &subs {
        for _ in 0..3 {
            limits.check(sub, None, 1).unwrap();
        }
    }
    let parent = agent(&tenants, "acme", "parent");
    assert_eq!(
        spend(&limits, &parent).0,
        1,
        "nine were spent by three sub-agents"
    );
    let denied = limits.check(&subs[0], None, 1).unwrap_err();
    assert_eq!(binding(&denied), (Some(Dimension::Agent), Some(6 * SECOND)));
    let orphan = agent(&tenants, "acme", "one");
    assert_eq!(
        spend(&limits, &orphan).0,
        7,
        "its own was charged for the admitted ones alone"
    );
}

#[test]
fn a_cell_that_is_named_twice_is_one_cell() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer.agent(Quota::per_minute(10)).max_keys_per_tenant(2)
    });
    let twice = chain(&tenants, &["bot", "bot"], None);
    assert_eq!(spend(&limits, &twice).0, 10);
    let other = chain(&tenants, &["other", "bot"], None);
    assert_eq!(spend(&limits, &other).0, 0);
    clock.advance(60 * SECOND);
    // The same for two agents without cells of their own, which share one.
    let held = limits.reserve(&other, None, 1).unwrap();
    let beyond = chain(&tenants, &["third", "fourth"], None);
    assert_eq!(spend(&limits, &beyond).0, 10);
    drop(held);
}

#[test]
fn whoever_acts_for_a_principal_spends_its_budget() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| layer.principal(Quota::per_minute(5)));
    for actors in [&["one"][..], &["two"], &[]] {
        limits
            .check(&chain(&tenants, actors, None), None, 1)
            .unwrap();
    }
    let (admitted, denied) = spend(&limits, &context(&tenants, "acme", "ada"));
    assert_eq!(
        (admitted, denied.dimension()),
        (2, Some(Dimension::Principal))
    );
    assert_eq!(spend(&limits, &context(&tenants, "acme", "bob")).0, 5);
    assert_eq!(spend(&limits, &context(&tenants, "globex", "ada")).0, 5);
}

fn carrying(clock: &ManualClock) -> Limits {
    limits(clock, |layer| {
        layer.tenant(Quota::per_minute(100)).carried_budgets()
    })
}

#[test]
fn a_budget_that_a_delegation_carries_is_enforced_and_issuing_it_anew_is_no_new_one() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    let three = json!({"requests": 3, "seconds": 60});
    let (admitted, denied) = spend(&limits, &chain(&tenants, &["bot"], Some(three.clone())));
    assert_eq!(
        (admitted, binding(&denied)),
        (3, (Some(Dimension::Delegation), Some(20 * SECOND)))
    );
    assert_eq!(
        spend(&limits, &chain(&tenants, &["bot"], Some(three.clone()))).0,
        0
    );
    assert_eq!(
        spend(&limits, &chain(&tenants, &["other"], Some(three))).0,
        3
    );
    let more = json!({"requests": 5, "seconds": 60});
    let more = chain(&tenants, &["bot"], Some(more));
    assert_eq!(
        spend(&limits, &more).0,
        2,
        "another budget for the same delegation: 5 - 3"
    );
    let burst = json!({"requests": 60, "seconds": 60, "burst": 2});
    assert_eq!(
        spend(&limits, &chain(&tenants, &["third"], Some(burst))).0,
        2
    );
    assert_eq!(
        spend(&limits, &chain(&tenants, &["third"], None)).0,
        90,
        "one without"
    );
}

#[test]
fn two_tokens_of_one_chain_give_one_another_nothing_back() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    let token = |requests: u64| {
        let budget = json!({"requests": requests, "seconds": 60});
        chain(&tenants, &["bot"], Some(budget))
    };
    let (wide, narrow) = (token(50), token(2));
    assert_eq!(spend(&limits, &wide).0, 50);
    for _ in 0..3 {
        assert_eq!(spend(&limits, &narrow).0, 0);
        assert_eq!(spend(&limits, &wide).0, 0, "all 50 stay spent");
    }
}

#[test]
fn i6_a_delegation_that_is_issued_anew_with_ever_other_budgets_takes_one_place() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    for requests in 301..=600 {
        let budget = json!({"requests": requests, "seconds": 86_400});
        let token = chain(&tenants, &["bot"], Some(budget));
        limits.peek(&token, None, 1).unwrap();
    }
}

#[test]
fn a_budget_in_use_gives_way_to_no_other_one() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    let token = |bot: &str, requests: u64, seconds: u64| {
        let budget = json!({"requests": requests, "seconds": seconds});
        chain(&tenants, &[bot], Some(budget))
    };
    assert_eq!(spend(&limits, &token("bot", 2, 86_400)).0, 2);
    // The same delegation counts by another budget now, whose pace is much faster than a third one's.
    let bot = token("bot", 3, 86_400);
    assert_eq!(spend(&limits, &bot).0, 1);
    assert_eq!(spend(&limits, &token("slow", 1, 300_000_000)).0, 1);
    assert_eq!(spend(&limits, &token("slower", 1, 310_000_000)).0, 1);
    assert_eq!(spend(&limits, &bot).0, 0);
}

/// Carried budgets of a tenant that has one cell of its own for them, which is taken.
fn carrying_beyond_the_share(
    clock: &ManualClock,
    tenants: &tenant_context::CachedRegistry,
) -> Limits {
    let limits = limits(clock, |layer| {
        layer.carried_budgets().max_keys_per_tenant(1)
    });
    let first = json!({"requests": 1, "seconds": 86_400});
    assert_eq!(
        spend(&limits, &chain(tenants, &["first"], Some(first))).0,
        1
    );
    limits
}

#[test]
fn i6_what_delegations_share_beyond_the_bound_gives_way_to_no_other_budget() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying_beyond_the_share(&clock, &tenants);
    let token = |bot: &str, requests: u64| {
        let budget = json!({"requests": requests, "seconds": 86_400});
        chain(&tenants, &[bot], Some(budget))
    };
    assert_eq!(spend(&limits, &token("second", 3)).0, 3);
    assert_eq!(spend(&limits, &token("third", 5)).0, 5);
    assert_eq!(spend(&limits, &token("second", 3)).0, 0, "still spent");
}

#[test]
fn two_delegations_of_one_request_keep_their_budgets_beyond_the_bound() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying_beyond_the_share(&clock, &tenants);
    let budgets = [4, 10].map(|requests| json!({"requests": requests, "seconds": 60}));
    let sub = chain(&tenants, &["sub", "parent"], Some(json!(budgets)));
    assert_eq!(spend(&limits, &sub).0, 4);
}

/// The partitions that a refusal names.
fn partitions(denied: Denied) -> Vec<String> {
    let response = denied.rejection().to_response(Protocol::Http);
    let list = response.headers()["ratelimit-policy"].to_str().unwrap();
    let pk = |policy: &str| policy.split(";pk=").nth(1).unwrap().to_owned();
    list.split(", ").map(pk).collect()
}

#[test]
fn i11_each_cell_has_a_partition_of_its_own() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer
            .agent(Quota::per_minute(1))
            .principal(Quota::per_minute(1))
            .operation("one", Quota::per_minute(1))
            .operation("two", Quota::per_minute(1))
            .tenant(Quota::per_minute(1))
    });
    let named = |tenant: &TenantContext, operation| {
        limits.check(tenant, operation, 1).ok();
        partitions(limits.check(tenant, operation, 1).unwrap_err())
    };
    let [a, b] = ["a", "b"].map(|id| agent(&tenants, "acme", id));
    // Each names an agent's cell, the principal's, the endpoint's and the tenant's, in whatever order.
    let mut all = named(&a, "one");
    assert_eq!(all.len(), 4);
    assert_eq!(all, named(&a, "one"), "one cell, one name");
    // Nothing of `b` is spent but what it shares with `a`.
    assert_eq!(named(&b, "two").len(), 2);
    clock.advance(60 * SECOND);
    for name in named(&b, "two") {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    assert_eq!(all.len(), 6, "another agent and another operation");
}

#[test]
fn i11_what_delegations_share_is_named_by_budget() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying_beyond_the_share(&clock, &tenants);
    let named = |bot: &str, requests: u64| {
        let budget = json!({"requests": requests, "seconds": 60});
        let token = chain(&tenants, &[bot], Some(budget));
        partitions(spend(&limits, &token).1)
    };
    let (two, three) = (named("a", 2), named("a", 3));
    assert_ne!(two, three);
    assert_eq!((named("b", 2), named("b", 3)), (two, three));
}

#[test]
fn a_dimension_that_refuses_twice_is_violated_once() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| layer.agent(Quota::per_minute(1)));
    let denied = spend(&limits, &chain(&tenants, &["one", "two"], None)).1;
    assert_eq!(denied.rejection().violations().len(), 1);
}

#[test]
fn each_dimension_has_an_overflow_of_its_own() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer
            .agent(Quota::per_minute(3))
            .principal(Quota::per_minute(10))
            .max_keys_per_tenant(1)
    });
    limits
        .check(&agent(&tenants, "acme", "first"), None, 1)
        .unwrap();
    let (admitted, denied) = spend(&limits, &agent(&tenants, "acme", "beyond"));
    assert_eq!((admitted, denied.dimension()), (3, Some(Dimension::Agent)));
    let (admitted, denied) = spend(&limits, &context(&tenants, "acme", "eve"));
    assert_eq!(
        (admitted, denied.dimension()),
        (6, Some(Dimension::Principal))
    );
}

#[test]
fn two_agents_that_share_a_cell_are_in_flight_once() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer.agent_in_flight(2).max_keys_per_tenant(1)
    });
    let _first = limits.reserve(&agent(&tenants, "acme", "first"), None, 1);
    let beyond = chain(&tenants, &["second", "third"], None);
    let held = [(); 2].map(|()| limits.reserve(&beyond, None, 1).unwrap());
    assert!(limits.reserve(&beyond, None, 1).is_err());
    drop(held);
    assert!(limits.reserve(&beyond, None, 1).is_ok());
}

#[test]
fn i6_whoever_leaves_the_overflow_takes_along_what_it_owes() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer.agent(Quota::per_minute(10)).max_keys_per_tenant(1)
    });
    limits
        .check(&agent(&tenants, "acme", "first"), None, 1)
        .unwrap();
    let beyond = agent(&tenants, "acme", "beyond");
    assert_eq!(spend(&limits, &beyond).0, 10);
    // The first one's cell is whole again, and gives way.
    clock.advance(6 * SECOND);
    assert_eq!(spend(&limits, &beyond).0, 1);
}

#[test]
fn i6_a_forgotten_tenant_gives_the_places_of_its_keys_back() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer.agent(Quota::per_minute(10)).max_tenants(1)
    });
    for tenant in ["acme", "globex"] {
        limits
            .check(&agent(&tenants, tenant, "bot"), None, 1)
            .unwrap();
        assert_eq!((limits.tenants(), limits.keys()), (1, 1), "{tenant}");
        clock.advance(60 * SECOND);
    }
}

#[test]
fn a_sub_agent_spends_the_budget_that_its_parents_delegation_carries() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    let parents = json!({"requests": 10, "seconds": 60});
    let budgets = |own: Value| Some(json!([own, parents]));
    let sub = chain(
        &tenants,
        &["sub", "parent"],
        budgets(json!({"requests": 4, "seconds": 60})),
    );
    assert_eq!(spend(&limits, &sub).0, 4);
    let second = chain(&tenants, &["second", "parent"], budgets(Value::Null));
    assert_eq!(spend(&limits, &second).0, 6);
    let parent = chain(&tenants, &["parent"], Some(parents.clone()));
    assert_eq!(spend(&limits, &parent).0, 0);
}

/// What a principal's own token carries stays the principal's, whoever it delegates to.
#[test]
fn a_principals_own_budget_is_one_for_all_it_delegates_to() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    let three = json!({"requests": 3, "seconds": 60});
    let one = chain(&tenants, &["one"], Some(json!([null, three])));
    let other = chain(
        &tenants,
        &["other"],
        Some(json!([{"requests": 9, "seconds": 60}, three])),
    );
    limits.check(&one, None, 1).unwrap();
    limits.check(&other, None, 1).unwrap();
    assert_eq!(spend(&limits, &chain(&tenants, &[], Some(three))).0, 1);
    assert_eq!(spend(&limits, &one).0, 0);
}

#[test]
fn i7_a_carried_budget_that_is_none_is_refused() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = carrying(&clock);
    for budget in [
        json!("100"),
        json!(100),
        json!(null),
        json!({}),
        json!({"requests": 100}),
        json!({"requests": 0, "seconds": 60}),
        json!({"requests": -1, "seconds": 60}),
        json!({"requests": 1.5, "seconds": 60}),
        json!({"requests": "1", "seconds": 60}),
        json!({"requests": 1, "seconds": 60, "brust": 1}),
        json!({"requests": 1, "seconds": u64::MAX}),
        json!([null, null, {"requests": 1, "seconds": 60}]),
        json!([17]),
    ] {
        let denied = limits.check(&chain(&tenants, &["bot"], Some(budget.clone())), None, 1);
        let denied = denied.err().unwrap_or_else(|| panic!("{budget}"));
        assert_eq!(denied.kind(), DeniedKind::CarriedBudgetInvalid, "{budget}");
        assert_eq!(denied.rejection().status().as_u16(), 401);
    }
}

#[test]
fn i6_more_different_carried_budgets_than_may_be_are_refused_until_some_are_whole() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let plain = layer()
        .carried_budgets()
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = plain.limits();
    let ask = |n: u32| {
        let budget = json!({"requests": n, "seconds": 60});
        let bot = format!("bot-{n}");
        limits.check(&chain(&tenants, &[&bot], Some(budget)), None, 1)
    };
    let mut refused = None;
    for n in 1..=300 {
        clock.advance(SECOND);
        if let Err(denied) = ask(n) {
            refused = Some((n, denied.kind()));
            break;
        }
    }
    // Of budgets that are whole again both the cell and the place in the list are used anew.
    assert_eq!(refused, None);
    let layer = layer()
        .carried_budgets()
        .clock(clock.clone())
        .build()
        .unwrap();
    let limits = layer.limits();
    let ask = |n: u32| {
        let budget = json!({"requests": n, "seconds": 86_400});
        let bot = format!("bot-{n}");
        limits.check(&chain(&tenants, &[&bot], Some(budget)), None, 1)
    };
    let admitted = (1..=300).take_while(|n| ask(*n).is_ok()).count();
    assert_eq!(admitted, 256);
    let denied = ask(999).unwrap_err();
    assert_eq!(
        (denied.kind(), denied.rejection().status().as_u16()),
        (DeniedKind::TooManyTenants, 503)
    );
    assert!(ask(200).is_ok(), "known ones go on");
}

#[tokio::test]
async fn a_dimension_of_ones_own_counts_by_what_was_verified_or_says_unverified() {
    use tower::{Layer, ServiceExt, service_fn};
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .dimension("project", Quota::per_minute(2), |tenant, _| {
            Key::claim(tenant, "project")
        })
        .dimension("language", Quota::per_minute(3), |_, head| {
            Some(Key::unverified(head.headers().get("accept-language")?))
        })
        .clock(clock.clone())
        .build()
        .unwrap();
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(()))
    }));
    let in_project = |project: Value| {
        let mut claims = claims("acme", "ada");
        claims.custom.insert("project".to_owned(), project);
        context_with(&tenants, claims)
    };
    let ask = async |context: &TenantContext, language: Option<&str>| {
        let mut request = Request::new(());
        request.extensions_mut().insert(context.clone());
        if let Some(language) = language {
            request
                .headers_mut()
                .insert("accept-language", language.parse().unwrap());
        }
        let response = service.clone().oneshot(request).await.unwrap();
        let policy = response.headers().get("ratelimit-policy");
        policy.map(|policy| {
            policy
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned()
        })
    };
    let project = Some(r#""project""#.to_owned());
    let (one, other) = (in_project(json!("one")), in_project(json!(1)));
    for expected in [None, None, project.clone()] {
        assert_eq!(ask(&one, None).await, expected);
    }
    assert_eq!(
        ask(&in_project(json!("one")), None).await,
        project,
        "another credential"
    );
    for expected in [None, None, project] {
        assert_eq!(ask(&other, None).await, expected);
    }
    let without = context(&tenants, "acme", "ada");
    for expected in [None, None, None, Some(r#""language""#.to_owned())] {
        assert_eq!(ask(&without, Some("en")).await, expected);
    }
    assert_eq!(ask(&without, Some("de")).await, None);
    assert_eq!(
        ask(&context(&tenants, "globex", "eve"), Some("en")).await,
        None,
        "within its tenant"
    );
}

#[test]
fn an_endpoint_across_tenants_is_one_budget_and_a_refusal_charges_nothing_else() {
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let limits = limits(&clock, |layer| {
        layer
            .global(Quota::per_minute(100))
            .tenant(|_: &TenantState| Quota::per_minute(6))
            .endpoint("POST /reports", Quota::per_minute(5))
            .endpoint_across("POST /reports", Quota::per_minute(7))
    });
    let (ada, eve) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "eve"),
    );
    for _ in 0..5 {
        limits.check(&ada, "POST /reports", 1).unwrap();
    }
    for _ in 0..2 {
        limits.check(&eve, "POST /reports", 1).unwrap();
    }
    let denied = limits.check(&eve, "POST /reports", 1).unwrap_err();
    assert_eq!(denied.dimension(), Some(Dimension::EndpointAcross));
    assert_eq!(spend(&limits, &eve).0, 4, "her tenant's budget: 6 - 2");
    let denied = limits.check(&ada, "POST /reports", 1).unwrap_err();
    assert_eq!(denied.dimension(), Some(Dimension::Endpoint));
}
