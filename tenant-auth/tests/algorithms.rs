//! The algorithms that an issuer's tokens may have: an explicit list, held against its keys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use common::{Fixture, HEADER, ISSUER, claims};
use tenant_auth::{Algorithm, Issuer, Issuers, KeyRefresher, KeySet, TokenMinter, VerifyingKey};
use tenant_testkit::ManualClock;

/// Published by another library: keys of nine algorithms.
const JWKS: &str = include_str!("fixtures/pyjwt_jwks.json");

fn issuer() -> Issuer {
    Issuer::new(ISSUER).audience("api")
}

fn fault(issuer: Issuer) -> String {
    Issuers::new().add(issuer).unwrap_err().to_string()
}

fn trusting(issuer: Issuer) -> Fixture {
    let fixture = Fixture::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .jwt(issuer)
        .authenticate()
        .unwrap();
    Fixture { auth, ..fixture }
}

#[test]
fn a_key_of_an_algorithm_that_is_not_listed_does_not_build() {
    let eddsa = || TokenMinter::eddsa_generate("a").unwrap().verifying_key();
    let secret = || VerifyingKey::hs256([7; 32]).kid("old");
    for (issuer, sentence) in [
        (
            issuer()
                .algorithms([Algorithm::EdDsa])
                .key(eddsa())
                .key(secret()),
            "key \"old\" is for HS256, which `algorithms` does not list",
        ),
        // In whatever order it is said.
        (
            issuer()
                .key(secret())
                .algorithms([Algorithm::EdDsa])
                .key(eddsa()),
            "key \"old\" is for HS256",
        ),
        (
            issuer().algorithms([]).key(eddsa()),
            "`algorithms` is empty",
        ),
        (
            issuer()
                .algorithms([Algorithm::Hs256])
                .key_set(KeySet::from_json(JWKS).unwrap()),
            "none of the 9 keys of its set can be used",
        ),
    ] {
        let said = fault(issuer);
        assert!(
            said.contains(sentence),
            "expected {sentence:?}, got {said:?}"
        );
    }
    assert!(
        Issuers::new()
            .add(
                issuer()
                    .algorithms([Algorithm::EdDsa, Algorithm::Es256])
                    .key(eddsa())
            )
            .is_ok()
    );
}

#[test]
fn a_secret_is_never_listed_for_a_set_that_is_fetched() {
    struct Nobody;
    impl tenant_auth::Fetch for Nobody {
        fn fetch(
            &self,
            _: &str,
            _: usize,
        ) -> futures_util::future::BoxFuture<
            'static,
            Result<tenant_auth::Fetched, tenant_auth::FetchError>,
        > {
            Box::pin(std::future::pending())
        }
    }
    let (keys, _worker) = KeyRefresher::builder(Nobody)
        .timer(ManualClock::new())
        .build()
        .unwrap();
    let said = fault(
        issuer()
            .algorithms([Algorithm::EdDsa, Algorithm::Hs256])
            .keys(keys.discover()),
    );
    assert!(said.contains("lists HS256"), "{said}");
    assert!(
        Issuers::new()
            .add(
                issuer()
                    .algorithms([Algorithm::EdDsa])
                    .keys(keys.discover())
            )
            .is_ok()
    );
}

#[test]
fn keys_of_a_set_whose_algorithms_are_not_listed_are_left_out() {
    let tokens: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("fixtures/pyjwt_tokens.json")).unwrap();
    let set = || KeySet::from_json(JWKS).unwrap();
    let all = trusting(issuer().key_set(set()));
    let one = trusting(issuer().algorithms([Algorithm::Ps256]).key_set(set()));
    for (name, token) in &tokens {
        let token = token.as_str().unwrap();
        if all.reason(token) != "ok" {
            continue;
        }
        let expected = if name == "PS256" { "ok" } else { "algorithm" };
        assert_eq!(one.reason(token), expected, "{name}");
    }
    assert_eq!(all.reason(tokens["RS256"].as_str().unwrap()), "ok");
}

#[test]
fn the_name_of_an_algorithm_is_case_sensitive_and_agrees_with_the_key() {
    let fixture = Fixture::with(|issuer| issuer.algorithms([Algorithm::EdDsa]));
    assert_eq!(fixture.reason(&fixture.forge(&claims())), "ok");
    for name in [
        "eddsa", "EDDSA", "Eddsa", "none", "None", "NONE", "", "HS256", "ES256", "RS256",
    ] {
        let header = HEADER.replace("EdDSA", name);
        let token = fixture
            .minter
            .mint_raw(&header, &claims().to_string())
            .unwrap();
        assert_eq!(fixture.reason(&token), "algorithm", "{name:?}");
    }
}
