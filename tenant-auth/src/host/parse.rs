//! Which host a request names: `:authority`, `Host`, or both, which must agree.

use std::net::Ipv6Addr;

use http::header;
use tenant_context::{Rejection, RequestHead};

/// The most bytes of a name (RFC 1035 §2.3.4), without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host, without port and trailing dot, in the case it was sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// Labels of `[A-Za-z0-9_-]`, joined by dots. IPv4 addresses too.
    Name(&'a str),
    /// An IPv6 address.
    Literal(Ipv6Addr),
}

/// The host of a request; `None` if it names none.
///
/// # Errors
///
/// 400 if it is no host, stands more than once, or authority and header differ (RFC 9112 §3.2, RFC 9113
/// §8.3.1).
pub(super) fn read<'a>(head: &RequestHead<'a>) -> Result<Option<Host<'a>>, Rejection> {
    let malformed = || Rejection::malformed("host_malformed");
    let mut lines = head.headers().get_all(header::HOST).iter();
    let header = match (lines.next(), lines.next()) {
        (_, Some(_)) => return Err(malformed()),
        (line, None) => line.map(|line| Host::parse(line.as_bytes()).ok_or_else(malformed)),
    };
    let authority = head.uri().authority();
    let authority = authority.map(|a| Host::parse(a.as_str().as_bytes()).ok_or_else(malformed));
    match (authority.transpose()?, header.transpose()?) {
        (Some(authority), Some(header)) if !authority.is(&header) => {
            Err(Rejection::malformed("host_conflict"))
        }
        (authority, header) => Ok(authority.or(header)),
    }
}

impl<'a> Host<'a> {
    /// Reads `host [ ":" port ]`. No user information, no percent-encoding, no byte beyond ASCII: a name in
    /// another script comes as its A-labels (`xn--…`) and is compared as they are.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // A name, the root's dot, a colon and a port.
        if bytes.len() > MAX_NAME.saturating_add(7) {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(literal) = text.strip_prefix('[') {
            let (address, port) = literal.split_once(']')?;
            let port = port.strip_prefix(':').or(port.is_empty().then_some("0"));
            return address
                .parse()
                .ok()
                .filter(|_| port.is_some_and(is_port))
                .map(Self::Literal);
        }
        let (name, port) = text.split_once(':').unwrap_or((text, "0"));
        let name = name.strip_suffix('.').unwrap_or(name);
        let valid = is_port(port) && name.len() <= MAX_NAME && name.split('.').all(is_label);
        valid.then_some(Self::Name(name))
    }

    /// Whether both are one host: names know no case.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (one, other) => one == other,
        }
    }
}

/// `1*5DIGIT`, up to 65535.
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Letters, digits and inner hyphens (RFC 952, RFC 1123 §2.1), and underscores, which names within a network
/// have.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_literals() {
        let long = vec!["a".repeat(63); 3].join(".") + "." + &"a".repeat(61);
        for (text, name) in [
            ("acme.saas.example.com", "acme.saas.example.com"),
            ("ACME.saas.example.com:443", "ACME.saas.example.com"),
            ("acme.saas.example.com.", "acme.saas.example.com"),
            ("acme.saas.example.com.:8080", "acme.saas.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("my_service:80", "my_service"),
            ("127.0.0.1:80", "127.0.0.1"),
            (&long, &long),
        ] {
            assert_eq!(
                Host::parse(text.as_bytes()),
                Some(Host::Name(name)),
                "{text}"
            );
        }
        let literal = Some(Host::Literal(Ipv6Addr::LOCALHOST));
        assert_eq!(Host::parse(b"[::1]"), literal);
        assert_eq!(Host::parse(b"[0:0::1]:80"), literal);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "-a",
            "a-",
            "a.-b",
            "a b",
            " a",
            "a ",
            "a\t",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "user@acme",
            "user:pw@acme",
            "acme@evil:80",
            "acme%2eevil",
            "a%00",
            "a\0",
            "a,b",
            "a;b",
            "a*",
            "*.a",
            "a:",
            "a:b",
            "a:80:90",
            "a:+80",
            "a:65536",
            "a:000080",
            "b\u{fc}cher",
            "\u{ff41}cme",
            "a\u{3002}b",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[v1.x]",
            "::1",
            &format!("{long}a"),
            &"a".repeat(64),
            &"a.".repeat(200),
        ] {
            assert_eq!(Host::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Host::parse(b"a\xff"), None);
    }
}
