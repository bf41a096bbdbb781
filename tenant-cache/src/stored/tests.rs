//! What is kept of a response, and which of several fits.

use super::*;

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn head(headers: &HeaderMap, vary: &[HeaderName], asked: &HeaderMap) -> Option<Head> {
    let storable = Storable {
        freshness: Freshness {
            lifetime: Duration::from_secs(60),
            ..Freshness::default()
        },
        age: Duration::ZERO,
        vary: vary.to_vec(),
        authorized_only: false,
    };
    let received = (Monotonic::from_secs(10), UnixTime::from_secs(784_111_777));
    Head::new(
        StatusCode::OK,
        headers,
        storable,
        asked,
        Deed::default(),
        received,
    )
}

fn stored(body: &'static str, asked: &HeaderMap) -> StoredResponse {
    StoredResponse {
        head: head(&HeaderMap::new(), &[header::ACCEPT], asked).unwrap(),
        body: Bytes::from_static(body.as_bytes()),
        tags: Box::default(),
    }
}

fn chosen(variants: &Variants, asked: &HeaderMap, now: u64) -> Option<Bytes> {
    match variants.choose(asked, Asked::default(), Monotonic::from_secs(now)) {
        Choice::Serve(found, _) => Some(found.body.clone()),
        Choice::Validate(_) | Choice::None => None,
    }
}

#[test]
fn connection_fields_are_not_stored_and_a_date_is() {
    let kept = head(
        &map(&[
            ("connection", "close, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-request-id", "r1"),
            ("age", "3"),
            ("x-kept", "1"),
        ]),
        &[],
        &HeaderMap::new(),
    )
    .unwrap()
    .headers;
    let names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["age", "cache-status", "x-kept", "date"]);
    assert_eq!(kept[header::DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn i8_a_value_marked_as_secret_is_not_stored() {
    let mut secret = HeaderValue::from_static("canary");
    secret.set_sensitive(true);
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-key"), secret)]);
    assert!(head(&headers, &[], &HeaderMap::new()).is_none());
    let vary = [HeaderName::from_static("x-key")];
    assert!(head(&HeaderMap::new(), &vary, &headers).is_none());
}

#[test]
fn vary_compares_byte_for_byte_and_line_for_line() {
    let one = map(&[("accept", "a"), ("accept", "b")]);
    let variants = Variants::default().with(stored("one", &one), 8, Monotonic::default());
    assert!(chosen(&variants, &one, 11).is_some());
    for other in [
        map(&[]),
        map(&[("accept", "a")]),
        map(&[("accept", "a, b")]),
        map(&[("accept", "b"), ("accept", "a")]),
        map(&[("accept", "A"), ("accept", "b")]),
    ] {
        assert!(chosen(&variants, &other, 11).is_none(), "{other:?}");
    }
    let absent = Variants::default().with(stored("none", &map(&[])), 8, Monotonic::default());
    assert!(chosen(&absent, &map(&[("x", "y")]), 11).is_some());
    assert!(chosen(&absent, &map(&[("accept", "")]), 11).is_none());
}

#[test]
fn i6_variants_are_bounded_and_the_newest_is_chosen() {
    let asked = [
        map(&[("accept", "a")]),
        map(&[("accept", "b")]),
        map(&[("accept", "c")]),
    ];
    let mut variants = Variants::default();
    for (asked, body) in asked.iter().zip(["1", "2", "3"]) {
        variants = variants.with(stored(body, asked), 2, Monotonic::default());
    }
    assert!(chosen(&variants, &asked[0], 11).is_none());
    variants = variants.with(stored("4", &asked[2]), 2, Monotonic::default());
    assert_eq!(chosen(&variants, &asked[1], 11).unwrap(), "2");
    assert_eq!(chosen(&variants, &asked[2], 11).unwrap(), "4");
    assert!(chosen(&variants, &asked[2], 70).is_none(), "stale");
    assert_eq!(variants.useful_until(), Monotonic::from_secs(130));
    let fresh = Variants::default().with(stored("5", &asked[0]), 8, Monotonic::default());
    assert!(fresh.weight() < variants.weight());
}
