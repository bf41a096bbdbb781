//! The client's address: behind trusted hops, forged, garbled, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use proptest::prelude::*;
use tenant_context::{
    ClientAddress, ClientAddressLayer, HopHeader, IdentityLayer, PeerAddress, TenantStack,
    TrustedHops,
};
use tenant_testkit::{ManualClock, TestAuth, contract::Probe, tenants};
use tower::{Layer, ServiceExt};

fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn by_network() -> TrustedHops {
    TrustedHops::networks(HopHeader::XForwardedFor, ["10.0.0.0/8", "fd00::/8"]).unwrap()
}

fn x_forwarded_for(hops: &TrustedHops, peer: &str, lines: &[&str]) -> ClientAddress {
    hops.client(peer.parse().ok(), &headers("x-forwarded-for", lines))
}

#[test]
fn spoofed_leftmost_x_forwarded_for_names_nobody() {
    let hops = by_network();
    for n in 0..1000_u32 {
        let spoofed = Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)).to_string();
        for lines in [
            vec![format!("{spoofed}, 192.0.2.1")],
            vec![spoofed.clone(), "192.0.2.1".to_owned()],
            vec![format!("{spoofed}, 192.0.2.1, 10.0.0.2")],
            vec![
                spoofed.clone(),
                "192.0.2.1,10.0.0.2".to_owned(),
                "10.0.0.3".to_owned(),
            ],
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let client = x_forwarded_for(&hops, "10.0.0.1", &lines);
            assert_eq!(client.ip(), Some(ip("192.0.2.1")), "{lines:?}");
        }
        let direct = x_forwarded_for(&hops, "192.0.2.1", &[&spoofed]);
        assert_eq!(
            direct.ip(),
            Some(ip("192.0.2.1")),
            "an untrusted peer is the client"
        );
    }
}

#[test]
fn the_walk_by_network() {
    let hops = by_network();
    for (peer, lines, client) in [
        ("10.0.0.1", vec![], Some("10.0.0.1")),
        ("10.0.0.1", vec!["10.0.0.2"], Some("10.0.0.2")),
        ("10.0.0.1", vec!["", " , ,"], Some("10.0.0.1")),
        (
            "::ffff:10.0.0.1",
            vec!["::ffff:192.0.2.1"],
            Some("192.0.2.1"),
        ),
        ("10.0.0.1", vec!["[2001:db8::1]:443"], Some("2001:db8::1")),
        ("10.0.0.1", vec!["192.0.2.1:50000,"], Some("192.0.2.1")),
        ("fd00::1", vec!["2001:db8::1, fd00::2"], Some("2001:db8::1")),
        ("10.0.0.1", vec!["192.0.2.1, unknown"], None),
        ("10.0.0.1", vec!["garbage, 192.0.2.1"], Some("192.0.2.1")),
        ("nobody", vec!["192.0.2.1"], None),
    ] {
        let found = x_forwarded_for(&hops, peer, &lines);
        assert_eq!(found.ip(), client.map(ip), "{peer} {lines:?}");
        assert!(!found.is_malformed(), "{peer} {lines:?}");
    }
}

#[test]
fn the_walk_by_count() {
    let hops = TrustedHops::count(HopHeader::XForwardedFor, 2).unwrap();
    for (lines, client, key) in [
        (
            vec!["6.6.6.6, 192.0.2.1, 198.51.100.1"],
            Some("192.0.2.1"),
            "192.0.2.1",
        ),
        (
            vec!["6.6.6.6", "192.0.2.1", "unknown"],
            Some("192.0.2.1"),
            "192.0.2.1",
        ),
        (vec!["198.51.100.1"], None, "198.51.100.1"),
        (vec![], None, "203.0.113.9"),
        (vec!["unknown, 198.51.100.1"], None, "198.51.100.1"),
    ] {
        let found = x_forwarded_for(&hops, "203.0.113.9", &lines);
        assert_eq!(found.ip(), client.map(ip), "{lines:?}");
        assert_eq!(found.key().to_string(), key, "{lines:?}");
    }
    let by_socket = x_forwarded_for(&hops, "no peer", &["192.0.2.1, 198.51.100.1"]);
    assert_eq!(
        by_socket.ip(),
        Some(ip("192.0.2.1")),
        "a proxy on a Unix socket"
    );
}

#[test]
fn garbage_from_a_trusted_hop_fails() {
    for hops in [
        by_network(),
        TrustedHops::count(HopHeader::XForwardedFor, 2).unwrap(),
    ] {
        for line in [
            "192.0.2.1, example.com",
            "garbage",
            "256.0.0.1",
            "fe80::1%eth0",
            "192.0.2.1;",
            "\"192.0.2.1\"",
            "192.0.2.1 10.0.0.1",
            "ä",
        ] {
            let found = x_forwarded_for(&hops, "10.0.0.1", &[line]);
            assert!(
                found.is_malformed() && found.ip().is_none(),
                "{line}: {found:?}"
            );
            assert_eq!(found.key().to_string(), "10.0.0.1", "{line}");
        }
    }
}

#[test]
fn i6_the_walk_is_bounded() {
    let many = vec!["10.0.0.2"; 32].join(",");
    let found = x_forwarded_for(&by_network(), "10.0.0.1", &["192.0.2.1", &many]);
    assert!(found.is_malformed());
    let found = x_forwarded_for(&by_network(), "10.0.0.1", &[&many]);
    assert_eq!(found.ip(), Some(ip("10.0.0.2")));
}

#[test]
fn forwarded_is_walked_alike_and_only_the_named_header_is_read() {
    let hops = TrustedHops::networks(HopHeader::Forwarded, ["10.0.0.0/8"]).unwrap();
    let peer = Some(ip("10.0.0.1"));
    let mut both = headers(
        "forwarded",
        &[
            "for=6.6.6.6",
            r#"for="[2001:db8::1]:80";proto=https, For=10.0.0.2;by=10.0.0.1"#,
        ],
    );
    both.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    assert_eq!(hops.client(peer, &both).ip(), Some(ip("2001:db8::1")));
    assert_eq!(by_network().client(peer, &both).ip(), Some(ip("6.6.6.6")));
    for (line, malformed) in [
        ("for=_hidden", false),
        ("proto=https", false),
        ("for=1.2.3", true),
    ] {
        let found = hops.client(peer, &headers("forwarded", &[line]));
        assert_eq!(
            (found.ip(), found.is_malformed()),
            (None, malformed),
            "{line}"
        );
    }
}

#[test]
fn a_builder_says_what_is_wrong() {
    let none: [&str; 0] = [];
    for (error, says) in [
        (
            TrustedHops::networks(HopHeader::Forwarded, none).unwrap_err(),
            "no network",
        ),
        (
            TrustedHops::networks(HopHeader::Forwarded, ["10.0.0.1/8"]).unwrap_err(),
            "10.0.0.0/8",
        ),
        (
            TrustedHops::count(HopHeader::Forwarded, 0).unwrap_err(),
            "a count of 0",
        ),
        (
            TrustedHops::count(HopHeader::Forwarded, 33).unwrap_err(),
            "1 to 32",
        ),
    ] {
        assert!(error.to_string().contains(says), "{error}");
    }
}

fn layer() -> ClientAddressLayer {
    ClientAddressLayer::new(by_network())
}

#[test]
fn i10_the_layer_keeps_the_contract() {
    Probe::new("client address")
        .layer(|handler| layer().layer(handler))
        .check();
}

#[tokio::test]
async fn a_found_address_of_an_outer_layer_is_replaced_and_a_malformed_one_refused() {
    use axum::{Router, body::Body, routing::get};
    let app = Router::new().route("/where", get(shown));
    let auth = TestAuth::new(tenants(&["acme"], &ManualClock::new()));
    let identity = IdentityLayer::builder()
        .public(Method::GET, "/where")
        .build(auth)
        .unwrap();
    let app = TenantStack::new()
        .client_address(layer())
        .identity(identity)
        .layer(app);
    for (lines, status) in [
        (&["192.0.2.1"][..], StatusCode::OK),
        (&["192.0.2.1", "x"], StatusCode::BAD_REQUEST),
    ] {
        let mut request = Request::get("/where").body(Body::empty()).unwrap();
        *request.headers_mut() = headers("x-forwarded-for", lines);
        let forged = ClientAddress::of(&http::Extensions::new());
        request.extensions_mut().insert(forged);
        let peer = PeerAddress::new(SocketAddr::new(ip("10.0.0.1"), 80));
        request.extensions_mut().insert(peer);
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{lines:?}");
    }
}

async fn shown(request: axum::extract::Request) -> String {
    let client = ClientAddress::of(request.extensions());
    format!("{client:?} {}", client.key())
}

#[tokio::test]
async fn axum_and_tonic_say_the_peer() {
    use axum::{Router, extract::ConnectInfo, routing::get};
    let app = Router::new().route("/where", get(shown));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let body = get_raw(address, "/where").await;
    assert!(
        body.ends_with("ClientAddress(127.0.0.1) 127.0.0.1"),
        "{body}"
    );

    let mut extensions = http::Extensions::new();
    extensions.insert(ConnectInfo(SocketAddr::new(ip("::ffff:192.0.2.1"), 80)));
    assert_eq!(ClientAddress::of(&extensions).ip(), Some(ip("192.0.2.1")));
    let mut extensions = http::Extensions::new();
    extensions.insert(tonic::transport::server::TcpConnectInfo {
        local_addr: None,
        remote_addr: Some(SocketAddr::new(ip("2001:db8::7"), 80)),
    });
    assert_eq!(ClientAddress::of(&extensions).ip(), Some(ip("2001:db8::7")));
}

async fn get_raw(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

proptest! {
    /// Whatever a client sends, the address that the first trusted hop appends is found.
    #[test]
    fn whatever_a_client_sends_the_hops_word_counts(
        client in proptest::collection::vec("[ -~]{0,60}", 0..4),
        address in any::<[u8; 16]>(),
        v4 in any::<bool>(),
        hops in proptest::collection::vec(any::<[u8; 3]>(), 0..5),
        forwarded in any::<bool>(),
        same_line in any::<bool>(),
    ) {
        let address = if v4 {
            IpAddr::from([192, 0, 2, address[0]])
        } else {
            let mut address = address;
            address[0] = 0x20;
            IpAddr::from(address)
        };
        let entry = |ip: IpAddr| match (forwarded, ip) {
            (false, _) => ip.to_string(),
            (true, IpAddr::V4(_)) => format!("for={ip}"),
            (true, IpAddr::V6(_)) => format!("for=\"[{ip}]:443\""),
        };
        let (name, header) = if forwarded {
            ("forwarded", HopHeader::Forwarded)
        } else {
            ("x-forwarded-for", HopHeader::XForwardedFor)
        };
        let written = std::iter::once(address)
            .chain(hops.iter().map(|[a, b, c]| IpAddr::from([10, *a, *b, *c])))
            .map(entry);
        let mut lines = client;
        for entry in written {
            match lines.last_mut() {
                Some(line) if same_line => *line = format!("{line}, {entry}"),
                _ => lines.push(entry),
            }
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let trusted = TrustedHops::networks(header, ["10.0.0.0/8"]).unwrap();
        let found = trusted.client(Some(ip("10.0.0.1")), &headers(name, &lines));
        prop_assert_eq!(found.ip(), Some(address));
        let counted = TrustedHops::count(header, hops.len() + 1).unwrap();
        let found = counted.client(None, &headers(name, &lines));
        prop_assert_eq!(found.ip(), Some(address));
    }
}
