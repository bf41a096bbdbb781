//! What a request presents: API keys, tokens, both, neither, and what no request may present.

#![allow(
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

mod common;

use std::error::Error;

use common::{Fixture, ISSUER, ada, bearer, both, in_header, reason, with_header};
use http::{HeaderValue, Request, Uri};
use proptest::prelude::*;
use tenant_auth::{NewToken, RejectionKind};

#[test]
fn i3_all_credentials_agree_or_the_request_is_refused() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let key = |tenant: &str, principal: &str| fixture.api_key(tenant, principal).0;
    let bad_key = format!("{}0", key("acme", "ada").expose());
    let bad_token = format!("{}A", fixture.good());
    for _cold_then_warm in 0..2 {
        for (request, expected) in [
            (both(&token, key("acme", "ada").expose()), "ok"),
            (
                both(&token, key("acme", "bob").expose()),
                "credential_malformed",
            ),
            (
                both(&token, key("globex", "ada").expose()),
                "tenant_mismatch",
            ),
            (both(&token, key("Acme", "ada").expose()), "tenant_mismatch"),
            (both(&token, &bad_key), "api_key_format"),
            (both(&bad_token, key("acme", "ada").expose()), "signature"),
            (both(&bad_token, &bad_key), "signature"),
        ] {
            assert_eq!(reason(fixture.admit(request)), expected);
        }
    }
}

#[test]
fn a_request_that_presents_nothing_is_asked_for_a_credential() {
    let fixture = Fixture::new();
    assert_eq!(
        reason(fixture.admit(Request::new(()))),
        "credential_missing"
    );
    let without_keys = tenant_auth::layer(fixture.tenants.clone())
        .jwt(
            tenant_auth::Issuer::new(ISSUER)
                .audience("api")
                .key(fixture.minter.verifying_key()),
        )
        .authenticate()
        .unwrap();
    let fixture = Fixture {
        auth: without_keys,
        ..fixture
    };
    assert_eq!(
        reason(fixture.admit(in_header("anything"))),
        "credential_missing",
        "not our header"
    );
    let key = fixture.api_key("acme", "ci").0;
    assert_eq!(
        fixture.reason(key.expose()),
        "malformed",
        "a bearer value is a token then"
    );
}

#[test]
fn a_presented_credential_never_falls_through() {
    let fixture = Fixture::new();
    let (secret, _) = fixture.api_key("acme", "ci");
    for authorization in [
        "Basic YWRhOnB3",
        "Test ada",
        "DPoP x",
        "Negotiate x",
        "Digest a=b",
        "Bearers x",
        "Bear er",
    ] {
        for key in [None, Some(secret.expose())] {
            let mut request = with_header("authorization", authorization.as_bytes());
            if let Some(key) = key {
                let key = HeaderValue::from_str(key).unwrap();
                request.headers_mut().insert("x-api-key", key);
            }
            assert_eq!(
                reason(fixture.admit(request)),
                "scheme_unsupported",
                "{authorization}"
            );
        }
    }
}

#[test]
fn requests_that_cannot_be_read_as_one_are_malformed() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let key = fixture.api_key("acme", "ada").0;
    let repeated = |name: &'static str, values: [&[u8]; 2]| {
        let mut request = Request::new(());
        for value in values {
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(value).unwrap());
        }
        request
    };
    let good = format!("Bearer {token}");
    let good_key = format!("ApiKey {}", key.expose());
    let mut two_methods = in_header(key.expose());
    two_methods
        .headers_mut()
        .insert("authorization", HeaderValue::from_str(&good_key).unwrap());
    let mut cases = vec![
        repeated("authorization", [good.as_bytes(), good.as_bytes()]),
        repeated("authorization", [good.as_bytes(), b""]),
        repeated("authorization", [b"", good.as_bytes()]),
        repeated("authorization", [good.as_bytes(), good_key.as_bytes()]),
        repeated(
            "x-api-key",
            [key.expose().as_bytes(), key.expose().as_bytes()],
        ),
        two_methods,
        in_header(""),
    ];
    for value in [
        &b""[..],
        b" ",
        b"Bearer",
        b"Bearer ",
        b"Bearer   ",
        b" Bearer x",
        b"Bearer\tx",
        b"Bearer a b",
        b"Bearer a,b c",
        b"Bearer \xff\xfe",
        b"Bearer t\xc3\xb6ken",
        b"Bearer a.b.c\t",
        b"ApiKey sk_live_\xff",
        b"\xff",
        good.replace('.', ". ").as_bytes(),
        good.replace("Bearer ", "").as_bytes(),
    ] {
        cases.push(with_header("authorization", value));
    }
    for value in [&b"\xff"[..], b"sk live", b"\xc3\xa4"] {
        cases.push(with_header("x-api-key", value));
    }
    for query in [
        "access_token=x",
        "access_token",
        "a=b&access_token=",
        "access_token=x&a=b",
    ] {
        for mut request in [Request::new(()), bearer(&token)] {
            *request.uri_mut() = Uri::try_from(format!("/invoices?{query}")).unwrap();
            cases.push(request);
        }
    }
    for request in cases {
        let shown = format!("{:?} {:?}", request.uri(), request.headers());
        let rejection = fixture.admit(request).unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::Malformed, "{shown}");
        assert_eq!(rejection.reason(), "credential_malformed", "{shown}");
        assert!(rejection.source().is_some(), "{shown}: the log says which");
    }
    let mut request = bearer(&token);
    *request.uri_mut() = Uri::from_static("/invoices?token=1&my_access_token=2&xaccess_token=3");
    assert_eq!(reason(fixture.admit(request)), "ok");
}

#[test]
fn a_credential_has_a_bound() {
    let fixture = Fixture::new();
    let padded = |length: usize| {
        let token = fixture.token(ada().claim("padding", ""));
        let missing = length - token.len();
        let token = fixture.token(ada().claim("padding", "x".repeat(missing * 3 / 4)));
        assert!(token.len().abs_diff(length) < 4);
        token
    };
    assert_eq!(fixture.reason(&padded(8188)), "ok");
    assert_eq!(fixture.reason(&padded(8200)), "too_long");
    assert_eq!(fixture.reason(&"x".repeat(8193)), "too_long");
    assert_eq!(fixture.reason(&"x".repeat(1_000_000)), "too_long");
}

#[derive(Clone, Debug)]
enum Signal {
    Token(&'static str),
    Key(&'static str),
    BadToken,
    BadKey,
}

fn signals() -> impl Strategy<Value = Vec<Signal>> {
    let tenant = || prop_oneof![Just("acme"), Just("globex")];
    let token = prop_oneof![3 => tenant().prop_map(Signal::Token), 1 => Just(Signal::BadToken)];
    let key = prop_oneof![3 => tenant().prop_map(Signal::Key), 1 => Just(Signal::BadKey)];
    (proptest::option::of(token), proptest::option::of(key))
        .prop_map(|(token, key)| token.into_iter().chain(key).collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i3_any_subset_of_signals_in_any_order(signals in signals()) {
        let fixture = Fixture::new();
        let mut request = Request::new(());
        let mut tenants = Vec::new();
        let mut bad = false;
        for signal in &signals {
            let (name, value) = match signal {
                Signal::Token(tenant) => {
                    tenants.push(*tenant);
                    ("authorization", format!("Bearer {}", fixture.token(NewToken::new(ISSUER, "api", *tenant, "ada"))))
                }
                Signal::Key(tenant) => {
                    tenants.push(*tenant);
                    ("x-api-key", fixture.api_key(tenant, "ada").0.expose().to_owned())
                }
                Signal::BadToken => {
                    bad = true;
                    ("authorization", format!("Bearer {}x", fixture.good()))
                }
                Signal::BadKey => {
                    bad = true;
                    ("x-api-key", "sk_live_x".to_owned())
                }
            };
            request.headers_mut().append(name, HeaderValue::try_from(value).unwrap());
        }
        tenants.dedup();
        let decision = fixture.admit(request);
        match (bad, tenants.as_slice()) {
            (false, []) => prop_assert_eq!(reason(decision), "credential_missing"),
            (false, [tenant]) => {
                let context = decision.unwrap();
                prop_assert_eq!(context.tenant_id().as_str(), *tenant);
            },
            (false, _) => prop_assert_eq!(reason(decision), "tenant_mismatch"),
            (true, _) => prop_assert_eq!(decision.unwrap_err().kind(), RejectionKind::CredentialInvalid),
        }
    }
}
