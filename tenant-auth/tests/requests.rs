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

use std::{error::Error, sync::Arc, time::Duration};

use common::{Fixture, ISSUER, ada, bearer, new_key, reason, with_header};
use futures_util::FutureExt;
use http::{HeaderValue, Request, Uri};
use proptest::prelude::*;
use tenant_auth::{MemoryApiKeys, NewToken, Principal, PrincipalId, RejectionKind, TenantId};
use tenant_context::{EndReason, RequestHead, TenantContext};
use tenant_testkit::ManualClock;

fn in_header(key: &str) -> Request<()> {
    with_header("x-api-key", key.as_bytes())
}

fn both(token: &str, key: &str) -> Request<()> {
    let mut request = bearer(token);
    let key = HeaderValue::from_str(key).unwrap();
    request.headers_mut().insert("x-api-key", key);
    request
}

#[test]
fn an_api_key_is_taken_in_three_forms() {
    let fixture = Fixture::new();
    let (secret, id) = fixture
        .keys
        .issue(
            new_key("acme", "ci")
                .scopes(["reports:write"])
                .roles(["bot"]),
        )
        .unwrap();
    let key = secret.expose();
    for request in [
        in_header(key),
        with_header("authorization", format!("ApiKey {key}").as_bytes()),
        with_header("authorization", format!("apikey {key}").as_bytes()),
        with_header("authorization", format!("Bearer {key}").as_bytes()),
        with_header("authorization", format!("BEARER   {key}").as_bytes()),
    ] {
        let context = fixture.admit(request).unwrap();
        assert_eq!(context.tenant_id().as_str(), "acme");
        assert_eq!(context.principal().id().as_str(), "ci");
        assert_eq!(context.credential(), Some(&id));
        assert!(context.has_scope("reports:write") && context.has_role("bot"));
    }
}

#[test]
fn bad_api_keys_are_refused_with_their_reason() {
    let fixture = Fixture::new();
    let key = fixture.api_key("acme", "ci").0;
    let key = key.expose();
    let stranger = MemoryApiKeys::new("sk", "live", [7; 32]).unwrap();
    let (unknown, _) = stranger.issue(new_key("acme", "ci")).unwrap();
    let last = if key.ends_with('0') { "1" } else { "0" };
    for (key, expected) in [
        (unknown.expose().to_owned(), "api_key_unknown"),
        (
            format!("{}{last}", &key[..key.len() - 1]),
            "api_key_checksum",
        ),
        (key[..key.len() - 1].to_owned(), "api_key_format"),
        (format!("{key}x"), "api_key_format"),
        (key.replace("sk_live", "sk_test"), "api_key_format"),
        (key.to_ascii_uppercase(), "api_key_format"),
        ("sk_live_".to_owned(), "api_key_format"),
        ("x".to_owned(), "api_key_format"),
        (fixture.good(), "api_key_format"),
        ("k".repeat(8193), "too_long"),
    ] {
        assert_eq!(reason(fixture.admit(in_header(&key))), expected, "{key}");
    }
}

#[test]
fn an_api_key_expires() {
    let fixture = Fixture::new();
    let ends = ManualClock::START.saturating_add(Duration::from_secs(60));
    let (cached, _) = fixture
        .keys
        .issue(new_key("acme", "ci").expires_at(ends))
        .unwrap();
    let (unused, _) = fixture
        .keys
        .issue(new_key("acme", "ci").expires_at(ends))
        .unwrap();
    assert_eq!(reason(fixture.admit(in_header(cached.expose()))), "ok");
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(reason(fixture.admit(in_header(cached.expose()))), "expired");
    assert_eq!(reason(fixture.admit(in_header(unused.expose()))), "expired");
}

#[test]
fn i5_a_revoked_key_is_refused_at_its_next_request_although_cached() {
    let fixture = Fixture::new();
    let (secret, id) = fixture.api_key("acme", "ci");
    let (other, _) = fixture.api_key("acme", "other");
    let context = fixture.admit(in_header(secret.expose())).unwrap();
    assert_eq!(reason(fixture.admit(in_header(other.expose()))), "ok");
    let mut ended = context.ended();
    assert_eq!((&mut ended).now_or_never(), None);

    assert!(fixture.keys.revoke(&id));
    assert_eq!(reason(fixture.admit(in_header(secret.expose()))), "revoked");
    assert_eq!(
        context.check().unwrap_err().reason(),
        "revoked",
        "wherever it is held"
    );
    assert_eq!(ended.now_or_never(), Some(EndReason::Revoked));
    assert_eq!(
        reason(fixture.admit(in_header(other.expose()))),
        "ok",
        "and nobody else's"
    );
    assert!(
        !fixture
            .keys
            .revoke(&tenant_auth::CredentialId::parse("key_unknown").unwrap())
    );
}

#[test]
fn i5_a_key_revoked_while_its_tenant_is_looked_up_is_refused() {
    let clock = ManualClock::new();
    let gate = tenant_testkit::Gate::closed();
    let registry = Slow(gate.clone());
    let tenants = tenant_auth::CachedRegistry::builder(registry)
        .clock(clock.clone())
        .build()
        .unwrap();
    let keys = MemoryApiKeys::new("sk", "live", [7; 32]).unwrap();
    let auth = tenant_auth::layer(tenants)
        .api_keys(keys.clone())
        .authenticate()
        .unwrap();
    let (secret, id) = keys.issue(new_key("acme", "ci")).unwrap();
    let (head, ()) = in_header(secret.expose()).into_parts();

    let mut deciding = std::pin::pin!(TenantContext::admit(&auth, &RequestHead::new(&head)).wait());
    assert!(
        deciding.as_mut().now_or_never().is_none(),
        "the look-up waits"
    );
    keys.revoke(&id);
    gate.open();
    assert_eq!(reason(deciding.now_or_never().unwrap()), "revoked");
    let again = TenantContext::admit(&auth, &RequestHead::new(&head))
        .wait()
        .now_or_never();
    assert_eq!(reason(again.unwrap()), "revoked");
}

struct Slow(tenant_testkit::Gate);

impl tenant_context::TenantRegistry for Slow {
    async fn load(
        &self,
        id: &TenantId,
    ) -> Result<Option<tenant_auth::TenantRecord>, tenant_context::BoxError> {
        self.0.pass().await;
        Ok(Some(tenant_auth::TenantRecord::new(id.clone())))
    }
}

#[test]
fn i5_suspension_reaches_cached_credentials() {
    let fixture = Fixture::new();
    let acme = TenantId::parse("acme").unwrap();
    let (key, _) = fixture.api_key("acme", "ci");
    let token = fixture.good();
    let globex = fixture.token(NewToken::new(ISSUER, "api", "globex", "eve"));
    for request in [bearer(&token), bearer(&globex), in_header(key.expose())] {
        assert_eq!(reason(fixture.admit(request)), "ok");
    }
    fixture.tenants.suspend(&acme);
    assert_eq!(fixture.reason(&token), "tenant_suspended");
    assert_eq!(
        reason(fixture.admit(in_header(key.expose()))),
        "tenant_suspended"
    );
    assert_eq!(fixture.reason(&globex), "ok");
    fixture.tenants.resume(&acme);
    assert_eq!(fixture.reason(&token), "ok");
}

#[test]
fn a_cached_token_ends_when_it_expires() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let first = fixture.bearer(&token).unwrap();
    fixture.clock.advance(Duration::from_secs(600 + 29));
    assert_eq!(fixture.reason(&token), "ok");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.reason(&token), "expired");
    assert_eq!(first.check().unwrap_err().reason(), "expired");
}

#[test]
fn a_credential_that_is_presented_again_has_one_identity() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let place = |context: &TenantContext| std::ptr::from_ref::<tenant_context::Identity>(context);
    let shared = |a: &TenantContext, b: &TenantContext| place(a) == place(b);
    let (one, two) = (
        fixture.bearer(&token).unwrap(),
        fixture.bearer(&token).unwrap(),
    );
    assert!(shared(&one, &two), "the second is a hit");
    let other = fixture.bearer(&fixture.good()).unwrap();
    assert!(!shared(&one, &other));

    let uncached = tenant_auth::layer(fixture.tenants.clone())
        .api_keys(fixture.keys.clone())
        .cache_capacity(0)
        .authenticate()
        .unwrap();
    let key = fixture.api_key("acme", "ci").0;
    let uncached = Fixture {
        auth: uncached,
        ..fixture
    };
    let (one, two) = (
        uncached.admit(in_header(key.expose())).unwrap(),
        uncached.admit(in_header(key.expose())).unwrap(),
    );
    assert!(!shared(&one, &two));
}

#[test]
fn i6_the_cache_is_bounded() {
    let fixture = Fixture::new();
    let auth = tenant_auth::layer(fixture.tenants.clone())
        .api_keys(fixture.keys.clone())
        .cache_capacity(64)
        .authenticate()
        .unwrap();
    let fixture = Fixture { auth, ..fixture };
    let mut held = Vec::new();
    for n in 0..1000 {
        let (key, _) = fixture.api_key("acme", &format!("ci-{n}"));
        let identity = TenantContext::downgrade(&fixture.admit(in_header(key.expose())).unwrap());
        held.push(identity);
    }
    let alive = held.iter().filter(|held| held.strong_count() > 0).count();
    assert!(
        (1..=128).contains(&alive),
        "{alive} of 1000 are held by a cache of 64"
    );
}

trait Downgrade {
    fn downgrade(&self) -> std::sync::Weak<dyn std::any::Any + Send + Sync>;
}

impl Downgrade for TenantContext {
    /// The identity's lifetime, observed through something attached to it.
    fn downgrade(&self) -> std::sync::Weak<dyn std::any::Any + Send + Sync> {
        let probe: Arc<()> = Arc::new(());
        let weak = Arc::downgrade(&probe);
        assert!(
            self.attachments()
                .attach(tenant_context::InstanceId::new(), 0, probe)
        );
        weak
    }
}

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
fn i3_the_second_credential_is_no_weaker_for_being_second() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let (secret, id) = fixture.api_key("acme", "ada");
    assert_eq!(reason(fixture.admit(both(&token, secret.expose()))), "ok");
    fixture.keys.revoke(&id);
    assert_eq!(
        reason(fixture.admit(both(&token, secret.expose()))),
        "revoked"
    );
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

#[test]
fn a_key_for_one_tenant_is_not_one_for_another() {
    let fixture = Fixture::new();
    let service = Principal::service(PrincipalId::parse("ci").unwrap());
    let new = |tenant: &str| {
        tenant_auth::NewApiKey::new(TenantId::parse(tenant).unwrap(), service.clone())
    };
    let (acme, _) = fixture.keys.issue(new("acme")).unwrap();
    let (globex, _) = fixture.keys.issue(new("globex")).unwrap();
    for _warm in 0..2 {
        for (key, tenant) in [(&acme, "acme"), (&globex, "globex")] {
            let context = fixture.admit(in_header(key.expose())).unwrap();
            assert_eq!(context.tenant_id().as_str(), tenant);
        }
    }
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
