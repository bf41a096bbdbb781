//! Properties of the token parser: no bytes panic, no changed bit verifies.

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

use common::{Fixture, HEADER, claims};
use proptest::prelude::*;
use serde_json::{Value, json};
use tenant_auth::{Issuer, KeySet, RejectionKind, TokenMinter};

fn minters() -> Vec<TokenMinter> {
    vec![
        TokenMinter::eddsa_generate("a").unwrap(),
        TokenMinter::es256_generate("b").unwrap(),
        TokenMinter::rs256_pem("c", include_str!("fixtures/rsa.private.pem")).unwrap(),
        TokenMinter::hs256("d", [3; 32]).unwrap(),
    ]
}

/// Every single changed bit of a token of every algorithm, warm cache included.
#[test]
fn any_changed_bit_refuses_a_token() {
    let fixture = Fixture::new();
    let minters = minters();
    let issuer = minters.iter().fold(
        Issuer::new(common::ISSUER).audience("api"),
        |issuer, minter| issuer.key(minter.verifying_key()),
    );
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .jwt(issuer)
        .authenticate()
        .unwrap();
    let fixture = Fixture { auth, ..fixture };
    for minter in &minters {
        let token = minter.mint(&common::ada(), &fixture.clock).unwrap();
        assert_eq!(fixture.reason(&token), "ok");
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut changed = token.clone().into_bytes();
                changed[at] ^= 1 << bit;
                let Ok(value) =
                    http::HeaderValue::from_bytes(&[b"Bearer ", changed.as_slice()].concat())
                else {
                    continue;
                };
                let mut request = http::Request::new(());
                request.headers_mut().insert("authorization", value);
                let rejection = fixture.admit(request).unwrap_err();
                assert!(
                    matches!(
                        rejection.kind(),
                        RejectionKind::CredentialInvalid | RejectionKind::Malformed
                    ),
                    "{minter:?} {at} {bit}: {rejection:?}"
                );
            }
        }
        for cut in 0..token.len() {
            assert_ne!(
                fixture.reason(&token[..cut]),
                "ok",
                "{minter:?} cut at {cut}"
            );
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("acme")),
        Just(json!("human")),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(
                prop_oneof![
                    "[a-z_]{0,8}",
                    Just("sub".to_owned()),
                    Just("act".to_owned()),
                    Just("tenant_id".to_owned())
                ],
                inner,
                0..4
            )
            .prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic_and_none_verify(token in proptest::collection::vec(any::<u8>(), 0..300)) {
        let fixture = Fixture::new();
        if let Ok(value) = http::HeaderValue::from_bytes(&token) {
            let mut request = http::Request::new(());
            request.headers_mut().insert("authorization", value);
            prop_assert!(fixture.admit(request).is_err());
        }
        let _unread = KeySet::from_json(&token);
    }

    /// Signed, and yet hostile: any value in any claim is refused or read, and never another tenant's.
    #[test]
    fn any_signed_claim_is_refused_or_read(
        name in prop_oneof![
            Just("iss"), Just("aud"), Just("exp"), Just("nbf"), Just("iat"), Just("sub"), Just("jti"), Just("act"),
            Just("scope"), Just("scp"), Just("scopes"), Just("roles"), Just("resource_prefix"), Just("tenant_id"),
            Just("principal_kind"), Just("cnf"), Just("anything")
        ],
        value in any_json(),
    ) {
        let fixture = Fixture::new();
        let mut claims = claims();
        claims[name] = value;
        match fixture.bearer(&fixture.forge(&claims)) {
            Ok(context) => prop_assert_eq!(context.tenant_id().as_str(), "acme"),
            Err(rejection) => prop_assert_eq!(rejection.kind(), RejectionKind::CredentialInvalid),
        }
    }

    #[test]
    fn any_signed_text_is_refused_or_read(header in ".{0,60}", text in ".{0,60}") {
        let fixture = Fixture::new();
        let minted = |header: &str, claims: &str| fixture.minter.mint_raw(header, claims).unwrap();
        prop_assert!(fixture.bearer(&minted(&header, &claims().to_string())).is_err());
        prop_assert!(fixture.bearer(&minted(HEADER, &text)).is_err());
    }
}
