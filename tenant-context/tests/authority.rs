//! What may be served again to whom: the bytes of an authority.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use proptest::{collection::vec, option, prelude::*};
use tenant_context::{Claims, Principal, PrincipalId, TenantContext, TenantId, UnixTime};
use tenant_testkit::{ManualClock, context_with, tenants};

/// Everything that decides what an identity may see, in the order that does not matter.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    principal: (u8, String),
    actors: Vec<(u8, String)>,
    scopes: Vec<String>,
    roles: Vec<String>,
    prefix: Option<String>,
    issuer: Option<String>,
    org_id: Option<String>,
    purpose: Option<String>,
    custom: Option<(String, u8)>,
}

fn text() -> impl Strategy<Value = String> {
    "[a-c:,]{1,3}"
}

fn principal() -> impl Strategy<Value = (u8, String)> {
    (0..3_u8, text())
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        principal(),
        vec(principal(), 0..3),
        vec(text(), 0..3),
        vec(text(), 0..3),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of((text(), 0..3_u8)),
    )
        .prop_map(
            |(principal, actors, scopes, roles, prefix, issuer, org_id, purpose, custom)| Parts {
                principal,
                actors,
                scopes,
                roles,
                prefix,
                issuer,
                org_id,
                purpose,
                custom,
            },
        )
}

fn actor((kind, id): &(u8, String)) -> Principal {
    let id = PrincipalId::parse(id).unwrap();
    match kind {
        0 => Principal::human(id),
        1 => Principal::agent(id),
        _ => Principal::service(id),
    }
}

fn authority(parts: &Parts) -> Vec<u8> {
    context(parts).authority().to_vec()
}

fn context(parts: &Parts) -> TenantContext {
    let acme = TenantId::parse("acme").unwrap();
    let mut claims = Claims::new(acme, actor(&parts.principal), UnixTime::MAX)
        .scopes(parts.scopes.clone())
        .roles(parts.roles.clone());
    claims.actors = parts.actors.iter().map(actor).collect();
    claims.resource_prefix.clone_from(&parts.prefix);
    claims.issuer = parts.issuer.as_deref().map(Into::into);
    claims.org_id.clone_from(&parts.org_id);
    claims.purpose.clone_from(&parts.purpose);
    if let Some((name, value)) = &parts.custom {
        claims.custom.insert(name.clone(), (*value).into());
    }
    let tenants = tenants(&["acme"], &ManualClock::new());
    context_with(&tenants, claims)
}

/// Scopes and roles are sets.
fn same(mut one: Parts, mut two: Parts) -> bool {
    for parts in [&mut one, &mut two] {
        for set in [&mut parts.scopes, &mut parts.roles] {
            set.sort();
            set.dedup();
        }
    }
    one == two
}

proptest! {
    #[test]
    fn an_identity_carried_on_as_claims_is_the_same_authority(parts in parts()) {
        let one = context(&parts);
        let tenants = tenants(&["acme"], &ManualClock::new());
        let two = context_with(&tenants, one.to_claims());
        prop_assert_eq!(one.authority(), two.authority());
        prop_assert_eq!(one.to_claims(), two.to_claims());
    }

    #[test]
    fn i11_two_authorities_are_the_same_bytes_only_if_they_are_the_same(one in parts(), two in parts()) {
        prop_assert_eq!(authority(&one) == authority(&two), same(one, two));
    }

    #[test]
    fn i11_what_moves_from_one_field_to_another_is_another_authority(parts in parts(), moved in text()) {
        let mut scope = parts.clone();
        scope.scopes.push(moved.clone());
        let mut role = parts.clone();
        role.roles.push(moved);
        prop_assert_eq!(authority(&scope) == authority(&role), same(scope, role));
    }
}
