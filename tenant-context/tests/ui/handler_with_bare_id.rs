// A handler takes the proof; the message says so.
#[axum::debug_handler]
async fn read(_tenant: tenant_context::TenantId) {}

fn main() {}
