//! What a response is kept under: every part of its URI, and paths made to deceive.

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
use support::{House, counted, get, send};
use tower_layer::Layer;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn every_part_of_the_uri_and_the_host_count() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let targets = [
        "/a",
        "/a/",
        "/a?",
        "/a?x",
        "/a?x=1",
        "/A",
        "/%61",
        "/a;x.css",
        "/a%2Fb",
        "/a/b",
        "http://h/a",
        "https://h/a",
    ];
    for target in targets {
        assert!(
            !send(&service, get(&ada, target)).await.is_hit(),
            "{target}"
        );
    }
    for target in targets {
        assert!(send(&service, get(&ada, target)).await.is_hit(), "{target}");
    }
    let mut elsewhere = get(&ada, "/a");
    elsewhere
        .headers_mut()
        .insert("host", "other.test".parse().unwrap());
    assert!(!send(&service, elsewhere).await.is_hit());
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
