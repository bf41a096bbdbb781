// Whose budget is charged is proven, not named.
use tenant_ratelimit::{Quota, layer};

fn main() {
    let layer = layer().tenant(Quota::per_minute(10)).build().unwrap();
    let _ = layer.limits().check("acme", None, 1);
}
