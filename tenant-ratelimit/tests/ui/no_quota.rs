// A quota says what it is per.
use tenant_ratelimit::layer;

fn main() {
    let _ = layer().tenant(100);
}
