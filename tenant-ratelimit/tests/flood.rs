//! Floods, per client address.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tenant_context::{ClientAddress, ClientAddressLayer, HopHeader, PeerAddress, TrustedHops};
use tenant_ratelimit::{Dimension, FloodLayer, Quota, flood};
use tenant_testkit::{
    ManualClock,
    contract::{Probe, ProbeBody},
};
use tower::{Layer, ServiceExt, service_fn};

fn from(address: &str) -> ClientAddress {
    let mut request = Request::new(());
    let ip: IpAddr = address.parse().unwrap();
    request
        .extensions_mut()
        .insert(PeerAddress::new(SocketAddr::new(ip, 4711)));
    ClientAddress::of(request.extensions())
}

fn limit(clock: &ManualClock, max: usize) -> FloodLayer {
    flood(Quota::per_minute(3))
        .max_addresses(max)
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn spend(flood: &FloodLayer, address: &str) -> usize {
    (0..100)
        .take_while(|_| flood.check(from(address)).is_ok())
        .count()
}

#[test]
fn an_address_has_one_budget_and_an_ipv6_subscriber_too() {
    let clock = ManualClock::new();
    let flood = limit(&clock, 100);
    assert_eq!(spend(&flood, "192.0.2.1"), 3);
    assert_eq!(spend(&flood, "::ffff:192.0.2.1"), 0, "the same one");
    assert_eq!(spend(&flood, "192.0.2.2"), 3);
    assert_eq!(spend(&flood, "2001:db8:0:1::1"), 3);
    // IPv6 rotation within a /64 gains nothing.
    assert_eq!(spend(&flood, "2001:db8:0:1:ffff::1"), 0);
    assert_eq!(spend(&flood, "2001:db8:0:2::1"), 3);
    let denied = flood.check(from("192.0.2.1")).unwrap_err();
    assert_eq!(denied.dimension(), Some(Dimension::Address));
    assert_eq!(denied.wait(), Some(Duration::from_secs(20)));
    assert_eq!(flood.addresses(), 4);
}

#[test]
fn i6_a_flood_from_made_up_addresses_is_no_amnesty_and_mints_no_budget() {
    let clock = ManualClock::new();
    // Sixteen parts of ten each would be more.
    let flood = limit(&clock, 150);
    assert_eq!(spend(&flood, "192.0.2.1"), 3);
    let mut admitted = 0;
    for n in 0..20_000_u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
        admitted += usize::from(flood.check(from(&ip)).is_ok());
    }
    assert!(
        admitted <= 160 + 16 * 3,
        "own cells, and 16 shared: {admitted}"
    );
    assert!(flood.addresses() <= 150);
    assert_eq!(spend(&flood, "192.0.2.1"), 0, "still spent");
    clock.advance(Duration::from_secs(60));
    assert_eq!(spend(&flood, "203.0.113.9"), 3, "whole ones give way");
}

#[test]
fn i6_an_address_that_leaves_the_overflow_takes_along_what_it_owes() {
    let clock = ManualClock::new();
    let flood = limit(&clock, 16);
    let addresses =
        |net: u32| (0..1_000).map(move |n| std::net::Ipv4Addr::from_bits(net + n).to_string());
    // Sixteen have a cell of their own, and spend one; all others spend the three that they share.
    for address in addresses(0x0a00_0000) {
        flood.check(from(&address)).ok();
    }
    // The sixteen cells are whole again, and give way to whoever comes.
    clock.advance(Duration::from_secs(20));
    let admitted: usize = addresses(0x0b00_0000)
        .map(|address| spend(&flood, &address))
        .sum();
    assert!(
        admitted <= 16 + 16,
        "one of each newcomer, one of what the others share: {admitted}"
    );
}

#[tokio::test]
async fn a_spoofed_leftmost_x_forwarded_for_gains_nothing() {
    let clock = ManualClock::new();
    let flood = limit(&clock, 1_000);
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let hops = TrustedHops::networks(HopHeader::XForwardedFor, ["10.0.0.0/8"]).unwrap();
    let service = ClientAddressLayer::new(hops).layer(flood.layer(handler));
    let mut statuses = Vec::new();
    for n in 0..1_000 {
        let mut request = Request::new(());
        let peer = SocketAddr::from(([10, 0, 0, 1], 4711));
        request.extensions_mut().insert(PeerAddress::new(peer));
        let forwarded = format!("198.51.100.{}, 192.0.2.1", n % 256);
        request
            .headers_mut()
            .insert("x-forwarded-for", forwarded.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        statuses.push(response.status());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "20");
            let policy = response.headers()["ratelimit-policy"].to_str().unwrap();
            assert!(policy.starts_with(r#""address";q=3;w=60;pk=:"#), "{policy}");
        }
    }
    let admitted = statuses.iter().filter(|status| status.is_success());
    assert_eq!(admitted.count(), 3);
}

#[test]
fn a_bound_that_is_none_says_so() {
    let error = flood(Quota::per_minute(1)).max_addresses(3).build();
    assert!(error.unwrap_err().to_string().contains("at least 16"));
    let error = flood(Quota::per_minute(0)).build().unwrap_err();
    assert!(error.to_string().contains("at least one request"));
}

#[test]
fn i10_the_flood_layer_keeps_the_tower_contract() {
    let clock = ManualClock::new();
    let layer = flood(Quota::per_minute(1_000_000))
        .clock(clock.clone())
        .build()
        .unwrap();
    let spent = from("192.0.2.66");
    while layer.check(spent).is_ok() {}
    let request = |client: ClientAddress| {
        move || {
            let mut request = Request::new(ProbeBody::default());
            request.extensions_mut().insert(client);
            request
        }
    };
    Probe::new("flood")
        .layer(move |handler| layer.layer(handler))
        .admitted(request(from("192.0.2.1")))
        .refused(request(spent))
        .check();
}
