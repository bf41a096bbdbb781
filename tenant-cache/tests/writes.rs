//! Writes and purges: what they forget, and what they keep from being stored.

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
use http_body_util::BodyExt;
use support::{Content, House, Origin, counted, get, request, response, send};
use tower_layer::Layer;
use tower_service::Service;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn content_under_a_safe_method_may_be_a_write() {
    let house = House::new();
    let origin = counted(FRESH);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    for method in [Method::GET, Method::OPTIONS] {
        send(&service, get(&ada, "/a")).await;
        assert!(send(&service, get(&ada, "/a")).await.is_hit());
        let calls = origin.calls();
        let mut content = request(method, &ada, "/a", &[]);
        *content.body_mut() = Content::from("x");
        assert!(!send(&service, content).await.is_hit());
        assert_eq!(origin.calls(), calls + 1);
        assert!(!send(&service, get(&ada, "/a")).await.is_hit());
    }
}

#[tokio::test]
async fn a_write_reaches_what_is_stored_under_another_spelling_of_its_uri() {
    let house = House::new();
    let service = house.around(&counted(FRESH));
    let ada = house.of("acme", "ada");
    for (read, written) in [
        ("/a", "/%61"),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/a", "/x/../a"),
    ] {
        send(&service, get(&ada, read)).await;
        assert!(send(&service, get(&ada, read)).await.is_hit());
        send(&service, request(Method::PUT, &ada, written, &[])).await;
        assert!(!send(&service, get(&ada, read)).await.is_hit(), "{read}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_written_makes_its_tenants_responses_unreachable() {
    for (method, status, forgets) in [
        (Method::POST, 201, true),
        (Method::PUT, 204, true),
        (Method::DELETE, 303, true),
        (Method::PATCH, 500, true),
        (Method::from_bytes(b"PURGE").unwrap(), 200, true),
        (Method::POST, 400, false),
        (Method::POST, 403, false),
        (Method::OPTIONS, 200, false),
    ] {
        let house = House::new();
        let origin = Origin::new(move |request| {
            let mut response = response(FRESH, "x");
            if request.method() != Method::GET {
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            }
            response
        });
        let service = house.around(&origin);
        let (ada, bob, eve) = (
            house.of("acme", "ada"),
            house.of("acme", "bob"),
            house.of("globex", "eve"),
        );
        for caller in [&ada, &bob, &eve] {
            assert!(send(&service, get(caller, "/a")).await.is_stored());
        }
        let write = send(&service, request(method.clone(), &ada, "/a", &[])).await;
        assert_eq!(write.cache_status(), "", "{method}");
        for caller in [&ada, &bob] {
            let hit = send(&service, get(caller, "/a")).await.is_hit();
            assert_eq!(hit, !forgets, "{method} {status}");
        }
        assert!(
            send(&service, get(&eve, "/a")).await.is_hit(),
            "another tenant's stay"
        );
    }
}

#[tokio::test]
async fn what_was_begun_before_a_purge_is_not_stored_after_it() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let (cache, caller) = (house.cache.clone(), ada.clone());
    let origin = Origin::new(move |request| {
        if request.uri().query() == Some("purge") {
            cache.purge(&caller).unwrap();
        }
        response(FRESH, "old")
    });
    let service = house.around(&origin);
    send(&service, get(&ada, "/a?purge")).await;
    assert!(!send(&service, get(&ada, "/a?purge")).await.is_hit());
    send(&service, get(&ada, "/a")).await;
    assert!(send(&service, get(&ada, "/a")).await.is_hit());
    house.cache.purge(&ada).unwrap();
    assert!(!send(&service, get(&ada, "/a")).await.is_hit());
}

#[tokio::test]
async fn a_read_that_a_write_overtook_is_not_stored() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let origin = counted(FRESH);
    let mut reading = house.around(&origin);
    // The read has its answer, which is not yet read to its end, when the write is done.
    let answer = reading.call(get(&ada, "/a")).await.unwrap();
    send(&reading, request(Method::POST, &ada, "/a", &[])).await;
    answer.into_body().collect().await.unwrap();
    assert!(!send(&reading, get(&ada, "/a")).await.is_hit());
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
