//! RFC 9111 as tables: what is asked, what the origin answers, some time, what is asked then, and what the cache does. Each
//! row names its section.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::exhaustive_enums,
    clippy::missing_panics_doc,
    reason = "tests"
)]

mod freshness;
mod invalidation;
mod requests;
mod storing;
mod validation;
mod vary;

#[path = "../support/mod.rs"]
mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Method, StatusCode};
use http_body_util::Full;
use support::{Content, House, Origin, request, send};
use tower_layer::Layer;

pub type Fields = &'static [(&'static str, &'static str)];

/// What the second request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The stored response, without the origin.
    Hit,
    /// The origin, asked as the client asks.
    Miss,
    /// The origin, asked whether what is stored still holds.
    Validates,
    /// 304 from the cache alone.
    NotModified,
    /// 504, for it may only come from the cache.
    NotStored,
}
pub use Then::{Hit, Miss, NotModified, NotStored, Validates};

/// A row: section and what it is about; the first request's fields; the origin's status and fields; seconds; the second
/// request's method and fields; what it meets.
pub type Row = (
    &'static str,
    Fields,
    (u16, Fields),
    u64,
    (&'static str, Fields),
    Then,
);

/// The origin of all rows: it answers conditions, and its clock is the house's.
fn origin(status: u16, fields: Fields) -> Origin<Content> {
    let calls = Arc::new(AtomicUsize::new(0));
    Origin::new(move |request| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let asked = |name: &str| request.headers().get(name).map(|it| it.to_str().unwrap());
        let has = |name: &str| fields.iter().find(|it| it.0 == name).map(|it| it.1);
        let mut response = http::Response::new(Full::from(format!("answer {call}")));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        let same = (asked("if-none-match").is_some() && asked("if-none-match") == has("etag"))
            || (asked("if-modified-since").is_some()
                && asked("if-modified-since") == has("last-modified"));
        if call > 1 && same {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Full::default();
        }
        if request.method() == Method::HEAD {
            *response.body_mut() = Full::default();
        }
        response
    })
}

pub async fn check(rows: &[Row]) {
    for (what, first, (status, fields), seconds, (method, second), then) in rows {
        let house = House::new();
        // Sun, 06 Nov 1994 08:49:37 GMT.
        house
            .clock
            .set_unix(tenant_context::UnixTime::from_secs(784_111_777));
        let origin = origin(*status, fields);
        let service = house.layer().layer(origin.clone());
        let ada = house.of("acme", "ada");
        send(&service, request(Method::GET, &ada, "/a", first)).await;
        house.pass(*seconds);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let is_head = method == Method::HEAD;
        let answer = send(&service, request(method, &ada, "/a", second)).await;
        let seen = match (
            origin.calls(),
            answer.status.as_u16(),
            answer.cache_status(),
        ) {
            (1, 504, status) if status.contains("only-if-cached") => NotStored,
            (1, 304, _) => NotModified,
            (1, _, _) => {
                assert!(answer.is_hit(), "{what}: {answer:?}");
                assert!(answer.header("age").is_some(), "{what}: §5.1");
                Hit
            }
            (2, _, status) if status.contains("fwd-status=304") => Validates,
            (2, _, _) => Miss,
            seen => panic!("{what}: {seen:?}"),
        };
        assert_eq!(seen, *then, "{what}: {answer:?}");
        if seen == NotModified {
            assert_eq!(answer.body, "", "{what}");
        }
        let whole = match seen {
            Miss => Some((*status, "answer 2")),
            // A client that has it is answered 304.
            Validates if answer.status == 304 => None,
            Hit | Validates => Some((*status, "answer 1")),
            NotModified | NotStored => None,
        };
        if let Some((status, content)) = whole {
            let content = if is_head { "" } else { content };
            let answered = (answer.status.as_u16(), &*answer.body);
            assert_eq!(answered, (status, content), "{what}");
        }
    }
}

/// The tables are long on purpose: this many rows at least.
#[test]
fn there_are_150_cases_and_each_has_its_section() {
    let all: Vec<&Row> = [
        storing::ROWS,
        freshness::ROWS,
        requests::ROWS,
        validation::ROWS,
        vary::ROWS,
        invalidation::ROWS,
    ]
    .concat_refs();
    assert!(all.len() >= 150, "{}", all.len());
    for row in all {
        assert!(row.0.contains('§'), "{}", row.0);
    }
}

trait ConcatRefs {
    fn concat_refs(self) -> Vec<&'static Row>;
}

impl<const N: usize> ConcatRefs for [&'static [Row]; N] {
    fn concat_refs(self) -> Vec<&'static Row> {
        self.into_iter().flatten().collect()
    }
}
