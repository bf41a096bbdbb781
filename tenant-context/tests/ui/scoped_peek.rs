// A loaded value comes out of its scope with a context only.
use tenant_context::TenantScoped;

fn peek(loaded: TenantScoped<u32>) -> u32 {
    loaded.value
}

fn main() {}
