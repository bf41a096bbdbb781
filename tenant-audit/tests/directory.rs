//! The directory: restarts, crashes, two writers, a disk that fails.

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
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    time::Duration,
};

use common::{chain, write_to};
use tenant_audit::{
    AuditErrorKind, AuditHandle, AuditSink, Event, FileSink, SystemContext, layer, verify,
};
use tenant_testkit::{ManualClock, context, tenants};

async fn record(audit: &AuditHandle, clock: &ManualClock, tenant: &str, count: usize) {
    let tenants = tenants(&[tenant], clock);
    let context = context(&tenants, tenant, "ada");
    for n in 0..count {
        let event = Event::new("invoice.read").resource("invoice", n);
        audit.record(&context, event).await.unwrap();
    }
    audit.flush().await.unwrap();
}

async fn log(dir: &Path, clock: &ManualClock, tenant: &str, count: usize) {
    write_to(dir, clock, async |audit| {
        record(&audit, clock, tenant, count).await;
    })
    .await;
}

fn append(path: impl AsRef<Path>, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn cut(path: impl AsRef<Path>, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - bytes).unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_made_and_is_nobody_elses_to_read() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("var/audit");
    log(&dir, &ManualClock::new(), "acme", 1).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("tenant-acme.jsonl")), 0o600);
        assert_eq!(mode(&dir.join("heads.json")), 0o600);
    }
    assert_eq!(verify(&dir).unwrap().records, 1);
}

#[tokio::test]
async fn chains_go_on_after_a_restart() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    for round in 1..=3 {
        log(tmp.path(), &clock, "acme", 2).await;
        log(tmp.path(), &clock, "globex", 1).await;
        let verified = verify(tmp.path()).unwrap();
        assert_eq!((verified.records, verified.tenants), (round * 3, 2));
        assert_eq!((verified.unsealed, verified.recovered), (0, 0));
    }
    let lines = fs::read_to_string(tmp.path().join("tenant-acme.jsonl")).unwrap();
    let ids: HashSet<&str> = lines
        .lines()
        .map(|line| {
            line.split("\"event_id\":\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(ids.len(), 6, "ids are unique across restarts");
}

#[tokio::test]
async fn i6_many_tenants_share_few_open_files() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let names: Vec<String> = (0..150).map(|n| format!("t{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let tenants = tenants(&ids, &clock);
    write_to(tmp.path(), &clock, async |audit| {
        for _ in 0..2 {
            for id in &ids {
                let context = context(&tenants, id, "ada");
                audit.record(&context, Event::new("a")).await.unwrap();
            }
            audit.flush().await.unwrap();
        }
    })
    .await;
    let verified = verify(tmp.path()).unwrap();
    assert_eq!((verified.records, verified.tenants), (300, 150));
}

#[tokio::test]
async fn tenants_that_differ_in_case_or_dots_have_chains_of_their_own() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let ids = [
        "acme",
        "Acme",
        "ACME",
        ".",
        "..",
        "platform",
        "a.b",
        "-",
        "tenant-acme.jsonl",
    ];
    for id in ids {
        log(tmp.path(), &clock, id, 1).await;
    }
    let verified = verify(tmp.path()).unwrap();
    assert_eq!((verified.records, verified.tenants), (9, 9));
    for id in ids {
        assert!(tmp.path().join(chain(id).file_name()).is_file(), "{id}");
    }
}

#[tokio::test]
async fn a_directory_has_one_writer() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let first = FileSink::open(tmp.path()).unwrap();
    let error = FileSink::open(tmp.path()).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    let (audit, worker) = layer(first)
        .clock(clock.clone())
        .timer(clock)
        .build()
        .unwrap();
    drop(audit);
    worker.await.unwrap();
    // Given back when the worker has ended.
    FileSink::open(tmp.path()).unwrap();
}

#[tokio::test]
async fn a_torn_tail_is_kept_and_accounted_for() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    log(tmp.path(), &clock, "acme", 2).await;
    let file = tmp.path().join("tenant-acme.jsonl");
    let torn = br#"{"seq":3,"prev":"00ab","hash":"77"#;
    append(&file, torn);
    let error = verify(tmp.path()).unwrap_err();
    assert_eq!(error.first().kind(), tenant_audit::VerifyErrorKind::Torn);

    log(tmp.path(), &clock, "acme", 1).await;
    let verified = verify(tmp.path()).unwrap();
    assert_eq!((verified.records, verified.recovered), (4, 1));
    let lines = fs::read_to_string(&file).unwrap();
    assert!(
        lines.contains(std::str::from_utf8(torn).unwrap()),
        "nothing is cut"
    );
    assert!(lines.contains("audit.recovered") && lines.contains("unclean_shutdown"));

    // Not a byte of it is free to change later, nor to go.
    let at = lines.find("00ab").unwrap();
    let gone = lines.replace(std::str::from_utf8(torn).unwrap(), "");
    fs::write(&file, gone.replace("\n\n", "\n")).unwrap();
    assert!(verify(tmp.path()).is_err());
    let mut changed = lines.into_bytes();
    changed[at] = b'1';
    fs::write(&file, changed).unwrap();
    assert!(verify(tmp.path()).is_err());
}

#[tokio::test]
async fn what_was_written_beyond_the_checkpoint_is_taken_up() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    log(tmp.path(), &clock, "acme", 2).await;
    let heads = tmp.path().join("heads.json");
    let checkpoint = fs::read(&heads).unwrap();
    log(tmp.path(), &clock, "acme", 3).await;
    log(tmp.path(), &clock, "globex", 1).await;
    // As after a crash between the lines and their checkpoint.
    fs::write(&heads, checkpoint).unwrap();
    append(tmp.path().join("tenant-globex.jsonl"), b"half a li");
    assert_eq!(verify(tmp.path()).unwrap_err().findings().count(), 1);

    log(tmp.path(), &clock, "acme", 1).await;
    let verified = verify(tmp.path()).unwrap();
    // 2 + 3 + 1 of acme, 1 of globex, and a recovery record of each.
    assert_eq!(
        (verified.records, verified.recovered, verified.unsealed),
        (9, 1, 0)
    );
    let lines = fs::read_to_string(tmp.path().join("tenant-acme.jsonl")).unwrap();
    assert!(lines.contains(r#""unsealed_records":3"#), "{lines}");
}

#[tokio::test]
async fn a_crash_while_recovering_loses_nothing_either() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    log(tmp.path(), &clock, "acme", 1).await;
    append(tmp.path().join("tenant-acme.jsonl"), b"torn once");
    // The worker never ran: the recovery is not recorded yet.
    let mut sink = FileSink::open(tmp.path()).unwrap();
    sink.close().await.unwrap();
    append(tmp.path().join("tenant-acme.jsonl"), b"torn twice");
    log(tmp.path(), &clock, "acme", 1).await;
    let verified = verify(tmp.path()).unwrap();
    assert_eq!((verified.records, verified.recovered), (3, 1));
}

type Change = fn(&Path);

#[tokio::test]
async fn an_altered_log_is_not_continued() {
    let clock = ManualClock::new();
    let changes: [(&str, Change); 7] = [
        ("begins with record 9, the checkpoint ends with 2", |dir| {
            let file = dir.join("tenant-acme.jsonl");
            fs::copy(&file, dir.join("tenant-acme.9.jsonl")).unwrap();
        }),
        ("was cut off", |dir| cut(dir.join("tenant-acme.jsonl"), 1)),
        ("does not end with", |dir| {
            let file = dir.join("tenant-acme.jsonl");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace("invoice.read", "invoice.list")).unwrap();
        }),
        ("is missing", |dir| {
            fs::remove_file(dir.join("tenant-acme.jsonl")).unwrap();
        }),
        ("it was removed", |dir| {
            fs::remove_file(dir.join("heads.json")).unwrap();
        }),
        ("not a checkpoint", |dir| cut(dir.join("heads.json"), 1)),
        ("it was renamed", |dir| {
            fs::rename(dir.join("tenant-acme.jsonl"), dir.join("acme.jsonl")).unwrap();
        }),
    ];
    for (message, change) in changes {
        let tmp = tempfile::tempdir().unwrap();
        log(tmp.path(), &clock, "acme", 2).await;
        change(tmp.path());
        let before = fs::read(tmp.path().join("tenant-acme.jsonl")).ok();
        let error = FileSink::open(tmp.path()).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
        assert_eq!(fs::read(tmp.path().join("tenant-acme.jsonl")).ok(), before);
        assert!(verify(tmp.path()).is_err());
    }
}

/// A directory that goes away while it is written to, and comes back.
#[tokio::test]
async fn a_disk_that_fails_and_recovers_loses_nothing_and_repeats_nothing() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (dir, away) = (tmp.path().join("audit"), tmp.path().join("away"));
    write_to(&dir, &clock, async |audit| {
        record(&audit, &clock, "acme", 2).await;
        let tenants = tenants(&["acme"], &clock);
        let context = context(&tenants, "acme", "ada");
        let broken = async |message: &str| {
            audit.record(&context, Event::new("kept")).await.unwrap();
            let error = audit.flush().await.unwrap_err();
            assert_eq!(error.kind(), AuditErrorKind::Sink);
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(message), "{source}");
        };
        let repaired = async || {
            // The worker waits for its next attempt.
            while clock.sleeping() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(5));
            audit.flush().await.unwrap();
        };

        fs::rename(&dir, &away).unwrap();
        broken("is gone").await;
        fs::rename(&away, &dir).unwrap();
        repaired().await;

        fs::rename(&dir, &away).unwrap();
        fs::create_dir(&dir).unwrap();
        broken("another directory").await;
        fs::remove_dir(&dir).unwrap();
        fs::rename(&away, &dir).unwrap();
        repaired().await;

        // The lines are written, the checkpoint cannot be: the batch comes again.
        fs::create_dir(dir.join("heads.json.new")).unwrap();
        broken("heads.json cannot be written").await;
        fs::remove_dir(dir.join("heads.json.new")).unwrap();
        repaired().await;

        append(dir.join("tenant-acme.jsonl"), b"x");
        broken("somebody else changed it").await;
        cut(dir.join("tenant-acme.jsonl"), 1);
        repaired().await;

        // What is written to a file that was moved away would be lost; a copy is another file.
        let (file, moved) = (dir.join("tenant-acme.jsonl"), tmp.path().join("moved"));
        fs::rename(&file, &moved).unwrap();
        broken("tenant-acme.jsonl is gone").await;
        fs::rename(&moved, &file).unwrap();
        repaired().await;
        fs::rename(&file, &moved).unwrap();
        fs::copy(&moved, &file).unwrap();
        broken("another file than the one").await;
        fs::rename(&moved, &file).unwrap();
        repaired().await;
    })
    .await;
    let verified = verify(&dir).unwrap();
    assert_eq!((verified.records, verified.recovered), (8, 0));
}

#[tokio::test]
async fn system_work_and_tenants_do_not_mix() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    write_to(tmp.path(), &clock, async |audit| {
        let system = SystemContext::begin("billing");
        audit
            .record_system(&system, Event::new("run"))
            .await
            .unwrap();
    })
    .await;
    let verified = verify(tmp.path()).unwrap();
    assert_eq!((verified.records, verified.tenants), (1, 0));
    assert!(tmp.path().join("platform.jsonl").is_file());
}
