//! What a request is for: the part of a response's key that the client writes, and what invalidates it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};

use crate::key::KeyWriter;

/// The URI and the host, as they came. Forms that the standard calls equal are kept apart: that costs
/// a miss at most, and no normalisation can then join what the handler tells apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    uri: &'a Uri,
    host: Option<&'a HeaderValue>,
}

/// Longer ones are not cached.
const MAX_BYTES: usize = 8 << 10;

impl<'a> Target<'a> {
    /// `None` if the request names several hosts or is absurdly long.
    pub(crate) fn of(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Self> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return None;
        }
        let bytes = [
            uri.authority()
                .map_or(0, |authority| authority.as_str().len()),
            uri.path_and_query().map_or(0, |path| path.as_str().len()),
            host.map_or(0, HeaderValue::len),
        ]
        .into_iter()
        .fold(0, usize::saturating_add);
        (bytes <= MAX_BYTES).then_some(Self { uri, host })
    }

    pub(crate) fn write(self, key: &mut KeyWriter) {
        optional(key, self.uri.scheme_str().map(str::as_bytes));
        optional(key, self.uri.authority().map(|it| it.as_str().as_bytes()));
        optional(key, self.host.map(HeaderValue::as_bytes));
        optional(key, Some(self.uri.path().as_bytes()));
        optional(key, self.uri.query().map(str::as_bytes));
    }

    /// What a write to this target invalidates: here forms are joined that may be one resource, whichever protocol and
    /// spelling of the host it was asked by.
    pub(crate) fn resource(self) -> Vec<u8> {
        resource(self.host(), path_of(self.uri))
    }

    /// The resource that `reference` names, resolved against this target (RFC 3986 §5.2), if it is of the same origin (RFC 9111
    /// §4.4). `Err`: that cannot be told.
    pub(crate) fn related(self, reference: &HeaderValue) -> Result<Option<Vec<u8>>, Unclear> {
        let text = reference.to_str().map_err(|_| Unclear)?;
        let text = without_fragment(text);
        // Some take a backslash for a slash and an encoded dot for a dot: then it names two things.
        if text.contains(['\\', ' ', '\t']) || text.to_ascii_lowercase().contains("%2e") {
            return Err(Unclear);
        }
        if names_another_scheme(text) {
            return Ok(None);
        }
        let (authority, rest) = match text.split_once("//") {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at_checked(end).ok_or(Unclear)?;
                if authority.is_empty() {
                    return Err(Unclear);
                }
                (Some(authority), rest)
            }
            _ => (None, text),
        };
        if authority.is_some_and(|it| plain_host(it.as_bytes()) != plain_host(self.host())) {
            return Ok(None);
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let base = self.uri.path();
        let (path, query) = match path {
            "" if authority.is_some() => ("/".to_owned(), query),
            "" => (base.to_owned(), query.or_else(|| self.uri.query())),
            _ if path.starts_with('/') => (without_dots(path), query),
            // `http:a`, or a relative path whose first segment has a colon.
            _ if path.split('/').next().is_some_and(|it| it.contains(':')) => return Err(Unclear),
            _ => {
                let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
                (without_dots(&format!("{directory}/{path}")), query)
            }
        };
        let whole = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        Ok(Some(resource(self.host(), &whole)))
    }

    fn host(self) -> &'a [u8] {
        match (self.uri.authority(), self.host) {
            (Some(authority), _) => authority.as_str().as_bytes(),
            (None, Some(host)) => host.as_bytes(),
            (None, None) => b"",
        }
    }
}

/// A reference that cannot be told to be of this origin or of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclear;

fn without_fragment(text: &str) -> &str {
    text.split('#').next().unwrap_or(text)
}

/// What may stand before the `//` of an authority: nothing, or `http` or `https`.
fn is_scheme(text: &str) -> bool {
    ["", "http:", "https:"]
        .iter()
        .any(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// Whether it begins with a scheme (RFC 3986 §3.1) other than `http` and `https`.
fn names_another_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    let letter = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let rest = |it: char| it.is_ascii_alphanumeric() || matches!(it, '+' | '-' | '.');
    letter
        && scheme.chars().all(rest)
        && !["http", "https"]
            .iter()
            .any(|ours| scheme.eq_ignore_ascii_case(ours))
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_dots = false;
    for segment in path.split('/').skip(1) {
        ends_in_dots = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    if ends_in_dots {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// RFC 9110 §4.2.3, §4.2.4: a host is the same in either case, with the scheme's own port and without, and whoever is named before it.
fn plain_host(host: &[u8]) -> Vec<u8> {
    let host = host.rsplit(|byte| *byte == b'@').next().unwrap_or(host);
    let host = host.to_ascii_lowercase();
    for port in [b":80".as_slice(), b":443"] {
        if let Some(bare) = host.strip_suffix(port) {
            return bare.to_vec();
        }
    }
    host
}

fn resource(host: &[u8], path: &str) -> Vec<u8> {
    let mut bytes = plain_host(host);
    bytes.push(0);
    let path = plainly_escaped(path);
    match path.split_once('?') {
        _ if !path.starts_with('/') => bytes.extend_from_slice(path.as_bytes()),
        None => bytes.extend_from_slice(without_dots(&path).as_bytes()),
        Some((path, query)) => {
            bytes.extend_from_slice(without_dots(path).as_bytes());
            bytes.push(b'?');
            bytes.extend_from_slice(query.as_bytes());
        }
    }
    bytes
}

/// RFC 3986 §6.2.2: what needs no escape has none, and the others are written one way.
fn plainly_escaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.split_at_checked(2);
        let byte = escaped.and_then(|(hex, _)| hex_octet(hex));
        match (escaped, byte) {
            (Some((_, rest)), Some(byte)) if is_unreserved(byte) => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            (Some((hex, rest)), Some(_)) => {
                plain.push('%');
                plain.push_str(&hex.to_ascii_uppercase());
                plain.push_str(rest);
            }
            _ => {
                plain.push('%');
                plain.push_str(part);
            }
        }
    }
    Cow::Owned(plain)
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Two hexadecimal digits: `from_str_radix` alone would take a sign.
fn hex_octet(hex: &str) -> Option<u8> {
    let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

/// Whether a path is read alike by whatever reads it: no encoded or doubled slash, no dot segment, no parameter, no
/// backslash. What is not is never shared, for a template may match what the handler takes for another resource.
pub(crate) fn is_plain(path: &str) -> bool {
    let odd = |byte: u8| matches!(byte, b'%' | b';' | b'\\') || !byte.is_ascii_graphic();
    !path.bytes().any(odd)
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn optional(key: &mut KeyWriter, part: Option<&[u8]>) {
    match part {
        None => key.none(),
        Some(part) => key.bytes(part),
    };
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(uri: &str, host: Option<&str>) -> Vec<u8> {
        with(uri, host, |target| {
            let mut writer = KeyWriter::begin(1, 1);
            target.write(&mut writer);
            writer.as_bytes().to_vec()
        })
    }

    fn with<R>(uri: &str, host: Option<&str>, look: impl FnOnce(Target<'_>) -> R) -> R {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        look(Target::of(&uri.parse().unwrap(), &headers).unwrap())
    }

    #[test]
    fn every_part_of_the_target_counts() {
        let forms = [
            ("/a", Some("h")),
            ("/a", Some("H")),
            ("/a", None),
            ("/a", Some("")),
            ("/a?", Some("h")),
            ("/a?b", Some("h")),
            ("/a?B", Some("h")),
            ("/a/", Some("h")),
            ("/A", Some("h")),
            ("//a", Some("h")),
            ("/%61", Some("h")),
            ("/a%2Fb", Some("h")),
            ("/a/b", Some("h")),
            ("/a;x.css", Some("h")),
            ("http://h/a", None),
            ("https://h/a", None),
            ("http://h/a", Some("h")),
        ];
        for (n, one) in forms.iter().enumerate() {
            for other in forms.iter().skip(n + 1) {
                assert_ne!(
                    key(one.0, one.1),
                    key(other.0, other.1),
                    "{one:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn a_write_is_to_the_resource_however_it_was_spelled() {
        let resource = |uri: &str, host| with(uri, host, |it| it.resource().clone());
        let one = resource("/a?b", Some("h.test"));
        for (uri, host) in [
            ("/a?b", Some("H.Test")),
            ("/a?b", Some("h.test:80")),
            ("/%61?b", Some("h.test")),
            ("/%61?%62", Some("h.test")),
            ("/x/../a?b", Some("h.test")),
            ("/x/%2e%2E/a?b", Some("h.test")),
            ("http://ada:x@h.test/a?b", None),
            ("http://h.test/a?b", None),
            ("https://h.test:443/a?b", Some("other")),
        ] {
            assert_eq!(resource(uri, host), one, "{uri}");
        }
        for (uri, host) in [
            ("/a", Some("h.test")),
            ("/A?b", Some("h.test")),
            ("/a?b", Some("h.test:81")),
        ] {
            assert_ne!(resource(uri, host), one, "{uri}");
        }
        let escaped = |uri| resource(uri, Some("h.test"));
        assert_eq!(escaped("/a%2fb%C3%bc"), escaped("/a%2Fb%c3%BC"));
        assert_ne!(escaped("/a%2fb"), escaped("/a/b"));
        assert_ne!(escaped("/a%2561"), escaped("/aa"));
        assert_ne!(escaped("/a%"), escaped("/a"));
        assert_ne!(escaped("/a%6"), escaped("/a"));
    }

    fn related(base: &str, reference: &'static str) -> Result<Option<Vec<u8>>, Unclear> {
        with(base, Some("h.test"), |target| {
            target.related(&HeaderValue::from_static(reference))
        })
    }

    #[test]
    fn locations_of_the_same_origin_are_related() {
        let related = |reference| related("/a", reference);
        let b = with("/b?c", Some("h.test"), |it| it.resource().clone());
        for same in [
            "/b?c",
            "/b?c#d",
            "b?c",
            "./b?c",
            "../b?c",
            "/x/../b?c",
            "//h.test/b?c",
            "http://h.test/b?c",
            "HTTPS://H.TEST:443/b?c",
            "http://ada@h.test/b?c",
            "/%62?c",
        ] {
            assert_eq!(related(same), Ok(Some(b.clone())), "{same}");
        }
        for other in [
            "http://other.test/b?c",
            "https://h.test.other/b?c",
            "//other/b",
            "http://h.test:8080/b",
            "http://h.test@other/b?c",
            "mailto:b",
            "urn:isbn:0",
            "ftp://h.test/b?c",
            "x+a.b-1:b",
        ] {
            assert_eq!(related(other), Ok(None), "{other}");
        }
        for unclear in [
            "http://",
            "//",
            "http:b",
            "HTTPS:b",
            "1:b",
            "a b:c",
            "\\b",
            "/\\h/b",
            "/x/%2e%2E/b",
            "/b c",
        ] {
            assert_eq!(related(unclear), Err(Unclear), "{unclear}");
        }
    }

    /// RFC 3986 §5.4.
    #[test]
    fn references_are_resolved_as_rfc_3986_says() {
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q"),
            ("g#s", "/b/c/g"),
            (";x", "/b/c/;x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("/./g", "/g"),
            ("g.", "/b/c/g."),
            (".g", "/b/c/.g"),
            ("..g", "/b/c/..g"),
            ("./g/.", "/b/c/g/"),
            ("g/./h", "/b/c/g/h"),
            ("g/../h", "/b/c/h"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("http://h.test", "/"),
            ("//h.test?y", "/?y"),
        ] {
            let whole = resource(b"h.test", expected);
            assert_eq!(
                related("/b/c/d;p?q", reference),
                Ok(Some(whole)),
                "{reference}"
            );
        }
    }

    #[test]
    fn paths_that_may_be_read_in_two_ways_are_not_plain() {
        for path in ["/", "/a", "/a/b.css", "/a/b..c", "/a-_~!$&'()*+,=:@"] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "/a;x.css",
            "/a%2Fb",
            "/a%2fb",
            "/%61",
            "//a",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/a\\b",
            "/a%00",
            "/a%3Bx.css",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn i6_absurd_targets_and_two_hosts_are_not_cached() {
        let long: Uri = format!("/{}", "a".repeat(9000)).parse().unwrap();
        assert!(Target::of(&long, &HeaderMap::new()).is_none());
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("a"));
        headers.append(header::HOST, HeaderValue::from_static("b"));
        assert!(Target::of(&Uri::from_static("/"), &headers).is_none());
    }

    proptest! {
        #[test]
        fn a_reference_is_to_this_host_or_to_none_and_has_no_dots(
            text in "(https?:)?(//)?[ah.:/?#;%2eE@\\\\]{0,12}",
        ) {
            let Ok(value) = HeaderValue::from_str(&text) else { return Ok(()) };
            let found = with("/a/b", Some("h"), |target| target.related(&value));
            if let Ok(Some(resource)) = found {
                let whole = String::from_utf8(resource).unwrap();
                let path = whole.strip_prefix("h\0/").expect("of this host");
                let path = path.split('?').next().unwrap();
                prop_assert!(!path.split('/').any(|it| matches!(it, "." | "..")), "{text}: {path}");
            }
        }

        #[test]
        fn i11_targets_are_encoded_injectively(
            a in ("/[ab/]{0,4}(\\?[ab?]{0,2})?", prop::option::of("[ab]{0,2}")),
            b in ("/[ab/]{0,4}(\\?[ab?]{0,2})?", prop::option::of("[ab]{0,2}")),
        ) {
            prop_assert_eq!(a == b, key(&a.0, a.1.as_deref()) == key(&b.0, b.1.as_deref()));
        }
    }
}
