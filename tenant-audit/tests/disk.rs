//! A disk that is full, read-only or somebody else's: a clear error each, and nothing corrupted. In processes of their
//! own, which have limits and users of their own.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Output},
};

use tenant_audit::{Event, FileSink, SystemContext, TokioTimer, layer, verify};

const DIR: &str = "TENANT_AUDIT_DISK_DIR";

/// The process with the limits: it writes until it is told that it cannot, and prints what it was told.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let sink = match FileSink::open(dir) {
        Ok(sink) => sink,
        Err(error) => {
            println!("\nopen: {error}");
            return;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (layer, worker) = layer(sink).timer(TokioTimer::new()).build().unwrap();
        let handle = layer.handle();
        let system = SystemContext::begin("billing");
        let writing = async {
            for n in 0..100 {
                let event = Event::new("run")
                    .detail("what", "x".repeat(900))
                    .detail("n", n);
                handle.record_system(&system, event).await.unwrap();
                if let Err(error) = handle.flush().await {
                    println!("\nwrite: {}", std::error::Error::source(&error).unwrap());
                    return;
                }
                println!("\nsynced {n}");
            }
        };
        tokio::select! {
            ended = worker => println!("\nended: {ended:?}"),
            () = writing => {}
        }
    });
}

/// Runs the child in a shell that has set something up first; what it printed.
fn run(dir: &Path, before: &str) -> (Vec<String>, Output) {
    let output = Command::new("sh")
        .args(["-c", &format!("{before} \"$0\" --exact child --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text.lines().map(str::to_owned).collect(), output)
}

#[track_caller]
fn said(lines: &[String], beginning: &str) -> String {
    let found = lines.iter().find(|line| line.starts_with(beginning));
    found.unwrap_or_else(|| panic!("{lines:#?}")).clone()
}

#[test]
fn a_full_disk_is_an_error_that_says_so_and_what_was_synced_is_there() {
    let tmp = tempfile::tempdir().unwrap();
    // A file may grow to 16 blocks of 512 bytes.
    let (lines, _) = run(tmp.path(), "trap '' XFSZ; ulimit -f 16; exec");
    let error = said(&lines, "write: ");
    assert!(
        error.contains("platform.jsonl cannot be written") && error.contains("too large"),
        "{error}"
    );
    let synced = lines
        .iter()
        .filter(|line| line.starts_with("synced"))
        .count();
    assert!(synced > 2, "{lines:#?}");
    // There is room again: it goes on where it stopped, and says what it found.
    let (lines, _) = run(tmp.path(), "exec");
    said(&lines, "synced 99");
    let verified = verify(tmp.path()).unwrap();
    assert!(verified.records > u64::try_from(synced + 100).unwrap());
    assert!(verified.recovered <= 1, "{verified:?}");
}

#[test]
fn a_file_system_that_is_read_only_is_an_error_that_says_so() {
    for (dir, what) in [
        ("/proc/audit", "/proc/audit cannot be made"),
        ("/dev/null/audit", "/dev/null/audit cannot be made"),
    ] {
        let error = FileSink::open(dir).unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_an_error_that_says_so() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("audit");
    fs::create_dir(&dir).unwrap();
    // Permissions do not bind root: as nobody then, who must reach the directory.
    fs::set_permissions(tmp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    let before = if fs::metadata(tmp.path()).unwrap().uid() == 0 {
        let reaches = "setpriv --reuid=65534 --regid=65534 --clear-groups test -x \"$0\" || { echo unreachable; exit; };";
        format!("{reaches} exec setpriv --reuid=65534 --regid=65534 --clear-groups")
    } else {
        "exec".to_owned()
    };
    let (lines, _) = run(&dir, &before);
    if lines.iter().any(|line| line == "unreachable") {
        eprintln!("no other user can be used here: not tested");
        return;
    }
    let error = said(&lines, "open: ");
    assert!(
        error.contains("lock cannot be opened") && error.contains("Permission denied"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_second_process_is_refused_and_changes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let first = FileSink::open(tmp.path()).unwrap();
    let before = fs::read(tmp.path().join("heads.json")).unwrap();
    let (lines, _) = run(tmp.path(), "exec");
    let error = said(&lines, "open: ");
    assert!(
        error.contains("is written to by another process"),
        "{error}"
    );
    assert_eq!(fs::read(tmp.path().join("heads.json")).unwrap(), before);
    drop(first);
}
