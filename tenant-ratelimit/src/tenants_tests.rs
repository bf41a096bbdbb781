#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::time::Duration;

use tenant_context::TenantContext;
use tenant_testkit::{ManualClock, context, tenants};

use super::*;
use crate::{Dimension, Quota};

const NOW: Monotonic = Monotonic::from_secs(10);
const LATER: Monotonic = Monotonic::from_secs(10_000);

fn budget(quota: Quota) -> Budget {
    Budget::new(Dimension::Tenant, quota).unwrap()
}

fn id(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

fn spend(budget: &Budget, cell: &Cell, requests: u64) {
    use crate::gcra::Verdict;
    for _ in 0..requests {
        let Verdict::Admit { tat } = budget.gcra.decide(cell.tat(), NOW) else {
            panic!("spent")
        };
        cell.set(tat);
    }
}

fn ada() -> TenantContext {
    context(&tenants(&["acme"], &ManualClock::new()), "acme", "ada")
}

fn shape<'a>(agent: &'a Budget, endpoints: &'a Endpoints) -> Shape<'a> {
    Shape {
        agent: Some(agent),
        max_agents: 2,
        endpoints,
    }
}

#[test]
fn a_state_that_was_loaded_anew_is_planned_for_anew() {
    let (agent, endpoints) = (budget(Quota::per_minute(5)), Endpoints::default());
    let mut own = Own::new(&shape(&agent, &endpoints));
    let (one, two) = (ada(), ada());
    own.plan(one.tenant(), 1, Some(budget(Quota::per_minute(10))), NOW);
    assert!(own.is_planned(one.tenant(), 1));
    assert!(!own.is_planned(one.tenant(), 2));
    assert!(
        !own.is_planned(two.tenant(), 1),
        "another state counts its revisions anew"
    );
}

#[test]
fn a_plan_that_comes_late_does_not_undo_a_newer_one() {
    let (agent, endpoints) = (budget(Quota::per_minute(5)), Endpoints::default());
    let mut own = Own::new(&shape(&agent, &endpoints));
    let (one, two) = (ada(), ada());
    own.plan(one.tenant(), 2, Some(budget(Quota::per_minute(20))), NOW);
    own.plan(one.tenant(), 1, Some(budget(Quota::per_minute(10))), NOW);
    assert_eq!(own.budget().unwrap().quota, Quota::per_minute(20));
    own.plan(two.tenant(), 1, Some(budget(Quota::per_minute(10))), NOW);
    assert_eq!(own.budget().unwrap().quota, Quota::per_minute(10));
}

#[test]
fn a_quota_that_is_none_refuses_and_the_next_one_knows_what_was_spent() {
    let (agent, endpoints) = (budget(Quota::per_minute(5)), Endpoints::default());
    let mut own = Own::new(&shape(&agent, &endpoints));
    let (ada, ten) = (ada(), budget(Quota::per_minute(10)));
    own.plan(ada.tenant(), 1, Some(ten.clone()), NOW);
    spend(&ten, &own.tenant, 7);
    own.plan(ada.tenant(), 2, None, NOW);
    assert_eq!(own.budget(), None);
    own.plan(ada.tenant(), 3, Some(budget(Quota::per_minute(20))), NOW);
    let budget = own.budget().unwrap();
    assert_eq!(budget.gcra.remaining(own.tenant.tat(), NOW), 13);
}

#[test]
fn i6_a_tenant_is_forgotten_only_when_all_its_cells_are_whole_and_nothing_refers_to_it() {
    let agent = budget(Quota::per_minute(5));
    let mut endpoints = Endpoints::default();
    endpoints
        .declare("POST /reports", Quota::per_minute(5))
        .unwrap();
    let shape = shape(&agent, &endpoints);
    let ada = ada();
    let plan = budget(Quota::per_minute(5));
    let other = |tenants: &Tenants, now| {
        let id = TenantId::parse("globex").unwrap();
        tenants.cells(&id, &shape, now).is_some()
    };
    let fill: [fn(&mut Own, &Budget); 4] = [
        |own, budget| spend(budget, &own.tenant, 1),
        |own, budget| spend(budget, &own.endpoints[0], 1),
        |own, budget| spend(budget, &own.overflow, 1),
        |own, budget| spend(budget, &own.agent(&id("bot"), budget, NOW).unwrap(), 1),
    ];
    for spent in fill {
        let tenants = Tenants::new(1);
        let cells = tenants.cells(ada.tenant_id(), &shape, NOW).unwrap();
        cells.lock().plan(ada.tenant(), 1, Some(plan.clone()), NOW);
        spent(&mut cells.lock(), &plan);
        assert!(!other(&tenants, LATER), "referred to");
        drop(cells);
        assert!(!other(&tenants, NOW), "not whole");
        assert!(other(&tenants, LATER));
        assert_eq!(tenants.len(), 1);
    }
}

#[test]
fn i6_agents_beyond_the_share_use_one_cell_and_take_its_debt_along() {
    let (agent, endpoints) = (budget(Quota::per_minute(5)), Endpoints::default());
    let mut own = Own::new(&shape(&agent, &endpoints));
    let first = own.agent(&id("first"), &agent, NOW).unwrap();
    drop(own.agent(&id("second"), &agent, NOW).unwrap());
    spend(&agent, &first, 1);
    let second = own.agent(&id("second"), &agent, NOW).unwrap();
    spend(&agent, &second, 1);
    assert!(
        own.agent(&id("third"), &agent, NOW).is_none(),
        "neither is whole"
    );
    spend(&agent, &own.overflow, 5);
    drop(second);
    let soon = NOW.saturating_add(Duration::from_secs(12));
    let third = own.agent(&id("third"), &agent, soon).unwrap();
    assert_eq!(
        agent.gcra.remaining(third.tat(), soon),
        1,
        "as many as the overflow cell had"
    );
    assert!(
        own.agent(&id("fourth"), &agent, LATER).is_none(),
        "the others are referred to"
    );
}

#[test]
fn an_identity_moves_to_its_own_cell_when_there_is_room() {
    let (agent, endpoints) = (budget(Quota::per_minute(5)), Endpoints::default());
    let cells = Arc::new(TenantCells::new(&shape(&agent, &endpoints)));
    let held = ["one", "two"].map(|name| cells.lock().agent(&id(name), &agent, NOW).unwrap());
    let resolved = Resolved::new(Arc::clone(&cells));
    let own_cell = |resolved: &Resolved| {
        let mut own = cells.lock();
        resolved.settle(&mut own, &id("three"), &agent, NOW);
        !std::ptr::eq(resolved.agent(&own), &raw const own.overflow)
    };
    assert!(!own_cell(&resolved));
    drop(held);
    assert!(own_cell(&resolved));
}
