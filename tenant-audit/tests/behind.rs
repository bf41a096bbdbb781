//! A sink that has failed reads what it has missed from the file log.

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

use std::{fs, time::Duration};

use common::{
    Mood, Unreliable,
    log::{DEADLINE, Log, assert_has, numbers_in},
};
use tenant_audit::{FanOut, MemorySink};

#[tokio::test]
async fn a_sink_that_failed_for_long_gets_all_in_order_and_nothing_twice() {
    let (log, other) = (Log::new(), Unreliable::default());
    let sink = log.and(other.clone());
    log.with(sink, async |audit| {
        log.record(&audit, 0..10).await;
        assert_has(&other.inner, 0..10);
        // More than what is ever kept in memory, and than one of the files.
        for mood in [Mood::Fails, Mood::Hangs] {
            other.mood(mood);
            let from = numbers_in(&log);
            log.record(&audit, from..from + 90).await;
        }
        assert_has(&other.inner, 0..10);
        other.mood(Mood::Well);
        log.clock.advance(Duration::from_secs(61));
        log.record(&audit, 190..191).await;
        assert_has(&other.inner, 0..191);
        // And from then on at once.
        log.record(&audit, 191..192).await;
        assert_has(&other.inner, 0..192);
    })
    .await
    .unwrap();
    assert_has(&other.inner, 0..192);
    // Byte for byte what the log has.
    let lines = other.inner.lines(&common::chain("acme")).join("\n") + "\n";
    let mut files: Vec<_> = fs::read_dir(log.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("tenant-acme"))
        .collect();
    assert!(files.len() > 2);
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.split('.').nth(1).unwrap().parse().unwrap_or(0)
    });
    let log: String = files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(lines, log);
}

#[tokio::test]
async fn a_sink_that_is_back_catches_up_without_another_record() {
    let (log, other) = (Log::new(), Unreliable::default());
    log.with(log.and(other.clone()), async |audit| {
        log.record(&audit, 0..3).await;
        other.mood(Mood::Fails);
        log.record(&audit, 3..40).await;
        other.mood(Mood::Well);
        log.until(&other.inner, 40).await;
        assert_has(&other.inner, 0..40);
    })
    .await
    .unwrap();
    assert_has(&other.inner, 0..40);
}

#[tokio::test]
async fn what_is_kept_in_memory_for_a_sink_is_caught_up_without_another_record() {
    let (log, other) = (Log::new(), Unreliable::default());
    let sink = FanOut::all(log.clock.clone(), DEADLINE)
        .sink(MemorySink::new())
        .best_effort(other.clone());
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
