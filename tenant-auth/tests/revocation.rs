//! What is revoked is refused from the next request on, cached or not, and also if it was being verified.

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

use std::{future::Future, pin::Pin, time::Duration};

use common::{Fixture, ISSUER, ada, bearer, both, claims, in_header, reason};
use futures_util::FutureExt;
use http::Request;
use proptest::prelude::*;
use tenant_auth::{
    CredentialId, NewToken, PrincipalId, Rejection, RejectionKind, Revocation, Revocations,
    TenantId, UnixTime,
};
use tenant_context::{Clock, EndReason, RequestHead, TenantContext};
use tenant_testkit::{Gate, ManualClock};

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn id(text: &str) -> CredentialId {
    CredentialId::parse(text).unwrap()
}

fn revocable(fixture: Fixture) -> (Fixture, Revocations) {
    let revocations = Revocations::builder(&fixture.tenants)
        .longest_life(Duration::from_secs(3600))
        .build()
        .unwrap();
    let given = revocations.clone();
    (
        fixture.layered(|layer| layer.revocations(given)),
        revocations,
    )
}

/// It is in effect before it is awaited.
fn revoke(revocations: &Revocations, revocation: Revocation) {
    drop(revocations.revoke(revocation));
}

#[test]
fn i5_each_kind_of_revocation_is_in_effect_for_the_next_request_and_reaches_what_is_held() {
    let soon = ManualClock::START.saturating_add(Duration::from_secs(1));
    let principal = |name: &str| PrincipalId::parse(name).unwrap();
    for revocation in [
        Revocation::token(acme(), id("token-1")),
        Revocation::subject(acme(), principal("ada"), soon),
        Revocation::subject(acme(), principal("bot"), soon),
        Revocation::tenant(acme(), soon),
        Revocation::issuer(ISSUER, soon),
        Revocation::signing_key(ISSUER, "main"),
    ] {
        for cached in [true, false] {
            let (fixture, revocations) = revocable(Fixture::new());
            let mut claims = claims();
            claims["jti"] = "token-1".into();
            claims["act"] = serde_json::json!({"sub": "bot"});
            let token = fixture.forge(&claims);
            let held = cached.then(|| fixture.bearer(&token).unwrap());
            let mut ended = held.as_ref().map(TenantContext::ended);
            if let Some(ended) = &mut ended {
                assert_eq!(ended.now_or_never(), None);
            }
            revoke(&revocations, revocation.clone());
            let rejection = fixture.bearer(&token).unwrap_err();
            assert_eq!(rejection.reason(), "revoked", "{revocation:?}");
            assert_eq!(rejection.kind(), RejectionKind::CredentialInvalid);
            if let Some(held) = held {
                assert_eq!(held.check().unwrap_err().reason(), "revoked");
                assert_eq!(ended.unwrap().now_or_never(), Some(EndReason::Revoked));
            }
        }
    }
}

#[test]
fn i5_a_revocation_revokes_nothing_else() {
    let now = ManualClock::START;
    let principal = |name: &str| PrincipalId::parse(name).unwrap();
    let globex = TenantId::parse("globex").unwrap();
    let (fixture, revocations) = revocable(Fixture::new());
    let mut claims = claims();
    claims["jti"] = "token-1".into();
    let token = fixture.forge(&claims);
    let (key, key_id) = fixture.api_key("acme", "ada");
    assert_eq!(fixture.reason(&token), "ok");
    for other in [
        Revocation::token(acme(), id("token-2")),
        Revocation::token(globex.clone(), id("token-1")),
        Revocation::token(acme(), key_id.clone()),
        Revocation::api_key(acme(), id("token-1")),
        Revocation::api_key(globex.clone(), key_id.clone()),
        Revocation::subject(acme(), principal("bob"), UnixTime::MAX),
        Revocation::subject(globex.clone(), principal("ada"), UnixTime::MAX),
        Revocation::tenant(globex, UnixTime::MAX),
        Revocation::issuer("https://id.example.org", UnixTime::MAX),
        Revocation::signing_key("https://id.example.org", "main"),
        Revocation::signing_key(ISSUER, "mains"),
        // Issued at that time, not before it.
        Revocation::subject(acme(), principal("ada"), now),
        Revocation::tenant(acme(), now),
        Revocation::issuer(ISSUER, now),
    ] {
        let shown = format!("{other:?}");
        revoke(&revocations, other);
        assert_eq!(fixture.reason(&token), "ok", "{shown}");
        assert_eq!(
            reason(fixture.admit(in_header(key.expose()))),
            "ok",
            "{shown}"
        );
    }
    revoke(&revocations, Revocation::tenant(acme(), UnixTime::MAX));
    assert_eq!(fixture.reason(&token), "revoked");
    assert_eq!(
        reason(fixture.admit(in_header(key.expose()))),
        "ok",
        "keys stay"
    );
    revoke(&revocations, Revocation::api_key(acme(), key_id));
    assert_eq!(reason(fixture.admit(in_header(key.expose()))), "revoked");
}

#[test]
fn i5_either_of_two_credentials_ends_what_both_admitted() {
    for by_key in [true, false] {
        let (fixture, revocations) = revocable(Fixture::new());
        let token = fixture.good();
        let (key, key_id) = fixture.api_key("acme", "ada");
        let joint = fixture.admit(both(&token, key.expose())).unwrap();
        let of_token = joint.credential().unwrap().clone();
        revoke(
            &revocations,
            if by_key {
                Revocation::api_key(acme(), key_id)
            } else {
                Revocation::token(acme(), of_token)
            },
        );
        assert_eq!(joint.check().unwrap_err().reason(), "revoked");
        assert_eq!(reason(fixture.admit(both(&token, key.expose()))), "revoked");
        let alone = [
            fixture.bearer(&token),
            fixture.admit(in_header(key.expose())),
        ]
        .map(reason);
        assert_eq!(alone == ["ok", "revoked"], by_key);
        assert_eq!(alone == ["revoked", "ok"], !by_key);
    }
}

#[test]
fn a_token_without_a_jti_is_revoked_by_its_digest_or_refused() {
    let (fixture, revocations) = revocable(Fixture::new());
    let token = fixture.forge(&common::without("jti"));
    let context = fixture.bearer(&token).unwrap();
    let digest = context.credential().unwrap().clone();
    assert!(digest.as_str().starts_with("sha256:"));
    revoke(&revocations, Revocation::token(acme(), digest));
    assert_eq!(fixture.reason(&token), "revoked");

    let strict = Fixture::with(tenant_auth::Issuer::require_jti);
    let token = strict.forge(&common::without("jti"));
    assert_eq!(strict.reason(&token), "claim_missing:jti");
    assert_eq!(strict.reason(&strict.good()), "ok");
}

#[test]
fn i5_a_token_that_could_outlive_its_revocation_is_refused() {
    let (fixture, _) = revocable(Fixture::new());
    assert_eq!(
        fixture.reason(&fixture.forge(&common::without("iat"))),
        "claim_missing:iat"
    );
    let day = fixture.token(ada().expires_in(Duration::from_secs(86_400)));
    assert_eq!(fixture.reason(&day), "life_too_long");
    let hour = fixture.token(ada().expires_in(Duration::from_secs(3600)));
    assert_eq!(fixture.reason(&hour), "ok");
    let without = Fixture::new();
    let day = without.token(ada().expires_in(Duration::from_secs(86_400)));
    assert_eq!(without.reason(&day), "ok", "only where tokens are revoked");
}

#[test]
fn i6_at_the_bound_revocations_widen_and_at_last_everything_is_refused_with_503() {
    let fixture = Fixture::new();
    let revocations = Revocations::builder(&fixture.tenants)
        .capacity(8)
        .tenant_capacity(4)
        .build()
        .unwrap();
    let fixture = fixture.layered(|layer| layer.revocations(revocations.clone()));
    let token = fixture.good();
    let globex = fixture.token(NewToken::new(ISSUER, "api", "globex", "eve"));
    assert_eq!(
        (fixture.reason(&token), fixture.reason(&globex)),
        ("ok".into(), "ok".into())
    );
    for n in 0..5 {
        revoke(
            &revocations,
            Revocation::token(acme(), id(&format!("jti-{n}"))),
        );
    }
    assert_eq!(fixture.reason(&token), "revoked", "widened to the tenant");
    assert_eq!(fixture.reason(&globex), "ok");
    for n in 0..20 {
        revoke(
            &revocations,
            Revocation::signing_key(&format!("elsewhere-{n}"), "key"),
        );
    }
    let rejection = fixture.bearer(&globex).unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::StoreUnavailable);
    assert_eq!(rejection.reason(), "revocations_full");
    assert!(revocations.len() <= 8);
}

#[test]
fn a_layer_does_not_take_revocations_of_other_tenants() {
    let fixture = Fixture::new();
    let others = Fixture::new();
    let revocations = Revocations::builder(&others.tenants).build().unwrap();
    let built = tenant_auth::layer(fixture.tenants)
        .api_keys(fixture.keys)
        .revocations(revocations)
        .build();
    assert!(built.unwrap_err().to_string().contains("another registry"));
    for builder in [
        Revocations::builder(&others.tenants).capacity(0),
        Revocations::builder(&others.tenants).tenant_capacity(0),
        Revocations::builder(&others.tenants).longest_life(Duration::ZERO),
    ] {
        assert!(
            builder
                .build()
                .unwrap_err()
                .to_string()
                .contains("must not be 0")
        );
    }
}

/// Knows every tenant, after the gate has let the look-up pass.
struct Slow(Gate);

impl tenant_context::TenantRegistry for Slow {
    async fn load(
        &self,
        id: &TenantId,
    ) -> Result<Option<tenant_auth::TenantRecord>, tenant_context::BoxError> {
        self.0.pass().await;
        Ok(Some(tenant_auth::TenantRecord::new(id.clone())))
    }
}

type Deciding = Pin<Box<dyn Future<Output = Result<TenantContext, Rejection>>>>;

fn begin(fixture: &Fixture, request: Request<()>) -> Deciding {
    let auth = fixture.auth.clone();
    let (head, ()) = request.into_parts();
    Box::pin(async move {
        TenantContext::admit(&auth, &RequestHead::new(&head))
            .wait()
            .await
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// A request with this token begins; its look-up may have to wait.
    Begin(usize),
    /// What waits is let on.
    Release,
    Hold,
    RevokeToken(usize),
    RevokeSubject(usize),
    RevokeTenant(usize),
    RevokeIssuer,
    RevokeKey,
    Forward(u64),
    Back(u64),
}

const TENANTS: [&str; 2] = ["acme", "globex"];
const SUBJECTS: [&str; 2] = ["ada", "bob"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_usize).prop_map(Step::Begin),
        3 => Just(Step::Release),
        3 => Just(Step::Hold),
        2 => (0..8_usize).prop_map(Step::RevokeToken),
        1 => (0..4_usize).prop_map(Step::RevokeSubject),
        1 => (0..2_usize).prop_map(Step::RevokeTenant),
        1 => prop_oneof![3 => Just(Step::RevokeIssuer), 1 => Just(Step::RevokeKey)],
        3 => (0..120_u64).prop_map(Step::Forward),
        1 => (0..20_u64).prop_map(Step::Back),
    ]
}

/// What is revoked by definition, for token `n`, which was issued at `issued_at`.
fn is_revoked(revoked: &[(Step, UnixTime)], n: usize, issued_at: UnixTime) -> bool {
    let (tenant, subject) = (n % 2, n / 2 % 2);
    revoked.iter().any(|(step, before)| match step {
        Step::RevokeToken(token) => *token == n,
        Step::RevokeSubject(who) => *who == tenant + 2 * subject && issued_at < *before,
        Step::RevokeTenant(of) => *of == tenant && issued_at < *before,
        Step::RevokeIssuer => issued_at < *before,
        Step::RevokeKey => true,
        _ => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i5_no_request_that_starts_after_a_revocation_is_admitted(
        steps in prop::collection::vec(step(), 1..50),
        capacity in prop_oneof![Just(1000_usize), Just(3)],
    ) {
        let gate = Gate::closed();
        gate.open();
        let fixture = Fixture::new();
        let tenants = tenant_auth::CachedRegistry::builder(Slow(gate.clone()))
            .clock(fixture.clock.clone())
            .ttl(Duration::from_secs(10))
            .max_stale(Duration::from_secs(10))
            .build()
            .unwrap();
        let revocations = Revocations::builder(&tenants)
            .longest_life(Duration::from_secs(600))
            .capacity(capacity)
            .tenant_capacity(capacity)
            .build()
            .unwrap();
        let given = revocations.clone();
        let fixture = Fixture { tenants, ..fixture }.layered(|layer| layer.revocations(given));
        let issued_at = fixture.clock.unix();
        let tokens: Vec<String> = (0..8)
            .map(|n| {
                let mut claims = claims();
                claims["jti"] = n.to_string().into();
                claims["tenant_id"] = TENANTS[n % 2].into();
                claims["sub"] = SUBJECTS[n / 2 % 2].into();
                claims["exp"] = (common::NOW + 600 - 30).into();
                fixture.forge(&claims)
            })
            .collect();

        let mut revoked: Vec<(Step, UnixTime)> = Vec::new();
        // Token, whether it was revoked when the request began, the request.
        let mut deciding: Vec<(usize, bool, Deciding)> = Vec::new();
        let mut held: Vec<(usize, TenantContext)> = Vec::new();
        for step in steps {
            let now = fixture.clock.unix();
            let tenant = |n: usize| TenantId::parse(TENANTS[n % 2]).unwrap();
            let revocation = match step {
                Step::Begin(n) => {
                    let request = begin(&fixture, bearer(&tokens[n]));
                    deciding.push((n, is_revoked(&revoked, n, issued_at), request));
                    None
                }
                Step::Release => {
                    gate.open();
                    None
                }
                Step::Hold => {
                    gate.close();
                    None
                }
                Step::Forward(secs) => {
                    fixture.clock.advance(Duration::from_secs(secs));
                    None
                }
                Step::Back(secs) => {
                    fixture.clock.set_unix(now.saturating_sub(Duration::from_secs(secs)));
                    None
                }
                Step::RevokeToken(n) => Some(Revocation::token(tenant(n), id(&n.to_string()))),
                Step::RevokeSubject(n) => {
                    let subject = PrincipalId::parse(SUBJECTS[n / 2]).unwrap();
                    Some(Revocation::subject(tenant(n), subject, now))
                }
                Step::RevokeTenant(n) => Some(Revocation::tenant(tenant(n), now)),
                Step::RevokeIssuer => Some(Revocation::issuer(ISSUER, now)),
                Step::RevokeKey => Some(Revocation::signing_key(ISSUER, "main")),
            };
            if let Some(revocation) = revocation {
                revoke(&revocations, revocation);
                revoked.push((step, now));
            }
            deciding.retain_mut(|(n, was_revoked, request)| match request.now_or_never() {
                None => true,
                Some(decision) => {
                    let admitted = decision.ok();
                    assert!(admitted.is_none() || !*was_revoked, "token {n} was admitted");
                    held.extend(admitted.map(|context| (*n, context)));
                    false
                }
            });
            for (n, context) in &held {
                let revoked = is_revoked(&revoked, *n, issued_at);
                prop_assert!(!revoked || context.check().is_err(), "token {n} is still held");
            }
        }
        prop_assert!(revocations.len() <= capacity + 1);
    }
}

#[test]
fn i5_a_token_revoked_while_its_tenant_is_looked_up_is_refused_and_its_cached_identity_too() {
    let gate = Gate::closed();
    let fixture = Fixture::new();
    let tenants = tenant_auth::CachedRegistry::builder(Slow(gate.clone()))
        .clock(fixture.clock.clone())
        .build()
        .unwrap();
    let (fixture, revocations) = revocable(Fixture { tenants, ..fixture });
    let mut claims = claims();
    claims["jti"] = "token-1".into();
    let token = fixture.forge(&claims);
    let mut deciding = begin(&fixture, bearer(&token));
    assert!(
        (&mut deciding).now_or_never().is_none(),
        "it is being verified"
    );
    revoke(&revocations, Revocation::token(acme(), id("token-1")));
    gate.open();
    assert_eq!(reason(deciding.now_or_never().unwrap()), "revoked");
    assert_eq!(fixture.reason(&token), "revoked");
}
