//! What the token of a call allows, and for how long it is used.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use parking_lot::Mutex;
use tenant_auth::{CachedRegistry, CredentialId, Principal, PrincipalId, RejectionKind};
use tenant_context::{
    Claims, MemoryRegistry, RoleGrants, RoleMapping, Roles, TenantId, TenantRecord, TenantState,
};
use tenant_testkit::{ManualClock, claims, context_with};

use crate::fixture::{Fixture, MINUTE};

#[test]
fn a_token_allows_no_more_than_its_context_and_ends_no_later() {
    let fixture = Fixture::new();
    let reader = context_with(
        &fixture.tenants,
        claims("acme", "ada").scopes(["invoices:read"]),
    );
    assert_eq!(
        fixture.send(&reader, Request::new(())),
        Err(RejectionKind::InsufficientScope)
    );
    let deep = fixture.context(|mut claims| {
        let bot = Principal::agent(PrincipalId::parse("bot").unwrap());
        claims.actors = vec![bot; Claims::MAX_ACTORS];
        claims
    });
    assert_eq!(
        fixture.send(&deep, Request::new(())),
        Err(RejectionKind::CredentialInvalid)
    );
    let short = fixture.context(|mut claims| {
        let end = ManualClock::START.saturating_add(MINUTE);
        claims.stated_expiry = Some(end);
        claims.expires_at = end.saturating_add(MINUTE);
        claims
    });
    let headers = fixture.send(&short, Request::new(())).unwrap();
    assert_eq!(fixture.ask(headers.clone()).0, StatusCode::OK);
    fixture.clock.advance(MINUTE);
    assert_eq!(fixture.ask(headers).0, StatusCode::UNAUTHORIZED);
    assert!(short.check().is_ok(), "the leeway");
    assert_eq!(
        fixture.send(&short, Request::new(())),
        Err(RejectionKind::CredentialInvalid),
        "what would be minted in it would outlive it"
    );
}

#[test]
fn a_token_is_reused_until_shortly_before_its_end_and_by_its_own_identity_alone() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let first = fixture.token(&ada);
    fixture.clock.advance(4 * MINUTE);
    assert_eq!(fixture.token(&ada), first);
    fixture.clock.advance(MINUTE / 2);
    assert_ne!(fixture.token(&ada), first, "30 s before its end");
    let other = fixture.context(|claims| claims.credential(CredentialId::parse("2").unwrap()));
    assert_ne!(fixture.token(&other), fixture.token(&ada));
    let gus = context_with(
        &fixture.tenants,
        claims("globex", "ada").scopes(["invoices:*"]),
    );
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", fixture.token(&gus)).parse().unwrap(),
    );
    assert!(fixture.ask(headers).1.starts_with("globex "));
}

/// One text that is read as two scopes on the other side.
#[test]
fn i3_two_scopes_in_one_text_are_refused() {
    let fixture = Fixture::new();
    for text in ["invoices:read billing:write", "", "a\\b"] {
        let layer = Fixture::layer(&fixture.clock, &fixture.minter).scopes([text]);
        let error = layer.unwrap_err().to_string();
        assert!(error.contains("name each by itself"), "{error}");
    }
}

struct Changing(Arc<Mutex<Roles>>);

impl RoleMapping for Changing {
    fn grants(&self, tenant: &TenantState, role: &str) -> Option<Arc<RoleGrants>> {
        self.0.lock().grants(tenant, role)
    }
}

#[test]
fn a_role_that_is_taken_away_is_gone_with_the_next_call() {
    let roles = Arc::new(Mutex::new(Roles::ready()));
    let mut fixture = Fixture::new();
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(TenantId::parse("acme").unwrap()));
    fixture.tenants = CachedRegistry::builder(registry)
        .clock(fixture.clock.clone())
        .roles(Changing(Arc::clone(&roles)))
        .build()
        .unwrap();
    let ada = context_with(&fixture.tenants, claims("acme", "ada").roles(["admin"]));
    fixture.token(&ada);
    *roles.lock() = Roles::none();
    assert_eq!(
        fixture.send(&ada, Request::new(())),
        Err(RejectionKind::InsufficientScope)
    );
}
