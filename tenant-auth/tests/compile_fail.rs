//! What must not compile.

#![allow(
    missing_docs,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::process::Command;

/// The compiler whose messages `tests/ui/*.stderr` hold.
const RECORDED_WITH: &str = "1.95.0";

#[test]
fn missing_audience_configuration_skipped_the_check() {
    let rustc = option_env!("RUSTC").unwrap_or("rustc");
    let version = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    if version.split_whitespace().nth(1) != Some(RECORDED_WITH) {
        eprintln!(
            "SKIPPED: the expected messages were recorded with rustc {RECORDED_WITH}, this is {}",
            version.trim()
        );
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
