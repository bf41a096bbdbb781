// An identity is only made by a resolver, which looks the tenant up.
use tenant_context::{Claims, Identity};

fn forge(claims: Claims) -> Identity {
    Identity::new(claims)
}

fn main() {}
