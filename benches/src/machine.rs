//! What the figures were measured on: the processor and the versions, and nothing that names the host.

use std::fmt::Write as _;

const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// The crates whose versions the figures depend on.
const CRATES: [&str; 19] = [
    "tenant-context",
    "tenant-auth",
    "tenant-ratelimit",
    "tenant-cache",
    "tenant-audit",
    "aws-lc-rs",
    "axum",
    "bytes",
    "dashmap",
    "governor",
    "http",
    "jsonwebtoken",
    "moka",
    "parking_lot",
    "serde_json",
    "tokio",
    "tracing",
    "tracing-appender",
    "tracing-subscriber",
];

fn processor() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.trim() == "model name")
                .map(|(_, value)| value.trim().to_owned())
        })
        .unwrap_or_else(|| format!("unknown {}", std::env::consts::ARCH))
}

/// The versions of a crate in a lock file: usually one.
fn versions<'a>(lock: &'a str, name: &str) -> Vec<&'a str> {
    let wanted = format!("name = \"{name}\"");
    lock.lines()
        .zip(lock.lines().skip(1))
        .filter(|(line, _)| *line == wanted)
        .filter_map(|(_, next)| next.strip_prefix("version = \"")?.strip_suffix('"'))
        .collect()
}

/// The header of the report.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) {
        "debug: not a measurement"
    } else {
        "release, thin LTO, one codegen unit"
    };
    let mut text = format!(
        "- processor: {}, {cores} cores, {}\n- compiler: {} ({profile}); the system's allocator\n- crates:",
        processor(),
        std::env::consts::OS,
        env!("REPORT_RUSTC"),
    );
    for name in CRATES {
        for version in versions(LOCK, name) {
            let _infallible = write!(text, " {name} {version},");
        }
    }
    let kept = text.trim_end_matches(',').len();
    text.truncate(kept);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_lock_files() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"ab\"\nversion = \"4.0.0\"\n";
        assert_eq!(versions(lock, "a"), ["1.2.3"]);
        assert!(versions(lock, "b").is_empty());
        for name in CRATES {
            assert!(
                !versions(LOCK, name).is_empty(),
                "{name} is not in use any more"
            );
        }
    }

    #[test]
    fn no_path_is_in_the_header() {
        assert!(!describe().contains(env!("CARGO_MANIFEST_DIR")));
        assert!(describe().contains("rustc 1."));
    }
}
