//! Validation, stale answers in place of errors, and paths made to deceive.

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
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use support::{Content, House, Origin, counted, get, request, response, send, with_trail};
use tenant_context::{Rejection, Trail};
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

/// Answers as its status says, or fails.
#[derive(Clone)]
struct Failing(Arc<AtomicU16>, &'static str);

impl Service<Request<Content>> for Failing {
    type Response = Response<Content>;
    type Error = &'static str;
    type Future = Ready<Result<Response<Content>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Content>) -> Self::Future {
        let status = self.0.load(Ordering::SeqCst);
        if status == 0 {
            return ready(Err("the connection broke"));
        }
        let mut answer = response(&[("cache-control", self.1)], status.to_string());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if status == 503 {
            answer
                .headers_mut()
                .insert("cache-control", "no-store".parse().unwrap());
        }
        ready(Ok(answer))
    }
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_an_error_where_it_may() {
    for (control, seconds, status, stands_in) in [
        ("max-age=10, stale-if-error=20", 29, 503, true),
        ("max-age=10, stale-if-error=20", 29, 500, true),
        ("max-age=10, stale-if-error=20", 29, 0, true),
        ("max-age=10, stale-if-error=20", 30, 0, false),
        ("max-age=10, stale-if-error=20", 29, 404, false),
        (
            "max-age=10, stale-if-error=20, must-revalidate",
            29,
            503,
            false,
        ),
        ("max-age=10", 11, 503, false),
        ("max-age=10", 11, 0, false),
    ] {
        let house = House::new();
        let now = Arc::new(AtomicU16::new(200));
        let mut service = house.layer().layer(Failing(Arc::clone(&now), control));
        let ada = house.of("acme", "ada");
        let first = service.call(get(&ada, "/a")).await.unwrap();
        first.into_body().collect().await.unwrap();
        house.pass(seconds);
        now.store(status, Ordering::SeqCst);
        let (asked, trail) = with_trail(get(&ada, "/a"));
        let answer = service.call(asked).await;
        let stood_in = answer.is_ok_and(|answer| answer.status() == 200);
        assert_eq!(stood_in, stands_in, "{control} {seconds} {status}");
        let expected = if stands_in { "hit" } else { "miss" };
        assert_eq!(trail.with(|facts| facts.cache), Some(Some(expected)));
    }
}

#[tokio::test]
async fn nothing_stands_in_for_a_refusal_or_serves_an_ended_context() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let tenants = house.tenants.clone();
    let id = ada.tenant_id().clone();
    for suspends in [false, true] {
        let (tenants, id) = (tenants.clone(), id.clone());
        let calls = AtomicUsize::new(0);
        let origin = Origin::new(move |_| {
            let control = [("cache-control", "max-age=10, stale-if-error=99")];
            if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                return response(&control, "x");
            }
            let mut answer = response(&control, "no");
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            if suspends {
                tenants.suspend(&id);
            } else {
                answer
                    .extensions_mut()
                    .insert(Rejection::store_unavailable());
            }
            answer
        });
        let service = house.around(&origin);
        send(&service, get(&ada, "/a")).await;
        house.pass(11);
        assert_eq!(
            send(&service, get(&ada, "/a")).await.status,
            503,
            "{suspends}"
        );
    }
}

#[tokio::test]
async fn a_stale_answer_stands_in_with_its_deed_for_who_did_not_ask_for_more() {
    for (fields, status) in [
        (&[][..], 200),
        (&[("cache-control", "max-stale")], 200),
        (&[("cache-control", "no-cache")], 503),
        (&[("cache-control", "max-age=60")], 503),
        (&[("cache-control", "max-age=5")], 503),
        (&[("cache-control", "min-fresh=5")], 503),
        (&[("x-forbidden", "1")], 503),
    ] {
        let house = House::new();
        let origin = Origin::new(|request: &Request<Content>| {
            let trail = Trail::of(request.extensions());
            if !request.headers().contains_key("if-none-match") {
                trail.action("invoice.read");
                let fields = [
                    ("cache-control", "max-age=10, stale-if-error=99"),
                    ("etag", "\"a\""),
                ];
                return response(&fields, "x");
            }
            if request.headers().contains_key("x-forbidden") {
                drop(trail.deny(Rejection::store_unavailable()));
            }
            let mut answer = response(&[], "no");
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer
        });
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        let (asked, _) = with_trail(get(&ada, "/a"));
        send(&service, asked).await;
        house.pass(11);
        let (asked, trail) = with_trail(request(Method::GET, &ada, "/a", fields));
        let answer = send(&service, asked).await;
        assert_eq!(answer.status, status, "{fields:?}");
        if status == 200 {
            let expected = match fields {
                [] => "tenant-cache; fwd=stale; detail=stale-if-error",
                _ => "tenant-cache; hit; ttl=-1",
            };
            assert_eq!(answer.cache_status(), expected);
            let action = trail.with(|facts| facts.action.clone());
            assert_eq!(action.flatten().as_deref(), Some("invoice.read"));
        }
    }
}

#[tokio::test]
async fn nothing_stands_in_for_an_answer_to_a_head() {
    for status in [503, 0] {
        let house = House::new();
        let now = Arc::new(AtomicU16::new(200));
        let control = "max-age=10, stale-if-error=99";
        let mut service = house.layer().layer(Failing(Arc::clone(&now), control));
        let ada = house.of("acme", "ada");
        let first = service.call(get(&ada, "/a")).await.unwrap();
        first.into_body().collect().await.unwrap();
        house.pass(11);
        now.store(status, Ordering::SeqCst);
        let head = request(Method::HEAD, &ada, "/a", &[]);
        let answer = service.call(head).await.map(|answer| answer.status());
        assert!(
            answer.is_err() || answer.is_ok_and(|it| it == 503),
            "{status}"
        );
    }
}

#[tokio::test]
async fn paths_that_may_be_read_in_two_ways_are_never_shared() {
    let house = House::new();
    let origin = counted(&[("cache-control", "public, max-age=60")]);
    let layer = tenant_cache::layer(house.cache.clone())
        .shared_within_tenant(Method::GET, "/static/{*file}")
        .explain(true)
        .build()
        .unwrap();
    let service = layer.layer(origin.clone());
    let (ada, bob) = (house.of("acme", "ada"), house.of("acme", "bob"));
    send(&service, get(&ada, "/static/site.css")).await;
    assert!(send(&service, get(&bob, "/static/site.css")).await.is_hit());
    for path in [
        "/account;x.css",
        "/static/..%2Faccount",
        "/static/%2e%2e/account",
        "/static/../account",
        "/static/x;y.css",
        "/static//account",
        "/static/a%00.css",
        "/static%2Fsite.css",
    ] {
        assert!(send(&service, get(&ada, path)).await.is_stored(), "{path}");
        assert!(!send(&service, get(&bob, path)).await.is_hit(), "{path}");
    }
    // And what differs in its bytes is another key for the same caller.
    assert!(!send(&service, get(&ada, "/account")).await.is_hit());
    assert!(!send(&service, get(&ada, "/account%3Bx.css")).await.is_hit());
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

#[tokio::test]
async fn heuristics_are_off_unless_asked_for() {
    let modified = [("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT")];
    for guesses in [false, true] {
        let house = House::new();
        let mut builder = tenant_cache::layer(house.cache.clone()).explain(true);
        if guesses {
            builder = builder.heuristic(10, Duration::from_secs(60));
        }
        let service = builder
            .build()
            .unwrap()
            .layer(Origin::new(move |_| response(&modified, "x")));
        let ada = house.of("acme", "ada");
        send(&service, get(&ada, "/a")).await;
        house.pass(59);
        assert_eq!(send(&service, get(&ada, "/a")).await.is_hit(), guesses);
        house.pass(1);
        assert!(!send(&service, get(&ada, "/a")).await.is_hit());
    }
}

#[tokio::test]
async fn forgetting_everything_on_a_write_is_a_choice() {
    for all in [false, true] {
        let house = House::new();
        let layer = tenant_cache::layer(house.cache.clone()).forget_all_on_write(all);
        let service = layer
            .build()
            .unwrap()
            .layer(counted(&[("cache-control", "max-age=60")]));
        let ada = house.of("acme", "ada");
        send(&service, get(&ada, "/list")).await;
        send(&service, request(Method::POST, &ada, "/item", &[])).await;
        assert_eq!(send(&service, get(&ada, "/list")).await.is_hit(), !all);
    }
}
