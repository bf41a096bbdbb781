//! Records stay in their tenant's region, also those that were missed there.

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

use std::{collections::HashSet, time::Duration};

use common::{
    Audit, Mood, Unreliable,
    log::{DEADLINE, Log, assert_has, directory, numbers},
};
use tenant_audit::{
    Event, FanOut, FileSink, MemorySink, RegionSink, SystemContext, WhenFull, verify,
};
use tenant_context::{CachedRegistry, MemoryRegistry, TenantContext, TenantId, TenantRecord};
use tenant_testkit::{ManualClock, context};

/// A context of a tenant of each region, through the real door.
fn contexts(clock: &ManualClock) -> Vec<TenantContext> {
    let registry = MemoryRegistry::new();
    for (id, region) in [("acme", Some("eu")), ("globex", Some("us")), ("zeta", None)] {
        let record = TenantRecord::new(TenantId::parse(id).unwrap());
        registry.insert(match region {
            Some(region) => record.region(region),
            None => record,
        });
    }
    let tenants = CachedRegistry::builder(registry)
        .clock(clock.clone())
        .build()
        .unwrap();
    ["acme", "globex", "zeta"]
        .map(|id| context(&tenants, id, "ada"))
        .into()
}

#[test]
fn records_stay_in_their_tenants_region() {
    let clock = ManualClock::new();
    let (eu, default) = (Unreliable::default(), MemorySink::new());
    let sink = RegionSink::new(default.clone()).region("eu", eu.clone());
    let audit = Audit::on(sink, |builder| builder.when_full(WhenFull::Refuse));
    let contexts = contexts(&clock);
    let tenant = |record: &serde_json::Value| {
        record["tenant_id"]
            .as_str()
            .unwrap_or("platform")
            .to_owned()
    };
    for round in 0..2 {
        // A region that fails gets its part once more, the others do not.
        eu.mood(if round == 0 { Mood::Fails } else { Mood::Well });
        for context in &contexts {
            audit
                .handle
                .try_record(context, Event::new("read"))
                .unwrap();
        }
        let system = SystemContext::begin("billing");
        let event = Event::new("run").detail("n", round);
        audit.handle.try_record_system(&system, event).unwrap();
        audit.work();
        audit.clock.advance(Duration::from_secs(5));
        eu.mood(Mood::Well);
        audit.work();
    }
    let of: Vec<String> = eu.inner.records().iter().map(tenant).collect();
    assert_eq!(of, ["acme", "acme"]);
    let mut of: Vec<String> = default.records().iter().map(tenant).collect();
    of.sort();
    assert_eq!(
        of,
        ["globex", "globex", "platform", "platform", "zeta", "zeta"]
    );
}

#[tokio::test]
async fn a_regions_own_sinks_catch_up_without_another_record() {
    let (log, other) = (Log::new(), Unreliable::default());
    let sink =
        FanOut::all(log.clock.clone(), DEADLINE).sink(RegionSink::new(log.and(other.clone())));
    log.with(sink, async |audit| {
        other.mood(Mood::Fails);
        log.record(&audit, 0..5).await;
        other.mood(Mood::Well);
        log.until(&other.inner, 5).await;
        assert_has(&other.inner, 0..5);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_region_behind_a_file_log_of_its_own_holds_no_other_when_it_hangs() {
    let (log, here, eu) = (Log::new(), MemorySink::new(), Unreliable::default());
    let (first, second) = (directory(), directory());
    let behind = |dir: &tempfile::TempDir, copy| {
        FanOut::all(log.clock.clone(), DEADLINE * 10)
            .sink(FileSink::open(dir.path()).unwrap())
            .best_effort(copy)
    };
    eu.mood(Mood::Hangs);
    let sink = RegionSink::new(behind(
        &first,
        Unreliable {
            inner: here.clone(),
            ..Unreliable::default()
        },
    ))
    .region("eu", behind(&second, eu.clone()));
    let sink = FanOut::all(log.clock.clone(), DEADLINE * 1000).sink(sink);
    log.with(sink, async |audit| {
        // What is flushed is durable: in both regions, and each pair is a batch of its own.
        log.record(&audit, 0..70).await;
        log.until_of(&here, "globex", 70).await;
        assert_eq!(numbers(&here, "globex"), (0..70).collect::<Vec<_>>());
        assert!(numbers(&eu.inner, "acme").is_empty());
        eu.mood(Mood::Well);
        log.until_of(&eu.inner, "acme", 70).await;
        assert_eq!(numbers(&eu.inner, "acme"), (0..70).collect::<Vec<_>>());
    })
    .await
    .unwrap();
    assert_eq!(verify(second.path()).unwrap().records, 70);
}

/// Two regions, of which `eu` is at times not there.
#[derive(Default)]
struct Regions {
    eu: Unreliable,
    default: MemorySink,
}

impl Regions {
    fn sink(&self) -> RegionSink {
        RegionSink::new(self.default.clone()).region("eu", self.eu.clone())
    }

    /// All, in order; after a crash some may come again.
    #[track_caller]
    fn assert_have(&self, count: u64, crashed: bool) {
        let all: Vec<u64> = (0..count).collect();
        for (sink, tenant) in [(&self.eu.inner, "acme"), (&self.default, "globex")] {
            let mut has = numbers(sink, tenant);
            if crashed {
                // One region takes its part of what the other fails to take, and gets it again.
                let mut seen = HashSet::new();
                has.retain(|n| seen.insert(*n));
            }
            assert_eq!(has, all, "{tenant}");
        }
        assert!(numbers(&self.eu.inner, "globex").is_empty());
        assert!(numbers(&self.default, "acme").is_empty());
    }
}

#[tokio::test]
async fn what_a_region_has_missed_for_long_is_read_again_and_goes_there_alone() {
    let (log, regions) = (Log::new(), Regions::default());
    log.with(log.and(regions.sink()), async |audit| {
        log.record(&audit, 0..2).await;
        // More than is ever kept in memory.
        regions.eu.mood(Mood::Fails);
        log.record(&audit, 2..90).await;
        regions.eu.mood(Mood::Hangs);
        log.record(&audit, 90..100).await;
        regions.eu.mood(Mood::Well);
        log.until_of(&regions.eu.inner, "acme", 100).await;
        log.until_of(&regions.default, "globex", 100).await;
        regions.assert_have(100, false);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_restart_knows_where_what_was_missed_must_stay() {
    let (log, regions) = (Log::new(), Regions::default());
    regions.eu.mood(Mood::Fails);
    // It has seen nothing of either tenant yet.
    log.crash(log.and(regions.sink()), async |audit| {
        log.record(&audit, 0..70).await;
    })
    .await;
    regions.eu.mood(Mood::Well);
    log.with(log.and(regions.sink()), async |_| {
        log.until_of(&regions.eu.inner, "acme", 70).await;
        log.until_of(&regions.default, "globex", 70).await;
    })
    .await
    .unwrap();
    regions.assert_have(70, true);
    assert!(log.path().join("regions.json").is_file());
    // What is no list of regions is no reason to send records anywhere.
    std::fs::write(log.path().join("regions.json"), "{}").unwrap();
    let error = FileSink::open(log.path()).unwrap_err().to_string();
    assert!(error.contains("which regions tenants are of"), "{error}");
}

#[tokio::test]
async fn a_regions_file_log_goes_on_where_it_stopped_and_has_no_hole() {
    let (log, copy) = (Log::new(), directory());
    let (here, eu) = (copy.path().join("here"), copy.path().join("eu"));
    let both = || {
        RegionSink::new(FileSink::open(&here).unwrap()).region("eu", FileSink::open(&eu).unwrap())
    };
    log.with(log.and(both()), async |audit| {
        log.record(&audit, 0..5).await;
    })
    .await
    .unwrap();
    // As after a crash between the log and the regions.
    let alone = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(alone, async |audit| log.record(&audit, 5..9).await)
        .await
        .unwrap();
    log.with(log.and(both()), async |audit| {
        log.record(&audit, 9..10).await;
    })
    .await
    .unwrap();
    assert_eq!(verify(log.path()).unwrap().records, 20);
    assert_eq!(verify(&here).unwrap().records, 10);
    assert_eq!(verify(&eu).unwrap().records, 10);
}
