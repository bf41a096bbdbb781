//! Nothing in a log is free to change.

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
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use common::write_to;
use tempfile::TempDir;
use tenant_audit::{Event, SystemContext, Verifier, VerifyErrorKind, verify};
use tenant_testkit::{ManualClock, context, tenants};

const ACME: &str = "tenant-acme.jsonl";
const GLOBEX: &str = "tenant-globex.jsonl";

/// A small real log: two tenants and the platform.
async fn real_log() -> TempDir {
    // In memory where there is such a place: these tests write some ten thousand times.
    let tmp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let (tmp, clock) = (tmp.unwrap(), ManualClock::new());
    let tenants = tenants(&["acme", "globex"], &clock);
    let contexts = [
        context(&tenants, "acme", "ada"),
        context(&tenants, "globex", "gil"),
    ];
    write_to(tmp.path(), &clock, async |audit| {
        for n in 0..3 {
            for context in &contexts {
                let event = Event::new("invoice.read")
                    .resource("invoice", n)
                    .detail("n", n);
                audit.record(context, event).await.unwrap();
            }
        }
        let system = SystemContext::begin("billing");
        audit
            .record_system(&system, Event::new("run"))
            .await
            .unwrap();
    })
    .await;
    assert_eq!(verify(tmp.path()).unwrap().records, 7);
    tmp
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension != "lock")
        })
        .collect();
    files.sort();
    files
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn kind(dir: &Path) -> VerifyErrorKind {
    verify(dir).unwrap_err().first().kind()
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let tmp = real_log().await;
    for path in files(tmp.path()) {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            // A neighbour in the alphabet, the other case, no ASCII.
            for flip in [0x01, 0x20, 0x80].into_iter().skip(at % 2) {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                fs::write(&path, &changed).unwrap();
                let found = verify(tmp.path());
                let error = found.expect_err(&format!("{}, byte {at} ^ {flip:#x}", path.display()));
                assert_eq!(error.first().file(), path);
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(verify(tmp.path()).unwrap().records, 7);
}

#[tokio::test]
async fn a_cut_tail_verifies_nowhere() {
    let tmp = real_log().await;
    for path in files(tmp.path()) {
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(
                verify(tmp.path()).is_err(),
                "{} cut to {length}",
                path.display()
            );
        }
        fs::write(&path, &bytes).unwrap();
    }
    let acme = tmp.path().join(ACME);
    let whole = lines(&acme);
    fs::write(&acme, whole[..2].concat()).unwrap();
    assert_eq!(
        kind(tmp.path()),
        VerifyErrorKind::Cut {
            expected: 3,
            found: 2
        }
    );
}

#[tokio::test]
async fn added_and_removed_bytes_are_found() {
    let tmp = real_log().await;
    for path in files(tmp.path()) {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut removed = bytes.clone();
            removed.remove(at);
            fs::write(&path, &removed).unwrap();
            assert!(
                verify(tmp.path()).is_err(),
                "{}, byte {at} removed",
                path.display()
            );
            let byte = b" \n0a"[at % 4];
            let mut added = bytes.clone();
            added.insert(at, byte);
            fs::write(&path, &added).unwrap();
            assert!(
                verify(tmp.path()).is_err(),
                "{}, {byte} added at {at}",
                path.display()
            );
        }
        for ending in [&b"\n"[..], b" ", b"{}\n", b"\0"] {
            fs::write(&path, [&bytes, ending].concat()).unwrap();
            assert!(
                verify(tmp.path()).is_err(),
                "{} and {ending:?}",
                path.display()
            );
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[tokio::test]
async fn removed_repeated_reordered_and_moved_records_are_found_and_named() {
    let tmp = real_log().await;
    let (acme, globex) = (tmp.path().join(ACME), tmp.path().join(GLOBEX));
    let (ours, theirs) = (lines(&acme), lines(&globex));
    let order = |lines: &[&String]| lines.iter().map(|line| line.as_str()).collect::<String>();
    let (a, b, c) = (&ours[0], &ours[1], &ours[2]);
    let wrong = |expected, found| VerifyErrorKind::OutOfOrder { expected, found };
    for (what, text, line, expected) in [
        ("removed", order(&[a, c]), 2, wrong(2, 3)),
        ("first removed", order(&[b, c]), 1, wrong(1, 2)),
        ("repeated", order(&[a, b, b, c]), 3, wrong(3, 2)),
        ("last repeated", order(&[a, b, c, c]), 4, wrong(4, 3)),
        ("swapped", order(&[a, c, b]), 2, wrong(2, 3)),
        (
            "moved",
            order(&[a, &theirs[1], c]),
            2,
            VerifyErrorKind::Unlinked,
        ),
        (
            "first moved",
            order(&[&theirs[0], b, c]),
            1,
            VerifyErrorKind::Altered,
        ),
        ("inserted", order(&[a, b, c, &theirs[2]]), 4, wrong(4, 3)),
    ] {
        fs::write(&acme, text).unwrap();
        let error = verify(tmp.path()).unwrap_err();
        let finding = error.first();
        assert_eq!(
            (finding.line(), finding.kind()),
            (Some(line), expected),
            "{what}"
        );
        assert_eq!(finding.file(), acme);
        assert!(finding.event_id().is_some(), "{what}");
        let said = error.to_string();
        assert!(
            said.contains(ACME)
                && said.contains(&format!("line {line}"))
                && said.contains(finding.event_id().unwrap()),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_renamed_copied_or_removed_file_is_found() {
    let tmp = real_log().await;
    let (acme, globex) = (tmp.path().join(ACME), tmp.path().join(GLOBEX));
    let other = tmp.path().join("tenant-zeta.jsonl");

    fs::rename(&acme, &other).unwrap();
    let error = verify(tmp.path()).unwrap_err();
    assert_eq!(error.findings().count(), 2);
    assert_eq!(error.first().kind(), VerifyErrorKind::FileMissing);
    fs::copy(&other, &acme).unwrap();
    assert_eq!(kind(tmp.path()), VerifyErrorKind::Altered);
    fs::remove_file(&other).unwrap();
    assert!(verify(tmp.path()).is_ok());

    let (ours, theirs) = (fs::read(&acme).unwrap(), fs::read(&globex).unwrap());
    fs::write(&acme, &theirs).unwrap();
    fs::write(&globex, &ours).unwrap();
    assert_eq!(verify(tmp.path()).unwrap_err().findings().count(), 2);
    fs::write(&acme, &ours).unwrap();
    fs::write(&globex, &theirs).unwrap();

    fs::write(tmp.path().join("Tenant-acme.jsonl"), &ours).unwrap();
    assert_eq!(kind(tmp.path()), VerifyErrorKind::UnknownFile);
    fs::remove_file(tmp.path().join("Tenant-acme.jsonl")).unwrap();
    fs::remove_file(tmp.path().join("heads.json")).unwrap();
    assert_eq!(kind(tmp.path()), VerifyErrorKind::CheckpointMissing);
}

#[tokio::test]
async fn a_rolled_back_directory_has_another_checkpoint() {
    let tmp = real_log().await;
    let copy: Vec<_> = files(tmp.path())
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    let clock = ManualClock::new();
    write_to(tmp.path(), &clock, async |audit| {
        let system = SystemContext::begin("billing");
        audit
            .record_system(&system, Event::new("run"))
            .await
            .unwrap();
    })
    .await;
    let kept_elsewhere = verify(tmp.path()).unwrap().checkpoint;
    for (bytes, path) in copy {
        fs::write(path, bytes).unwrap();
    }
    // Every hash is right: only the checkpoint that was kept elsewhere shows it.
    assert_ne!(verify(tmp.path()).unwrap().checkpoint, kept_elsewhere);
}

#[tokio::test]
async fn records_of_a_later_schema_verify_too() {
    // A record's hash covers its bytes, not what this version knows of them.
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let tenants = tenants(&["acme"], &clock);
    let ada = context(&tenants, "acme", "ada");
    write_to(tmp.path(), &clock, async |audit| {
        for n in 0..3 {
            let event = Event::new("a").detail(format!("a field of version {n}"), n);
            audit.record(&ada, event).await.unwrap();
        }
    })
    .await;
    assert_eq!(verify(tmp.path()).unwrap().records, 3);
}

#[test]
fn what_is_no_directory_is_said_to_be_none() {
    let tmp = tempfile::tempdir().unwrap();
    assert_eq!(
        kind(&tmp.path().join("nowhere")),
        VerifyErrorKind::Unreadable
    );
    assert_eq!(kind(tmp.path()), VerifyErrorKind::CheckpointMissing);
    // A file of holes takes no room, and would take all memory.
    let heads = fs::File::create(tmp.path().join("heads.json")).unwrap();
    heads.set_len((1 << 30) + 1).unwrap();
    assert_eq!(kind(tmp.path()), VerifyErrorKind::Unreadable);
}

#[tokio::test]
async fn several_threads_find_what_one_finds_in_the_same_order() {
    let tmp = real_log().await;
    let with = |threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        Verifier::new().threads(threads).verify(tmp.path())
    };
    assert_eq!(with(1).unwrap(), with(4).unwrap());
    // The first one takes longer than the second.
    for (name, more) in [(ACME, 200_000), (GLOBEX, 0)] {
        let path = tmp.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        let altered = text.replacen("invoice.read", "invoice.reat", 1);
        fs::write(&path, altered + &"x\n".repeat(more)).unwrap();
    }
    let found = |threads| {
        let error = with(threads).unwrap_err();
        let findings = error.findings().map(ToString::to_string);
        findings.collect::<Vec<_>>()
    };
    let one = found(1);
    assert_eq!(one.len(), 2, "{one:?}");
    for (finding, name) in one.iter().zip([ACME, GLOBEX]) {
        assert!(finding.contains(name), "{finding}");
    }
    for _ in 0..20 {
        assert_eq!(found(4), one);
    }
}
