//! What must not compile: an issuer without an audience.

#![allow(missing_docs, reason = "a test")]

#[test]
fn missing_audience_configuration_skipped_the_check() {
    // The compiler whose messages `tests/ui/*.stderr` hold.
    if tenant_testkit::compiler_is("1.95.0") {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}
