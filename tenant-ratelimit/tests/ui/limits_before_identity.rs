// Limits stand inside of identity.
use tenant_context::TenantStack;
use tenant_ratelimit::RateLimitLayer;

fn stack(limits: RateLimitLayer) {
    let _ = TenantStack::new().limits(limits);
}

fn main() {}
