//! The command line.

#![cfg(feature = "cli")]
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

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use common::write_to;
use serde_json::Value;
use tenant_audit::{Event, SystemContext};
use tenant_testkit::ManualClock;

fn run(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenant-audit"))
        .args(arguments)
        .arg(dir)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn verify_reports_by_exit_code_text_and_json() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    write_to(tmp.path(), &clock, async |audit| {
        let system = SystemContext::begin("billing");
        audit
            .record_system(&system, Event::new("run"))
            .await
            .unwrap();
    })
    .await;
    let good = run(&["verify"], tmp.path());
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good.stdout).starts_with("verified: 1 records, 0 tenants, checkpoint "));
    let json: Value =
        serde_json::from_slice(&run(&["verify", "--json"], tmp.path()).stdout).unwrap();
    assert_eq!(
        (&json["verified"], &json["records"]),
        (&true.into(), &1.into())
    );

    let file = tmp.path().join("platform.jsonl");
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replace("billing", "killing");
    fs::write(&file, changed).unwrap();
    let bad = run(&["verify"], tmp.path());
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stderr);
    assert!(
        said.contains("NOT VERIFIED") && said.contains("platform.jsonl, line 1, record "),
        "{said}"
    );
    let bad = run(&["verify", "--json"], tmp.path());
    assert_eq!(bad.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(
        (&json["verified"], &json["findings"][0]["line"]),
        (&false.into(), &1.into())
    );

    assert_eq!(
        run(&["verify"], &tmp.path().join("nowhere")).status.code(),
        Some(2)
    );
    assert_eq!(run(&["falsify"], tmp.path()).status.code(), Some(2));
}
