//! RFC 9111 as tables: each row with its section.

use http::HeaderValue;
use proptest::prelude::*;

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: UnixTime = UnixTime::from_secs(784_111_777);

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn store(status: u16, lines: &[(&str, &str)]) -> Result<Storable, Refusal> {
    let status = StatusCode::from_u16(status).unwrap();
    response(status, &map(lines), &AROUND)
}

const AROUND: Circumstances = Circumstances {
    shared: false,
    authorized: false,
    cookie: false,
    delay: Duration::ZERO,
    now: NOW,
    heuristic: None,
};

fn look_up(max_age: Option<u64>, min_fresh: u64) -> Use {
    Use::LookUp(Asked {
        max_age,
        min_fresh,
        ..Asked::default()
    })
}

const fn fetch(only_if_cached: bool) -> Use {
    Use::LookUp(Asked {
        max_age: None,
        min_fresh: 0,
        max_stale: 0,
        no_cache: true,
        only_if_cached,
        conditional: false,
    })
}

const CONDITIONAL: Use = Use::LookUp(Asked {
    max_age: None,
    min_fresh: 0,
    max_stale: 0,
    no_cache: false,
    only_if_cached: false,
    conditional: true,
});

#[test]
#[rustfmt::skip]
fn requests() {
    type Row = (&'static str, &'static [(&'static str, &'static str)], Use);
    let rows: &[Row] = &[
        ("§4 nothing asked", &[], look_up(None, 0)),
        ("§4 unrelated fields", &[("accept", "*/*"), ("x-a", "1")], look_up(None, 0)),
        ("§5.2.1.1 max-age", &[("cache-control", "max-age=5")], look_up(Some(5), 0)),
        ("§5.2.1.1 max-age=0", &[("cache-control", "max-age=0")], Use::LookUp(Asked { max_age: Some(0), no_cache: true, ..Asked::default() })),
        ("§5.2.1.2 max-stale", &[("cache-control", "max-stale=5")], Use::LookUp(Asked { max_stale: 5, ..Asked::default() })),
        ("§5.2.1.3 min-fresh", &[("cache-control", "min-fresh=5")], look_up(None, 5)),
        ("§5.2.1.4 no-cache", &[("cache-control", "no-cache")], fetch(false)),
        ("§5.2.1.5 no-store", &[("cache-control", "no-store")], Use::Bypass),
        ("§5.2.1.5 wins over no-cache", &[("cache-control", "no-cache, no-store")], Use::Bypass),
        ("§5.2.1.5 in a second line", &[("cache-control", "max-age=5"), ("cache-control", "no-store")], Use::Bypass),
        ("§5.2.1.6 no-transform", &[("cache-control", "no-transform")], look_up(None, 0)),
        ("§5.2.1.7 only-if-cached", &[("cache-control", "only-if-cached")], Use::LookUp(Asked { only_if_cached: true, ..Asked::default() })),
        ("§5.2.1.7 with no-cache", &[("cache-control", "no-cache, only-if-cached")], fetch(true)),
        ("§5.2.3 unknown directives", &[("cache-control", "x-new=1, y")], look_up(None, 0)),
        ("§5.2 malformed", &[("cache-control", "max-age=x")], Use::Bypass),
        ("§5.4 Pragma", &[("pragma", "no-cache")], fetch(false)),
        ("§5.4 Pragma beside Cache-Control", &[("pragma", "no-cache"), ("cache-control", "max-age=5")], look_up(Some(5), 0)),
        ("RFC 9110 §13.1.1", &[("if-match", "\"a\"")], Use::Bypass),
        ("RFC 9110 §13.1.2", &[("if-none-match", "\"a\"")], CONDITIONAL),
        ("RFC 9110 §13.1.3", &[("if-modified-since", "x")], CONDITIONAL),
        ("RFC 9110 §13.1.4", &[("if-unmodified-since", "x")], Use::Bypass),
        ("RFC 9110 §13.1.5", &[("if-range", "\"a\"")], Use::Bypass),
        ("RFC 9110 §14.2", &[("range", "bytes=0-1")], Use::Bypass),
        ("RFC 9110 §7.8", &[("upgrade", "websocket")], Use::Bypass),
        ("RFC 9112 §6.1 content", &[("transfer-encoding", "chunked")], Use::Bypass),
    ];
    for (what, lines, expected) in rows {
        assert_eq!(request(&map(lines)), *expected, "{what}");
    }
}

#[test]
#[rustfmt::skip]
fn responses_that_are_stored() {
    type Row = (
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        u64,
        u64,
    );
    let rows: &[Row] = &[
        ("§5.2.2.1 max-age", 200, &[("cache-control", "max-age=60")], 60, 0),
        ("§5.2.2.10 s-maxage comes first", 200, &[("cache-control", "max-age=60, s-maxage=9")], 9, 0),
        ("§4.2.1 max-age before Expires", 200, &[("cache-control", "max-age=60"), ("expires", "0")], 60, 0),
        ("§5.3 Expires", 200, &[("expires", "Sun, 06 Nov 1994 08:50:07 GMT")], 30, 0),
        ("§5.3 in the old forms", 200, &[("expires", "Sunday, 06-Nov-94 08:50:07 GMT")], 30, 0),
        ("§4.2.1 Expires counts from Date", 200, &[("expires", "Sun, 06 Nov 1994 08:50:07 GMT"), ("date", "Sun, 06 Nov 1994 08:49:27 GMT")], 40, 10),
        ("§5.1 Age", 200, &[("cache-control", "max-age=60"), ("age", "7")], 60, 7),
        ("§4.2.3 the larger of Age and Date", 200, &[("cache-control", "max-age=60"), ("age", "7"), ("date", "Sun, 06 Nov 1994 08:49:17 GMT")], 60, 20),
        ("§4.2.3 a Date in the future", 200, &[("cache-control", "max-age=60"), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")], 60, 0),
        ("§1.2.2 overflow", 200, &[("cache-control", "max-age=99999999999999999999")], 1 << 31, 0),
        ("§5.2.2.9 public", 200, &[("cache-control", "public, max-age=60")], 60, 0),
        ("§5.2.2.2 must-revalidate", 200, &[("cache-control", "must-revalidate, max-age=60")], 60, 0),
        ("§5.2.3 unknown directives", 200, &[("cache-control", "x=\"no-store\", max-age=60")], 60, 0),
        ("RFC 9110 §15.3.4", 203, &[("cache-control", "max-age=60")], 60, 0),
        ("RFC 9110 §15.3.5", 204, &[("cache-control", "max-age=60")], 60, 0),
        ("RFC 9110 §15.4.2", 301, &[("cache-control", "max-age=60")], 60, 0),
        ("RFC 9110 §15.5.5", 404, &[("cache-control", "max-age=60")], 60, 0),
        ("§5.1 Age is no number and ignored", 200, &[("cache-control", "max-age=60"), ("age", "-1")], 60, 0),
        ("§5.1 of a list of ages the first", 200, &[("cache-control", "max-age=60"), ("age", "7, 9")], 60, 7),
        ("§3 302 with explicit freshness", 302, &[("cache-control", "max-age=60")], 60, 0),
        ("§3 500 with explicit freshness", 500, &[("cache-control", "max-age=60")], 60, 0),
        ("§3 an unknown status of a known class", 299, &[("cache-control", "max-age=60")], 60, 0),
        ("§5.2.2.4 no-cache, to be validated", 200, &[("cache-control", "max-age=60, no-cache"), ("etag", "\"a\"")], 60, 0),
        ("§4.3 stale, to be validated", 200, &[("cache-control", "max-age=0"), ("etag", "W/\"a\"")], 0, 0),
        ("§4.3 stale, to be validated", 200, &[("expires", "0"), ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")], 0, 0),
        ("RFC 5861 §4", 200, &[("cache-control", "max-age=0, stale-if-error=9")], 0, 0),
        ("RFC 9110 §15.5.11", 410, &[("cache-control", "max-age=60")], 60, 0),
    ];
    for (what, status, lines, lifetime, age) in rows {
        let stored = store(*status, lines).unwrap();
        let secs = (stored.freshness.lifetime.as_secs(), stored.age.as_secs());
        assert_eq!(secs, (*lifetime, *age), "{what}");
    }
}

#[test]
#[rustfmt::skip]
fn responses_that_are_not_stored() {
    type Row = (
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        Refusal,
    );
    let rows: &[Row] = &[
        ("§4.2.2 no heuristics", 200, &[("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")], Refusal::NotFresh),
        ("§4.2.2 nothing said", 200, &[], Refusal::NotFresh),
        ("§4.2.2 nothing said", 200, &[("cache-control", "public")], Refusal::NotFresh),
        ("§5.2.2.1 max-age=0", 200, &[("cache-control", "max-age=0")], Refusal::NotFresh),
        ("§5.2.2.10 s-maxage=0", 200, &[("cache-control", "max-age=60, s-maxage=0")], Refusal::NotFresh),
        ("§5.3 Expires: 0", 200, &[("expires", "0")], Refusal::NotFresh),
        ("§5.3 Expires passed", 200, &[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")], Refusal::NotFresh),
        ("§5.3 two Expires", 200, &[("expires", "Sun, 06 Nov 1994 08:50:07 GMT"), ("expires", "Sun, 06 Nov 1994 08:50:07 GMT")], Refusal::NotFresh),
        ("§4.2.3 old on arrival", 200, &[("cache-control", "max-age=60"), ("age", "60")], Refusal::NotFresh),
        ("§4.2.3 old by Date", 200, &[("cache-control", "max-age=5"), ("date", "Sun, 06 Nov 1994 08:49:17 GMT")], Refusal::NotFresh),
        ("§5.2.2.5 no-store", 200, &[("cache-control", "max-age=60, no-store")], Refusal::NoStore),
        ("§5.2.2.5 in a second line", 200, &[("cache-control", "max-age=60"), ("cache-control", "No-Store")], Refusal::NoStore),
        ("§5.2.2.3 must-understand", 200, &[("cache-control", "max-age=60, no-store, must-understand")], Refusal::NoStore),
        ("§5.2.2.4 no-cache", 200, &[("cache-control", "max-age=60, no-cache")], Refusal::NotFresh),
        ("§5.2.2.4 of a field", 200, &[("cache-control", "max-age=60, no-cache=\"set-cookie\"")], Refusal::NotFresh),
        ("§5.2.2.7 private", 200, &[("cache-control", "max-age=60, private")], Refusal::Private),
        ("§5.2.2.7 of a field", 200, &[("cache-control", "max-age=60, private=\"x\"")], Refusal::Private),
        ("§4.1 Vary: *", 200, &[("cache-control", "max-age=60"), ("vary", "accept, *")], Refusal::VaryAny),
        ("§4.1 Vary: Authorization", 200, &[("cache-control", "max-age=60"), ("vary", "Authorization")], Refusal::VaryCredential),
        ("§4.1 Vary: Cookie", 200, &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "cookie")], Refusal::VaryCredential),
        ("§4.1 no field name", 200, &[("cache-control", "max-age=60"), ("vary", "a b")], Refusal::Malformed),
        ("§7.3 Set-Cookie", 200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], Refusal::SetCookie),
        ("§4.2.1 contradiction", 200, &[("cache-control", "max-age=60, max-age=61")], Refusal::Malformed),
        ("§5.2 malformed", 200, &[("cache-control", "max-age=60 no-store")], Refusal::Malformed),
        ("§3.3 partial content", 206, &[("cache-control", "max-age=60")], Refusal::Status),
        ("§4.3.4 not modified", 304, &[("cache-control", "max-age=60")], Refusal::Status),
        ("RFC 6585 §4", 429, &[("cache-control", "max-age=60")], Refusal::Status),
        ("RFC 9110 §15.5.2", 401, &[("cache-control", "max-age=60")], Refusal::Status),
        ("RFC 9110 §15.5.4", 403, &[("cache-control", "max-age=60")], Refusal::Status),
        ("RFC 9110 §15.2.2", 101, &[("cache-control", "max-age=60")], Refusal::Status),
        ("gRPC", 200, &[("cache-control", "max-age=60"), ("content-type", "application/grpc+proto")], Refusal::Grpc),
    ];
    for (what, status, lines, expected) in rows {
        assert_eq!(store(*status, lines), Err(*expected), "{what}");
    }
}

#[test]
fn a_shared_route_needs_a_response_that_says_it_may_be_shared() {
    for (what, value, expected) in [
        ("§3.5 nothing said", "max-age=60", false),
        ("§3.5 public", "max-age=60, public", true),
        ("§3.5 s-maxage", "s-maxage=60", true),
        ("§3.5 must-revalidate", "max-age=60, must-revalidate", true),
        ("§5.2.2.7 private", "max-age=60, public, private", false),
        (
            "§5.2.2.7 private of a field",
            "s-maxage=60, private=\"x\"",
            false,
        ),
    ] {
        let headers = map(&[("cache-control", value)]);
        let around = Circumstances {
            shared: true,
            ..AROUND
        };
        let decided = response(StatusCode::OK, &headers, &around);
        assert_eq!(decided.is_ok(), expected, "{what}");
        // What a cookie may have had a part in says so itself.
        let around = Circumstances {
            cookie: true,
            ..around
        };
        let decided = response(StatusCode::OK, &headers, &around);
        let public = expected && value.contains("public");
        assert_eq!(decided.is_ok(), public, "{what}");
    }
}

#[test]
fn the_handlers_time_counts_as_age() {
    let headers = map(&[("cache-control", "max-age=60"), ("age", "7")]);
    let delay = Duration::from_millis(1500);
    let around = Circumstances { delay, ..AROUND };
    let decided = response(StatusCode::OK, &headers, &around).unwrap();
    assert_eq!(decided.age, Duration::from_millis(8500));
}

#[test]
fn vary_is_read_from_all_lines_and_bounded() {
    let fresh = ("cache-control", "max-age=60");
    let decided = store(200, &[fresh, ("vary", "Accept, X-A,"), ("vary", "accept")]).unwrap();
    assert_eq!(decided.vary, ["accept", "x-a"]);
    let many: Vec<_> = (0..17).map(|n| format!("x-{n}")).collect();
    let decided = store(200, &[fresh, ("vary", &many.join(","))]);
    assert_eq!(decided, Err(Refusal::Malformed));
}

#[test]
fn requests_limit_what_they_accept() {
    let secs = Duration::from_secs;
    let any = Asked::default();
    let max_age = |secs| Asked {
        max_age: Some(secs),
        ..any
    };
    let min_fresh = |min_fresh| Asked { min_fresh, ..any };
    let max_stale = |max_stale| Asked { max_stale, ..any };
    let fresh = Freshness {
        lifetime: secs(60),
        ..Freshness::default()
    };
    let strict = Freshness {
        must_revalidate: true,
        ..fresh
    };
    let no_cache = Freshness {
        no_cache: true,
        ..fresh
    };
    for (what, asked, stored, age, serves) in [
        ("§4.2 fresh", any, fresh, secs(59), true),
        ("§4.2 no longer fresh", any, fresh, secs(60), false),
        ("§5.2.1.1 young enough", max_age(5), fresh, secs(5), true),
        (
            "§5.2.1.1 too old",
            max_age(5),
            fresh,
            Duration::from_millis(5001),
            false,
        ),
        (
            "§5.2.1.3 fresh enough",
            min_fresh(10),
            fresh,
            secs(50),
            true,
        ),
        (
            "§5.2.1.3 not for so long",
            min_fresh(10),
            fresh,
            secs(51),
            false,
        ),
        (
            "§5.2.1.2 stale enough",
            max_stale(10),
            fresh,
            secs(70),
            true,
        ),
        ("§5.2.1.2 too stale", max_stale(10), fresh, secs(71), false),
        (
            "§5.2.2.2 never stale",
            max_stale(10),
            strict,
            secs(61),
            false,
        ),
        ("§5.2.2.2 fresh all the same", any, strict, secs(59), true),
        (
            "§5.2.2.4 validated each time",
            any,
            no_cache,
            secs(1),
            false,
        ),
        (
            "§5.2.2.4 also for the patient",
            max_stale(99),
            no_cache,
            secs(1),
            false,
        ),
    ] {
        let reuse = stored.reuse(asked, age);
        assert_eq!(reuse == Reuse::Serve, serves, "{what}");
    }
}

#[test]
fn what_may_stand_in_for_an_error() {
    let secs = Duration::from_secs;
    let patient = Freshness {
        lifetime: secs(60),
        stale_if_error: secs(30),
        ..Freshness::default()
    };
    assert!(patient.covers_error(secs(89)));
    assert!(!patient.covers_error(secs(90)));
    for never in [
        Freshness {
            must_revalidate: true,
            ..patient
        },
        Freshness {
            no_cache: true,
            ..patient
        },
        Freshness {
            stale_if_error: secs(0),
            ..patient
        },
    ] {
        assert!(!never.covers_error(secs(61)), "{never:?}");
    }
}

#[test]
fn conditions_are_read_as_rfc_9110_says() {
    let stored = map(&[
        ("etag", "W/\"a,b\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ]);
    for (what, lines, expected) in [
        (
            "§13.1.2 the same",
            &[("if-none-match", "W/\"a,b\"")][..],
            true,
        ),
        (
            "§8.8.3.2 compared weakly",
            &[("if-none-match", "\"a,b\"")],
            true,
        ),
        (
            "§13.1.2 among several",
            &[("if-none-match", "\"x\", W/\"a,b\" , \"y\"")],
            true,
        ),
        (
            "§13.1.2 in several lines",
            &[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")],
            true,
        ),
        ("§13.1.2 any", &[("if-none-match", "*")], true),
        ("§13.1.2 another", &[("if-none-match", "\"a\"")], false),
        ("§13.1.2 not quoted", &[("if-none-match", "a,b")], false),
        ("§13.1.2 not closed", &[("if-none-match", "\"a,b")], false),
        (
            "§13.2.2 before the date",
            &[
                ("if-none-match", "\"a\""),
                ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
            false,
        ),
        (
            "§13.1.3 the same date",
            &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")],
            true,
        ),
        (
            "§13.1.3 later",
            &[("if-modified-since", "Sun, 06 Nov 1994 08:49:38 GMT")],
            true,
        ),
        (
            "§13.1.3 earlier",
            &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
            false,
        ),
        (
            "§13.1.3 no date",
            &[("if-modified-since", "yesterday")],
            false,
        ),
        ("§13.1 none", &[], false),
    ] {
        assert_eq!(is_not_modified(&map(lines), &stored), expected, "{what}");
    }
}

#[test]
fn a_304_refreshes_what_it_speaks_of() {
    let stored = map(&[
        ("etag", "\"a\""),
        ("x-a", "1"),
        ("x-b", "1"),
        ("content-type", "text/plain"),
        ("cache-control", "max-age=1"),
    ]);
    let news = map(&[
        ("etag", "\"a\""),
        ("x-a", "2"),
        ("x-a", "3"),
        ("x-c", "4"),
        ("content-type", "text/html"),
        ("content-length", "0"),
        ("cache-control", "max-age=9"),
    ]);
    assert!(same_representation(&news, &stored));
    assert!(same_representation(&map(&[]), &stored));
    assert!(!same_representation(&map(&[("etag", "\"b\"")]), &stored));
    // A tag that nobody asked with names something else.
    let dated = map(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    assert!(!same_representation(&map(&[("etag", "\"b\"")]), &dated));
    let later = map(&[("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT")]);
    assert!(same_representation(&dated, &dated) && !same_representation(&later, &dated));
    let fields = refreshed(&stored, &news);
    let lines = |name| fields.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(lines("x-a"), ["2", "3"]);
    assert_eq!(
        (&fields["x-b"], &fields["x-c"]),
        (&"1".parse().unwrap(), &"4".parse().unwrap())
    );
    assert_eq!(fields["content-type"], "text/plain");
    assert_eq!(fields["cache-control"], "max-age=9");
    assert!(!fields.contains_key("content-length"));
}

#[test]
fn freshness_is_guessed_only_where_it_was_asked_for() {
    let heuristic = Some(Heuristic {
        percent: 10,
        most: Duration::from_secs(1000),
    });
    let around = Circumstances {
        heuristic,
        ..AROUND
    };
    let hour_ago = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT");
    let year_ago = ("last-modified", "Sat, 06 Nov 1993 08:49:37 GMT");
    for (what, status, lines, expected) in [
        ("§4.2.2 a tenth", 200, &[hour_ago][..], Some(360)),
        ("§4.2.2 bounded", 200, &[year_ago], Some(1000)),
        (
            "§4.2.2 not what is stated",
            200,
            &[hour_ago, ("cache-control", "max-age=5")],
            Some(5),
        ),
        (
            "§4.2.2 a status that allows it",
            404,
            &[hour_ago],
            Some(360),
        ),
        ("§4.2.2 one that does not", 302, &[hour_ago], None),
        (
            "§4.2.2 unless it is public",
            302,
            &[hour_ago, ("cache-control", "public")],
            Some(360),
        ),
        ("§4.2.2 never changed", 200, &[], None),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let decided = response(status, &map(lines), &around).ok();
        let lifetime = decided.map(|it| it.freshness.lifetime.as_secs());
        assert_eq!(lifetime, expected, "{what}");
    }
}

proptest! {
    #[test]
    fn i7_what_is_stored_states_its_freshness_and_forbids_nothing(
        control in "(max-age=[0-9]{1,3}|no-store|no-cache|private|public|s-maxage=[0-9]{1,2}|x)(, ?(max-age=[0-9]{1,3}|no-store|private|x=\"a\"))?",
        cookie in any::<bool>(),
        status in 100..600_u16,
    ) {
        let mut lines = vec![("cache-control", control.as_str())];
        if cookie {
            lines.push(("set-cookie", "a=b"));
        }
        if store(status, &lines).is_ok() {
            prop_assert!(control.contains("max"));
            prop_assert!(!control.contains("no-") && !control.contains("private") && !cookie, "{}", control);
        }
    }
}
