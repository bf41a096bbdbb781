// A context cannot be read from bytes.
fn main() {
    let _forged: tenant_context::TenantContext = serde_json::from_str("{}").unwrap();
}
