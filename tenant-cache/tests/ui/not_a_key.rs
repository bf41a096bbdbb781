use tenant_cache::{Namespace, TenantContext};

struct Page;

fn read(invoices: &Namespace<u64>, tenant: &TenantContext) {
    let _ = invoices.get(tenant, &Page);
}

fn main() {}
