// A context has no default.
fn main() {
    let _forged: tenant_context::TenantContext = Default::default();
}
