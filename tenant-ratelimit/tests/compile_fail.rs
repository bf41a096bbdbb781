//! What must not compile: budgets of bare ids, quotas that are none, layers in the wrong order.

#![allow(missing_docs, reason = "a test")]

#[test]
fn i2_misuses_do_not_compile() {
    // The compiler whose messages `tests/ui/*.stderr` hold.
    if tenant_testkit::compiler_is("1.95.0") {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}
