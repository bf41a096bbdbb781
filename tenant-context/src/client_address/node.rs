//! One node that a proxy names: RFC 7239 §6, and what `X-Forwarded-For` carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a hop says of the node before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Unmapped.
    Address(IpAddr),
    /// `unknown`, an obfuscated identifier, or nothing.
    Hidden,
    /// Neither.
    Garbage,
}

/// The most bytes of a node: an IPv6 address in brackets, a colon and a port have 53.
const MAX_LEN: usize = 64;

impl Node {
    /// `nodename [ ":" node-port ]` (RFC 7239 §6), also an IPv6 address without brackets, as
    /// `X-Forwarded-For` has it.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        if bytes.len() > MAX_LEN {
            return Self::Garbage;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Garbage;
        };
        if let Some(rest) = text.strip_prefix('[') {
            let Some((address, port)) = rest.split_once(']') else {
                return Self::Garbage;
            };
            let address = address.parse().ok().filter(|_| is_port_suffix(port));
            return address.map_or(Self::Garbage, |address: Ipv6Addr| Self::of(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Self::of(address.into());
        }
        let (name, port) = match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        if !is_port_suffix(port) {
            return Self::Garbage;
        }
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Self::of(address.into());
        }
        if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
            return Self::Hidden;
        }
        Self::Garbage
    }

    fn of(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

/// Nothing, or `":" node-port`.
fn is_port_suffix(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    text.strip_prefix(':').is_some_and(|port| {
        let number = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
        number || is_obfuscated(port)
    })
}

/// `"_" 1*( ALPHA / DIGIT / "." / "_" / "-" )`.
fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(|name| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !name.is_empty() && name.bytes().all(allowed)
    })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_addresses_hidden_or_garbage() {
        for (text, expected) in [
            ("192.0.2.43", Some("192.0.2.43")),
            ("192.0.2.43:47011", Some("192.0.2.43")),
            ("192.0.2.43:_x", Some("192.0.2.43")),
            ("[2001:db8:cafe::17]", Some("2001:db8:cafe::17")),
            ("[2001:db8:cafe::17]:4711", Some("2001:db8:cafe::17")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("[::ffff:192.0.2.1]:80", Some("192.0.2.1")),
        ] {
            let expected = Node::Address(expected.unwrap().parse().unwrap());
            assert_eq!(Node::parse(text.as_bytes()), expected, "{text}");
        }
        for text in [
            "unknown",
            "UNKNOWN",
            "unknown:80",
            "_hidden",
            "_SEVKISEK",
            "_a.b-c_d:_p",
        ] {
            assert_eq!(Node::parse(text.as_bytes()), Node::Hidden, "{text}");
        }
        let long = format!("_{}", "a".repeat(64));
        for text in [
            "",
            " ",
            "_",
            "localhost",
            "256.0.0.1",
            "1.2.3",
            "01.2.3.4",
            "0x7f.1",
            "1.2.3.4:",
            "1.2.3.4:123456",
            "1.2.3.4:80:90",
            "1.2.3.4 ",
            "[1.2.3.4]",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "2001:db8::1:",
            "_a b",
            "_ä",
            "\"1.2.3.4\"",
            "1.2.3.4,",
            &long,
        ] {
            assert_eq!(Node::parse(text.as_bytes()), Node::Garbage, "{text}");
        }
        assert_eq!(Node::parse(b"\xff"), Node::Garbage);
    }
}
