//! Which compiler runs, for tests whose expectations are its messages.

use std::process::Command;

/// Whether the compiler is the one that a compile-fail test's expected messages were recorded with.
/// Another one words its messages differently: the test is skipped, and says so.
///
/// ```
/// if tenant_testkit::compiler_is("1.95.0") {
///     // trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
/// }
/// ```
#[allow(
    clippy::print_stderr,
    reason = "a skipped test says so where the tests report"
)]
pub fn compiler_is(recorded_with: &str) -> bool {
    let output = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .arg("--version")
        .output();
    let version = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let same = version.split_whitespace().nth(1) == Some(recorded_with);
    if !same {
        eprintln!(
            "SKIPPED: the expected messages were recorded with rustc {recorded_with}, this is {}",
            version.trim()
        );
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_version_counts() {
        assert!(!compiler_is("1.9"));
        assert!(!compiler_is(""));
    }
}
