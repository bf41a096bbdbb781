use tenant_cache::{TenantCache, TenantContext, TenantId};

fn offboard(cache: &TenantCache, somebody: &TenantContext, tenant: &TenantId) {
    cache.purge_tenant(somebody, tenant);
}

fn main() {}
