//! Keys and sets of keys: what is accepted, what is refused, and what other tools make.

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

use std::time::Duration;

use common::{Fixture, ISSUER, NOW, ada, claims};
use serde_json::{Value, json};
use tenant_auth::{
    ApiKeys, AuthLayerBuilder, Issuer, KeyErrorKind, KeySet, PrincipalKind, TenantId, TokenMinter,
    UnixTime, VerifyingKey,
};

const RSA: &str = include_str!("fixtures/rsa.public.pem");
const P256: &str = include_str!("fixtures/p256.public.pem");
const ED25519: &str = include_str!("fixtures/ed25519.public.pem");
const JWKS: &str = include_str!("fixtures/pyjwt_jwks.json");

fn foreign_tokens() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("fixtures/pyjwt_tokens.json")).unwrap()
}

fn keys_of(json: &str) -> Vec<Value> {
    let set: Value = serde_json::from_str(json).unwrap();
    set["keys"].as_array().unwrap().clone()
}

/// A service that trusts these keys alone.
fn trusting(change: impl FnOnce(Issuer) -> Issuer) -> Fixture {
    let fixture = Fixture::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .jwt(change(Issuer::new(ISSUER).audience("api")))
        .authenticate()
        .unwrap();
    Fixture { auth, ..fixture }
}

#[test]
fn tokens_of_another_library_are_read() {
    let set = KeySet::from_json(JWKS).unwrap();
    assert_eq!(
        (set.len(), set.skipped().len()),
        (9, 0),
        "{:?}",
        set.skipped()
    );
    let secret = VerifyingKey::hs256("0123456789abcdef0123456789abcdef").kid("secret");
    let fixture = trusting(|issuer| issuer.key_set(set).key(secret));
    let tokens = foreign_tokens();
    assert_eq!(tokens.len(), 10);
    for (algorithm, token) in tokens {
        let context = fixture
            .bearer(token.as_str().unwrap())
            .unwrap_or_else(|rejection| panic!("{algorithm}: {rejection:?}"));
        assert_eq!(context.tenant_id().as_str(), "acme");
        assert_eq!(
            context.principal().id().as_str(),
            "auth0|5f7c8ec7c33c6c004bbafe82"
        );
        assert_eq!(context.credential().unwrap().as_str(), "pyjwt-1");
        assert!(context.has_scope("invoices:write") && context.has_role("admin"));
        let actors: Vec<_> = context
            .actors()
            .iter()
            .map(|actor| (actor.kind(), actor.id().as_str()))
            .collect();
        assert_eq!(
            actors,
            [
                (PrincipalKind::Agent, "bot-7"),
                (PrincipalKind::Service, "svc-1")
            ]
        );
        assert_eq!(context.issued_at(), Some(UnixTime::from_secs(NOW)));
    }
    fixture.clock.advance(Duration::from_secs(3600 + 30));
    for (algorithm, token) in foreign_tokens() {
        assert_eq!(
            fixture.reason(token.as_str().unwrap()),
            "expired",
            "{algorithm}"
        );
    }
}

#[test]
fn keys_made_by_openssl_are_read() {
    let fixture = trusting(|issuer| {
        issuer
            .key(VerifyingKey::rs256_pem(RSA).kid("rsa-RS256"))
            .key(VerifyingKey::es256_pem(P256).kid("p256-ES256"))
            .key(VerifyingKey::eddsa_pem(ED25519).kid("ed25519-EdDSA"))
    });
    let tokens = foreign_tokens();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        assert_eq!(
            fixture.reason(tokens[algorithm].as_str().unwrap()),
            "ok",
            "{algorithm}"
        );
    }
    assert_eq!(
        VerifyingKey::rs256_pem(include_str!("fixtures/rsa.pkcs1.public.pem")).check(),
        Ok(())
    );

    for (kid, minter) in [
        (
            "rsa-RS256",
            TokenMinter::rs256_pem("rsa-RS256", include_str!("fixtures/rsa.private.pem")),
        ),
        (
            "p256-ES256",
            TokenMinter::es256_pem("p256-ES256", include_str!("fixtures/p256.private.pem")),
        ),
        (
            "ed25519-EdDSA",
            TokenMinter::eddsa_pem(
                "ed25519-EdDSA",
                include_str!("fixtures/ed25519.private.pem"),
            ),
        ),
    ] {
        let token = minter.unwrap().mint(&ada(), &fixture.clock).unwrap();
        assert_eq!(fixture.reason(&token), "ok", "{kid}");
    }
}

#[test]
fn what_a_minter_publishes_verifies_its_tokens() {
    let minters = [
        TokenMinter::eddsa_generate("a").unwrap(),
        TokenMinter::es256_generate("b").unwrap(),
        TokenMinter::rs256_pem("c", include_str!("fixtures/rsa.private.pem")).unwrap(),
    ];
    let published: Vec<String> = minters
        .iter()
        .map(|minter| minter.public_jwk().unwrap())
        .collect();
    let set = KeySet::from_json(format!(r#"{{"keys":[{}]}}"#, published.join(","))).unwrap();
    let fixture = trusting(|issuer| issuer.key_set(set));
    for minter in &minters {
        let token = minter.mint(&ada(), &fixture.clock).unwrap();
        assert_eq!(fixture.reason(&token), "ok", "{minter:?}");
    }
    let secret = TokenMinter::hs256("d", [1; 32]).unwrap();
    assert_eq!(secret.public_jwk(), None, "a secret is not published");
}

#[test]
fn one_bad_jwk_discards_the_whole_refreshed_set() {
    let good = keys_of(JWKS);
    let spoilt = |change: fn(&mut Value)| {
        let mut key = good[6].clone();
        change(&mut key);
        key.to_string()
    };
    let ec = spoilt(|_| ());
    for (bad, why) in [
        ("null".to_owned(), "no JSON object"),
        ("[]".to_owned(), "no JSON object"),
        ("{}".to_owned(), "no `kty`"),
        (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), "secret"),
        (r#"{"kty":"oct"}"#.to_owned(), "type"),
        (r#"{"kty":"AKP","pub":"x"}"#.to_owned(), "type"),
        (r#"{"kty":7}"#.to_owned(), "`kty` is no text"),
        (
            r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#.to_owned(),
            "curve",
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(),
            "32 bytes",
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519"}"#.to_owned(),
            "`x` is missing",
        ),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), "2048"),
        (
            r#"{"kty":"RSA","n":"++","e":"AQAB"}"#.to_owned(),
            "base64url",
        ),
        (
            include_str!("fixtures/rsa1024.jwk.json").to_owned(),
            "1024 bits",
        ),
        (ec.replacen('{', r#"{"kid":"x","#, 1), "twice"),
        (spoilt(|key| key["use"] = json!("enc")), "`use`"),
        (spoilt(|key| key["key_ops"] = json!(["sign"])), "`key_ops`"),
        (spoilt(|key| key["key_ops"] = json!("verify")), "`key_ops`"),
        (spoilt(|key| key["alg"] = json!("ES384")), "P-384"),
        (
            spoilt(|key| key["alg"] = json!("RS256")),
            "not used with RS256",
        ),
        (spoilt(|key| key["alg"] = json!("none")), "`alg`"),
        (
            spoilt(|key| key["alg"] = json!("HS256")),
            "not used with HS256",
        ),
        (spoilt(|key| key["crv"] = json!("secp256k1")), "curve"),
        (spoilt(|key| key["d"] = json!("AA")), "secret"),
        (spoilt(|key| key["x"] = key["y"].clone()), "no public key"),
        (spoilt(|key| key["x"] = json!("AA")), "32 bytes"),
        (spoilt(|key| key["kid"] = json!(7)), "`kid` is no text"),
        (
            spoilt(|key| key["kid"] = json!("a".repeat(257))),
            "too long",
        ),
    ] {
        let set = KeySet::from_json(format!(r#"{{"keys":[{bad},{}],"more":1}}"#, good[8])).unwrap();
        assert_eq!((set.len(), set.skipped().len()), (1, 1), "{bad}");
        let skipped = &set.skipped()[0];
        assert_eq!(skipped.index(), 0);
        assert!(
            skipped.error().to_string().contains(why),
            "{bad}: {}",
            skipped.error()
        );
        let fixture = trusting(|issuer| issuer.key_set(set));
        assert_eq!(
            fixture.reason(foreign_tokens()["EdDSA"].as_str().unwrap()),
            "ok"
        );
    }
}

#[test]
fn a_key_of_a_taken_name_is_left_out() {
    let keys = keys_of(JWKS);
    let set = KeySet::from_json(json!({"keys": [keys[6], keys[6], keys[8]]}).to_string()).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(
        (set.skipped()[0].index(), set.skipped()[0].kid()),
        (1, Some("p256-ES256"))
    );
}

#[test]
fn a_key_without_alg_is_used_with_one_algorithm() {
    let mut key = keys_of(JWKS)[0].clone();
    key.as_object_mut().unwrap().remove("alg");
    let set = KeySet::from_json(json!({"keys": [key]}).to_string()).unwrap();
    let fixture = trusting(|issuer| issuer.key_set(set));
    let tokens = foreign_tokens();
    assert_eq!(fixture.reason(tokens["RS256"].as_str().unwrap()), "ok");
    let private = include_str!("fixtures/rsa.private.pem");
    let minter = TokenMinter::rs256_pem("rsa-RS256", private).unwrap();
    let token = minter
        .mint_raw(
            r#"{"alg":"PS256","kid":"rsa-RS256"}"#,
            &claims().to_string(),
        )
        .unwrap();
    assert_eq!(fixture.reason(&token), "algorithm");
}

#[test]
fn what_is_no_set_is_an_error() {
    for json in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":1}"#,
        r#"{"keys":[],"keys":[]}"#,
        "{\"keys\":[]}x",
        "\u{feff}{}",
    ] {
        assert_eq!(
            KeySet::from_json(json).unwrap_err().kind(),
            KeyErrorKind::Format,
            "{json}"
        );
    }
    assert!(KeySet::from_json(b"{\"keys\":[\xff]}").is_err());
    assert!(KeySet::from_json(format!(r#"{{"keys":[{}]}}"#, "[".repeat(10_000))).is_err());
    let many = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(KeySet::from_json(many(256)).unwrap().skipped().len(), 256);
    assert!(KeySet::from_json(many(257)).is_err());
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(KeySet::MAX_LEN));
    assert!(KeySet::from_json(long).is_err());
}

#[test]
fn bad_keys_say_what_is_wrong() {
    for (key, kind, why) in [
        (
            VerifyingKey::hs256([1; 31]),
            KeyErrorKind::Weak,
            "at least 32",
        ),
        (VerifyingKey::hs256(""), KeyErrorKind::Weak, "0 bytes"),
        (
            VerifyingKey::rs256_pem(include_str!("fixtures/rsa1024.public.pem")),
            KeyErrorKind::Weak,
            "1024 bits",
        ),
        (
            VerifyingKey::rs256_pem(include_str!("fixtures/rsa.private.pem")),
            KeyErrorKind::Format,
            "private key",
        ),
        (
            VerifyingKey::rs256_pem(include_str!("fixtures/rsa.certificate.pem")),
            KeyErrorKind::Format,
            "certificate",
        ),
        (
            VerifyingKey::rs256_pem(P256),
            KeyErrorKind::Format,
            "no RSA public key",
        ),
        (
            VerifyingKey::rs256_pem(""),
            KeyErrorKind::Format,
            "-----BEGIN PUBLIC KEY-----",
        ),
        (
            VerifyingKey::rs256_pem(b"\xff"),
            KeyErrorKind::Format,
            "text",
        ),
        (
            VerifyingKey::es256_pem(RSA),
            KeyErrorKind::Format,
            "no P-256 public key",
        ),
        (
            VerifyingKey::es256_pem(include_str!("fixtures/p384.public.pem")),
            KeyErrorKind::Format,
            "P-256",
        ),
        (
            VerifyingKey::es256_pem(include_str!("fixtures/k256.public.pem")),
            KeyErrorKind::Format,
            "no public key",
        ),
        (
            VerifyingKey::eddsa_pem(P256),
            KeyErrorKind::Format,
            "no Ed25519 public key",
        ),
        (VerifyingKey::eddsa_raw([1; 31]), KeyErrorKind::Format, "31"),
        (VerifyingKey::eddsa_raw([1; 33]), KeyErrorKind::Format, "33"),
        (
            VerifyingKey::eddsa_raw(""),
            KeyErrorKind::Format,
            "32 bytes",
        ),
    ] {
        let error = key.check().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_layer_that_would_be_unsafe_is_not_built() {
    let builder = || tenant_auth::layer(Fixture::new().tenants);
    let minter = TokenMinter::eddsa_generate("a").unwrap();
    let issuer = || {
        Issuer::new(ISSUER)
            .audience("api")
            .key(minter.verifying_key())
    };
    let jwt = |issuer: Issuer| tenant_auth::layer(Fixture::new().tenants).jwt(issuer);
    assert!(jwt(issuer()).build().is_ok());
    let cases: Vec<(AuthLayerBuilder, &str)> = vec![
        (builder(), "no way in; add `.jwt("),
        (
            jwt(Issuer::new("").audience("api").key(minter.verifying_key())),
            "the name is empty",
        ),
        (
            jwt(Issuer::new(ISSUER).audience("").key(minter.verifying_key())),
            "an audience is empty",
        ),
        (jwt(issuer().audience("")), "an audience is empty"),
        (
            jwt(Issuer::new(ISSUER).audience("api")),
            "it has no key; add `.key(..)`",
        ),
        (
            jwt(Issuer::new(ISSUER)
                .audience("api")
                .key_set(KeySet::from_json(r#"{"keys":[{}]}"#).unwrap())),
            "none of the 1 keys of its set",
        ),
        (
            jwt(issuer().key(VerifyingKey::hs256("short").kid("b"))),
            "key \"b\": the HS256 secret has 5 bytes; use at least 32",
        ),
        (
            jwt(issuer().key(minter.verifying_key())),
            "two EdDSA keys are named \"a\"",
        ),
        (jwt(issuer().tenant_claim("")), "without a name"),
        (
            jwt(issuer().tenant_claim("sub")),
            "choose another for the tenant",
        ),
        (
            jwt(issuer().tenant_claim("principal_kind")),
            "read from one claim",
        ),
        (jwt(issuer().typ("")), "`typ` is empty"),
        (
            jwt(issuer().leeway(Duration::from_secs(301))),
            "use at most 300s",
        ),
        (jwt(issuer().max_age(Duration::ZERO)), "refuses every token"),
        (jwt(issuer()).jwt(issuer()), "is given twice"),
        (jwt(issuer()).max_token_len(63), "choose 64 to 65536"),
        (jwt(issuer()).max_token_len(65_537), "choose 64 to 65536"),
        (jwt(issuer()).realm("a\"b"), "the realm"),
        (jwt(issuer()).realm("a\r\nb"), "the realm"),
        (
            jwt(issuer()).public(http::Method::GET, "health"),
            "begins with `/`",
        ),
    ];
    for (builder, sentence) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.contains(sentence),
            "expected {sentence:?}, got {error:?}"
        );
    }
    let error = ApiKeys::in_memory("sk", "live", [1; 31])
        .unwrap_err()
        .to_string();
    assert!(error.contains("31 bytes; use at least 32"), "{error}");
}

#[test]
fn claims_and_templates_that_would_be_unsafe_are_not_built() {
    let minter = TokenMinter::eddsa_generate("a").unwrap();
    let issuer = || {
        Issuer::new(ISSUER)
            .audience("api")
            .key(minter.verifying_key())
    };
    let jwt = |issuer: Issuer| tenant_auth::layer(Fixture::new().tenants).jwt(issuer);
    let cases: Vec<(AuthLayerBuilder, &str)> = vec![
        (
            jwt(issuer().tenant_path(Vec::<String>::new())),
            "1 to 8 names",
        ),
        (jwt(issuer().tenant_path(["org", ""])), "without a name"),
        (jwt(issuer().keep_claim("")), "without a name"),
        (jwt(issuer().keep_claim("sub")), "is read already"),
        (
            jwt((0..33).fold(issuer(), |issuer, n| issuer.keep_claim(format!("c{n}")))),
            "keep at most 32",
        ),
        (
            jwt(Issuer::template(ISSUER)
                .audience("api")
                .key(minter.verifying_key())),
            "a template has one `{tenant}`",
        ),
        (
            jwt(Issuer::template("{tenant}.example.com")
                .audience("api")
                .key(minter.verifying_key())),
            "not at its beginning",
        ),
        (
            jwt(Issuer::template("https://id.example.com/{tenant}")
                .audience("api")
                .fixed_tenant(TenantId::parse("acme").unwrap())
                .key(minter.verifying_key())),
            "choose one",
        ),
    ];
    for (builder, sentence) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.contains(sentence),
            "expected {sentence:?}, got {error:?}"
        );
    }
}
