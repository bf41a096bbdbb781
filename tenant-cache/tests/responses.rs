//! The response cache layer: what it stores, serves and forgets.

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

use http::Method;
use support::{House, Origin, counted, get, request, response, send};
use tower_layer::Layer;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn a_fresh_response_is_served_again_with_its_age() {
    let house = House::new();
    let origin = counted(&[
        ("cache-control", "max-age=60"),
        ("etag", "\"1\""),
        ("content-type", "text/plain"),
    ]);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let first = send(&service, get(&ada, "/a?b=1")).await;
    assert_eq!(first.cache_status(), "tenant-cache; fwd=uri-miss; stored");
    assert_eq!(first.header("age"), None);
    house.pass(59);
    let second = send(&service, get(&ada, "/a?b=1")).await;
    assert_eq!(second.cache_status(), "tenant-cache; hit; ttl=1");
    assert_eq!(
        (second.status, second.body.as_str()),
        (first.status, "answer 1")
    );
    assert_eq!(second.header("age"), Some("59"));
    assert_eq!(second.header("etag"), Some("\"1\""));
    assert_eq!(second.header("content-type"), Some("text/plain"));
    assert_eq!(second.header("content-length"), Some("8"));
    assert_eq!(second.header("date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
    house.pass(1);
    let third = send(&service, get(&ada, "/a?b=1")).await;
    assert_eq!(third.cache_status(), "tenant-cache; fwd=stale; stored");
    assert_eq!(third.body, "answer 2");
    assert!(send(&service, get(&ada, "/a?b=1")).await.is_hit());
    let stats = house.cache.stats(&ada).unwrap();
    assert_eq!((stats.hits, stats.misses), (2, 2));
}

#[tokio::test]
async fn an_uncached_response_is_marked_only_on_demand() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let plain = tenant_cache::layer(house.cache.clone()).build().unwrap();
    let quiet = plain.layer(counted(&[]));
    assert_eq!(
        send(&quiet, get(&ada, "/quiet"))
            .await
            .header("cache-status"),
        None
    );
    let stored = plain.layer(counted(FRESH));
    for expected in [
        "tenant-cache; fwd=uri-miss; stored",
        "tenant-cache; hit; ttl=60",
    ] {
        assert_eq!(
            send(&stored, get(&ada, "/kept")).await.cache_status(),
            expected
        );
    }
    let explained = house.around(&counted(&[]));
    let answer = send(&explained, get(&ada, "/quiet")).await;
    assert_eq!(answer.cache_status(), "tenant-cache; fwd=uri-miss");
}

#[tokio::test]
async fn a_hit_says_for_how_long_it_is_fresh_and_for_how_long_it_was_not() {
    let house = House::new();
    let service = house.around(&counted(FRESH));
    let ada = house.of("acme", "ada");
    send(&service, get(&ada, "/a")).await;
    let patient = [("cache-control", "max-stale")];
    for (seconds, ttl) in [(0, "60"), (59, "1"), (1, "0"), (10, "-10")] {
        house.pass(seconds);
        let hit = send(&service, request(Method::GET, &ada, "/a", &patient)).await;
        let expected = format!("tenant-cache; hit; ttl={ttl}");
        assert_eq!(hit.cache_status(), expected);
    }
}

#[tokio::test]
async fn what_may_only_come_from_the_cache_reaches_no_handler() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let only = ("cache-control", "only-if-cached");
    for fields in [
        &[only][..],
        &[only, ("range", "bytes=0-1")],
        &[only, ("if-match", "\"a\"")],
        &[("cache-control", "only-if-cached, no-store")],
    ] {
        let answer = send(&service, request(Method::GET, &ada, "/a", fields)).await;
        assert_eq!(answer.status, 504, "{fields:?}");
        assert_eq!(
            answer.cache_status(),
            "tenant-cache; detail=only-if-cached",
            "{fields:?}"
        );
    }
    assert_eq!(origin.calls(), 0);
}

#[tokio::test]
async fn variants_that_are_too_many_for_their_tenant_give_up_the_oldest() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    house
        .cache
        .set_bounds(|_| tenant_cache::Bounds::ceiling(100 << 10));
    let origin = Origin::new(|_| {
        let fields = [("cache-control", "max-age=60"), ("vary", "x-a")];
        response(&fields, vec![b'x'; 30 << 10])
    });
    let service = house.around(&origin);
    let asking = |n: u32| request(Method::GET, &ada, "/a", &[("x-a", &n.to_string())]);
    for n in 0..6 {
        assert!(send(&service, asking(n)).await.is_stored());
    }
    for n in (0..6).rev() {
        assert_eq!(send(&service, asking(n)).await.is_hit(), n >= 3, "{n}");
    }
}

#[tokio::test]
async fn head_is_served_from_a_stored_get_without_content() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let head = || request(Method::HEAD, &ada, "/a", &[]);
    assert_eq!(
        send(&service, head()).await.cache_status(),
        "tenant-cache; fwd=uri-miss"
    );
    assert!(
        send(&service, get(&ada, "/a")).await.is_stored(),
        "a HEAD stores nothing"
    );
    let answer = send(&service, head()).await;
    assert!(answer.is_hit());
    assert_eq!(
        (answer.header("content-length"), answer.body.as_str()),
        (Some("8"), "")
    );
}

#[tokio::test]
async fn what_forbids_storing_is_obeyed() {
    for fields in [
        &[("cache-control", "no-store, max-age=60")][..],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "no-cache, max-age=60")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=60, max-age=61")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=60"), ("vary", "cookie")],
        &[
            ("cache-control", "max-age=60"),
            ("content-type", "application/grpc"),
        ],
        &[("cache-control", "max-age=60"), ("content-length", "3")],
        &[
            ("etag", "\"1\""),
            ("last-modified", "Thu, 01 Jan 2025 00:00:00 GMT"),
        ],
        &[],
    ] {
        let house = House::new();
        let origin = counted(fields);
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        for call in 1..=2 {
            let answer = send(&service, get(&ada, "/a")).await;
            assert_eq!(
                answer.cache_status(),
                "tenant-cache; fwd=uri-miss",
                "{fields:?}"
            );
            assert_eq!(answer.body, format!("answer {call}"), "{fields:?}");
        }
        assert_eq!(house.cache.stats(&ada).unwrap().hits, 0);
    }
}

#[tokio::test]
async fn statuses_that_are_no_whole_answer_are_not_stored() {
    for (status, stored) in [
        (200, true),
        (404, true),
        (206, false),
        (302, true),
        (403, false),
        (429, false),
        (500, true),
    ] {
        let house = House::new();
        let origin = Origin::new(move |_| {
            let mut response = response(FRESH, "x");
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        });
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        assert_eq!(
            send(&service, get(&ada, "/a")).await.is_stored(),
            stored,
            "{status}"
        );
        assert_eq!(
            send(&service, get(&ada, "/a")).await.is_hit(),
            stored,
            "{status}"
        );
    }
}

#[tokio::test]
async fn requests_that_are_the_handlers_go_to_it() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    assert!(send(&service, get(&ada, "/a")).await.is_stored());
    for (name, value, status) in [
        ("range", "bytes=0-1", "tenant-cache; fwd=bypass"),
        ("if-match", "\"1\"", "tenant-cache; fwd=bypass"),
        ("upgrade", "websocket", "tenant-cache; fwd=bypass"),
        ("cache-control", "no-store", "tenant-cache; fwd=bypass"),
        ("cache-control", "max-age", "tenant-cache; fwd=bypass"),
        (
            "cache-control",
            "no-cache",
            "tenant-cache; fwd=request; stored",
        ),
        ("pragma", "no-cache", "tenant-cache; fwd=request; stored"),
        (
            "cache-control",
            "max-age=0",
            "tenant-cache; fwd=request; stored",
        ),
    ] {
        let calls = origin.calls();
        let answer = send(&service, request(Method::GET, &ada, "/a", &[(name, value)])).await;
        assert_eq!(answer.cache_status(), status, "{name}: {value}");
        assert_eq!(origin.calls(), calls + 1, "{name}: {value}");
    }
    let last = send(&service, get(&ada, "/a")).await;
    assert_eq!(
        (last.is_hit(), last.body),
        (true, format!("answer {}", origin.calls())),
        "no-cache refreshes"
    );
}

#[tokio::test]
async fn requests_limit_the_age_they_accept() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let asking = |value| request(Method::GET, &ada, "/a", &[("cache-control", value)]);
    let missing = send(&service, asking("only-if-cached")).await;
    assert_eq!((missing.status.as_u16(), origin.calls()), (504, 0));
    send(&service, get(&ada, "/a")).await;
    house.pass(10);
    for value in [
        "max-age=10",
        "min-fresh=50",
        "only-if-cached",
        "max-stale=5",
    ] {
        assert!(send(&service, asking(value)).await.is_hit(), "{value}");
    }
    for value in ["max-age=9", "min-fresh=51"] {
        assert!(!send(&service, asking(value)).await.is_hit(), "{value}");
        house.cache.purge(&ada).unwrap();
        send(&service, get(&ada, "/a")).await;
        house.pass(10);
    }
}

#[tokio::test]
async fn vary_keeps_one_response_for_each_combination() {
    let house = House::new();
    let origin = Origin::new(|request| {
        let accept = request
            .headers()
            .get("accept")
            .map_or("none", |value| value.to_str().unwrap());
        response(
            &[
                ("cache-control", "max-age=60"),
                ("vary", "Accept, Accept-Encoding"),
            ],
            accept.to_owned(),
        )
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let asking = |accept| request(Method::GET, &ada, "/a", &[("accept", accept)]);
    for accept in ["text/html", "application/json"] {
        assert!(send(&service, asking(accept)).await.is_stored(), "{accept}");
    }
    assert!(send(&service, get(&ada, "/a")).await.is_stored());
    for accept in ["text/html", "application/json"] {
        let answer = send(&service, asking(accept)).await;
        assert_eq!((answer.is_hit(), answer.body.as_str()), (true, accept));
    }
    assert_eq!(send(&service, get(&ada, "/a")).await.body, "none");
    assert_eq!(origin.calls(), 3);
    for n in 0..8 {
        send(
            &service,
            request(Method::GET, &ada, "/a", &[("accept", &format!("type/{n}"))]),
        )
        .await;
    }
    assert!(
        !send(&service, asking("text/html")).await.is_hit(),
        "eight at most"
    );
}

#[tokio::test]
async fn responses_are_stored_again_after_a_time_without_any_to_store() {
    let house = House::new();
    let origin = Origin::new(|request| match request.uri().path() {
        "/plain" => response(&[], "x"),
        _ => response(&[("cache-control", "max-age=60"), ("vary", "accept")], "x"),
    });
    // With `explain` every request is remembered.
    let layer = tenant_cache::layer(house.cache.clone()).build().unwrap();
    let service = layer.layer(origin.clone());
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    for _ in 0..300 {
        send(&service, get(&ada, "/plain")).await;
    }
    assert!(
        send(&service, get(&eve, "/varies")).await.is_stored(),
        "one tenant's answers tell nothing of another's"
    );
    let mut unstored = 0;
    while !send(&service, get(&ada, "/varies")).await.is_stored() {
        unstored += 1;
    }
    assert!(
        (1..=8).contains(&unstored),
        "requests were not remembered, one in eight was watched: {unstored}"
    );
    assert!(send(&service, get(&ada, "/varies")).await.is_hit());
}

#[tokio::test]
async fn two_layers_on_one_cache_keep_apart() {
    let house = House::new();
    let (one, two) = (counted(FRESH), counted(FRESH));
    let (first, second) = (house.around(&one), house.around(&two));
    let ada = house.of("acme", "ada");
    send(&first, get(&ada, "/a")).await;
    assert!(!send(&second, get(&ada, "/a")).await.is_hit());
    assert!(send(&first, get(&ada, "/a")).await.is_hit());
}

#[test]
fn a_layer_that_cannot_be_meant_is_refused() {
    let layer = || tenant_cache::layer(House::new().cache);
    for (builder, says) in [
        (
            layer().shared_within_tenant(Method::POST, "/a"),
            "declare GET",
        ),
        (
            layer().shared_within_tenant(Method::GET, "a"),
            "begins with `/`",
        ),
        (
            layer().shared_within_tenant(Method::GET, "/{a}{b}"),
            "shared route",
        ),
        (layer().max_variants(0), "choose 1 to 64"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
