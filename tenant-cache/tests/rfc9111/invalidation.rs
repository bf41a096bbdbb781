//! §4.4: what a write makes unreachable.

use super::{Miss, Row, check};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("§4.2.4 an unsafe method is passed on", &[], (200, &[("cache-control", "max-age=60")]), 10, ("POST", &[]), Miss),
];

#[tokio::test]
async fn writes_are_passed_on() {
    check(ROWS).await;
}

use http::Method;
use tower_layer::Layer;

use crate::support::{House, Origin, get, request, response, send};

/// A write to `/a` answered so; whether `/a`, `/b` and `/c?d` are stored afterwards.
type Write = (
    &'static str,
    &'static str,
    u16,
    super::Fields,
    (bool, bool, bool),
);

#[rustfmt::skip]
const WRITES: &[Write] = &[
    ("§4.4 POST", "POST", 200, &[], (false, true, true)),
    ("§4.4 PUT", "PUT", 204, &[], (false, true, true)),
    ("§4.4 PATCH", "PATCH", 201, &[], (false, true, true)),
    ("§4.4 DELETE", "DELETE", 204, &[], (false, true, true)),
    ("§4.4 an unknown method is unsafe", "FROB", 200, &[], (false, true, true)),
    ("§4.4 a redirection is no error", "POST", 303, &[], (false, true, true)),
    ("§4.4 a client’s error changes nothing", "POST", 400, &[], (true, true, true)),
    ("§4.4 nor does a refusal", "POST", 403, &[], (true, true, true)),
    ("§4.4 after a server’s error nobody knows", "POST", 500, &[], (false, true, true)),
    ("§4.4 a safe method", "OPTIONS", 200, &[], (true, true, true)),
    ("§4.4 Location", "POST", 201, &[("location", "/b")], (false, false, true)),
    ("§4.4 Content-Location", "POST", 200, &[("content-location", "/b")], (false, false, true)),
    ("§4.4 both", "POST", 201, &[("location", "/b"), ("content-location", "/c?d")], (false, false, false)),
    ("§4.4 absolute, of the same origin", "POST", 201, &[("location", "http://api.test/b")], (false, false, true)),
    ("§4.4 of the same origin in another case", "POST", 201, &[("location", "http://API.test/c?d")], (false, true, false)),
    ("§4.4 of another origin", "POST", 201, &[("location", "http://other.test/b")], (false, true, true)),
    ("§4.4 of an origin that begins alike", "POST", 201, &[("location", "http://api.test.other/b")], (false, true, true)),
    ("§4.4 a relative reference, RFC 3986 §5.2", "POST", 201, &[("location", "b")], (false, false, true)),
    ("§4.4 a relative reference with dots", "POST", 201, &[("location", "x/../c?d#e")], (false, true, false)),
    ("§4.4 an empty reference is the target", "POST", 201, &[("content-location", "")], (false, true, true)),
    ("§4.4 a URI of another scheme is of another origin", "POST", 201, &[("location", "urn:b")], (false, true, true)),
    ("§4.4 what cannot be told to be of this origin or not", "POST", 201, &[("location", "http:b")], (false, false, false)),
    ("§4.4 Location of a write that failed", "POST", 400, &[("location", "/b")], (true, true, true)),
];

#[tokio::test]
async fn a_write_makes_its_target_and_what_it_names_unreachable() {
    for (what, method, status, fields, stored) in WRITES {
        let house = House::new();
        let origin = Origin::new(move |request| {
            if request.method() == Method::GET {
                return response(&[("cache-control", "max-age=60")], "x");
            }
            let mut response = response(fields, "");
            *response.status_mut() = http::StatusCode::from_u16(*status).unwrap();
            response
        });
        let service = house.layer().layer(origin);
        let (ada, bob, eve) = (
            house.of("acme", "ada"),
            house.of("acme", "bob"),
            house.of("globex", "eve"),
        );
        for caller in [&ada, &bob, &eve] {
            for path in ["/a", "/b", "/c?d"] {
                assert!(send(&service, get(caller, path)).await.is_stored());
            }
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        send(&service, request(method, &ada, "/a", &[])).await;
        for (caller, expected) in [(&ada, *stored), (&bob, *stored), (&eve, (true, true, true))] {
            let mut found = Vec::new();
            for path in ["/a", "/b", "/c?d"] {
                found.push(send(&service, get(caller, path)).await.is_hit());
            }
            assert_eq!(found, [expected.0, expected.1, expected.2], "{what}");
        }
    }
}
