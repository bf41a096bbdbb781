//! A service that starts anew: where each of several sinks goes on.

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
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use common::{
    Mood, Unreliable,
    log::{DEADLINE, Log, assert_has, directory, numbers},
};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tenant_audit::{
    AuditSink, Batch, ChainId, Event, FanOut, FileSink, Head, MemorySink, Resumed, SinkError,
    verify,
};

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

/// A collector that keeps how far it came, as a database does.
#[derive(Clone, Default)]
struct Knows {
    inner: MemorySink,
    heads: Arc<Mutex<HashMap<ChainId, Head>>>,
}

impl AuditSink for Knows {
    fn resume(&mut self) -> Vec<Resumed> {
        let heads = self.heads.lock();
        heads
            .iter()
            .map(|(chain, head)| Resumed::new(chain.clone(), *head))
            .collect()
    }

    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        for lines in batch.chains() {
            self.heads
                .lock()
                .insert(lines.chain().clone(), *lines.head());
        }
        self.inner.append(batch)
    }
}

#[tokio::test]
async fn a_sink_that_says_itself_how_far_it_came_gets_nothing_again_after_a_crash() {
    let (log, other) = (Log::new(), Knows::default());
    // It knows nothing of what was there before it.
    let first = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(first, async |audit| log.record(&audit, 0..3).await)
        .await
        .unwrap();
    log.crash(log.and(other.clone()), async |audit| {
        log.record(&audit, 3..40).await;
    })
    .await;
    log.with(log.and(other.clone()), async |audit| {
        log.record(&audit, 40..41).await;
    })
    .await
    .unwrap();
    assert_has(&other.inner, 3..41);
}

#[tokio::test]
async fn a_sink_that_has_some_chains_and_no_position_gets_the_others_from_their_beginning() {
    let (log, other) = (Log::new(), Knows::default());
    log.with(log.and(other.clone()).named("old"), async |audit| {
        let event = Event::new("invoice.read").detail("n", 0);
        audit.try_record(&log.contexts[0], event).unwrap();
    })
    .await
    .unwrap();
    let alone = FanOut::all(log.clock.clone(), DEADLINE).sink(log.file());
    log.with(alone, async |audit| log.record(&audit, 1..3).await)
        .await
        .unwrap();
    log.with(log.and(other.clone()).named("new"), async |audit| {
        log.record(&audit, 3..4).await;
    })
    .await
    .unwrap();
    assert_eq!(numbers(&other.inner, "acme"), [0, 1, 2, 3]);
    assert_eq!(numbers(&other.inner, "globex"), [1, 2, 3]);
}

#[tokio::test]
async fn no_two_sinks_have_one_name_and_none_follows_another_chain() {
    let (log, one, two) = (Log::new(), MemorySink::new(), MemorySink::new());
    let named = log.and(one.clone()).named("collector");
    let both = named.best_effort(two.clone()).named("collector");
    log.with(both, async |audit| log.record(&audit, 0..3).await)
        .await
        .unwrap();
    assert_has(&one, 0..3);
    assert_has(&two, 0..0);

    // Without a file log: the second holds other records than the first.
    let (first, second) = (Knows::default(), Knows::default());
    let acme = common::chain("acme");
    second.heads.lock().insert(acme, Head::new(7, [7; 32]));
    let sinks = FanOut::all(log.clock.clone(), DEADLINE)
        .sink(first.clone())
        .best_effort(second.clone());
    log.with(sinks, async |audit| log.record(&audit, 0..3).await)
        .await
        .unwrap();
    assert_has(&first.inner, 0..3);
    assert_has(&second.inner, 0..0);
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
    let (log, copy) = (Log::new(), directory());
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
    let (log, copy) = (Log::new(), directory());
    // A disk that is slow for once is not what this is about.
    let both = || {
        FanOut::all(log.clock.clone(), DEADLINE * 1000)
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
async fn what_must_take_a_batch_and_fails_after_a_crash_is_asked_less_and_less() {
    let (log, other) = (Log::new(), Unreliable::default());
    let both = || {
        FanOut::all(log.clock.clone(), DEADLINE)
            .sink(log.file())
            .sink(other.clone())
    };
    log.crash(both(), async |audit| {
        log.record(&audit, 0..3).await;
        other.mood(Mood::Fails);
        audit.try_record(&log.contexts[0], Event::new("a")).unwrap();
        audit.flush().await.unwrap_err();
    })
    .await;
    let asked = || other.asked.load(std::sync::atomic::Ordering::Relaxed);
    let before = asked();
    log.with(both(), async |audit| {
        // Half a minute without a record: four times a second would be 120 times.
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            log.clock.advance(Duration::from_millis(100));
        }
        let asked = asked() - before;
        assert!((5..=12).contains(&asked), "{asked}");
        // It is back: whoever waits for it waits for no pause of its.
        other.mood(Mood::Well);
        log.record(&audit, 3..4).await;
    })
    .await
    .unwrap();
    let has = numbers(&other.inner, "acme");
    assert_eq!(HashSet::<u64>::from_iter(has).len(), 4);
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
