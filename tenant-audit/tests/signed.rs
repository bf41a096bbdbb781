//! Signed checkpoints: what hashes alone cannot show.

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

use std::{fs, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tempfile::TempDir;
use tenant_audit::{
    CheckpointKey, CheckpointSigner, Event, FileSink, Verifier, VerifyErrorKind, export, layer,
    verify_bundle,
};
use tenant_testkit::{ManualClock, context, tenants};

const NAME: &str = "audit.example.com/api";

/// Writes some records of two tenants, and closes the directory. The published notes.
async fn write(dir: &Path, signer: &CheckpointSigner, records: usize) -> Vec<String> {
    let clock = ManualClock::new();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let published = Arc::clone(&notes);
    let signer = CheckpointSigner::parse(&signer.secret()).unwrap();
    let sink =
        FileSink::open(dir)
            .unwrap()
            .signed(signer, Duration::from_secs(3600), move |note| {
                published.lock().push(note.to_owned());
            });
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    let tenants = tenants(&["acme", "globex"], &clock);
    let (ended, ()) = tokio::join!(worker, async move {
        for n in 0..records {
            for tenant in ["acme", "globex"] {
                let context = context(&tenants, tenant, "ada");
                let event = Event::new("invoice.read").resource("invoice", n);
                handle.record(&context, event).await.unwrap();
            }
        }
    });
    ended.unwrap();
    notes.lock().clone()
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::generate(NAME).unwrap()
}

#[track_caller]
fn kind(verifier: &Verifier, dir: &Path) -> VerifyErrorKind {
    verifier.verify(dir).unwrap_err().first().kind()
}

async fn log(signer: &CheckpointSigner) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), signer, 3).await;
    dir
}

#[tokio::test]
async fn a_log_is_signed_when_it_is_closed_and_the_note_is_published() {
    let (dir, signer) = (tempfile::tempdir().unwrap(), signer());
    let notes = write(dir.path(), &signer, 3).await;
    let verified = Verifier::new()
        .key(signer.key())
        .verify(dir.path())
        .unwrap();
    assert_eq!((verified.records, verified.signed), (6, true));
    let last = notes.last().unwrap();
    let lines: Vec<&str> = last.lines().collect();
    assert_eq!(
        (lines[0], lines[1]),
        (NAME, "64"),
        "the number of tenants is not shown"
    );
    assert!(
        fs::read_to_string(dir.path().join("checkpoint.json"))
            .unwrap()
            .contains(lines[2])
    );
    // Nothing new, nothing signed.
    assert!(write(dir.path(), &signer, 0).await.len() <= 1);
}

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_log_is_signed_at_its_interval_without_being_closed() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), signer());
    let key = ours.key();
    let (publish, mut notes) = tokio::sync::mpsc::unbounded_channel();
    let path = dir.path();
    let every = Duration::from_millis(300);
    let sink = FileSink::open(dir.path()).unwrap();
    let sink = sink.signed(ours, every, move |note| {
        publish.send(note.to_owned()).ok();
    });
    let clock = ManualClock::new();
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let handle = layer.handle();
    let tenants = tenants(&["acme"], &clock);
    let context = context(&tenants, "acme", "ada");
    drop(layer);
    let written = async move {
        for round in 1..4 {
            // The second batch comes before the interval is over, and nothing after it.
            for n in 0..2 {
                let event = Event::new("invoice.read").resource("invoice", n);
                handle.record(&context, event).await.unwrap();
                handle.flush().await.unwrap();
            }
            let is_signed = || {
                let checkpoint = fs::read_to_string(path.join("checkpoint.json"));
                checkpoint.is_ok_and(|text| text.contains(&format!("seq\\\":{}", 2 * round)))
            };
            // A note is published when its checkpoint is written.
            loop {
                let note = tokio::time::timeout(LIMIT, notes.recv()).await;
                note.expect("it is never signed").unwrap();
                if is_signed() {
                    break;
                }
            }
            let verified = Verifier::new().key(key.clone()).verify(path).unwrap();
            assert_eq!((verified.records, verified.signed), (2 * round, true));
        }
    };
    let (ended, ()) = tokio::join!(worker, written);
    ended.unwrap();
}

#[tokio::test]
async fn progress_is_told_in_bytes_up_to_all_of_them() {
    let dir = log(&signer()).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let verified = Verifier::new()
        .on_progress(move |done, total| telling.lock().push((done, total)))
        .verify(dir.path())
        .unwrap();
    let told = told.lock();
    assert!(
        told.iter()
            .all(|(done, total)| done <= total && *total == verified.bytes)
    );
    assert!(told.contains(&(verified.bytes, verified.bytes)), "{told:?}");
}

#[tokio::test]
async fn a_forged_unsigned_or_foreign_checkpoint_is_found() {
    let (ours, theirs) = (signer(), signer());
    let dir = log(&ours).await;
    let path = dir.path().join("checkpoint.json");
    let good = fs::read_to_string(&path).unwrap();
    let with_key = Verifier::new().key(ours.key());
    assert_eq!(
        kind(&Verifier::new().key(theirs.key()), dir.path()),
        VerifyErrorKind::Unsigned
    );

    // Every hash anew, by somebody without the key: another history, with heads of its own.
    let forged = log(&theirs).await;
    assert!(Verifier::new().verify(forged.path()).is_ok());
    assert_eq!(kind(&with_key, forged.path()), VerifyErrorKind::Unsigned);
    fs::copy(&path, forged.path().join("checkpoint.json")).unwrap();
    assert_eq!(
        kind(&with_key, forged.path()),
        VerifyErrorKind::NotAsCheckpointed
    );

    fs::remove_file(&path).unwrap();
    assert_eq!(kind(&with_key, dir.path()), VerifyErrorKind::Unsigned);
    for at in (0..good.len()).step_by(3) {
        let mut changed = good.clone().into_bytes();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(with_key.verify(dir.path()).is_err(), "byte {at}");
        fs::write(&path, &good.as_bytes()[..at]).unwrap();
        assert!(with_key.verify(dir.path()).is_err(), "cut at {at}");
    }
    fs::write(&path, good).unwrap();
    assert!(with_key.verify(dir.path()).is_ok());
}

#[tokio::test]
async fn a_rolled_back_directory_is_found_by_a_checkpoint_kept_elsewhere() {
    let signer = signer();
    let dir = log(&signer).await;
    let copy: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    write(dir.path(), &signer, 2).await;
    let kept = fs::read(dir.path().join("checkpoint.json")).unwrap();
    let verifier = Verifier::new().key(signer.key()).against(kept);
    assert_eq!(verifier.verify(dir.path()).unwrap().records, 10);
    for (bytes, path) in copy {
        fs::write(path, bytes).unwrap();
    }
    // The older copy is right in itself, and signed.
    assert!(Verifier::new().key(signer.key()).verify(dir.path()).is_ok());
    assert_eq!(
        kind(&verifier, dir.path()),
        VerifyErrorKind::Cut {
            expected: 5,
            found: 3
        }
    );
}

#[tokio::test]
async fn a_rotated_key_leaves_what_the_old_one_signed_valid() {
    let (old, new) = (signer(), signer());
    let dir = log(&old).await;
    let kept = fs::read(dir.path().join("checkpoint.json")).unwrap();
    write(dir.path(), &new, 1).await;
    let both = Verifier::new()
        .key(old.key())
        .key(new.key())
        .against(kept.clone());
    assert_eq!(both.verify(dir.path()).unwrap().records, 8);
    let one = Verifier::new().key(new.key()).against(kept);
    assert_eq!(kind(&one, dir.path()), VerifyErrorKind::Unsigned);
}

#[test]
fn keys_are_read_as_they_are_written() {
    let signer = signer();
    let key: CheckpointKey = signer.key().to_string().parse().unwrap();
    assert_eq!(key, signer.key());
    for wrong in ["", "a+b+c", NAME, &signer.secret()] {
        assert!(wrong.parse::<CheckpointKey>().is_err(), "{wrong}");
    }
    assert!(CheckpointSigner::generate("a name").is_err());
    assert!(CheckpointSigner::parse(&signer.key().to_string()).is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn links_and_pipes_in_the_directory_are_not_followed() {
    use std::os::unix::fs::symlink;
    let signer = signer();
    for name in ["lock", "platform.jsonl", "tenant-acme.jsonl"] {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        symlink(&elsewhere, log.join(name)).unwrap();
        let error = FileSink::open(&log).unwrap_err().to_string();
        assert!(
            error.contains("no regular file") || error.contains("heads.json"),
            "{name}: {error}"
        );
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    }
    for name in ["heads.json.new", "checkpoint.json.new"] {
        let dir = log(&signer).await;
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        symlink(&elsewhere, dir.path().join(name)).unwrap();
        write(dir.path(), &signer, 1).await;
        assert_eq!(
            fs::read_to_string(&elsewhere).unwrap(),
            "precious",
            "{name}"
        );
    }
    // A link in a checkpoint's place is not read.
    let dir = log(&signer).await;
    let path = dir.path().join("checkpoint.json");
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    assert_eq!(
        kind(&Verifier::new().key(signer.key()), dir.path()),
        VerifyErrorKind::Unreadable
    );
}

#[tokio::test]
async fn a_tenants_bundle_verifies_alone_and_shows_nobody_else() {
    let signer = signer();
    let dir = log(&signer).await;
    let acme = "acme".parse().unwrap();
    let mut bundle = Vec::new();
    export(dir.path(), &acme, &mut bundle).unwrap();
    let text = String::from_utf8(bundle.clone()).unwrap();
    assert!(!text.contains("globex"));
    let keys = [signer.key()];
    let verified = verify_bundle(&bundle[..], &keys).unwrap();
    assert_eq!((verified.tenant, verified.records), (acme, 3));

    // Not a byte of it is free to change, to leave out or to add.
    for at in 0..bundle.len() {
        let mut changed = bundle.clone();
        changed[at] ^= 1;
        assert!(verify_bundle(&changed[..], &keys).is_err(), "byte {at}");
        assert!(verify_bundle(&bundle[..at], &keys).is_err(), "cut at {at}");
    }
    for more in [&b"\n"[..], b"{}\n", b"x"] {
        assert!(verify_bundle(&[&bundle, more].concat()[..], &keys).is_err());
    }
    let foreign = CheckpointSigner::generate(NAME).unwrap();
    let unsigned = verify_bundle(&bundle[..], &[foreign.key()]).unwrap_err();
    assert_eq!(unsigned.kind(), VerifyErrorKind::Unsigned);
    assert!(verify_bundle(&bundle[..], &[]).is_err());
    let nobody = export(dir.path(), &"zeta".parse().unwrap(), &mut Vec::new());
    assert_eq!(nobody.unwrap_err().kind(), VerifyErrorKind::FileMissing);
}
