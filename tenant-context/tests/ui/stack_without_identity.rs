// A stack without identity is no layer.
use tenant_context::{StackPart, TenantStack, stack::{AuditPart, place}};
use tower_layer::Layer;

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
impl<S> Layer<S> for Audit {
    type Service = S;
    fn layer(&self, inner: S) -> S {
        inner
    }
}

fn main() {
    let _app: () = TenantStack::new().audit(Audit).layer(());
}
