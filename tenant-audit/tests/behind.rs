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

use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

use common::{Mood, Unreliable};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tempfile::TempDir;
use tenant_audit::{
    AuditError, AuditHandle, AuditSink, Batch, Event, FanOut, FileSink, MemorySink, RegionSink,
    Resumed, Rotation, SinkError, TenantContext, layer, verify,
};
use tenant_testkit::{ManualClock, context, tenants};

const DEADLINE: Duration = Duration::from_secs(2);

struct Log {
    dir: TempDir,
    clock: ManualClock,
    contexts: Vec<TenantContext>,
}

impl Log {
    fn new() -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex"], &clock);
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self {
            contexts: ["acme", "globex"]
                .map(|id| context(&tenants, id, "ada"))
                .into(),
            dir: dir.unwrap(),
            clock,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self) -> FileSink {
        let rotation = Rotation::new().bytes(20_000);
        // The thread of a sink that was dropped gives the lock back when it ends.
        for _ in 0..1_000 {
            match FileSink::open(self.path()) {
                Ok(sink) => return sink.rotated(rotation),
                Err(error) => assert!(error.to_string().contains("another process"), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it is never given back");
    }

    /// The log, and another sink of best effort.
    fn and(&self, other: impl AuditSink) -> FanOut {
        FanOut::all(self.clock.clone(), DEADLINE)
            .sink(self.file())
            .best_effort(other)
    }

    async fn with<F: Future<Output = ()>>(
        &self,
        sink: FanOut,
        write: impl FnOnce(AuditHandle) -> F,
    ) -> Result<(), AuditError> {
        let (layer, worker) = layer(sink)
            .clock(self.clock.clone())
            .timer(self.clock.clone())
            .build()
            .unwrap();
        let handle = layer.handle();
        drop(layer);
        let (ended, ()) = tokio::join!(worker, write(handle));
        ended
    }

    /// [`with`](Self::with), and then the process ends without a goodbye.
    async fn crash<F: Future<Output = ()>>(
        &self,
        sink: FanOut,
        write: impl FnOnce(AuditHandle) -> F,
    ) {
        let (layer, worker) = layer(sink)
            .clock(self.clock.clone())
            .timer(self.clock.clone())
            .build()
            .unwrap();
        tokio::select! {
            biased;
            _ = worker => panic!("it ended"),
            () = write(layer.handle()) => {}
        }
    }

    /// Records numbered events, one of each tenant, each pair in a batch of its own.
    async fn record(&self, audit: &AuditHandle, numbers: std::ops::Range<usize>) {
        for n in numbers {
            for context in &self.contexts {
                let event = Event::new("invoice.read").detail("n", n);
                audit.try_record(context, event).unwrap();
            }
            self.flush(audit).await;
        }
    }

    /// Waits for the sinks; the time goes by.
    async fn flush(&self, audit: &AuditHandle) {
        let time = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.clock.advance(Duration::from_millis(100));
            }
        };
        tokio::select! {
            flushed = audit.flush() => flushed.unwrap(),
            () = time => {}
        }
    }
}

/// What a sink got of one tenant, in its order.
fn numbers(sink: &MemorySink, tenant: &str) -> Vec<u64> {
    let records = sink.records();
    let ours = records
        .iter()
        .filter(|record| record["tenant_id"] == tenant && record["action"] == "invoice.read");
    ours.map(|record| record["metadata"]["n"].as_u64().unwrap())
        .collect()
}

#[track_caller]
fn assert_has(sink: &MemorySink, expected: std::ops::Range<u64>) {
    for tenant in ["acme", "globex"] {
        assert_eq!(
            numbers(sink, tenant),
            expected.clone().collect::<Vec<_>>(),
            "{tenant}"
        );
    }
}

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

impl Log {
    /// Lets the time go by until a sink has so many of each tenant; nothing is recorded meanwhile.
    async fn until(&self, sink: &MemorySink, count: usize) {
        for _ in 0..5_000 {
            if numbers(sink, "globex").len() >= count && numbers(sink, "acme").len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.clock.advance(Duration::from_millis(100));
        }
    }
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
    let (log, eu) = (Log::new(), Unreliable::default());
    let sink = log.and(RegionSink::new(eu.clone()));
    log.with(sink, async |audit| {
        eu.mood(Mood::Fails);
        log.record(&audit, 0..5).await;
        eu.mood(Mood::Well);
        log.until(&eu.inner, 5).await;
        assert_has(&eu.inner, 0..5);
    })
    .await
    .unwrap();
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

/// How many pairs the log holds.
fn numbers_in(log: &Log) -> usize {
    let verified = verify(log.path()).unwrap();
    usize::try_from(verified.records / 2).unwrap()
}

#[tokio::test]
async fn a_restart_goes_on_where_the_sink_stopped() {
    let (log, other) = (Log::new(), Unreliable::default());
    let named = || log.and(other.clone()).named("collector");
    log.with(named(), async |audit| {
        log.record(&audit, 0..5).await;
        other.mood(Mood::Fails);
        log.record(&audit, 5..50).await;
    })
    .await
    .unwrap();
    assert_has(&other.inner, 0..5);
    // Once more it is not there, and then it is.
    log.with(named(), async |audit| log.record(&audit, 50..60).await)
        .await
        .unwrap();
    other.mood(Mood::Well);
    log.with(named(), async |audit| log.record(&audit, 60..61).await)
        .await
        .unwrap();
    assert_has(&other.inner, 0..61);
    // Nothing is missing after a clean end, so nothing comes again.
    log.with(named(), async |audit| log.record(&audit, 61..62).await)
        .await
        .unwrap();
    assert_has(&other.inner, 0..62);
}

#[tokio::test]
async fn after_a_crash_the_last_sixteen_batches_come_again_at_most() {
    let (log, other) = (Log::new(), Unreliable::default());
    log.crash(log.and(other.clone()), async |audit| {
        log.record(&audit, 0..40).await;
    })
    .await;
    assert_has(&other.inner, 0..40);
    log.with(log.and(other.clone()), async |audit| {
        log.record(&audit, 40..41).await;
    })
    .await
    .unwrap();
    for tenant in ["acme", "globex"] {
        let got = numbers(&other.inner, tenant);
        let again = got.len() - 41;
        assert!((1..=16).contains(&again), "{again}");
        let all: HashSet<u64> = got.iter().copied().collect();
        assert_eq!(all.len(), 41, "none is lost");
        // In order, from where it goes on.
        assert!(got[40..].is_sorted());
    }
}

#[tokio::test]
async fn a_crash_while_a_sink_is_behind_loses_nothing() {
    let (log, other) = (Log::new(), Unreliable::default());
    log.crash(log.and(other.clone()), async |audit| {
        log.record(&audit, 0..3).await;
        other.mood(Mood::Fails);
        log.record(&audit, 3..30).await;
    })
    .await;
    other.mood(Mood::Well);
    log.with(log.and(other.clone()), async |audit| {
        log.record(&audit, 30..31).await;
    })
    .await
    .unwrap();
    assert_has(&other.inner, 0..31);
}

#[tokio::test]
async fn a_new_sink_begins_where_the_log_ends() {
    let log = Log::new();
    let first = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(first, async |audit| log.record(&audit, 0..5).await)
        .await
        .unwrap();
    let other = MemorySink::new();
    log.with(log.and(other.clone()).named("new"), async |audit| {
        log.record(&audit, 5..8).await;
    })
    .await
    .unwrap();
    assert_has(&other, 5..8);
}

/// Keeps what it is given, and now and then does not say so, or fails.
struct Late {
    sink: FileSink,
    mood: Arc<Mutex<Mood>>,
}

impl AuditSink for Late {
    fn resume(&mut self) -> Vec<Resumed> {
        self.sink.resume()
    }

    fn log(&mut self) -> Option<&mut FileSink> {
        self.sink.log()
    }

    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        let mood = *self.mood.lock();
        async move {
            match mood {
                Mood::Well => self.sink.append(batch).await,
                Mood::Fails => Err(SinkError::new("it is unplugged")),
                Mood::Hangs => {
                    self.sink.append(batch).await?;
                    std::future::pending().await
                }
            }
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.sink.close()
    }
}

#[tokio::test]
async fn a_second_file_log_has_no_hole_and_nothing_twice_whatever_it_missed() {
    let (log, copy) = (Log::new(), tempfile::tempdir().unwrap());
    let mood = Arc::new(Mutex::new(Mood::Well));
    let late = || Late {
        sink: FileSink::open(copy.path()).unwrap(),
        mood: Arc::clone(&mood),
    };
    // Records that it never saw: it begins with them.
    let alone = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(alone, async |audit| log.record(&audit, 0..4).await)
        .await
        .unwrap();
    for round in 1..4 {
        log.with(log.and(late()), async |audit| {
            log.record(&audit, round * 10..round * 10 + 3).await;
            // It has taken them, and nobody knows.
            *mood.lock() = Mood::Hangs;
            log.record(&audit, round * 10 + 3..round * 10 + 5).await;
            *mood.lock() = Mood::Fails;
            log.record(&audit, round * 10 + 5..round * 10 + 7).await;
            *mood.lock() = Mood::Well;
            log.clock.advance(Duration::from_secs(61));
            // One too long for its line, too.
            let mut event = Event::new("report.made");
            for n in 0..16 {
                event = event.detail(format!("part-{n}"), "\u{9b}".repeat(500));
            }
            audit.try_record(&log.contexts[0], event).unwrap();
            log.record(&audit, round * 10 + 7..round * 10 + 8).await;
            // In the last round it misses the end, for the next restart.
            *mood.lock() = Mood::Fails;
            log.record(&audit, round * 10 + 8..round * 10 + 9).await;
        })
        .await
        .unwrap();
        *mood.lock() = Mood::Well;
    }
    log.with(log.and(late()), async |audit| {
        log.record(&audit, 99..100).await;
    })
    .await
    .unwrap();
    let (one, two) = (verify(log.path()).unwrap(), verify(copy.path()).unwrap());
    assert_eq!((one.records, one.unsealed), (two.records, two.unsealed));
    assert_eq!(one.records, 2 * (4 + 3 * 9 + 1) + 3);
}

#[tokio::test]
async fn what_must_take_a_batch_and_lags_after_a_crash_catches_up_first() {
    let (log, copy) = (Log::new(), tempfile::tempdir().unwrap());
    let both = || {
        FanOut::all(log.clock.clone(), DEADLINE)
            .sink(log.file())
            .sink(FileSink::open(copy.path()).unwrap())
    };
    log.with(both(), async |audit| log.record(&audit, 0..3).await)
        .await
        .unwrap();
    // As after a crash between the first and the second.
    let alone = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(alone, async |audit| log.record(&audit, 3..6).await)
        .await
        .unwrap();
    log.with(both(), async |audit| log.record(&audit, 6..8).await)
        .await
        .unwrap();
    assert_eq!(verify(log.path()).unwrap().records, 16);
    assert_eq!(verify(copy.path()).unwrap().records, 16);
}

#[tokio::test]
async fn a_sink_of_another_log_is_given_up_and_not_spoilt() {
    let (log, other) = (Log::new(), Log::new());
    for one in [&log, &other] {
        let alone = FanOut::all(one.clock.clone(), DEADLINE).sink(one.file());
        one.with(alone, async |audit| one.record(&audit, 0..3).await)
            .await
            .unwrap();
        log.clock.advance(Duration::from_secs(1));
    }
    let before = verify(other.path()).unwrap().checkpoint;
    log.with(log.and(other.file()), async |audit| {
        log.record(&audit, 3..6).await;
    })
    .await
    .unwrap();
    assert_eq!(verify(other.path()).unwrap().checkpoint, before);
    assert_eq!(verify(log.path()).unwrap().records, 12);
}

#[tokio::test]
async fn what_needs_regions_is_not_given_lines_without_them() {
    let (log, eu) = (Log::new(), Unreliable::default());
    eu.mood(Mood::Fails);
    let sink = log.and(RegionSink::new(eu.clone()));
    log.with(sink, async |audit| {
        log.record(&audit, 0..5).await;
        eu.mood(Mood::Well);
        log.clock.advance(Duration::from_secs(61));
        log.record(&audit, 5..6).await;
        assert_has(&eu.inner, 0..6);
    })
    .await
    .unwrap();
    let kept = fs::read_dir(log.path())
        .unwrap()
        .map(|entry| entry.unwrap());
    let mut names = kept.map(|entry| entry.file_name().into_string().unwrap());
    assert!(
        names.all(|name| !name.starts_with("position-")),
        "it was kept in memory"
    );
}
