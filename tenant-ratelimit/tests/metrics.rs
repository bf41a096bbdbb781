//! Counters through the `metrics` crate, bounded in their labels.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::Body;
use common::{spend, tenants};
use http::{Method, Request, Response};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use parking_lot::Mutex;
use tenant_context::{CachedRegistry, IdentityLayer, MemoryRegistry, TenantId, TenantRecord};
use tenant_ratelimit::{Dimension, Quota, flood, layer};
use tenant_testkit::{ManualClock, TestAuth, context};
use tower::{Layer, ServiceExt, service_fn};

/// Keeps counters by their names and labels.
#[derive(Default)]
struct Book(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| label.value().to_owned());
        let name = [key.name().to_owned()].into_iter().chain(labels);
        let name = name.collect::<Vec<_>>().join(" ");
        Counter::from_arc(Arc::clone(self.0.lock().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Book {
    fn read(&self) -> Vec<(String, u64)> {
        let book = self.0.lock();
        let read = |(name, count): (&String, &Arc<AtomicU64>)| {
            (name.clone(), count.load(Ordering::Relaxed))
        };
        book.iter().map(read).collect()
    }
}

#[test]
fn what_is_decided_is_counted_by_dimension() {
    let book = Book::default();
    let clock = ManualClock::new();
    let layer = with_local_recorder(&book, || {
        let layer = layer().global(Quota::per_minute(100));
        let layer = layer.tenant(Quota::per_minute(5));
        let layer = layer
            .principal(Quota::per_minute(3))
            .shadow(Dimension::Principal);
        layer.clock(clock.clone()).build().unwrap()
    });
    let ada = context(&tenants(&clock), "acme", "ada");
    assert_eq!(spend(layer.limits(), &ada).0, 5);
    let count = |name: &str, count| (format!("tenant_ratelimit_{name}"), count);
    assert_eq!(
        book.read(),
        [
            count("admitted_total", 5),
            count("refused_total global", 0),
            count("refused_total principal", 0),
            count("refused_total tenant", 1),
            count("shadowed_total global", 0),
            count("shadowed_total principal", 2),
            count("shadowed_total tenant", 0),
        ]
    );
}

#[test]
fn an_admission_is_counted_once_whichever_way_it_took() {
    let book = Book::default();
    let clock = ManualClock::new();
    // A plain request, a shadow's, one that reserves, one that looks only.
    for shadow in [false, true] {
        with_local_recorder(&book, || {
            let mut builder = layer().tenant(Quota::per_minute(5)).clock(clock.clone());
            if shadow {
                builder = builder.shadow(Dimension::Tenant);
            }
            let layer = builder.build().unwrap();
            let (limits, ada) = (layer.limits(), context(&tenants(&clock), "acme", "ada"));
            // The first one is planned for; the second finds all as it was.
            for _ in 0..2 {
                limits.check(&ada, None, 1).unwrap();
            }
            limits.peek(&ada, None, 1).unwrap();
            drop(limits.reserve(&ada, None, 1).unwrap());
        });
    }
    let admitted = ("tenant_ratelimit_admitted_total".to_owned(), 6);
    assert_eq!(book.read()[0], admitted);
}

#[tokio::test]
async fn requests_without_a_tenant_are_counted_too() {
    let book = Book::default();
    let clock = ManualClock::new();
    let (limits, flood) = with_local_recorder(&book, || {
        let limits = layer().public(Quota::per_minute(1)).clock(clock.clone());
        let flood = flood(Quota::per_minute(2)).clock(clock.clone());
        (limits.build().unwrap(), flood.build().unwrap())
    });
    let identity = IdentityLayer::builder()
        .public(Method::GET, "/health")
        .build(TestAuth::new(tenants(&clock)))
        .unwrap();
    let handler =
        service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let service = flood.layer(identity.layer(limits.layer(handler)));
    for status in [200, 429, 429] {
        let request = Request::get("/health").body(Body::empty()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
    let count = |name: &str, count| (format!("tenant_ratelimit_{name}"), count);
    assert_eq!(
        book.read(),
        [
            count("admitted_total", 3),
            count("refused_total address", 1),
            count("refused_total public", 1),
            count("shadowed_total address", 0),
            count("shadowed_total public", 0),
        ],
        "two by the flood layer, one of them by the limits too"
    );
}

#[test]
fn i6_the_labels_do_not_grow_with_the_tenants() {
    let book = Book::default();
    let clock = ManualClock::new();
    let registry = MemoryRegistry::new();
    let id = |n: usize| TenantId::parse(format!("tenant-{n}")).unwrap();
    for n in 0..100 {
        registry.insert(TenantRecord::new(id(n)));
    }
    let registry = CachedRegistry::builder(registry).clock(clock.clone());
    let registry = registry.build().unwrap();
    with_local_recorder(&book, || {
        let layer = layer().tenant(Quota::per_minute(1)).clock(clock.clone());
        let layer = layer.build().unwrap();
        for n in 0..100 {
            let ada = context(&registry, id(n).as_str(), "ada");
            assert_eq!(spend(layer.limits(), &ada).0, 1);
        }
    });
    assert_eq!(book.read().len(), 3, "admitted, refused, shadowed");
}
