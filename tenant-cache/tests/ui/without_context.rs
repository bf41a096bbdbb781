use tenant_cache::{Namespace, TenantId};

fn read(invoices: &Namespace<u64>, tenant: &TenantId) {
    let _ = invoices.get(tenant, &17_u64);
}

fn main() {}
