// What does not authenticate is told so.
struct Anybody;

fn main() {
    let _ = tenant_context::IdentityLayer::builder().build(Anybody);
}
