//! Files that rotate, and records that have been kept for long enough.

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

use std::{fs, path::Path, time::Duration};

use tenant_audit::{
    AuditHandle, CheckpointSigner, Event, FileSink, Retention, Rotation, Verifier, VerifyErrorKind,
    layer, verify, verify_bundle,
};
use tenant_testkit::{ManualClock, context, tenants};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn small() -> Rotation {
    Rotation::new().bytes(2_000)
}

async fn with_sink<F: Future<Output = ()>>(
    sink: FileSink,
    clock: &ManualClock,
    write: impl FnOnce(AuditHandle) -> F,
) {
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    let (ended, ()) = tokio::join!(worker, write(handle));
    ended.unwrap();
}

/// Writes so many records of a tenant, each in a batch of its own.
async fn write(sink: FileSink, clock: &ManualClock, count: usize, pause: Duration) {
    with_sink(sink, clock, async |audit| {
        let tenants = tenants(&["acme", "globex"], clock);
        for n in 0..count {
            for tenant in ["acme", "globex"] {
                let context = context(&tenants, tenant, "ada");
                let event = Event::new("invoice.read").resource("invoice", n);
                audit.record(&context, event).await.unwrap();
            }
            audit.flush().await.unwrap();
            clock.advance(pause);
        }
    })
    .await;
}

fn files(dir: &Path, of: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(of))
        .collect();
    names.sort_by_key(|name| {
        name.split('.')
            .nth(1)
            .and_then(|first| first.parse::<u64>().ok())
    });
    names
}

#[tokio::test]
async fn files_rotate_by_size_and_by_time_and_the_chain_goes_on() {
    let clock = ManualClock::new();
    for (rotation, pause) in [
        (small(), Duration::ZERO),
        (Rotation::new().after(DAY * 2), DAY),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let sink = FileSink::open(tmp.path()).unwrap().rotated(rotation);
            write(sink, &clock, 5, pause).await;
        }
        let names = files(tmp.path(), "tenant-acme");
        assert!(names.len() >= 3, "{names:?}");
        assert_eq!(names[0], "tenant-acme.jsonl");
        let verified = verify(tmp.path()).unwrap();
        assert_eq!(
            (verified.records, verified.tenants, verified.unsealed),
            (30, 2, 0)
        );

        // Each file is a part of the chain: none can go, be renamed, or change places.
        for name in &names {
            let path = tmp.path().join(name);
            let away = tmp.path().join("away");
            fs::rename(&path, &away).unwrap();
            assert!(verify(tmp.path()).is_err(), "{name} is gone");
            fs::rename(&away, &path).unwrap();
        }
        let (a, b) = (tmp.path().join(&names[0]), tmp.path().join(&names[1]));
        let (one, two) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
        fs::write(&a, &two).unwrap();
        fs::write(&b, &one).unwrap();
        assert!(verify(tmp.path()).is_err(), "changed places");
    }
}

#[tokio::test]
async fn a_crash_after_a_new_file_was_begun_is_recovered() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let open = || FileSink::open(tmp.path()).unwrap().rotated(small());
    write(open(), &clock, 3, Duration::ZERO).await;
    let heads = tmp.path().join("heads.json");
    let before = (fs::read(&heads).unwrap(), files(tmp.path(), "tenant-acme"));
    for _ in 0..20 {
        if files(tmp.path(), "tenant-acme").len() > before.1.len() {
            break;
        }
        let kept = fs::read(&heads).unwrap();
        write(open(), &clock, 1, Duration::ZERO).await;
        if files(tmp.path(), "tenant-acme").len() > before.1.len() {
            // As after a crash between the new file and the checkpoint, within a line.
            fs::write(&heads, kept).unwrap();
        }
    }
    let newest = files(tmp.path(), "tenant-acme");
    let newest = newest.iter().find(|name| !before.1.contains(name)).unwrap();
    let mut torn = fs::read(tmp.path().join(newest)).unwrap();
    torn.extend_from_slice(b"{\"seq\":99,");
    fs::write(tmp.path().join(newest), torn).unwrap();
    write(open(), &clock, 4, Duration::ZERO).await;
    let verified = verify(tmp.path()).unwrap();
    assert_eq!(verified.recovered, 1);
    assert!(
        fs::read_to_string(tmp.path().join(newest))
            .unwrap()
            .contains("audit.recovered")
    );
}

struct Kept {
    dir: tempfile::TempDir,
    signer: CheckpointSigner,
    clock: ManualClock,
}

/// Ten days of records, a file a day, of which acme's are kept for five.
async fn kept() -> Kept {
    let kept = Kept {
        dir: tempfile::tempdir().unwrap(),
        signer: CheckpointSigner::generate("audit.example.com/api").unwrap(),
        clock: ManualClock::new(),
    };
    kept.write(10).await;
    kept
}

impl Kept {
    async fn write(&self, days: usize) {
        let signer = CheckpointSigner::parse(&self.signer.secret()).unwrap();
        let retention = Retention::new().tenant("acme".parse().unwrap(), DAY * 5);
        let sink = FileSink::open(self.dir.path())
            .unwrap()
            .rotated(Rotation::new().after(DAY))
            .retained(retention)
            .signed(signer, Duration::from_secs(3600), |_| ());
        write(sink, &self.clock, days, DAY).await;
    }

    fn verifier(&self) -> Verifier {
        Verifier::new().key(self.signer.key())
    }
}

#[tokio::test]
async fn what_was_kept_for_long_enough_goes_and_the_rest_verifies() {
    let kept = kept().await;
    let dir = kept.dir.path();
    let names = files(dir, "tenant-acme");
    assert!(
        !names.contains(&"tenant-acme.jsonl".to_owned()),
        "{names:?}"
    );
    assert!((4..=6).contains(&names.len()), "{names:?}");
    assert_eq!(files(dir, "tenant-globex").len(), 10, "kept for a year");
    let verified = kept.verifier().verify(dir).unwrap();
    assert!(verified.signed && verified.records < 25, "{verified:?}");

    // It goes on after a restart, and goes again.
    kept.write(3).await;
    assert!(kept.verifier().verify(dir).is_ok());
    let mut bundle = Vec::new();
    tenant_audit::export(dir, &"acme".parse().unwrap(), &mut bundle).unwrap();
    let verified = verify_bundle(&bundle[..], &[kept.signer.key()]).unwrap();
    assert!(verified.first > 5 && verified.records > 3, "{verified:?}");
}

#[tokio::test]
async fn nobody_cuts_more_than_the_signed_record_says() {
    let kept = kept().await;
    let dir = kept.dir.path();
    let names = files(dir, "tenant-acme");
    // One file more.
    let first = dir.join(&names[0]);
    let bytes = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    assert!(kept.verifier().verify(dir).is_err());
    fs::write(&first, bytes).unwrap();
    assert!(kept.verifier().verify(dir).is_ok());

    // One tenant's beginning, which had not been kept for long enough: the checkpoint alone says so, and it is not
    // signed.
    let theirs = files(dir, "tenant-globex");
    fs::remove_file(dir.join(&theirs[0])).unwrap();
    let found = kept.verifier().verify(dir).unwrap_err();
    assert_eq!(
        found.first().kind(),
        VerifyErrorKind::OutOfOrder {
            expected: 1,
            found: 2
        }
    );
}

#[tokio::test]
async fn a_file_has_the_number_of_its_first_record() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let sink = FileSink::open(tmp.path()).unwrap().rotated(small());
    write(sink, &clock, 16, DAY).await;
    let names = files(tmp.path(), "tenant-acme");
    assert!(names.len() > 3, "{names:?}");
    // One in the middle, which no checkpoint names.
    let first: u64 = names[1].split('.').nth(1).unwrap().parse().unwrap();
    let other = tmp.path().join(format!("tenant-acme.{}.jsonl", first + 1));
    fs::rename(tmp.path().join(&names[1]), other).unwrap();
    let found = verify(tmp.path()).unwrap_err();
    assert_eq!(
        found.first().kind(),
        VerifyErrorKind::OutOfOrder {
            expected: first,
            found: first + 1
        }
    );
}

#[tokio::test]
async fn a_deletion_counts_only_if_its_record_is_signed_and_then_it_is_from_the_start() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let signer = CheckpointSigner::generate("log").unwrap();
    let (key, secret) = (signer.key(), signer.secret());
    let open = || FileSink::open(tmp.path()).unwrap().rotated(small());
    let with_key = |sink: FileSink| {
        let signer = CheckpointSigner::parse(&secret).unwrap();
        sink.signed(signer, DAY, |_| ())
    };
    let short = || Retention::of(DAY * 10);
    let verifier = || Verifier::new().key(key.clone());
    write(
        with_key(open().retained(Retention::forever())),
        &clock,
        16,
        DAY,
    )
    .await;

    // Somebody without the key: his records account for what he has deleted, and nobody has signed them.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tmp.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let theirs = FileSink::open(copy.path()).unwrap().rotated(small());
    write(theirs.retained(short()), &clock, 1, DAY).await;
    assert!(
        files(copy.path(), "tenant-acme")[0].split('.').count() > 2,
        "deleted"
    );
    assert!(verify(copy.path()).is_ok());
    let found = verifier().verify(copy.path()).unwrap_err();
    assert_eq!(found.first().kind(), VerifyErrorKind::Unaccounted);

    // The log itself: at no time is something gone that no signed record accounts for, however it ends.
    let sink = with_key(open().retained(short()));
    with_sink(sink, &clock, async |audit| {
        let tenants = tenants(&["acme"], &clock);
        let context = context(&tenants, "acme", "ada");
        audit.record(&context, Event::new("read")).await.unwrap();
        audit.flush().await.unwrap();
        assert!(
            files(tmp.path(), "tenant-acme")[0].split('.').count() > 2,
            "deleted"
        );
        verifier().verify(tmp.path()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_is_no_finding_and_is_finished_later() {
    let kept = kept().await;
    let dir = kept.dir.path();
    let (before, copy) = (files(dir, "tenant-acme"), tempfile::tempdir().unwrap());
    for name in &before {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    kept.write(3).await;
    let gone = before.iter().filter(|name| !dir.join(name).exists());
    let gone: Vec<&String> = gone.collect();
    assert!(gone.len() > 1, "{before:?}");
    // The last of them is still there.
    let last = gone.last().unwrap();
    fs::copy(copy.path().join(last), dir.join(last)).unwrap();
    assert!(kept.verifier().verify(dir).is_ok());
    assert!(tenant_audit::export(dir, &"acme".parse().unwrap(), &mut Vec::new()).is_ok());
    kept.write(0).await;
    assert!(!dir.join(last).exists());
    assert!(kept.verifier().verify(dir).is_ok());
}
