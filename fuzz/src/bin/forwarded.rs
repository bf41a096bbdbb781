//! The walk over `X-Forwarded-For` and `Forwarded`: whatever a client sends, in however many lines, the address that
//! the first trusted hop appends is found, by network and by count; and any bytes at all end in an answer.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use tenant_context::{HopHeader, TrustedHops};

const HEADERS: [(HopHeader, &str); 2] = [
    (HopHeader::XForwardedFor, "x-forwarded-for"),
    (HopHeader::Forwarded, "forwarded"),
];

fn peer() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

fn by_network(header: HopHeader) -> TrustedHops {
    TrustedHops::networks(header, ["10.0.0.0/8"]).expect("a network")
}

fn headers(name: &'static str, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        // What is no header value does not reach a service.
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((control, client)) = bytes.split_at_checked(2) else {
        return;
    };
    let lines: Vec<Vec<u8>> = client.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let seed = u16::from_le_bytes([control[0], control[1]]);
    let client: IpAddr = if seed & 1 == 0 {
        Ipv4Addr::new(192, 0, 2, (seed >> 8) as u8).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, seed, 0, 0, 0, 0, 1).into()
    };
    let hops = usize::from(seed >> 1 & 3);
    for (header, name) in HEADERS {
        // As it stands.
        let found = by_network(header).client(Some(peer()), &headers(name, &lines));
        assert!(found.ip().is_none() || !found.is_malformed());
        assert_eq!(found.peer(), Some(peer()));
        assert!(!found.key().is_unknown());
        // An untrusted peer is the client, whatever its headers say.
        let direct = by_network(header).client(Some(client), &headers(name, &lines));
        assert_eq!(direct.ip(), Some(client));
        // Behind hops that append what they see.
        let node = |ip: IpAddr| match (header, ip) {
            (HopHeader::Forwarded, IpAddr::V4(ip)) => format!("for={ip};proto=https"),
            (HopHeader::Forwarded, IpAddr::V6(ip)) => format!("for=\"[{ip}]:443\";host=\"a, \\\"b\""),
            (_, ip) => ip.to_string(),
        };
        let chain = std::iter::once(client)
            .chain((0..hops).map(|hop| Ipv4Addr::new(10, 1, 0, hop as u8).into()));
        let mut appended: Vec<Vec<u8>> = lines
            .iter()
            .filter(|line| HeaderValue::from_bytes(line).is_ok())
            .cloned()
            .collect();
        for (n, ip) in chain.enumerate() {
            match appended.last_mut() {
                Some(line) if seed >> 3 & 1 == 0 || n > 0 => line.extend(format!(", {}", node(ip)).bytes()),
                _ => appended.push(node(ip).into_bytes()),
            }
        }
        let headers = headers(name, &appended);
        let found = by_network(header).client(Some(peer()), &headers);
        assert_eq!(found.ip(), Some(client), "{appended:?}");
        let counted = TrustedHops::count(header, hops + 1).expect("a count");
        assert_eq!(counted.client(None, &headers).ip(), Some(client), "{appended:?}");
    }
});
