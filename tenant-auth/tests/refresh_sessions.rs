//! The end of a session is the end of its access tokens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{Fixture, now};
use futures_util::FutureExt;
use tenant_auth::{
    AccessToken, Principal, PrincipalId, Revocations, SigningKey, TenantId, TokenIssuer,
    refresh::{Issued, MemoryRefreshStore, NewSession, RefreshError, RefreshTokens},
};

struct World {
    fixture: Fixture,
    issuer: TokenIssuer,
    refresh: RefreshTokens<MemoryRefreshStore>,
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn human(name: &str) -> Principal {
    Principal::human(PrincipalId::parse(name).unwrap())
}

impl World {
    fn new() -> Self {
        let fixture = Fixture::new();
        let revocations = Revocations::builder(&fixture.tenants).build().unwrap();
        let issuer = TokenIssuer::builder("https://own.example.com", "api")
            .key(SigningKey::eddsa_generate("own").unwrap())
            .clock(fixture.clock.clone())
            .build()
            .unwrap();
        let store = MemoryRefreshStore::with_clock(100, fixture.clock.clone());
        let refresh = RefreshTokens::builder(fixture.tenants.clone(), store)
            .revocations(revocations.clone())
            .on_reuse(|_| ())
            .build()
            .unwrap();
        let own = issuer.as_issuer();
        let fixture = fixture.layered(|layer| layer.jwt(own).revocations(revocations));
        Self {
            fixture,
            issuer,
            refresh,
        }
    }

    fn begin(&self, of: &str, who: &str) -> Issued {
        now(self
            .refresh
            .begin(NewSession::new(tenant(of), human(who), "web")))
    }

    /// An access token of a session, as `POST /token` answers with one.
    fn access(&self, issued: &Issued) -> String {
        let session = &issued.session;
        let token = AccessToken::new(session.tenant().clone(), session.principal())
            .scopes(["invoices:read"])
            .session(session.id().to_string());
        self.issuer
            .access_token(&token)
            .unwrap()
            .expose()
            .to_owned()
    }

    fn reasons<const N: usize>(&self, tokens: [&String; N]) -> [String; N] {
        tokens.map(|token| self.fixture.reason(token))
    }

    fn rotate(&self, token: &str) -> Result<Issued, RefreshError> {
        self.refresh
            .rotate(token, "web")
            .now_or_never()
            .expect("at once")
    }
}

#[test]
fn i5_a_replay_ends_the_whole_session_and_its_access_tokens_and_no_other() {
    let world = World::new();
    let (first, other) = (world.begin("acme", "ada"), world.begin("acme", "ada"));
    let second = world.rotate(first.token.expose()).unwrap();
    let (old, new, elsewhere) = (
        world.access(&first),
        world.access(&second),
        world.access(&other),
    );
    assert_eq!(world.reasons([&old, &new, &elsewhere]), ["ok"; 3]);
    let held = world.fixture.bearer(&new).unwrap();

    assert!(matches!(
        world.rotate(first.token.expose()),
        Err(RefreshError::Reused)
    ));
    assert_eq!(
        world.reasons([&old, &new, &elsewhere]),
        ["revoked", "revoked", "ok"]
    );
    assert!(held.check().is_err(), "also where it is held");
    // One that is minted for a refresh which was under way.
    world.fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(world.fixture.reason(&world.access(&second)), "revoked");
}

#[test]
fn i5_a_sign_out_ends_the_sessions_access_tokens() {
    let world = World::new();
    let session = world.begin("acme", "ada");
    let token = world.access(&session);
    assert_eq!(world.fixture.reason(&token), "ok");
    assert!(now(world.refresh.end_session(session.session.id())));
    assert_eq!(world.fixture.reason(&token), "revoked");
    assert!(matches!(
        world.rotate(session.token.expose()),
        Err(RefreshError::Revoked)
    ));
    assert!(
        !now(world.refresh.end_session(session.session.id())),
        "once"
    );
}

#[test]
fn i5_who_leaves_has_neither_sessions_nor_access_tokens_and_the_others_have() {
    let world = World::new();
    let ada = [world.begin("acme", "ada"), world.begin("acme", "ada")];
    let others = [world.begin("acme", "bob"), world.begin("globex", "ada")];
    let tokens = ada.each_ref().map(|session| world.access(session));
    let theirs = others.each_ref().map(|session| world.access(session));
    let (acme, who) = (tenant("acme"), PrincipalId::parse("ada").unwrap());
    assert_eq!(now(world.refresh.end_all_of(&acme, &who)), 2);
    world.fixture.clock.advance(Duration::from_secs(5));
    for (session, token) in ada.iter().zip(&tokens) {
        assert_eq!(world.fixture.reason(token), "revoked");
        assert_eq!(
            world.fixture.reason(&world.access(session)),
            "revoked",
            "minted late"
        );
        assert!(matches!(
            world.rotate(session.token.expose()),
            Err(RefreshError::Revoked)
        ));
    }
    for (session, token) in others.iter().zip(&theirs) {
        assert_eq!(world.fixture.reason(token), "ok");
        world.rotate(session.token.expose()).unwrap();
    }
    let again = world.begin("acme", "ada");
    assert_eq!(
        world.fixture.reason(&world.access(&again)),
        "ok",
        "who comes back may"
    );
}

#[test]
fn i5_a_tenants_sessions_end_together() {
    let world = World::new();
    let (ada, bob, foreign) = (
        world.begin("acme", "ada"),
        world.begin("acme", "bob"),
        world.begin("globex", "ada"),
    );
    let (token, other) = (world.access(&ada), world.access(&foreign));
    assert_eq!(now(world.refresh.end_tenant(&tenant("acme"))), 2);
    assert_eq!(world.reasons([&token, &other]), ["revoked", "ok"]);
    for session in [&ada, &bob] {
        assert!(matches!(
            world.rotate(session.token.expose()),
            Err(RefreshError::Revoked)
        ));
    }
    world.rotate(foreign.token.expose()).unwrap();
}

#[test]
fn i6_one_tenants_sessions_do_not_take_anothers_room() {
    let fixture = Fixture::new();
    let store = MemoryRefreshStore::bounded(10, 2, fixture.clock.clone());
    let refresh = RefreshTokens::builder(fixture.tenants.clone(), store)
        .on_reuse(|_| ())
        .build()
        .unwrap();
    let begin = |of: &str| {
        let session = NewSession::new(tenant(of), human("ada"), "web");
        refresh.begin(session).now_or_never().unwrap().is_ok()
    };
    assert_eq!(
        [begin("acme"), begin("acme"), begin("acme")],
        [true, true, false]
    );
    assert!(begin("globex"));
    fixture.clock.advance(Duration::from_secs(91 * 86_400));
    assert!(begin("acme"), "what has expired is forgotten");
}
