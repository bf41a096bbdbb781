//! What the tests share.

use std::time::Duration;

use tenant_context::{
    CachedRegistry, MemoryRegistry, Principal, PrincipalId, TenantContext, TenantId, TenantRecord,
};
use tenant_ratelimit::{Denied, Dimension, Limits};
use tenant_testkit::{ManualClock, claims, context_with};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Tenants `acme` (plan `pro`), `globex` and `initech` (plan `free`).
pub(crate) fn tenants(clock: &ManualClock) -> CachedRegistry {
    let registry = MemoryRegistry::new();
    for (id, plan) in [("acme", "pro"), ("globex", "free"), ("initech", "free")] {
        registry.insert(record(id, plan, 1));
    }
    let builder = CachedRegistry::builder(registry).clock(clock.clone());
    builder.build().unwrap()
}

pub(crate) fn record(id: &str, plan: &str, version: u64) -> TenantRecord {
    TenantRecord::new(TenantId::parse(id).unwrap())
        .plan(plan)
        .version(version)
}

/// A context in which an agent acts for `ada`.
pub(crate) fn agent(tenants: &CachedRegistry, tenant: &str, agent: &str) -> TenantContext {
    let actor = Principal::agent(PrincipalId::parse(agent).unwrap());
    context_with(tenants, claims(tenant, "ada").actor(actor))
}

/// How many requests are admitted until the first refusal, and the refusal.
pub(crate) fn spend(limits: &Limits, tenant: &TenantContext) -> (usize, Denied) {
    for admitted in 0..1_000_000 {
        if let Err(denied) = limits.check(tenant, None, 1) {
            return (admitted, denied);
        }
    }
    panic!("nothing is limited")
}

pub(crate) fn binding(denied: &Denied) -> (Option<Dimension>, Option<Duration>) {
    (denied.dimension(), denied.wait())
}
