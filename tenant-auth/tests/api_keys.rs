//! API keys: what one is, where and when it is accepted, how it ends, and how the server's secret changes.

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

use std::{collections::BTreeMap, time::Duration};

use common::{Fixture, both, in_header, new_key, now, reason, with_header};
use futures_util::FutureExt;
use http::Request;
use tenant_auth::{
    ApiKeyError, ApiKeys, NewApiKey, Principal, PrincipalId, PrincipalKind, TenantId,
};
use tenant_context::{ClientAddress, EndReason, Network, PeerAddress, RequestHead, TenantContext};
use tenant_testkit::ManualClock;

#[test]
fn an_api_key_is_taken_in_three_forms() {
    let fixture = Fixture::new();
    let (secret, id) = now(fixture.keys.issue(
        new_key("acme", "ci")
            .scopes(["reports:write"])
            .roles(["bot"]),
    ));
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
    let stranger = ApiKeys::in_memory("sk", "live", [7; 32]).unwrap();
    let (unknown, _) = now(stranger.issue(new_key("acme", "ci")));
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
    let (cached, _) = now(fixture.keys.issue(new_key("acme", "ci").expires_at(ends)));
    let (unused, _) = now(fixture.keys.issue(new_key("acme", "ci").expires_at(ends)));
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

    now(fixture.keys.revoke(&acme(), &id));
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
    let unknown = tenant_auth::CredentialId::parse("key_unknown").unwrap();
    let unknown = fixture.keys.revoke(&acme(), &unknown).now_or_never();
    assert!(matches!(unknown, Some(Err(ApiKeyError::Unknown))));
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
    let keys = ApiKeys::in_memory("sk", "live", [7; 32]).unwrap();
    let auth = tenant_auth::layer(tenants)
        .api_keys(keys.clone())
        .authenticate()
        .unwrap();
    let (secret, id) = now(keys.issue(new_key("acme", "ci")));
    let (head, ()) = in_header(secret.expose()).into_parts();

    let mut deciding = std::pin::pin!(TenantContext::admit(&auth, &RequestHead::new(&head)).wait());
    assert!(
        deciding.as_mut().now_or_never().is_none(),
        "the look-up waits"
    );
    now(keys.revoke(&acme(), &id));
    gate.open();
    assert_eq!(reason(deciding.now_or_never().unwrap()), "revoked");
    let again = TenantContext::admit(&auth, &RequestHead::new(&head))
        .wait()
        .now_or_never();
    assert_eq!(reason(again.unwrap()), "revoked");
}

#[test]
fn a_key_for_one_tenant_is_not_one_for_another() {
    let fixture = Fixture::new();
    let service = Principal::service(PrincipalId::parse("ci").unwrap());
    let new = |tenant: &str| NewApiKey::new(TenantId::parse(tenant).unwrap(), service.clone());
    let (acme, _) = now(fixture.keys.issue(new("acme")));
    let (globex, _) = now(fixture.keys.issue(new("globex")));
    for _warm in 0..2 {
        for (key, tenant) in [(&acme, "acme"), (&globex, "globex")] {
            let context = fixture.admit(in_header(key.expose())).unwrap();
            assert_eq!(context.tenant_id().as_str(), tenant);
        }
    }
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
fn i5_a_revoked_key_ends_what_it_admitted_together_with_a_token() {
    let fixture = Fixture::new();
    let token = fixture.good();
    let (secret, id) = fixture.api_key("acme", "ada");
    for _cold_then_warm in 0..2 {
        assert_eq!(reason(fixture.admit(both(&token, secret.expose()))), "ok");
    }
    let joint = fixture.admit(both(&token, secret.expose())).unwrap();
    let alone = fixture.bearer(&token).unwrap();
    let mut ended = joint.ended();
    assert_eq!((&mut ended).now_or_never(), None);
    now(fixture.keys.revoke(&acme(), &id));
    assert_eq!(
        reason(fixture.admit(both(&token, secret.expose()))),
        "revoked"
    );
    assert_eq!(joint.check().unwrap_err().reason(), "revoked");
    assert_eq!(ended.now_or_never(), Some(EndReason::Revoked));
    alone.check().unwrap();
    assert_eq!(fixture.reason(&token), "ok", "the token alone stands");
}

#[test]
fn i5_two_credentials_end_with_the_first_of_them() {
    let fixture = Fixture::new();
    let ends = ManualClock::START.saturating_add(Duration::from_secs(60));
    let owner = new_key("acme", "ada").expires_at(ends);
    let (secret, _) = now(fixture.keys.issue(owner));
    let token = fixture.good();
    let joint = fixture.admit(both(&token, secret.expose())).unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(joint.check().unwrap_err().reason(), "expired");
    assert_eq!(
        reason(fixture.admit(both(&token, secret.expose()))),
        "expired"
    );
    assert_eq!(fixture.reason(&token), "ok");
}

#[test]
fn a_key_has_a_kind_labels_and_a_beginning() {
    let fixture = Fixture::new();
    let begins = ManualClock::START.saturating_add(Duration::from_secs(60));
    let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
    let new = NewApiKey::new(TenantId::parse("acme").unwrap(), bot)
        .not_before(begins)
        .issued_at(ManualClock::START)
        .label("team", "billing");
    let (secret, _) = now(fixture.keys.issue(new));
    assert_eq!(
        reason(fixture.admit(in_header(secret.expose()))),
        "not_yet_valid"
    );
    fixture.clock.advance(Duration::from_secs(60));
    let context = fixture.admit(in_header(secret.expose())).unwrap();
    assert_eq!(context.principal().kind(), PrincipalKind::Agent);
    assert_eq!(context.issued_at(), Some(ManualClock::START));
    let labels: BTreeMap<String, String> = context.claim("labels").unwrap();
    assert_eq!(labels["team"], "billing");
}

#[test]
fn i6_a_keys_description_has_bounds() {
    let keys = Fixture::new().keys;
    let any: Network = "192.0.2.0/24".parse().unwrap();
    let new = || new_key("acme", "ci");
    let labels =
        |count: usize| (0..count).fold(new(), |key, n| key.label(format!("label-{n}"), "x"));
    for (new, why) in [
        (labels(17), "16 labels"),
        (new().label("a".repeat(257), ""), "256 bytes"),
        (new().label("a", "b".repeat(257)), "256 bytes"),
        (new().description("a".repeat(257)), "256 bytes"),
        (new().allowed_ips(vec![any; 65]), "64 networks"),
        (new().scopes(vec!["a"; 257]), "256 scopes"),
        (
            new()
                .not_before(ManualClock::START)
                .expires_at(ManualClock::START),
            "before it begins",
        ),
    ] {
        let error = keys.issue(new).now_or_never().unwrap();
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    now(keys.issue(labels(16)));
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn from(key: &str, address: Option<&str>) -> Request<()> {
    let mut request = in_header(key);
    if let Some(address) = address {
        let peer = PeerAddress::new(std::net::SocketAddr::new(address.parse().unwrap(), 4711));
        request.extensions_mut().insert(peer);
    }
    request
}

#[test]
fn a_key_is_accepted_from_its_networks_alone_cached_or_not() {
    let fixture = Fixture::new();
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|network| network.parse().unwrap());
    let new = new_key("acme", "ci").allowed_ips(networks);
    let (secret, _) = now(fixture.keys.issue(new));
    let key = secret.expose();
    for _cold_then_warm in 0..2 {
        for (address, expected) in [
            (Some("192.0.2.7"), "ok"),
            (Some("::ffff:192.0.2.7"), "ok"),
            (Some("2001:db8:1::1"), "ok"),
            (Some("192.0.3.7"), "api_key_network"),
            (Some("::ffff:192.0.3.7"), "api_key_network"),
            (Some("::192.0.2.7"), "api_key_network"),
            (Some("2001:db9::1"), "api_key_network"),
            (None, "api_key_network"),
        ] {
            assert_eq!(
                reason(fixture.admit(from(key, address))),
                expected,
                "{address:?}"
            );
        }
    }
    let mut spoofed = from(key, Some("203.0.113.9"));
    for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let value = http::HeaderValue::from_static("192.0.2.7");
        spoofed.headers_mut().insert(name, value);
    }
    assert_eq!(
        ClientAddress::of(spoofed.extensions()).ip(),
        "203.0.113.9".parse().ok()
    );
    assert_eq!(reason(fixture.admit(spoofed)), "api_key_network");

    let token = fixture.good();
    let owner = new_key("acme", "ada").allowed_ips(["192.0.2.0/24".parse().unwrap()]);
    let (secret, _) = now(fixture.keys.issue(owner));
    for _cold_then_warm in 0..2 {
        for (address, expected) in [("192.0.2.7", "ok"), ("192.0.3.7", "api_key_network")] {
            let mut request = both(&token, secret.expose());
            let peer = from("x", Some(address)).extensions().clone();
            *request.extensions_mut() = peer;
            assert_eq!(reason(fixture.admit(request)), expected, "beside a token");
        }
    }
}

#[test]
fn the_servers_secret_is_rotated_under_load_and_no_key_in_use_is_lost() {
    let fixture = Fixture::new();
    let (used, _) = fixture.api_key("acme", "used");
    let (cached, _) = fixture.api_key("acme", "cached");
    let (unused, _) = fixture.api_key("acme", "unused");
    assert_eq!(reason(fixture.admit(in_header(cached.expose()))), "ok");
    fixture.keys.rotate_secret([8; 32]).unwrap();
    assert_eq!(now(fixture.keys.under_old_secrets()), 3);
    let (new, _) = fixture.api_key("acme", "new");
    for key in [&used, &cached, &new] {
        assert_eq!(reason(fixture.admit(in_header(key.expose()))), "ok");
    }
    assert_eq!(now(fixture.keys.under_old_secrets()), 1);
    fixture.keys.retire_old_secrets();
    for key in [&used, &cached, &new] {
        assert_eq!(reason(fixture.admit(in_header(key.expose()))), "ok");
    }
    assert_eq!(
        reason(fixture.admit(in_header(unused.expose()))),
        "api_key_unknown"
    );
    for secret in 1..ApiKeys::MAX_SECRETS {
        fixture
            .keys
            .rotate_secret([u8::try_from(secret).unwrap(); 32])
            .unwrap();
    }
    assert!(
        fixture.keys.rotate_secret([9; 32]).is_err(),
        "secrets are bounded"
    );
    assert!(fixture.keys.rotate_secret([9; 31]).is_err());
    assert_eq!(reason(fixture.admit(in_header(used.expose()))), "ok");
}

#[test]
fn i5_a_key_that_was_never_presented_ends_with_its_secret_wherever_it_is_held() {
    let fixture = Fixture::new();
    let (secret, _) = fixture.api_key("acme", "ci");
    let context = fixture.admit(in_header(secret.expose())).unwrap();
    fixture.keys.rotate_secret([8; 32]).unwrap();
    context.check().unwrap();
    fixture.keys.retire_old_secrets();
    assert_eq!(context.check().unwrap_err().reason(), "revoked");
}

#[test]
fn i5_all_keys_of_one_who_leaves_are_revoked_and_nobody_elses() {
    let fixture = Fixture::new();
    let keys = ["ada", "ada", "bob"].map(|who| fixture.api_key("acme", who).0);
    let elsewhere = fixture.api_key("globex", "ada").0;
    let ada = PrincipalId::parse("ada").unwrap();
    assert_eq!(now(fixture.keys.revoke_all_of(&acme(), &ada)), 2);
    let reasons = keys.map(|key| reason(fixture.admit(in_header(key.expose()))));
    assert_eq!(reasons, ["revoked", "revoked", "ok"]);
    assert_eq!(reason(fixture.admit(in_header(elsewhere.expose()))), "ok");
}
