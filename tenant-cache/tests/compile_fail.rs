//! What must not compile: reading without a context, and whole keys.

#![allow(missing_docs, reason = "a test")]

#[test]
fn i2_bare_ids_and_whole_keys_do_not_compile() {
    // The compiler whose messages `tests/ui/*.stderr` hold.
    if tenant_testkit::compiler_is("1.95.0") {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}
