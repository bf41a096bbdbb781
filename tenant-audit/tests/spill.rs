//! Records that are too long for a line stand in files of their own, and nothing about them is free to change.

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
use tempfile::TempDir;
use tenant_audit::{
    AuditHandle, CheckpointSigner, Event, Export, FileSink, Retention, Rotation, Verifier,
    VerifyErrorKind, export, layer, verify, verify_bundle,
};
use tenant_testkit::{ManualClock, context, tenants};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LOG: &str = "tenant-acme.jsonl";
const SPILL: &str = "tenant-acme.2.spill";
/// With the bounds of a trail: some 57 KiB.
const OVERSIZE: &str = "\u{9b}";

struct Log {
    dir: TempDir,
    signer: CheckpointSigner,
    clock: ManualClock,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self {
            dir: dir.unwrap(),
            signer: CheckpointSigner::generate("audit.example.com/api").unwrap(),
            clock: ManualClock::new(),
        }
    }

    /// An ordinary record of acme's, an oversize one, and an ordinary one.
    async fn written() -> Self {
        let log = Self::new();
        log.write(async |audit, acme| {
            for long in [false, true, false] {
                audit.record(&acme, event(long)).await.unwrap();
            }
        })
        .await;
        assert_eq!(verify(log.path()).unwrap().records, 3);
        log
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn sink(&self) -> FileSink {
        let signer = CheckpointSigner::parse(&self.signer.secret()).unwrap();
        FileSink::open(self.path())
            .unwrap()
            .rotated(Rotation::new().after(DAY))
            .retained(Retention::of(DAY * 5))
            .signed(signer, Duration::from_secs(3600), |_| ())
    }

    async fn write<F: Future<Output = ()>>(
        &self,
        write: impl FnOnce(AuditHandle, tenant_audit::TenantContext) -> F,
    ) {
        let (layer, worker) = layer(self.sink())
            .clock(self.clock.clone())
            .timer(self.clock.clone())
            .build()
            .unwrap();
        let handle = layer.handle();
        drop(layer);
        let tenants = tenants(&["acme"], &self.clock);
        let acme = context(&tenants, "acme", "ada");
        let (ended, ()) = tokio::join!(worker, write(handle, acme));
        ended.unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    #[track_caller]
    fn finds(&self, kind: VerifyErrorKind, name: &str) {
        let found = verify(self.path()).unwrap_err();
        assert_eq!(
            (found.first().kind(), found.first().file()),
            (kind, self.path().join(name).as_path())
        );
    }

    fn spills(&self) -> Vec<String> {
        let names = fs::read_dir(self.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains(".spill")).collect();
        names.sort();
        names
    }
}

fn event(long: bool) -> Event {
    let mut event = Event::new("report.made");
    for n in 0..if long { 16 } else { 1 } {
        event = event.detail(format!("part-{n}"), OVERSIZE.repeat(500));
    }
    event
}

#[tokio::test]
async fn an_oversize_record_is_spilled_with_its_digest_in_place() {
    let log = Log::written().await;
    let text = String::from_utf8(log.read(LOG)).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let record = log.read(SPILL);
    assert!(record.len() > 16 * 1024 && text.len() < 16 * 1024);
    assert_eq!(lines[1]["spilled"]["bytes"], record.len());
    assert!(lines[1].get("record").is_none() && lines[2].get("record").is_some());
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["metadata"].as_object().unwrap().len(), 16);
    assert_eq!(log.spills(), [SPILL]);

    // The chain goes on after a restart.
    log.write(async |audit, acme| audit.record(&acme, event(true)).await.unwrap())
        .await;
    assert_eq!(verify(log.path()).unwrap().records, 4);
    assert_eq!(log.spills(), [SPILL, "tenant-acme.4.spill"]);
}

#[tokio::test]
async fn a_changed_missing_moved_or_added_spill_is_found() {
    let log = Log::written().await;
    let record = log.read(SPILL);
    for at in (0..record.len()).step_by(97) {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = record.clone();
            changed[at] ^= flip;
            log.put(SPILL, changed);
            log.finds(VerifyErrorKind::SpillAltered, SPILL);
        }
        log.put(SPILL, &record[..at]);
        log.finds(VerifyErrorKind::SpillAltered, SPILL);
    }
    for ending in [&b"\n"[..], b" ", b"\0"] {
        log.put(SPILL, [&record, ending].concat());
        log.finds(VerifyErrorKind::SpillAltered, SPILL);
    }
    fs::remove_file(log.path().join(SPILL)).unwrap();
    log.finds(VerifyErrorKind::SpillMissing, SPILL);
    log.put("tenant-acme.3.spill", &record);
    log.finds(VerifyErrorKind::SpillMissing, SPILL);
    log.put(SPILL, &record);
    log.finds(VerifyErrorKind::UnknownFile, "tenant-acme.3.spill");
    fs::remove_file(log.path().join("tenant-acme.3.spill")).unwrap();
    for foreign in ["Tenant-acme.2.spill", "tenant-acme.02.spill"] {
        log.put(foreign, &record);
        log.finds(VerifyErrorKind::UnknownFile, foreign);
        fs::remove_file(log.path().join(foreign)).unwrap();
    }
    assert!(verify(log.path()).is_ok());

    // Neither the line's length nor its form is free to change.
    let text = String::from_utf8(log.read(LOG)).unwrap();
    let bytes = format!("\"bytes\":{}", record.len());
    for other in [record.len() + 1, record.len() - 1, 7] {
        log.put(LOG, text.replace(&bytes, &format!("\"bytes\":{other}")));
        assert!(verify(log.path()).is_err(), "{other}");
    }
    let line = text.lines().nth(1).unwrap();
    let (frame, _) = line.split_once("\"spilled\"").unwrap();
    let whole = format!("{frame}\"record\":{}}}", String::from_utf8(record).unwrap());
    log.put(LOG, text.replace(line, &whole));
    log.finds(VerifyErrorKind::Malformed, LOG);
}

#[tokio::test]
async fn a_bundle_has_the_record_in_its_line() {
    let log = Log::written().await;
    let (acme, keys) = ("acme".parse().unwrap(), [log.signer.key()]);
    let mut bundle = Vec::new();
    export(log.path(), &acme, &mut bundle).unwrap();
    let verified = verify_bundle(&bundle[..], &keys).unwrap();
    assert_eq!((verified.records, verified.withheld), (3, 0));
    let text = String::from_utf8(bundle).unwrap();
    assert!(!text.contains("\"spilled\"") && text.contains("part-15"));
    let mut events = Vec::new();
    Export::of(acme.clone())
        .ocsf(log.path(), &mut events)
        .unwrap();
    assert!(String::from_utf8(events).unwrap().contains("part-15"));

    // A bundle's line that names a file is none, in the place of a record and of one that is withheld.
    let line = String::from_utf8(log.read(LOG)).unwrap();
    let spilled = line.lines().nth(1).unwrap();
    let forged = text.replace(text.lines().nth(2).unwrap(), spilled);
    let found = verify_bundle(forged.as_bytes(), &keys).unwrap_err();
    assert_eq!(found.kind(), VerifyErrorKind::Withheld);
    let mut none = Vec::new();
    let export = Export::of(acme).until("1970-01-01").unwrap();
    export.bundle(log.path(), &mut none).unwrap();
    let withheld = String::from_utf8(none).unwrap();
    assert_eq!(
        verify_bundle(withheld.as_bytes(), &keys).unwrap().withheld,
        3
    );
    let forged = withheld.replace(withheld.lines().nth(2).unwrap(), spilled);
    assert!(verify_bundle(forged.as_bytes(), &keys).is_err());

    // Nothing is exported of a record that is not there.
    fs::remove_file(log.path().join(SPILL)).unwrap();
    let found = tenant_audit::export(log.path(), &"acme".parse().unwrap(), &mut Vec::new());
    assert_eq!(found.unwrap_err().kind(), VerifyErrorKind::SpillMissing);
}

#[tokio::test]
async fn a_spill_goes_with_its_segment() {
    let log = Log::new();
    log.write(async |audit, acme| {
        for _ in 0..10 {
            audit.record(&acme, event(true)).await.unwrap();
            audit.flush().await.unwrap();
            log.clock.advance(DAY);
        }
    })
    .await;
    let verifier = Verifier::new().key(log.signer.key());
    verifier.verify(log.path()).unwrap();
    let left = log.spills();
    assert!(!left.contains(&"tenant-acme.1.spill".to_owned()));
    assert!((4..=6).contains(&left.len()), "{left:?}");

    // A deletion that was interrupted after the lines is no finding, and is finished later.
    log.put("tenant-acme.1.spill", "what was left");
    verifier.verify(log.path()).unwrap();
    log.write(async |_, _| ()).await;
    let rest = log.spills();
    assert!(rest.iter().all(|name| left.contains(name)), "{rest:?}");
    verifier.verify(log.path()).unwrap();
}

#[tokio::test]
async fn a_record_whose_line_a_crash_prevented_is_reported() {
    let log = Log::written().await;
    log.put("tenant-acme.4.spill", log.read(SPILL));
    log.put("tenant-zeta.1.spill", "of a chain that has no file yet");
    let findings = verify(log.path()).unwrap_err();
    let kinds: Vec<_> = findings
        .findings()
        .map(tenant_audit::Finding::kind)
        .collect();
    assert_eq!(kinds, [VerifyErrorKind::Torn, VerifyErrorKind::Torn]);
    log.write(async |_, _| ()).await;
    assert_eq!(verify(log.path()).unwrap().records, 4);
    assert_eq!(log.spills(), [SPILL]);
    let text = String::from_utf8(log.read(LOG)).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["record"]["action"], "audit.recovered");
    assert_eq!(last["record"]["metadata"]["spills_deleted"], 1);
}

#[tokio::test]
async fn what_was_not_sealed_is_taken_up_with_its_spill() {
    let log = Log::written().await;
    let heads = log.read("heads.json");
    log.write(async |audit, acme| audit.record(&acme, event(true)).await.unwrap())
        .await;
    // As after a crash between the line and the checkpoint.
    log.put("heads.json", heads);
    fs::remove_file(log.path().join("checkpoint.json")).unwrap();
    log.write(async |_, _| ()).await;
    assert_eq!(verify(log.path()).unwrap().records, 5);
    assert_eq!(log.spills(), [SPILL, "tenant-acme.4.spill"]);
}
