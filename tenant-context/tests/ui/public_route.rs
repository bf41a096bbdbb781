// The mark of a public route cannot be put on a request.
fn main() {
    let mut extensions = http::Extensions::new();
    extensions.insert(tenant_context::PublicRoute(()));
}
