//! Validation: what a 304 says of what is stored, and what it does not.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use support::{Content, House, Origin, get, request, response, send};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

/// Answers 200 with an entity tag, and 304 to whoever has it, with news.
fn validating(fields: &'static [(&'static str, &'static str)]) -> Origin<Content> {
    let calls = AtomicUsize::new(0);
    Origin::new(move |request| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let news = call.to_string();
        let mut response = response(fields, format!("answer {call}"));
        response
            .headers_mut()
            .insert("x-news", news.parse().unwrap());
        response
            .headers_mut()
            .insert("etag", "\"a\"".parse().unwrap());
        if request
            .headers()
            .get("if-none-match")
            .is_some_and(|it| it == "\"a\"")
        {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Content::default();
        }
        response
    })
}

#[tokio::test]
async fn a_304_makes_what_is_stored_fresh_again_with_its_fields() {
    let house = House::new();
    let origin = validating(&[
        ("cache-control", "max-age=10"),
        ("content-type", "text/plain"),
    ]);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let validated = send(&service, get(&ada, "/a")).await;
    assert_eq!(validated.status, 200);
    assert_eq!(validated.body, "answer 1");
    assert_eq!(validated.header("x-news"), Some("2"));
    assert_eq!(validated.header("content-length"), Some("8"));
    assert_eq!(
        validated.cache_status(),
        "tenant-cache; fwd=stale; fwd-status=304; stored"
    );
    house.pass(9);
    let hit = send(&service, get(&ada, "/a")).await;
    assert!(hit.is_hit());
    assert_eq!(
        (hit.header("x-news"), hit.header("age")),
        (Some("2"), Some("9"))
    );
    assert_eq!(hit.headers.get_all("cache-status").iter().count(), 1);
    assert_eq!(origin.calls(), 2);
}

#[tokio::test]
async fn a_client_that_has_it_gets_a_304_from_the_cache_and_after_validation() {
    let house = House::new();
    let origin = validating(&[
        ("cache-control", "max-age=10"),
        ("content-type", "text/plain"),
    ]);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let asking = |tag| request(Method::GET, &ada, "/a", &[("if-none-match", tag)]);
    send(&service, get(&ada, "/a")).await;
    for _ in 0..2 {
        let answer = send(&service, asking("\"a\"")).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (304, ""));
        assert_eq!(answer.header("etag"), Some("\"a\""));
        assert_eq!(answer.header("content-type"), None);
        assert!(answer.header("cache-control").is_some());
        house.pass(10);
    }
    assert_eq!(origin.calls(), 2);
    let other = send(&service, asking("\"b\"")).await;
    assert_eq!(
        (other.status.as_u16(), other.body.as_str()),
        (200, "answer 1")
    );
}

/// A 304 that names another entity tag than the one that was asked about.
fn mistaken() -> Origin<Content> {
    Origin::new(|request| {
        let mut response = response(&[("cache-control", "max-age=10"), ("etag", "\"a\"")], "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Content::default();
            response
                .headers_mut()
                .insert("etag", "\"other\"".parse().unwrap());
        }
        response
    })
}

#[tokio::test]
async fn a_304_about_something_else_reaches_nobody_who_did_not_ask_for_it() {
    let house = House::new();
    let service = house.around(&mistaken());
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let failed = send(&service, get(&ada, "/a")).await;
    assert_eq!((failed.status.as_u16(), &*failed.body), (502, ""));
    assert_eq!(
        failed.cache_status(),
        "tenant-cache; fwd=stale; fwd-status=304; detail=mismatch"
    );
    let next = send(&service, get(&ada, "/a")).await;
    assert_eq!((next.status.as_u16(), &*next.body), (200, "x"));
}

#[tokio::test]
async fn a_304_about_what_the_client_has_is_passed_on_to_it() {
    let house = House::new();
    let service = house.around(&mistaken());
    let ada = house.of("acme", "ada");
    let asking = |tag| request(Method::GET, &ada, "/a", &[("if-none-match", tag)]);
    for (tag, status) in [("\"other\"", 304), ("\"b\"", 502)] {
        send(&service, get(&ada, "/a")).await;
        house.pass(10);
        assert_eq!(send(&service, asking(tag)).await.status, status, "{tag}");
    }
}

#[tokio::test]
async fn a_304_to_the_clients_own_condition_says_nothing_of_what_has_no_validator() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let mut response = response(&[("cache-control", "max-age=10")], "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Content::default();
        }
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let asked = request(Method::GET, &ada, "/a", &[("if-none-match", "\"mine\"")]);
    assert_eq!(send(&service, asked).await.status, 304);
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn a_304_that_varies_otherwise_changes_whom_the_answer_is_for() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            let vary = "x-lang".parse().unwrap();
            response.headers_mut().insert("vary", vary);
        }
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let reload = ("cache-control", "no-cache");
    // Stale, and still fresh.
    for seconds in [10, 0] {
        house.cache.purge(&ada).unwrap();
        let asking = |lang| request(Method::GET, &ada, "/a", &[("x-lang", lang)]);
        send(&service, asking("de")).await;
        house.pass(seconds);
        let again = request(Method::GET, &ada, "/a", &[("x-lang", "de"), reload]);
        assert!(send(&service, again).await.is_stored());
        assert!(send(&service, asking("de")).await.is_hit());
        assert!(!send(&service, asking("fr")).await.is_hit(), "{seconds}");
    }
}

#[tokio::test]
async fn i8_a_304_that_varies_by_a_secret_ends_what_is_stored() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            let vary = "x-key".parse().unwrap();
            response.headers_mut().insert("vary", vary);
        }
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let asking = || {
        let mut asked = get(&ada, "/a");
        let mut secret = HeaderValue::from_static("canary");
        secret.set_sensitive(true);
        asked.headers_mut().insert("x-key", secret);
        asked
    };
    send(&service, asking()).await;
    house.pass(10);
    let validated = send(&service, asking()).await;
    assert_eq!((validated.status.as_u16(), &*validated.body), (200, "x"));
    assert!(!validated.is_stored());
    assert!(!send(&service, asking()).await.is_hit());
}

#[tokio::test]
async fn conditions_are_not_looked_at_where_the_answer_is_no_success() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "none");
        let asked = request.headers().get("if-none-match");
        *response.status_mut() = if asked.is_some_and(|tag| tag == "\"a\"") {
            StatusCode::NOT_MODIFIED
        } else {
            StatusCode::NOT_FOUND
        };
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    for _ in 0..2 {
        let asked = request(Method::GET, &ada, "/a", &[("if-none-match", "\"a\"")]);
        let answer = send(&service, asked).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (404, "none"));
        house.pass(10);
    }
}

#[tokio::test]
async fn a_304_that_forbids_to_store_ends_it() {
    let house = House::new();
    let calls = AtomicUsize::new(0);
    let origin = Origin::new(move |request| {
        let conditional = request.headers().contains_key("if-none-match");
        calls.fetch_add(1, Ordering::SeqCst);
        let control = if conditional {
            "no-store"
        } else {
            "max-age=10"
        };
        let mut response = response(&[("cache-control", control), ("etag", "\"a\"")], "x");
        if conditional {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let last = send(&service, get(&ada, "/a")).await;
    assert_eq!((last.status.as_u16(), last.body.as_str()), (200, "x"));
    assert_eq!(
        send(&service, get(&ada, "/a")).await.cache_status(),
        "tenant-cache; fwd=uri-miss; stored"
    );
}

#[tokio::test]
async fn a_cookie_that_a_304_sets_reaches_its_client_alone() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let mut response = response(&fields, "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            let cookie = "session=ada".parse().unwrap();
            response.headers_mut().insert("set-cookie", cookie);
        }
        response
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    let validated = send(&service, get(&ada, "/a")).await;
    assert_eq!(validated.header("set-cookie"), Some("session=ada"));
    assert_eq!(
        (validated.status.as_u16(), validated.body.as_str()),
        (200, "x")
    );
    assert_eq!(
        validated.cache_status(),
        "tenant-cache; fwd=stale; fwd-status=304"
    );
    let next = send(&service, get(&ada, "/a")).await;
    assert!(!next.is_hit());
    assert_eq!(next.header("set-cookie"), None);
}

#[tokio::test]
async fn a_purge_during_validation_keeps_the_old_answer_out() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let (cache, caller) = (house.cache.clone(), ada.clone());
    let origin = Origin::new(move |request| {
        let mut response = response(&[("cache-control", "max-age=10"), ("etag", "\"a\"")], "x");
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            cache.purge(&caller).unwrap();
        }
        response
    });
    let service = house.around(&origin);
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    send(&service, get(&ada, "/a")).await;
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

/// Leaves its answers to the test, one for each call.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<Vec<oneshot::Sender<Response<Content>>>>>);

impl ByHand {
    /// Answers the call that has waited longest.
    fn answer(&self, status: u16, fields: &[(&str, &str)]) {
        let mut answer = response(fields, "x");
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let waiting = self.0.lock().remove(0);
        waiting.send(answer).unwrap();
    }
}

impl Service<Request<Content>> for ByHand {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Content>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Content>) -> Self::Future {
        let (waiting, answered) = oneshot::channel();
        self.0.lock().push(waiting);
        async { Ok(answered.await.unwrap()) }.boxed()
    }
}

#[tokio::test]
async fn what_a_validation_ended_is_not_brought_back_by_one_under_way() {
    const KEPT: &[(&str, &str)] = &[("cache-control", "max-age=10"), ("etag", "\"a\"")];
    let forbidden: &[(&str, &str)] = &[("cache-control", "no-store"), ("etag", "\"a\"")];
    let another: &[(&str, &str)] = &[("cache-control", "max-age=10"), ("etag", "\"b\"")];
    for (method, status, news) in [
        (Method::GET, 304, forbidden),
        (Method::GET, 304, another),
        (Method::HEAD, 200, another),
    ] {
        let house = House::new();
        let handler = ByHand::default();
        let mut service = house.layer().layer(handler.clone());
        let ada = house.of("acme", "ada");
        let mut ask = |method: &Method| {
            let mut asked = service
                .call(request(method.clone(), &ada, "/a", &[]))
                .boxed();
            (&mut asked).now_or_never().ok_or(asked)
        };
        let Err(first) = ask(&Method::GET) else {
            panic!("the handler has not answered")
        };
        handler.answer(200, KEPT);
        first.await.unwrap().into_body().collect().await.unwrap();
        house.pass(10);
        let (Err(ending), Err(validating)) = (ask(&method), ask(&Method::GET)) else {
            panic!("both validate")
        };
        handler.answer(status, news);
        ending.await.unwrap();
        handler.answer(304, KEPT);
        let answer = validating.await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {news:?}");
        assert!(ask(&Method::GET).is_err(), "{method} {news:?}: a hit");
    }
}

#[tokio::test]
async fn a_head_that_tells_of_another_representation_ends_the_stored_one() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let tag = if request.method() == Method::HEAD {
            "\"b\""
        } else {
            "\"a\""
        };
        response(&[("cache-control", "max-age=60"), ("etag", tag)], "x")
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    let head = request(Method::HEAD, &ada, "/a", &[("cache-control", "no-cache")]);
    send(&service, head).await;
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}
