use tenant_cache::{TenantCache, TenantContext};

fn read(cache: &TenantCache, tenant: &TenantContext) {
    let _ = cache.get(tenant, "acme:invoice:17");
}

fn main() {}
