//! What is told through `tracing`: one event for each refusal and each request that a shadow would have refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::{collections::BTreeMap, convert::Infallible, fmt, net::SocketAddr, sync::Once};

use axum::body::Body;
use common::{agent, tenants};
use http::{Method, Request, Response};
use parking_lot::Mutex;
use tenant_context::{ClientAddress, IdentityLayer, PeerAddress};
use tenant_ratelimit::{Dimension, Quota, flood, layer};
use tenant_testkit::{ManualClock, TestAuth, context};
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// An event's fields by their names; `message` is its text.
type Fields = BTreeMap<&'static str, String>;

static EVENTS: Mutex<Vec<(Level, Fields)>> = Mutex::new(Vec::new());

/// Keeps what the crate tells. One for the whole process: what another thread's test switches off stays off.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tenant_ratelimit"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Reading(Fields::new());
        event.record(&mut fields);
        EVENTS.lock().push((*event.metadata().level(), fields.0));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Reading(Fields);

impl Visit for Reading {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

/// The events of this dimension, in their order. Each test has a dimension of its own.
fn told(dimension: &str) -> Vec<Fields> {
    let events = EVENTS.lock();
    let of = events
        .iter()
        .filter(|(_, fields)| fields["dimension"] == dimension);
    of.map(|(level, fields)| {
        assert_eq!(*level, Level::DEBUG);
        fields.clone()
    })
    .collect()
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

fn fields<const N: usize>(pairs: [(&'static str, &str); N]) -> Fields {
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

#[test]
fn a_refusal_names_the_tenant_the_binding_dimension_and_its_count() {
    listen();
    let clock = ManualClock::new();
    let tenants = tenants(&clock);
    let layer = layer()
        .tenant(Quota::per_minute(1))
        .global(Quota::per_minute(100));
    let layer = layer.clock(clock).build().unwrap();
    let limits = layer.limits();
    for id in ["acme", "globex"] {
        let ada = context(&tenants, id, "ada");
        assert!(limits.check(&ada, None, 1).is_ok());
        assert!(limits.peek(&ada, None, 1).is_err(), "a look is not told");
        assert!(limits.check(&ada, None, 1).is_err());
    }
    let refused = |tenant, refused| {
        fields([
            ("message", "refused"),
            ("tenant", tenant),
            ("dimension", "tenant"),
            ("refused", refused),
        ])
    };
    assert_eq!(
        told("tenant"),
        [refused("acme", "1"), refused("globex", "2")]
    );
}

#[test]
fn what_a_shadow_would_refuse_is_told_as_such() {
    listen();
    let clock = ManualClock::new();
    let layer = layer()
        .agent(Quota::per_minute(1))
        .shadow(Dimension::Agent)
        .clock(clock.clone())
        .build()
        .unwrap();
    let bot = agent(&tenants(&clock), "acme", "bot");
    for _ in 0..3 {
        assert!(layer.limits().check(&bot, None, 1).is_ok());
    }
    let shadowed = |shadowed| {
        fields([
            ("message", "would have been refused"),
            ("tenant", "acme"),
            ("dimension", "agent"),
            ("shadowed", shadowed),
        ])
    };
    assert_eq!(told("agent"), [shadowed("1"), shadowed("2")]);
}

#[tokio::test]
async fn without_a_tenant_none_is_named() {
    listen();
    let clock = ManualClock::new();
    let limits = layer()
        .public(Quota::per_minute(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    let identity = IdentityLayer::builder()
        .public(Method::GET, "/health")
        .build(TestAuth::new(tenants(&clock)))
        .unwrap();
    let handler =
        service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let service = identity.layer(limits.layer(handler));
    for status in [200, 429] {
        let request = Request::get("/health").body(Body::empty()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
    let flood = flood(Quota::per_minute(1)).clock(clock).build().unwrap();
    let mut request = Request::new(());
    let peer = PeerAddress::new(SocketAddr::from(([192, 0, 2, 1], 4711)));
    request.extensions_mut().insert(peer);
    let client = ClientAddress::of(request.extensions());
    assert!(flood.check(client).is_ok() && flood.check(client).is_err());
    for dimension in ["public", "address"] {
        let refused = fields([
            ("message", "refused"),
            ("dimension", dimension),
            ("refused", "1"),
        ]);
        assert_eq!(told(dimension), [refused]);
    }
}
