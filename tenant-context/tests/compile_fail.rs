//! What must not compile: forged proofs and wrong orders of layers.

#![allow(missing_docs, reason = "a test")]

#[test]
fn i1_forgeries_and_wrong_orders_do_not_compile() {
    // The compiler whose messages `tests/ui/*.stderr` hold.
    if tenant_testkit::compiler_is("1.95.0") {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}
