//! What a request is for: the part of a response's key that the client writes.

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::key::KeyWriter;

/// The URI and the host, as they came. Forms that the standard calls equal are kept apart: that costs
/// a miss at most, and no normalisation can then join what the handler tells apart.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    uri: Uri,
    host: Option<HeaderValue>,
}

/// Longer ones are not cached.
const MAX_BYTES: usize = 8 << 10;

impl Target {
    /// `None` if the request names several hosts or is absurdly long.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
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
        (bytes <= MAX_BYTES).then(|| Self {
            uri: uri.clone(),
            host: host.cloned(),
        })
    }

    pub(crate) fn write(&self, key: &mut KeyWriter) {
        optional(key, self.uri.scheme_str().map(str::as_bytes));
        optional(key, self.uri.authority().map(|it| it.as_str().as_bytes()));
        optional(key, self.host.as_ref().map(HeaderValue::as_bytes));
        optional(key, Some(self.uri.path().as_bytes()));
        optional(key, self.uri.query().map(str::as_bytes));
    }
}

fn optional(key: &mut KeyWriter, part: Option<&[u8]>) {
    match part {
        None => key.bytes(&[0]),
        Some(part) => key.bytes(&[1]).bytes(part),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(uri: &str, host: Option<&str>) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let target = Target::of(&uri.parse().unwrap(), &headers).unwrap();
        let mut writer = KeyWriter::begin(1, 1);
        target.write(&mut writer);
        writer.as_bytes().to_vec()
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
        fn i11_targets_are_encoded_injectively(
            a in ("/[ab/]{0,4}(\\?[ab?]{0,2})?", prop::option::of("[ab]{0,2}")),
            b in ("/[ab/]{0,4}(\\?[ab?]{0,2})?", prop::option::of("[ab]{0,2}")),
        ) {
            prop_assert_eq!(a == b, key(&a.0, a.1.as_deref()) == key(&b.0, b.1.as_deref()));
        }
    }
}
