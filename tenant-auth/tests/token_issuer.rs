//! Tokens of our own: what is minted, for how long, by which key.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, Request};
use serde_json::Value;
use tenant_auth::{
    AccessToken, Authenticated, CachedRegistry, Issuer, Issuers, KeyErrorKind, KeySet, Principal,
    PrincipalId, Rejection, SigningKey, TenantContext, TenantId, TokenIssuer, TokenIssuerBuilder,
};
use tenant_context::RequestHead;
use tenant_testkit::{ManualClock, tenants};
use tower::ServiceExt;

const NAME: &str = "https://id.example.com";

fn eddsa(kid: &str) -> SigningKey {
    SigningKey::eddsa_generate(kid).unwrap()
}

fn builder() -> TokenIssuerBuilder {
    TokenIssuer::builder(NAME, "api").key(eddsa("one"))
}

fn ada() -> Principal {
    Principal::human(PrincipalId::parse("ada").unwrap())
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn present(auth: &Authenticated, token: &str) -> Result<TenantContext, Rejection> {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    TenantContext::admit(auth, &RequestHead::new(&head))
        .wait()
        .now_or_never()
        .unwrap()
}

fn trusting(tenants: &CachedRegistry, issuer: Issuer) -> Authenticated {
    tenant_auth::layer(tenants.clone())
        .jwt(issuer)
        .authenticate()
        .unwrap()
}

fn claims(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// The name of the key that signed a token.
fn kid(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .unwrap();
    serde_json::from_slice::<Value>(&json).unwrap()["kid"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_algorithm_mints_what_its_published_key_verifies() {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme"], &clock);
    let rsa = include_bytes!("fixtures/rsa.private.pem");
    let p256 = include_bytes!("fixtures/p256.private.pem");
    for key in [
        eddsa("a"),
        SigningKey::eddsa_pem("b", include_bytes!("fixtures/ed25519.private.pem")).unwrap(),
        SigningKey::es256_generate("c").unwrap(),
        SigningKey::es256_pem("d", p256).unwrap(),
        SigningKey::rs256_pem("e", rsa).unwrap(),
    ] {
        let issuer = TokenIssuer::builder(NAME, "api")
            .key(key)
            .clock(clock.clone())
            .build()
            .unwrap();
        let token = AccessToken::new(acme(), ada())
            .scopes(["a:read", "b:*"])
            .roles(["viewer"])
            .session("s1");
        let token = issuer.access_token(&token).unwrap();
        let fetched = Issuer::new(NAME)
            .audience("api")
            .key_set(KeySet::from_json(issuer.jwks()).unwrap());
        for trust in [fetched, issuer.as_issuer()] {
            let context = present(&trusting(&tenants, trust), token.expose()).unwrap();
            assert_eq!(context.principal(), &ada());
            assert_eq!(context.scopes().collect::<Vec<_>>(), ["a:read", "b:*"]);
            assert_eq!(context.credential(), Some(token.id()));
            assert_eq!(context.session().map(AsRef::as_ref), Some("s1"));
        }
    }
}

#[test]
fn a_token_says_when_it_was_issued_and_which_it_is_and_ends_in_minutes() {
    let clock = ManualClock::new();
    let issuer = builder().clock(clock.clone()).build().unwrap();
    let now = ManualClock::START.as_secs();
    let human = issuer
        .access_token(&AccessToken::new(acme(), ada()))
        .unwrap();
    let service = Principal::service(PrincipalId::parse("billing").unwrap());
    let service = issuer
        .access_token(&AccessToken::new(acme(), service))
        .unwrap();
    for (token, minutes) in [(&human, 15), (&service, 5)] {
        let claims = claims(token.expose());
        assert_eq!(claims["iat"], now);
        assert_eq!(claims["exp"], now + minutes * 60);
        assert_eq!(claims["jti"], token.id().as_str());
        assert_eq!(token.expires_at().as_secs(), now + minutes * 60);
    }
    assert_ne!(human.id(), service.id());
    assert!(!format!("{human:?}").contains(human.expose()));
}

#[test]
fn a_life_above_an_hour_does_not_build() {
    let secs = Duration::from_secs;
    assert!(builder().access_ttl(secs(3600)).build().is_ok());
    for builder in [
        builder().access_ttl(secs(3601)),
        builder().access_ttl(Duration::ZERO),
        builder().service_ttl(secs(901)),
        builder().max_depth(0),
        builder().max_depth(9),
        builder().publish_ahead(secs(86_401)),
        TokenIssuer::builder("", "api").key(eddsa("one")),
        TokenIssuer::builder(NAME, "").key(eddsa("one")),
        TokenIssuer::builder(NAME, "api"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with("TokenIssuer"), "{error}");
    }
    let issuer = builder().build().unwrap();
    for ttl in [Duration::ZERO, secs(3601)] {
        assert!(
            issuer
                .access_token(&AccessToken::new(acme(), ada()).ttl(ttl))
                .is_err()
        );
    }
    for scope in ["", "a b", "a\"", "ä"] {
        assert!(
            issuer
                .access_token(&AccessToken::new(acme(), ada()).scopes([scope]))
                .is_err()
        );
    }
    let many = (0..2000).map(|n| format!("scope-{n}:read"));
    assert!(
        issuer
            .access_token(&AccessToken::new(acme(), ada()).scopes(many))
            .is_err()
    );
}

#[test]
fn a_token_that_every_verifier_would_refuse_is_not_minted() {
    let issuer = builder().build().unwrap();
    let minted = |token: &AccessToken| issuer.access_token(token).map(drop);
    let ada = || AccessToken::new(acme(), ada());
    let many = |grants: usize| (0..grants).map(|n| format!("a:{n}"));
    assert!(minted(&ada().scopes(many(256)).roles(many(256))).is_ok());
    for token in [ada().scopes(many(257)), ada().roles(many(257))] {
        let error = minted(&token).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::TooLong);
    }
    assert!(minted(&ada().session("s1")).is_ok());
    for session in ["", "a b"] {
        let error = minted(&ada().session(session)).unwrap_err();
        assert!(error.to_string().starts_with("the session"), "{error}");
    }
}

#[test]
fn keys_rotate_with_overlap() {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme"], &clock);
    let ahead = Duration::from_secs(300);
    let issuer = builder()
        .publish_ahead(ahead)
        .clock(clock.clone())
        .build()
        .unwrap();
    let issuers = Issuers::new();
    issuers.add(issuer.as_issuer()).unwrap();
    let auth = tenant_auth::layer(tenants)
        .issuers(issuers.clone())
        .authenticate()
        .unwrap();
    let mint = || {
        let token = AccessToken::new(acme(), ada()).ttl(Duration::from_secs(3600));
        issuer.access_token(&token).unwrap()
    };
    let published = |kid: &str| issuer.jwks().contains(&format!("\"{kid}\""));

    issuer.rotate(eddsa("two")).unwrap();
    assert!(issuer.rotate(eddsa("two")).is_err(), "a name for each key");
    issuers.replace(issuer.as_issuer()).unwrap();
    assert!(
        published("one") && published("two"),
        "published before it signs"
    );
    assert_eq!(kid(mint().expose()), "one");
    clock.advance(Duration::from_secs(299));
    let last = mint();
    assert_eq!(kid(last.expose()), "one");
    clock.advance(Duration::from_secs(1));
    let first = mint();
    assert_eq!(kid(first.expose()), "two");

    clock.advance(Duration::from_secs(3598));
    issuers.replace(issuer.as_issuer()).unwrap();
    assert!(
        present(&auth, last.expose()).is_ok(),
        "the old key's last token lives to its end"
    );
    assert!(present(&auth, first.expose()).is_ok());
    clock.advance(Duration::from_secs(400));
    assert!(!published("one") && published("two"));
}

#[test]
fn a_key_that_leaked_is_withdrawn_at_once() {
    let clock = ManualClock::new();
    let issuer = builder().clock(clock.clone()).build().unwrap();
    assert!(!issuer.withdraw("one"), "the last key stays");
    issuer.rotate(eddsa("two")).unwrap();
    assert!(!issuer.withdraw("three"));
    assert!(issuer.withdraw("one"));
    assert!(!issuer.jwks().contains("\"one\""));
    let token = issuer
        .access_token(&AccessToken::new(acme(), ada()))
        .unwrap();
    let tenants = tenants(&["acme"], &clock);
    assert!(
        present(&trusting(&tenants, issuer.as_issuer()), token.expose()).is_ok(),
        "the other one signs"
    );
    clock.advance(Duration::from_secs(100_000));
    assert!(issuer.jwks().contains("\"two\""), "and stays published");
}

/// Verifiers may not have fetched the key that is to follow.
#[test]
fn a_withdrawn_key_that_does_not_sign_leaves_the_rotation_as_it_is() {
    let clock = ManualClock::new();
    let issuer = builder().clock(clock.clone()).build().unwrap();
    let signing = || {
        let token = issuer.access_token(&AccessToken::new(acme(), ada()));
        kid(token.unwrap().expose())
    };
    let wait = || clock.advance(Duration::from_secs(300));
    issuer.rotate(eddsa("two")).unwrap();
    wait();
    issuer.rotate(eddsa("three")).unwrap();
    assert_eq!(signing(), "two");
    assert!(issuer.withdraw("one"));
    assert_eq!(signing(), "two", "as before");
    wait();
    assert_eq!(signing(), "three", "at its time");

    issuer.rotate(eddsa("four")).unwrap();
    assert!(issuer.withdraw("four"));
    clock.advance(Duration::from_secs(100_000));
    assert_eq!(signing(), "three");
    assert!(issuer.jwks().contains("\"three\""), "nothing follows it");
}

#[test]
fn i6_the_published_keys_are_bounded() {
    let issuer = builder().clock(ManualClock::new()).build().unwrap();
    let accepted = (0..40)
        .filter(|n| issuer.rotate(eddsa(&format!("k{n}"))).is_ok())
        .count();
    assert_eq!(accepted, 15);
}

#[test]
fn the_key_set_is_served_to_be_cached_and_to_nobody_else() {
    let issuer = builder()
        .publish_ahead(Duration::from_secs(60))
        .build()
        .unwrap();
    let ask = |method: Method| {
        let request = Request::builder().method(method).body(()).unwrap();
        issuer
            .jwks_service()
            .oneshot(request)
            .now_or_never()
            .unwrap()
            .unwrap()
    };
    let answer = ask(Method::GET);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/jwk-set+json");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=60");
    let set: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(set["keys"][0]["kid"], "one");
    assert_eq!(set["keys"][0].get("d"), None, "no private part");
    assert_eq!(ask(Method::POST).status(), 405);
}
