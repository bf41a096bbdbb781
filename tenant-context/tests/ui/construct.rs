// A context cannot be built, from whatever there is.
use std::sync::Arc;
use tenant_context::{Identity, TenantContext};

fn forge(identity: Arc<Identity>) -> TenantContext {
    TenantContext(identity)
}

fn main() {}
