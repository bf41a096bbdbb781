// A tenant's id does not open a scope.
use tenant_context::{Rejection, TenantId, TenantScoped};

fn peek(loaded: TenantScoped<u32>, id: &TenantId) -> Result<u32, Rejection> {
    loaded.for_tenant(id)
}

fn main() {}
