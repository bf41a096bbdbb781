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
    time::Duration,
};

use common::write_to;
use serde_json::Value;
use tenant_audit::{CheckpointSigner, Event, FileSink, SystemContext};
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

#[tokio::test]
async fn a_bar_is_shown_on_a_terminal_and_nowhere_else() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    write_to(tmp.path(), &clock, async |audit| {
        let system = SystemContext::begin("billing");
        let event = Event::new("run");
        audit.record_system(&system, event).await.unwrap();
    })
    .await;
    let plain = run(&["verify"], tmp.path());
    assert!(plain.stderr.is_empty(), "{}", text(&plain.stderr));
    // `script` gives a program a terminal.
    let program = env!("CARGO_BIN_EXE_tenant-audit");
    let command = format!("{program} verify {}", tmp.path().display());
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .output();
    let Ok(shown) = shown else {
        eprintln!("there is no `script` here: not tested");
        return;
    };
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("[####") && shown.contains("100 %") && shown.contains("verified: 1 records"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn keys_are_made_and_a_signed_log_verifies_with_them() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, secret) = (tmp.path().join("log"), tmp.path().join("secret"));
    let keygen = ["keygen", "log.example", "--secret"];
    let made = run(&keygen, &secret);
    assert_eq!(made.status.code(), Some(0));
    let public = text(&made.stdout).trim().to_owned();
    // A key is not written over.
    assert_eq!(run(&keygen, &secret).status.code(), Some(2));

    let signer = CheckpointSigner::parse(&fs::read_to_string(&secret).unwrap()).unwrap();
    let sink = FileSink::open(&dir)
        .unwrap()
        .signed(signer, Duration::from_secs(60), |_| ());
    let clock = ManualClock::new();
    let (layer, worker) = tenant_audit::layer(sink).timer(clock).build().unwrap();
    let handle = layer.handle();
    drop(layer);
    let (ended, ()) = tokio::join!(worker, async move {
        let system = SystemContext::begin("billing");
        handle
            .record_system(&system, Event::new("run"))
            .await
            .unwrap();
    });
    ended.unwrap();

    let good = run(&["verify", "--key", &public, "--json"], &dir);
    let json: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(
        (&json["signed"], &json["records"]),
        (&true.into(), &1.into())
    );
    assert!(text(&run(&["verify"], &dir).stdout).contains("no signature was checked"));
    assert_eq!(
        run(&["verify", "--key", "nonsense"], &dir).status.code(),
        Some(2)
    );

    let note = text(&run(&["checkpoint"], &dir).stdout);
    assert!(note.starts_with("log.example\n64\n"), "{note}");
    let kept = tmp.path().join("kept.json");
    fs::copy(dir.join("checkpoint.json"), &kept).unwrap();
    let against = ["verify", "--against", kept.to_str().unwrap()];
    assert_eq!(run(&against, &dir).status.code(), Some(0));
    fs::remove_file(dir.join("checkpoint.json")).unwrap();
    let unsigned = run(&["verify", "--key", &public], &dir);
    assert_eq!(unsigned.status.code(), Some(1));

    let line = fs::read_to_string(dir.join("platform.jsonl")).unwrap();
    let event = line.split("\"event_id\":\"").nth(1).unwrap();
    let event = event.split('"').next().unwrap();
    let shown = |event: &str| {
        let dir = dir.to_str().unwrap();
        run(&["show", dir], Path::new(event))
    };
    assert!(text(&shown(event).stdout).contains("\"action\": \"run\""));
    assert_eq!(shown("nothing").status.code(), Some(1));
}

#[tokio::test]
async fn a_tenants_records_are_exported_verified_and_erased() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, keys, secret) = (
        tmp.path().join("log"),
        tmp.path().join("keys"),
        tmp.path().join("secret"),
    );
    let public = run(&["keygen", "log.example", "--secret"], &secret);
    let public = text(&public.stdout).trim().to_owned();
    let signer = CheckpointSigner::parse(&fs::read_to_string(&secret).unwrap()).unwrap();
    let clock = ManualClock::new();
    let sink = FileSink::open(&dir)
        .unwrap()
        .signed(signer, Duration::from_secs(60), |_| ());
    let (layer, worker) = tenant_audit::layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .personal_keys(tenant_audit::KeyDir::open(&keys).unwrap())
        .build()
        .unwrap();
    let tenants = tenant_testkit::tenants(&["acme"], &clock);
    let ada = tenant_testkit::context(&tenants, "acme", "ada");
    let event = Event::new("user.invite").personal("email", "ada@example.com");
    layer.handle().try_record(&ada, event).unwrap();
    drop(layer);
    worker.await.unwrap();

    let export = |more: &[&str]| run(&[&["export", "--tenant", "acme"], more].concat(), &dir);
    let bundle = tmp.path().join("bundle");
    fs::write(&bundle, export(&[]).stdout).unwrap();
    let good = run(&["verify-bundle", "--key", &public], &bundle);
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good.stdout).starts_with("verified: 1 records of acme"));
    let json = run(&["verify-bundle", "--json", "--key", &public], &bundle);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["verified"], &json["withheld"]),
        (&true.into(), &0.into())
    );
    let none = export(&["--since", "2999-01-01", "--format", "ocsf"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0));
    let event: Value = serde_json::from_slice(&export(&["--format", "ocsf"]).stdout).unwrap();
    assert_eq!(event["class_uid"], 6003);
    assert_eq!(export(&["--since", "yesterday"]).status.code(), Some(2));

    let id = event["metadata"]["uid"].as_str().unwrap();
    let show = || {
        let (dir, keys) = (dir.to_str().unwrap(), keys.to_str().unwrap());
        text(&run(&["show", dir, "--keys", keys], Path::new(id)).stdout)
    };
    assert!(show().contains("email: ada@example.com"));
    let shred = run(&["shred", "--tenant", "acme"], &keys);
    assert_eq!(shred.status.code(), Some(0));
    assert!(show().contains("email: gone") && !show().contains("ada@example"));
    let verified = run(&["verify", "--key", &public], &dir);
    assert_eq!(verified.status.code(), Some(0));

    // What somebody wrote into a file is shown, and steers no terminal.
    let path = dir.join("tenant-acme.jsonl");
    let before = fs::read_to_string(&path).unwrap();
    let steering = "in\u{9b}31mvi\u{202e}te\u{1f600}\u{e0041}";
    fs::write(&path, before.replace("invite", steering)).unwrap();
    let shown = show();
    assert!(
        shown.contains("in\\u009b31mvi\\u202ete\u{1f600}\\udb40\\udc41"),
        "{shown}"
    );
    fs::write(&path, before).unwrap();

    // Nothing is exported of a chain that does not verify.
    let changed = fs::read_to_string(&path)
        .unwrap()
        .replace("invite", "delete");
    fs::write(&path, changed).unwrap();
    let refused = export(&[]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(text(&refused.stderr).contains("tenant-acme.jsonl, line 1"));
}

#[tokio::test]
async fn a_reader_that_has_enough_is_no_error() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let dir = tmp.path().join("log");
    let signer = CheckpointSigner::generate("log.example").unwrap();
    let sink = FileSink::open(&dir)
        .unwrap()
        .signed(signer, Duration::from_secs(60), |_| ());
    let (layer, worker) = tenant_audit::layer(sink)
        .timer(clock.clone())
        .build()
        .unwrap();
    let tenants = tenant_testkit::tenants(&["acme"], &clock);
    let ada = tenant_testkit::context(&tenants, "acme", "ada");
    for _ in 0..100 {
        layer
            .handle()
            .try_record(&ada, Event::new("invoice.read"))
            .unwrap();
    }
    drop(layer);
    worker.await.unwrap();
    // Nobody reads its output, from the beginning on.
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-audit"));
        let command = command.args(arguments).arg(&dir).stdout(writer);
        command.output().unwrap()
    };
    for arguments in [
        &["verify"][..],
        &["verify", "--json"],
        &["checkpoint"],
        &["export", "--tenant", "acme"],
        &["export", "--tenant", "acme", "--format", "ocsf"],
        &["--help"],
    ] {
        let ended = unread(arguments);
        assert_eq!(text(&ended.stderr), "", "{arguments:?}");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }

    // The verdict is the exit code all the same, and where findings go nobody need read either.
    fs::write(dir.join("tenant-acme.jsonl"), "{}\n").unwrap();
    assert_eq!(unread(&["verify", "--json"]).status.code(), Some(1));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-audit"));
    let ended = command.arg("verify").arg(&dir).stderr(writer).status();
    assert_eq!(ended.unwrap().code(), Some(1));
}
