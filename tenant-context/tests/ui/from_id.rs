// A parsed id grants nothing: no conversion leads from it to a context.
use tenant_context::{TenantContext, TenantId};

fn forge(id: TenantId) -> TenantContext {
    id.into()
}

fn main() {}
