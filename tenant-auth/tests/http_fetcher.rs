//! The fetcher over real sockets: what it takes and what it does not.
#![cfg(feature = "jwks")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect},
    routing::get,
};
use futures_util::stream;
use tenant_auth::{Fetch, FetchError, Fetched, HttpFetcher};
use tokio::net::TcpListener;

async fn server() -> SocketAddr {
    let endless = || {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1000]));
        Body::from_stream(chunks)
    };
    let app = Router::new()
        .route(
            "/keys",
            get(|| async { ([(header::CACHE_CONTROL, "public, max-age=600")], "{}") }),
        )
        .route("/moved", get(|| async { Redirect::temporary("/keys") }))
        .route(
            "/elsewhere",
            get(|| async { Redirect::permanent("http://127.0.0.1:1/keys") }),
        )
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route(
            "/empty",
            get(|| async { StatusCode::NO_CONTENT.into_response() }),
        )
        .route("/endless", get(move || async move { endless() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn fetch(url: &str, max_len: usize) -> Result<Fetched, FetchError> {
    let fetching = HttpFetcher::new().unwrap().fetch(url, max_len);
    // A bound on the test, not a measurement.
    tokio::time::timeout(Duration::from_secs(30), fetching)
        .await
        .unwrap()
}

#[tokio::test]
async fn redirects_and_other_statuses_give_no_keys() {
    let address = server().await;
    let at = |path: &str| format!("http://{address}{path}");
    assert!(format!("{:?}", fetch(&at("/keys"), 2).await.unwrap()).contains("600s"));
    for (path, status) in [
        ("/moved", 307),
        ("/elsewhere", 308),
        ("/gone", 410),
        ("/empty", 204),
        ("/none", 404),
    ] {
        let error = fetch(&at(path), 1000).await.unwrap_err();
        assert!(
            error.to_string().ends_with(&status.to_string()),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_document_longer_than_its_bound_is_not_read_to_its_end() {
    let address = server().await;
    for (path, max_len) in [("/keys", 1), ("/endless", 100_000)] {
        let error = fetch(&format!("http://{address}{path}"), max_len)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("longer than"), "{path}: {error}");
    }
}

/// In a process of its own, whose environment names proxies that are not there.
#[tokio::test]
async fn proxies_that_the_environment_names_are_not_asked() {
    const CHILD: &str = "TENANT_AUTH_TEST_WITH_PROXIES";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "proxies_that_the_environment_names_are_not_asked",
        ]);
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            child.env(name, "http://127.0.0.1:1");
        }
        for name in ["no_proxy", "NO_PROXY"] {
            child.env_remove(name);
        }
        let output = child.env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let address = server().await;
    let keys = format!("http://{address}/keys");
    assert!(fetch(&keys, 100).await.is_ok());
}

#[tokio::test]
async fn who_does_not_answer_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(fetch(&format!("http://{address}/keys"), 10).await.is_err());
    // No TLS there.
    let address = server().await;
    assert!(fetch(&format!("https://{address}/keys"), 10).await.is_err());
}

#[test]
fn roots_are_certificates() {
    assert!(HttpFetcher::with_roots_pem(include_str!("fixtures/rsa.certificate.pem")).is_ok());
    for pem in ["", "x", include_str!("fixtures/rsa.public.pem")] {
        assert!(HttpFetcher::with_roots_pem(pem).is_err(), "{pem}");
    }
}
