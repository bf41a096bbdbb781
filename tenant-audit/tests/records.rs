//! What a record says: who, what, for whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    clippy::unnecessary_wraps,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::{convert::Infallible, time::Duration};

use common::{Audit, Body, by, chain, ended, exchange, identity, now};
use http::{Request, Response};
use serde_json::{Value, json};
use tenant_audit::{Event, Outcome, SystemContext, TenantStack, Trail};
use tenant_context::{Claims, Principal, PrincipalId};
use tenant_testkit::{TestAuth, claims, context, tenants};
use tower::service_fn;
use tower_layer::Layer;

#[test]
fn i9_a_success_is_one_record_with_all_that_is_known() {
    let audit = Audit::new();
    let (identity, _) = identity(&audit.clock);
    let clock = audit.clock.clone();
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    let service = stack.layer(service_fn(move |request: Request<_>| {
        Trail::of(request.extensions())
            .action("invoice.read")
            .resource("invoice", 17)
            .detail("amount", 3);
        clock.advance(Duration::from_micros(1500));
        async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) }
    }));
    assert_eq!(exchange(service, by("ada", "/invoices/17?secret=1")), 200);

    let mut record = audit.one();
    let event_id = record["event_id"].take();
    assert!(
        event_id
            .as_str()
            .unwrap()
            .starts_with(&format!("{:014x}-", 1_767_225_600_000_000_u64))
    );
    assert_eq!(
        record,
        json!({
            "schema": "tenant-audit/1",
            "event_id": null,
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "duration_us": 1500,
            "end_timestamp": "2026-01-01T00:00:00.001500Z",
            "tenant_id": "acme",
            "actor_id": "ada",
            "actor_type": "human",
            "action": "invoice.read",
            "resource_type": "invoice",
            "resource_id": "17",
            "outcome": "success",
            "method": "GET",
            "path": "/invoices/17",
            "status": 200,
            "bytes": 5,
            "metadata": {"amount": 3},
        })
    );
    assert_eq!(audit.sink.lines(&chain("acme")).len(), 1);
}

/// The record of a request with this credential.
fn record_of(claims: Claims) -> Value {
    let audit = Audit::new();
    let auth = TestAuth::new(tenants(&["acme"], &audit.clock)).accept("credential", claims);
    let identity = tenant_context::IdentityLayer::builder()
        .build(auth)
        .unwrap();
    let stack = TenantStack::new()
        .audit(audit.layer.clone())
        .identity(identity);
    exchange(
        stack.layer(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        })),
        by("credential", "/"),
    );
    audit.one()
}

#[test]
fn an_agent_is_told_from_whom_it_acts_for() {
    let mut agent = claims("acme", "ada").credential("jti-1".parse().unwrap());
    agent = agent.actor(Principal::agent(PrincipalId::parse("bot-7").unwrap()));
    let record = record_of(agent);
    assert_eq!(record["actor_id"], "bot-7");
    assert_eq!(record["actor_type"], "agent");
    assert_eq!(record["on_behalf_of"], "ada");
    assert_eq!(record["on_behalf_of_type"], "human");
    assert_eq!(record["actors"], json!([{"id": "bot-7", "type": "agent"}]));
    assert_eq!(record["credential_id"], "jti-1");
}

#[test]
fn the_whole_chain_of_actors_is_told() {
    let id = |id: &str| PrincipalId::parse(id).unwrap();
    let chain = claims("acme", "ada")
        .actor(Principal::service(id("billing")))
        .actor(Principal::agent(id("bot-7")));
    let record = record_of(chain);
    assert_eq!(record["actor_id"], "billing");
    assert_eq!(record["actor_type"], "service");
    let actors = json!([{"id": "billing", "type": "service"}, {"id": "bot-7", "type": "agent"}]);
    assert_eq!(record["actors"], actors, "the current one first");
    assert_eq!(record["on_behalf_of"], "ada");
}

#[test]
fn an_operator_is_told_from_the_tenants_own_and_says_why() {
    let olga = PrincipalId::parse("olga").unwrap();
    let mut visiting = claims("acme", "ada").actor(Principal::human(olga));
    visiting.operator_of = Some("staff".parse().unwrap());
    visiting.purpose = Some("ticket 4711: \u{202e}invoices do not show".to_owned());
    let record = record_of(visiting);
    assert_eq!(record["actor_id"], "olga");
    assert_eq!(record["on_behalf_of"], "ada");
    assert_eq!(record["operator_of"], "staff");
    let purpose = record["purpose"].as_str().unwrap();
    assert!(
        purpose.starts_with("ticket 4711") && !purpose.contains('\u{202e}'),
        "{purpose:?}"
    );
}

#[test]
fn code_that_serves_no_request_records_too() {
    let audit = Audit::new();
    let tenants = tenants(&["acme"], &audit.clock);
    let tenant = context(&tenants, "acme", "ada");
    // What was done before the suspension is recorded after it.
    tenants.suspend(tenant.tenant_id());
    let event = Event::new("report.sent")
        .resource("report", 17)
        .outcome(Outcome::Failure)
        .reason("mailbox_full");
    now(audit.handle.record(&tenant, event)).unwrap();
    let system = SystemContext::begin("monthly-billing");
    now(audit
        .handle
        .record_system(&system, Event::new("billing.run")))
    .unwrap();

    let records = audit.records();
    let of = |name: &str| {
        records
            .iter()
            .find(|record| record["action"] == name)
            .unwrap()
    };
    let sent = of("report.sent");
    assert_eq!(
        (&sent["tenant_id"], &sent["actor_id"]),
        (&json!("acme"), &json!("ada"))
    );
    assert_eq!(ended(sent), ("failure", Some("mailbox_full")));
    let run = of("billing.run");
    assert_eq!(
        (&run["actor_type"], &run["actor_id"]),
        (&json!("system"), &json!("monthly-billing"))
    );
    assert!(run.get("tenant_id").is_none());
}

#[test]
fn event_ids_are_ordered_by_time_and_show_no_other_tenant() {
    let audit = Audit::new();
    let tenants = tenants(&["acme", "globex"], &audit.clock);
    let (ada, gil) = (
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "gil"),
    );
    for _ in 0..3 {
        now(audit.handle.record(&ada, Event::new("a"))).unwrap();
        now(audit.handle.record(&gil, Event::new("g"))).unwrap();
        audit.clock.advance(Duration::from_micros(1));
    }
    let records = audit.records();
    let ids = |tenant: &str| -> Vec<String> {
        records
            .iter()
            .filter(|record| record["tenant_id"] == tenant)
            .map(|record| record["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (acme, globex) = (ids("acme"), ids("globex"));
    assert!(acme.is_sorted() && globex.is_sorted());
    // Numbers without gaps, and marks of its own: nothing of the other chain.
    let parts = |id: &String| id.split('-').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        acme.iter()
            .map(|id| parts(id)[2].clone())
            .collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    assert_ne!(parts(&acme[0])[1], parts(&globex[0])[1]);
}
