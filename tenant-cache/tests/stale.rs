//! Stale answers: in place of errors where they may stand, and how long anything is fresh that does not say so.

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
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use support::{Content, House, Origin, get, request, response, send, with_trail};
use tenant_context::{Rejection, Trail};
use tower_layer::Layer;
use tower_service::Service;

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
