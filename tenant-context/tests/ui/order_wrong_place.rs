// A layer goes where it belongs: a cache is no limiter.
use std::sync::Arc;
use tenant_context::{Authenticate, IdentityLayer, StackPart, TenantStack, stack::place};

struct Cache;
impl StackPart for Cache {
    type Place = place::Cache;
}

fn stack(identity: IdentityLayer<Arc<dyn Authenticate>>) {
    let _ = TenantStack::new().identity(identity).limits(Cache);
}

fn main() {}
