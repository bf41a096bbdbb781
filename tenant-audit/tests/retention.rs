//! For how long records are kept: a year unless somebody chooses, and by class.

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

use common::said::Said;
use tenant_audit::{Event, FileSink, Retention, Rotation, SystemContext, layer, verify};
use tenant_testkit::{ManualClock, context, tenants};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Writes a record of acme's a day, in a file of its own: what it did, day by day.
async fn write(dir: &Path, clock: &ManualClock, retention: Option<Retention>, actions: &[&str]) {
    let mut sink = FileSink::open(dir)
        .unwrap()
        .rotated(Rotation::new().after(DAY));
    if let Some(retention) = retention {
        sink = sink.retained(retention);
    }
    clock.advance(DAY);
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let audit = layer.handle();
    drop(layer);
    let tenants = tenants(&["acme"], clock);
    let (ended, ()) = tokio::join!(worker, async {
        for (n, action) in actions.iter().enumerate() {
            if n > 0 {
                clock.advance(DAY);
            }
            let acme = context(&tenants, "acme", "ada");
            let event = Event::new((*action).to_owned());
            audit.record(&acme, event).await.unwrap();
            audit.flush().await.unwrap();
        }
        drop(audit);
    });
    ended.unwrap();
    verify(dir).unwrap();
}

/// The first record that is still there.
fn first(dir: &Path) -> u64 {
    let firsts = fs::read_dir(dir).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (chain, first) = tenant_audit::ChainId::from_segment_name(&name)?;
        chain.tenant().is_some().then_some(first)
    });
    firsts.min().unwrap()
}

#[tokio::test]
async fn a_year_is_the_default_and_said_before_anything_is_deleted() {
    let said = Said::default();
    tracing::subscriber::set_global_default(said.clone()).unwrap();
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    write(tmp.path(), &clock, None, &["read"; 3]).await;
    clock.advance(DAY * 360);
    // Nearly a year, and no day longer.
    write(tmp.path(), &clock, None, &["read"]).await;
    assert_eq!(first(tmp.path()), 1);
    clock.advance(DAY * 20);
    said.0.lock().clear();
    write(tmp.path(), &clock, None, &["read"]).await;
    // Other tests' directories have their say too.
    let said = || {
        let of = tmp.path().to_str().unwrap();
        let said = said.0.lock();
        let ours = said.lines().filter(|line| line.contains(of));
        ours.collect::<Vec<_>>().join("\n")
    };
    let log = said();
    assert!(
        log.contains("days=365") && log.contains("chains_with_older_records=1"),
        "{log}"
    );
    assert!(!log.contains("through="), "{log}");
    assert_eq!(first(tmp.path()), 1, "the log has said it, and no more");

    // Whoever wants to keep all says so, in time.
    write(tmp.path(), &clock, Some(Retention::forever()), &["read"; 3]).await;
    assert_eq!(first(tmp.path()), 1);
    assert!(!said().contains("through="));

    // Whoever does not, gets what was said: beginning with the second look.
    write(tmp.path(), &clock, None, &["read"; 3]).await;
    assert!(first(tmp.path()) >= 3, "{}", first(tmp.path()));
    let log = said();
    assert!(
        log.contains("through=") && log.contains("are deleted"),
        "{log}"
    );
}

#[tokio::test]
async fn the_longest_of_the_classes_holds() {
    let retention = || {
        Retention::of(DAY * 10)
            .class("payments", DAY * 30, |record| record["action"] == "payment")
            .class("noise", DAY * 3, |record| record["action"] == "ping")
    };
    // The fourth day has a payment, between a ping and a read.
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let days = ["ping", "ping", "read", "payment", "ping"];
    write(tmp.path(), &clock, Some(retention()), &days).await;
    // The pings at the front were kept for three days, the read stays.
    assert_eq!(first(tmp.path()), 2);
    write(tmp.path(), &clock, Some(retention()), &["ping"; 2]).await;
    assert_eq!(first(tmp.path()), 3);
    let action_of_first = |dir: &Path| {
        let name = format!("tenant-acme.{}.jsonl", first(dir));
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        line["record"]["action"].as_str().unwrap().to_owned()
    };
    assert_eq!(action_of_first(tmp.path()), "read");
    // Ten days, and it goes; the payment holds itself and all that follows.
    clock.advance(DAY * 8);
    write(tmp.path(), &clock, Some(retention()), &["ping"; 3]).await;
    assert_eq!(action_of_first(tmp.path()), "payment");
    clock.advance(DAY * 9);
    write(tmp.path(), &clock, Some(retention()), &["ping"; 3]).await;
    assert_eq!(action_of_first(tmp.path()), "payment");
    // Thirty, and all of it goes.
    clock.advance(DAY * 9);
    write(tmp.path(), &clock, Some(retention()), &["ping"; 3]).await;
    assert_ne!(action_of_first(tmp.path()), "payment");

    // The same without classes.
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let none = || Some(Retention::of(DAY * 10));
    write(tmp.path(), &clock, none(), &days).await;
    clock.advance(DAY * 20);
    write(tmp.path(), &clock, none(), &["ping"; 2]).await;
    assert!(first(tmp.path()) >= 5);
}

#[tokio::test]
async fn the_platforms_chain_and_a_tenant_have_times_of_their_own() {
    let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let retention = Retention::of(DAY * 1000)
        .tenant("acme".parse().unwrap(), DAY * 500)
        .platform(DAY * 3);
    let sink = FileSink::open(tmp.path()).unwrap();
    let sink = sink.rotated(Rotation::new().after(DAY)).retained(retention);
    let (layer, worker) = layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let audit = layer.handle();
    drop(layer);
    let tenants = tenants(&["acme", "globex"], &clock);
    let (ended, ()) = tokio::join!(worker, async {
        for pause in [1, 1, 5, 600, 1, 1] {
            for tenant in ["acme", "globex"] {
                let context = context(&tenants, tenant, "ada");
                audit.record(&context, Event::new("read")).await.unwrap();
            }
            let system = SystemContext::begin("billing");
            audit
                .record_system(&system, Event::new("run"))
                .await
                .unwrap();
            audit.flush().await.unwrap();
            let first = |name: &str| tmp.path().join(name).exists();
            // A week and some days: the platform's first file alone is gone.
            if pause == 600 {
                assert!(!first("platform.jsonl") && first("tenant-acme.jsonl"));
            }
            clock.advance(DAY * pause);
        }
        drop(audit);
    });
    ended.unwrap();
    let first = |name: &str| tmp.path().join(name).exists();
    assert!(!first("tenant-acme.jsonl") && first("tenant-globex.jsonl"));
    verify(tmp.path()).unwrap();
}

#[tokio::test]
async fn a_record_whose_text_is_missing_may_be_of_any_class_and_is_kept() {
    for missing in [true, false] {
        let (tmp, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let retention = Retention::of(DAY * 3).class("payments", DAY * 1000, |record| {
            record["action"] == "payment"
        });
        let sink = FileSink::open(tmp.path()).unwrap();
        let sink = sink.rotated(Rotation::new().after(DAY)).retained(retention);
        let (layer, worker) = layer(sink)
            .clock(clock.clone())
            .timer(clock.clone())
            .build()
            .unwrap();
        let audit = layer.handle();
        drop(layer);
        let tenants = tenants(&["acme"], &clock);
        let acme = context(&tenants, "acme", "ada");
        let (ended, ()) = tokio::join!(worker, async {
            // Too long for its line.
            let mut event = Event::new("read");
            for n in 0..16 {
                event = event.detail(format!("part-{n}"), "\u{9b}".repeat(500));
            }
            audit.record(&acme, event).await.unwrap();
            audit.flush().await.unwrap();
            let spill = tmp.path().join("tenant-acme.1.spill");
            assert!(spill.is_file());
            if missing {
                fs::remove_file(spill).unwrap();
            }
            for _ in 0..8 {
                clock.advance(DAY);
                audit.record(&acme, Event::new("read")).await.unwrap();
                audit.flush().await.unwrap();
            }
            drop(audit);
        });
        ended.unwrap();
        assert_eq!(first(tmp.path()) == 1, missing);
    }
}
