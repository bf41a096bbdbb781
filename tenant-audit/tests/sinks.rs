//! Several sinks: all, any, best effort; by region; as events.

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

use std::{sync::Arc, time::Duration};

use common::{Audit, Mood, Unreliable, said::heard_by};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tenant_audit::{
    AuditHandle, AuditSink, Batch, Event, FanOut, MemorySink, SinkError, SystemContext,
    TracingSink, WhenFull,
};
use tenant_testkit::ManualClock;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const DEADLINE: Duration = Duration::from_secs(2);

/// Two sinks and an audit on both of them.
struct Two {
    first: Unreliable,
    second: Unreliable,
    audit: Audit,
}

fn two(
    clock: &ManualClock,
    sinks: impl FnOnce(FanOut, Unreliable, Unreliable) -> FanOut,
    all: bool,
) -> Two {
    let (first, second) = (Unreliable::default(), Unreliable::default());
    let fan_out = if all {
        FanOut::all(clock.clone(), DEADLINE)
    } else {
        FanOut::any(clock.clone(), DEADLINE)
    };
    let sink = sinks(fan_out, first.clone(), second.clone());
    let audit = Audit::on(sink, |builder| {
        builder
            .clock(clock.clone())
            .timer(clock.clone())
            .when_full(WhenFull::Refuse)
    });
    Two {
        first,
        second,
        audit,
    }
}

fn record(handle: &AuditHandle, n: usize) {
    let system = SystemContext::begin("billing");
    let event = Event::new("run").detail("n", n);
    handle.try_record_system(&system, event).unwrap();
}

impl Two {
    fn counts(&self) -> (usize, usize) {
        (
            self.first.inner.records().len(),
            self.second.inner.records().len(),
        )
    }
}

#[test]
fn all_must_take_a_batch_and_none_takes_it_twice() {
    let clock = ManualClock::new();
    let two = two(&clock, |fan_out, a, b| fan_out.sink(a).sink(b), true);
    two.second.mood(Mood::Fails);
    record(&two.audit.handle, 0);
    two.audit.work();
    let mut flushed = Box::pin(two.audit.handle.flush());
    assert!(flushed.as_mut().now_or_never().is_none());
    assert_eq!(two.counts(), (1, 0));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(5));
        two.audit.work();
    }
    assert_eq!(two.counts(), (1, 0), "repeated for the second alone");
    two.second.mood(Mood::Well);
    clock.advance(Duration::from_secs(5));
    two.audit.work();
    assert_eq!(two.counts(), (1, 1));
}

#[test]
fn a_sink_of_best_effort_that_hangs_costs_its_deadline_and_gets_all_when_it_is_back() {
    let clock = ManualClock::new();
    let two = two(&clock, |fan_out, a, b| fan_out.sink(a).best_effort(b), true);
    two.second.mood(Mood::Hangs);
    record(&two.audit.handle, 0);
    two.audit.work();
    let mut flushed = Box::pin(two.audit.handle.flush());
    let mut poll = || {
        two.audit.work();
        flushed.as_mut().now_or_never()
    };
    assert!(poll().is_none());
    clock.advance(DEADLINE);
    assert!(poll().expect("beyond its deadline").is_ok());
    assert_eq!(two.counts(), (1, 0));
    // While it rests, it costs nothing.
    record(&two.audit.handle, 1);
    two.audit.work();
    assert_eq!(two.counts(), (2, 0));
    two.second.mood(Mood::Well);
    clock.advance(Duration::from_secs(61));
    record(&two.audit.handle, 2);
    two.audit.work();
    assert_eq!(two.counts(), (3, 3));
    let order: Vec<u64> = two
        .second
        .inner
        .records()
        .iter()
        .map(|record| record["metadata"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn i6_what_is_kept_for_a_sink_that_fails_is_bounded() {
    let clock = ManualClock::new();
    let two = two(&clock, |fan_out, a, b| fan_out.sink(a).best_effort(b), true);
    two.second.mood(Mood::Fails);
    for n in 0..70 {
        record(&two.audit.handle, n);
        two.audit.work();
    }
    two.second.mood(Mood::Well);
    clock.advance(Duration::from_secs(61));
    record(&two.audit.handle, 70);
    two.audit.work();
    assert_eq!(two.counts(), (71, 0), "given up: it has no holes");
}

#[test]
fn any_of_several_suffices_and_none_does_not() {
    let clock = ManualClock::new();
    let two = two(&clock, |fan_out, a, b| fan_out.sink(a).sink(b), false);
    two.first.mood(Mood::Fails);
    record(&two.audit.handle, 0);
    two.audit.work();
    assert_eq!(two.counts(), (0, 1));
    let mut flushed = Box::pin(two.audit.handle.flush());
    assert!(flushed.as_mut().now_or_never().is_none());
    two.audit.work();
    assert!(flushed.now_or_never().unwrap().is_ok());

    two.second.mood(Mood::Fails);
    record(&two.audit.handle, 1);
    let mut flushed = Box::pin(two.audit.handle.flush());
    assert!(flushed.as_mut().now_or_never().is_none());
    two.audit.work();
    assert!(flushed.now_or_never().unwrap().is_err());
    two.first.mood(Mood::Well);
    clock.advance(Duration::from_secs(5));
    two.audit.work();
    assert_eq!(two.counts(), (2, 1), "the first has both, in order");
}

#[test]
fn one_of_several_that_hangs_costs_its_deadline_once_and_then_rests() {
    let clock = ManualClock::new();
    let two = two(&clock, |fan_out, a, b| fan_out.sink(a).sink(b), false);
    two.first.mood(Mood::Hangs);
    record(&two.audit.handle, 0);
    two.audit.work();
    clock.advance(DEADLINE);
    two.audit.work();
    for n in 1..5 {
        record(&two.audit.handle, n);
        two.audit.work();
    }
    assert_eq!(two.counts(), (0, 5), "none waits for the one that hangs");
    // When nobody else takes it, the one that rests is asked at once.
    two.first.mood(Mood::Well);
    two.second.mood(Mood::Fails);
    record(&two.audit.handle, 5);
    two.audit.work();
    clock.advance(Duration::from_millis(50));
    two.audit.work();
    assert_eq!(two.counts(), (6, 5));
}

/// A sink that is behind, or is closed, and hangs with it.
struct Stuck {
    inner: MemorySink,
    asked: Arc<Mutex<u32>>,
}

impl AuditSink for Stuck {
    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        self.inner.append(batch)
    }

    fn is_behind(&mut self) -> bool {
        true
    }

    fn catch_up(&mut self) -> BoxFuture<'_, ()> {
        *self.asked.lock() += 1;
        std::future::pending().boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        std::future::pending().boxed()
    }
}

#[test]
fn a_sink_that_hangs_as_it_catches_up_holds_records_for_ten_seconds_and_is_left_alone() {
    let (inner, asked) = (MemorySink::new(), Arc::new(Mutex::new(0)));
    let sink = Stuck {
        inner: inner.clone(),
        asked: Arc::clone(&asked),
    };
    let audit = Audit::on(sink, |builder| builder.when_full(WhenFull::Refuse));
    audit.work();
    audit.clock.advance(Duration::from_millis(250));
    audit.work();
    assert_eq!(*asked.lock(), 1);
    record(&audit.handle, 0);
    audit.clock.advance(Duration::from_millis(9_999));
    audit.work();
    assert!(inner.records().is_empty());
    audit.clock.advance(Duration::from_millis(1));
    audit.work();
    assert_eq!(inner.records().len(), 1);
    audit.clock.advance(Duration::from_millis(999));
    audit.work();
    assert_eq!(*asked.lock(), 1);
    audit.clock.advance(Duration::from_millis(1));
    audit.work();
    assert_eq!(*asked.lock(), 2);
}

#[test]
fn a_sink_that_hangs_as_it_is_closed_costs_its_deadline() {
    for optional in [true, false] {
        let clock = ManualClock::new();
        let stuck = Stuck {
            inner: MemorySink::new(),
            asked: Arc::default(),
        };
        let fan_out = FanOut::all(clock.clone(), DEADLINE).sink(MemorySink::new());
        let sink = if optional {
            fan_out.best_effort(stuck)
        } else {
            fan_out.sink(stuck)
        };
        let (layer, worker) = tenant_audit::layer(sink)
            .timer(clock.clone())
            .build()
            .unwrap();
        drop(layer);
        let mut worker = Box::pin(worker);
        assert!(worker.as_mut().now_or_never().is_none());
        clock.advance(DEADLINE);
        let ended = worker.now_or_never().expect("it waits beyond its deadline");
        assert_eq!(ended.is_ok(), optional, "{ended:?}");
    }
}

#[test]
fn records_are_events_of_tracing_by_the_conventions_names() {
    use tracing::{
        Subscriber,
        field::{Field, Visit},
    };

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(String, String)>>>);
    impl Visit for Seen {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let shown = format!("{value:?}").trim_matches('"').to_owned();
            self.0.lock().push((field.name().to_owned(), shown));
        }
    }
    impl Subscriber for Seen {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == "tenant_audit::record"
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    let seen = Seen::default();
    heard_by(seen.clone(), || {
        let audit = Audit::on(TracingSink::new(), |builder| {
            builder.when_full(WhenFull::Refuse)
        });
        let service = audit.layer.layer(service_fn(common::ok));
        let sent = service.oneshot(common::request("/invoices/17"));
        drop(sent.now_or_never().unwrap().unwrap().into_body());
        audit.work();
    });
    let fields = seen.0.lock().clone();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/invoices/17"),
        ("http.response.status_code", "200"),
        ("event.name", "http.get"),
    ] {
        assert!(
            fields.contains(&(name.to_owned(), value.to_owned())),
            "{name}: {fields:?}"
        );
    }
}
