//! Clients that read slowly: what is copied for the cache meanwhile is bounded, for each tenant and for all.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::Response;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use support::{House, Origin, get};
use tenant_cache::{CacheBody, ResponseCache, TenantCache, TenantContext};
use tower_layer::Layer;
use tower_service::Service;

type Frames = stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>;
type Streamed = StreamBody<Frames>;

/// Answers a KiB, and then an end.
fn origin() -> Origin<Streamed> {
    Origin::new(|_| {
        let frames = [
            Ok(Frame::data(Bytes::from(vec![b'x'; 1024]))),
            Ok(Frame::data(Bytes::from_static(b"end"))),
        ];
        Response::builder()
            .header("cache-control", "max-age=60")
            .body(StreamBody::new(stream::iter(frames)))
            .unwrap()
    })
}

fn layer(house: &House, tenants: u64) -> ResponseCache<Origin<Streamed>> {
    let cache = TenantCache::builder()
        .clock(house.clock.clone())
        .max_bytes(64 << 10)
        .max_bytes_per_tenant((64 << 10) / tenants)
        .build()
        .unwrap();
    tenant_cache::layer(cache).build().unwrap().layer(origin())
}

/// The answer's body, of which the client has read the beginning.
fn begun(
    service: &ResponseCache<Origin<Streamed>>,
    caller: &TenantContext,
    path: &str,
) -> CacheBody<Streamed> {
    let answer = service.clone().call(get(caller, path));
    let mut body = answer.now_or_never().unwrap().unwrap().into_body();
    body.frame().now_or_never().unwrap().unwrap().unwrap();
    body
}

fn finish(body: impl Body<Data = Bytes, Error = Infallible>) {
    body.collect().now_or_never().unwrap().unwrap();
}

fn is_hit(service: &ResponseCache<Origin<Streamed>>, caller: &TenantContext, path: &str) -> bool {
    let answer = service.clone().call(get(caller, path)).now_or_never();
    answer.unwrap().unwrap().headers()["cache-status"] == "tenant-cache; hit; ttl=60"
}

#[test]
fn i6_what_is_copied_while_clients_read_stays_within_their_tenants_ceiling() {
    let house = House::new();
    let service = layer(&house, 16);
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    let mut bodies: Vec<_> = (0..1000)
        .map(|n| begun(&service, &ada, &format!("/{n}")))
        .collect();
    finish(bodies.pop().unwrap());
    assert!(
        !is_hit(&service, &ada, "/999"),
        "four of a KiB were the ceiling"
    );
    finish(begun(&service, &eve, "/a"));
    assert!(is_hit(&service, &eve, "/a"), "a neighbour's are its own");
    let first = bodies.remove(0);
    drop(bodies.remove(0));
    finish(first);
    assert!(is_hit(&service, &ada, "/0"));
    drop(bodies);
    finish(begun(&service, &ada, "/again"));
    assert!(
        is_hit(&service, &ada, "/again"),
        "what was given up made room"
    );
}

#[test]
fn i6_what_is_copied_for_all_stays_within_the_whole() {
    let house = House::new();
    let service = layer(&house, 1);
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    let bodies: Vec<_> = (0..60)
        .map(|n| begun(&service, &ada, &format!("/{n}")))
        .collect();
    let more: Vec<_> = (0..10)
        .map(|n| begun(&service, &eve, &format!("/{n}")))
        .collect();
    finish(begun(&service, &eve, "/late"));
    assert!(!is_hit(&service, &eve, "/late"));
    drop((bodies, more));
    finish(begun(&service, &eve, "/late"));
    assert!(is_hit(&service, &eve, "/late"));
}
