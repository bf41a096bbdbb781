//! Personal values: sealed, shredded, and still proved.

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
use tenant_audit::{
    CheckpointSigner, Event, FileSink, KeyDir, SinkError, TenantKey, TenantKeys, Verifier, layer,
    reveal, verify_bundle,
};
use tenant_context::TenantId;
use tenant_testkit::{ManualClock, context, tenants};

const CANARY: &str = "ada.canary@example.com";

async fn write(dir: &Path, keys: impl TenantKeys, signer: &CheckpointSigner) {
    let clock = ManualClock::new();
    let signer = CheckpointSigner::parse(&signer.secret()).unwrap();
    let sink = FileSink::open(dir)
        .unwrap()
        .signed(signer, Duration::from_secs(60), |_| ());
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .personal_keys(keys)
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    let tenants = tenants(&["acme", "globex"], &clock);
    let (ended, ()) = tokio::join!(worker, async move {
        for tenant in ["acme", "globex"] {
            let event = Event::new("user.invite")
                .personal("email", CANARY)
                .personal("name", "Ada");
            let context = context(&tenants, tenant, "ada");
            handle.record(&context, event).await.unwrap();
        }
    });
    ended.unwrap();
}

fn record(dir: &Path, tenant: &str) -> Value {
    let text = fs::read_to_string(dir.join(format!("tenant-{tenant}.jsonl"))).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    line["record"].clone()
}

fn id(tenant: &str) -> TenantId {
    tenant.parse().unwrap()
}

#[tokio::test]
async fn i8_shredding_a_key_erases_the_person_and_every_proof_still_verifies() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("log");
    let keys = KeyDir::open(tmp.path().join("keys")).unwrap();
    let signer = CheckpointSigner::generate("audit.example.com/api").unwrap();
    write(&dir, keys.clone(), &signer).await;
    for entry in fs::read_dir(&dir).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
    }
    let expected = vec![
        ("email".to_owned(), Some(CANARY.to_owned())),
        ("name".to_owned(), Some("Ada".to_owned())),
    ];
    assert_eq!(reveal(&record(&dir, "acme"), &keys).unwrap(), expected);

    // What is moved to another record, or changed, is not shown.
    let mut moved = record(&dir, "globex");
    moved["personal"] = record(&dir, "acme")["personal"].clone();
    assert_eq!(reveal(&moved, &keys).unwrap()[0].1, None);

    let verifies = |records| {
        let key = signer.key();
        assert!(
            Verifier::new()
                .key(key.clone())
                .verify(&dir)
                .unwrap()
                .signed
        );
        let mut bundle = Vec::new();
        tenant_audit::export(&dir, &id("acme"), &mut bundle).unwrap();
        assert_eq!(verify_bundle(&bundle[..], &[key]).unwrap().records, records);
    };
    verifies(1);
    keys.shred(&id("acme")).unwrap();
    verifies(1);
    let gone = reveal(&record(&dir, "acme"), &keys).unwrap();
    assert!(gone.iter().all(|(_, value)| value.is_none()), "{gone:?}");
    // Nobody else's are.
    assert_eq!(reveal(&record(&dir, "globex"), &keys).unwrap(), expected);

    // What comes later is a commitment alone: there is no key, and none is made.
    write(&dir, keys.clone(), &signer).await;
    let text = fs::read_to_string(dir.join("tenant-acme.jsonl")).unwrap();
    let later: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let email = &later["record"]["personal"]["email"];
    assert!(email.get("commitment").is_some() && email.get("sealed").is_none());
    verifies(2);
}

#[test]
fn keys_are_nobody_elses_to_read_and_stay_what_they_are() {
    let tmp = tempfile::tempdir().unwrap();
    let (one, two) = (
        KeyDir::open(tmp.path()).unwrap(),
        KeyDir::open(tmp.path()).unwrap(),
    );
    assert!(one.key(&id("acme")).unwrap().is_some());
    let path = tmp.path().join("tenant-acme.key");
    let kept = fs::read(&path).unwrap();
    assert!(two.key(&id("acme")).unwrap().is_some());
    assert_eq!(fs::read(&path).unwrap(), kept);
    assert_eq!(
        fs::read_dir(tmp.path()).unwrap().count(),
        1,
        "nothing is left over"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let shown = format!("{one:?} {:?}", one.key(&id("acme")).unwrap());
    assert!(!shown.contains(std::str::from_utf8(&kept[..64]).unwrap()));
    // What a shredded key's file has on the disk is written over, not only left behind.
    let blocks = tmp.path().join("blocks");
    fs::hard_link(&path, &blocks).unwrap();
    KeyDir::open(tmp.path())
        .unwrap()
        .shred(&id("acme"))
        .unwrap();
    assert!(fs::read(&blocks).unwrap().iter().all(|byte| *byte == 0));
    fs::remove_file(&blocks).unwrap();
    #[cfg(unix)]
    {
        // A link leads to a key of somebody else's choice.
        fs::remove_file(&path).unwrap();
        let elsewhere = tmp.path().join("elsewhere");
        fs::write(&elsewhere, &kept).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(one.key(&id("acme")).is_err());
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, "rubbish").unwrap();
    assert!(
        one.key(&id("acme"))
            .unwrap_err()
            .to_string()
            .contains("no key")
    );
    one.shred(&id("acme")).unwrap();
    assert!(two.key(&id("acme")).unwrap().is_none());
    // A tenant that never had one gets none either.
    one.shred(&id("zeta")).unwrap();
    assert!(two.key(&id("zeta")).unwrap().is_none());
}

struct Unreachable;

impl TenantKeys for Unreachable {
    fn key(&self, _: &TenantId) -> Result<Option<TenantKey>, SinkError> {
        Err(SinkError::new("the key service is down"))
    }
}

#[tokio::test]
async fn i8_without_a_key_a_value_is_in_no_record() {
    let tmp = tempfile::tempdir().unwrap();
    let signer = CheckpointSigner::generate("audit.example.com/api").unwrap();
    write(tmp.path(), Unreachable, &signer).await;
    let record = record(tmp.path(), "acme");
    assert!(!record.to_string().contains("canary"));
    let email = &record["personal"]["email"];
    assert!(email.get("commitment").is_some() && email.get("sealed").is_none());
}

#[tokio::test]
async fn two_names_that_look_alike_are_one_member_and_the_later_value_counts() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = KeyDir::open(keys.path()).unwrap();
    let clock = ManualClock::new();
    let (audit, worker) = layer(FileSink::open(dir.path()).unwrap())
        .clock(clock.clone())
        .timer(clock.clone())
        .personal_keys(keys.clone())
        .build()
        .unwrap();
    let (handle, tenants) = (audit.handle(), tenants(&["acme"], &clock));
    let context = context(&tenants, "acme", "ada");
    drop(audit);
    // The first name is shown as the second one.
    let event = Event::new("user.invite")
        .personal("e\u{9b}", "ada")
        .personal("e\\u{9b}", "bob");
    handle.try_record(&context, event).unwrap();
    drop(handle);
    worker.await.unwrap();
    let line = fs::read_to_string(dir.path().join("tenant-acme.jsonl")).unwrap();
    assert_eq!(line.matches("commitment").count(), 1, "{line}");
    let line: Value = serde_json::from_str(&line).unwrap();
    let values = reveal(&line["record"], &keys).unwrap();
    let values: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some("bob".to_owned())]);
}
