// Audit stands outside of identity, or it would miss the refusals.
use std::sync::Arc;
use tenant_context::{Authenticate, IdentityLayer, StackPart, TenantStack, stack::{AuditPart, place}};

struct Audit;
impl StackPart for Audit {
    type Place = place::Audit;
}
impl AuditPart for Audit {
    type Gate = tower_layer::Identity;
    fn gate(&self) -> Self::Gate {
        tower_layer::Identity::new()
    }
}

fn stack(identity: IdentityLayer<Arc<dyn Authenticate>>) {
    let _ = TenantStack::new().identity(identity).audit(Audit);
}

fn main() {}
