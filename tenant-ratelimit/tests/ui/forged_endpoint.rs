// Endpoints are declared to the builder; a path that a client chose is none.
use tenant_ratelimit::{Limits, TenantContext};

fn check(limits: &Limits, tenant: &TenantContext, path: &str) {
    let _ = limits.check(tenant, path, 1);
}

fn main() {}
