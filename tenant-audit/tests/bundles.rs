//! What a tenant is given: a range of its records, with the proof, and nothing of anybody else.

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

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tenant_audit::{
    CheckpointSigner, Event, Export, FileSink, Rotation, VerifiedBundle, VerifyErrorKind, layer,
    verify_bundle,
};
use tenant_testkit::{ManualClock, context, tenants};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Twelve days of records of two tenants, one each a day, in several files.
async fn log() -> (TempDir, CheckpointSigner, Vec<String>) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let signer = CheckpointSigner::generate("audit.example.com/api").unwrap();
    let sink = FileSink::open(dir.path())
        .unwrap()
        .rotated(Rotation::new().bytes(2_000))
        .signed(
            CheckpointSigner::parse(&signer.secret()).unwrap(),
            Duration::from_secs(3600),
            |_| (),
        );
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    let tenants = tenants(&["acme", "globex"], &clock);
    let writing = async {
        for n in 0..12 {
            for tenant in ["acme", "globex"] {
                let event = Event::new("invoice.read").resource("invoice", format!("{tenant}-{n}"));
                let context = context(&tenants, tenant, "ada");
                handle.record(&context, event).await.unwrap();
            }
            handle.flush().await.unwrap();
            clock.advance(DAY);
        }
        drop(handle);
    };
    let (ended, ()) = tokio::join!(worker, writing);
    ended.unwrap();
    let times = times(dir.path());
    assert_eq!(times.len(), 12);
    (dir, signer, times)
}

/// The times of acme's records.
fn times(dir: &Path) -> Vec<String> {
    let mut records: Vec<(u64, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("tenant-acme"))
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            lines
        })
        .map(|line| {
            (
                line["seq"].as_u64().unwrap(),
                line["record"]["timestamp"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    records.sort();
    records.into_iter().map(|(_, time)| time).collect()
}

fn acme() -> Export {
    Export::of("acme".parse().unwrap())
}

fn bundle(export: &Export, dir: &Path) -> Vec<u8> {
    let mut bundle = Vec::new();
    export.bundle(dir, &mut bundle).unwrap();
    bundle
}

#[tokio::test]
async fn a_bundle_of_a_time_holds_that_time_and_proves_that_nothing_of_it_is_missing() {
    let (dir, signer, times) = log().await;
    let keys = [signer.key()];
    let of = |export: &Export| {
        let bytes = bundle(export, dir.path());
        let VerifiedBundle {
            first,
            records,
            withheld,
            ..
        } = verify_bundle(&bytes[..], &keys).unwrap();
        (first, records, withheld)
    };
    let (third, eighth) = (&*times[2], &*times[7]);
    assert_eq!(of(&acme()), (1, 12, 0));
    assert_eq!(of(&acme().since(third).unwrap()), (3, 10, 0));
    assert_eq!(of(&acme().until(eighth).unwrap()), (1, 7, 5));
    let middle = acme().since(third).unwrap().until(eighth).unwrap();
    assert_eq!(of(&middle), (3, 5, 5));
    assert_eq!(of(&acme().since("2100-01-01").unwrap()), (13, 0, 0));
    assert_eq!(of(&acme().until("1970-01-01").unwrap()), (1, 0, 12));

    let text = String::from_utf8(bundle(&middle, dir.path())).unwrap();
    assert!(!text.contains("globex"));
    for n in 0..12 {
        let shown = text.contains(&format!("acme-{n}\""));
        assert_eq!(shown, (2..7).contains(&n), "record {n}");
    }
    for wrong in ["yesterday", "2026-11-27T21:00:00", ""] {
        assert!(acme().since(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn no_byte_of_a_bundle_of_a_time_is_free_to_change() {
    let (dir, signer, times) = log().await;
    let keys = [signer.key()];
    let export = acme().since(&times[4]).unwrap().until(&times[7]).unwrap();
    let bytes = bundle(&export, dir.path());
    assert!(verify_bundle(&bytes[..], &keys).is_ok());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(verify_bundle(&changed[..], &keys).is_err(), "byte {at}");
        assert!(verify_bundle(&bytes[..at], &keys).is_err(), "cut at {at}");
    }
    // Nor is there another way to write the same.
    let spaced = String::from_utf8(bytes.clone()).unwrap();
    let spaced = spaced.replacen(':', ": ", 1);
    assert!(verify_bundle(spaced.as_bytes(), &keys).is_err());
    // A record that is shown cannot be withheld: nobody takes the middle out.
    let text = String::from_utf8(bytes).unwrap();
    let whole = String::from_utf8(bundle(&acme().until(&times[4]).unwrap(), dir.path())).unwrap();
    let withheld = whole
        .lines()
        .find(|line| line.starts_with("{\"seq\":6,"))
        .unwrap();
    let shown = text
        .lines()
        .find(|line| line.starts_with("{\"seq\":6,"))
        .unwrap();
    assert_ne!(withheld, shown);
    let hidden = text.replace(shown, withheld);
    let found = verify_bundle(hidden.as_bytes(), &keys).unwrap_err();
    assert_eq!(
        (found.kind(), found.line()),
        (VerifyErrorKind::Withheld, Some(2))
    );
}

#[tokio::test]
async fn nothing_is_exported_of_a_chain_that_does_not_verify() {
    let (dir, _, _) = log().await;
    let path = dir.path().join("tenant-acme.jsonl");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("acme-1\"", "acme-9\"")).unwrap();
    let mut out = Vec::new();
    let found = acme().bundle(dir.path(), &mut out).unwrap_err();
    assert_eq!(
        (found.kind(), found.line()),
        (VerifyErrorKind::Altered, Some(2))
    );
    assert!(out.is_empty());
    assert!(acme().ocsf(dir.path(), &mut out).is_err() && out.is_empty());

    // Nor of one that a link stands for.
    #[cfg(unix)]
    {
        let away = dir.path().join("away");
        fs::write(&away, good).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&away, &path).unwrap();
        let found = acme().bundle(dir.path(), &mut out).unwrap_err();
        assert_eq!(found.kind(), VerifyErrorKind::Unreadable);
        assert!(out.is_empty());
    }
}

#[tokio::test]
async fn a_withheld_record_in_a_directory_is_found() {
    let (dir, signer, times) = log().await;
    let bytes = String::from_utf8(bundle(&acme().until(&times[0]).unwrap(), dir.path())).unwrap();
    let withheld = bytes
        .lines()
        .find(|line| line.starts_with("{\"seq\":2,"))
        .unwrap();
    let path = dir.path().join("tenant-acme.jsonl");
    let good = fs::read_to_string(&path).unwrap();
    let shown = good.lines().nth(1).unwrap();
    fs::write(&path, good.replace(shown, withheld)).unwrap();
    let verifier = tenant_audit::Verifier::new().key(signer.key());
    let found = verifier.verify(dir.path()).unwrap_err();
    let found = found.first();
    assert_eq!(
        (found.kind(), found.line()),
        (VerifyErrorKind::Withheld, Some(2))
    );
}

#[tokio::test]
async fn events_of_a_time_are_chained_and_carry_the_records_bytes() {
    let (dir, _, times) = log().await;
    let mut out = Vec::new();
    let export = acme().since(&times[2]).unwrap().until(&times[7]).unwrap();
    export.ocsf(dir.path(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 5);
    for (before, event) in events.iter().zip(&events[1..]) {
        assert_eq!(
            event["attestation_list"][0]["prev_event"]["fingerprint"],
            before["attestation_list"][0]["fingerprint"]
        );
        assert!(
            event["raw_data"]
                .as_str()
                .unwrap()
                .starts_with("{\"action\":\"invoice.read\"")
        );
    }
    let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    for event in &events {
        let raw = event["raw_data"].as_str().unwrap();
        assert_eq!(event["raw_data_hash"]["value"], sha256(raw.as_bytes()));
        // The fingerprint is of all but itself.
        let mut rest = event.clone();
        let attestation = rest["attestation_list"][0].as_object_mut().unwrap();
        let fingerprint = attestation.remove("fingerprint").unwrap();
        let canonical = serde_json_canonicalizer::to_vec(&rest).unwrap();
        assert_eq!(fingerprint["value"], sha256(&canonical));
    }
}
