// Budgets need a verified tenant: they cannot stand outside of identity.
use tenant_context::{StackPart, TenantStack, stack::place};

struct Limits;
impl StackPart for Limits {
    type Place = place::Limits;
}

fn main() {
    let _ = TenantStack::new().limits(Limits);
}
