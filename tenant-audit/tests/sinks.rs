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

use common::{Audit, Mood, Unreliable};
use parking_lot::Mutex;
use tenant_audit::{
    AuditHandle, Event, FanOut, MemorySink, RegionSink, SystemContext, TracingSink, WhenFull,
};
use tenant_context::{CachedRegistry, MemoryRegistry, TenantContext, TenantId, TenantRecord};
use tenant_testkit::{ManualClock, context};
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
    assert!(futures_util::FutureExt::now_or_never(flushed.as_mut()).is_none());
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
        futures_util::FutureExt::now_or_never(flushed.as_mut())
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
    assert!(futures_util::FutureExt::now_or_never(flushed.as_mut()).is_none());
    two.audit.work();
    assert!(
        futures_util::FutureExt::now_or_never(flushed)
            .unwrap()
            .is_ok()
    );

    two.second.mood(Mood::Fails);
    record(&two.audit.handle, 1);
    let mut flushed = Box::pin(two.audit.handle.flush());
    assert!(futures_util::FutureExt::now_or_never(flushed.as_mut()).is_none());
    two.audit.work();
    assert!(
        futures_util::FutureExt::now_or_never(flushed)
            .unwrap()
            .is_err()
    );
    two.first.mood(Mood::Well);
    clock.advance(Duration::from_secs(5));
    two.audit.work();
    assert_eq!(two.counts(), (2, 1), "the first has both, in order");
}

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
        record(&audit.handle, round);
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
    tracing::subscriber::with_default(seen.clone(), || {
        let audit = Audit::on(TracingSink::new(), |builder| {
            builder.when_full(WhenFull::Refuse)
        });
        let service = audit.layer.layer(service_fn(common::ok));
        let sent = service.oneshot(common::request("/invoices/17"));
        drop(
            futures_util::FutureExt::now_or_never(sent)
                .unwrap()
                .unwrap()
                .into_body(),
        );
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
