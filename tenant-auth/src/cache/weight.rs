//! What remembering a credential takes, in bytes.

use serde_json::Value;
use tenant_context::{Claims, Parent, Principal, RoleGrants};

/// The entry, the identity, and their places in the tables, without the texts.
const FIXED: usize = 1024;
/// A text's or a list's own allocation.
const EACH: usize = 24;

/// About how many bytes an identity of these claims takes while it is remembered.
pub(crate) fn weight(claims: &Claims) -> usize {
    let principals = |list: &[Principal]| texts(list.iter().map(|one| one.id().as_str()));
    let scopes = texts(claims.scopes.iter().map(AsRef::as_ref));
    let roles = texts(claims.roles.iter().map(AsRef::as_ref));
    let singles = [
        claims.resource_prefix.as_deref(),
        claims.purpose.as_deref(),
        claims.org_id.as_deref(),
        // Of a template it is the token's own.
        claims.issuer.as_deref(),
        claims.credential.as_ref().map(AsRef::as_ref),
        claims.api_key.as_ref().map(AsRef::as_ref),
        claims.session.as_ref().map(AsRef::as_ref),
        claims.operator_of.as_ref().map(AsRef::as_ref),
    ];
    let custom = claims
        .custom
        .iter()
        .map(|(name, value)| name.len().saturating_add(EACH).saturating_add(json(value)))
        .fold(0, usize::saturating_add);
    [
        FIXED,
        principals(std::slice::from_ref(&claims.principal)),
        principals(&claims.actors),
        // An identity keeps them a second time as its authority, once that is asked for.
        scopes.saturating_mul(2),
        roles.saturating_mul(2),
        custom.saturating_mul(2),
        texts(singles.into_iter().flatten()),
        claims
            .parents
            .iter()
            .map(parent)
            .fold(0, usize::saturating_add),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// Texts, each in an allocation of its own.
fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.fold(0, |sum, text| {
        sum.saturating_add(text.len()).saturating_add(EACH)
    })
}

fn parent(parent: &Parent) -> usize {
    let singles = [
        Some(parent.credential.as_str()),
        parent.issuer.as_deref(),
        parent.key_id.as_deref(),
        parent.api_key.as_ref().map(AsRef::as_ref),
        parent.resource_prefix.as_deref(),
    ];
    let roles = parent.roles.iter().flatten();
    let left = roles
        .clone()
        .flat_map(|role| role.scopes().chain(role.exceptions()));
    texts(parent.scopes.iter().map(AsRef::as_ref))
        .saturating_add(roles.count().saturating_mul(size_of::<RoleGrants>()))
        .saturating_add(texts(left))
        .saturating_add(texts(singles.into_iter().flatten()))
        .saturating_add(size_of::<Parent>())
}

/// A value's size as `serde_json` keeps it: a list of small numbers takes sixteen times its text.
fn json(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(json).fold(0, usize::saturating_add),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len().saturating_add(EACH).saturating_add(json(value)))
            .fold(0, usize::saturating_add),
    };
    inner.saturating_add(size_of::<Value>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tenant_context::{PrincipalId, TenantId, UnixTime};

    use super::*;

    #[test]
    fn i6_what_a_token_makes_of_few_bytes_is_weighed() {
        let mut claims = Claims::new(
            TenantId::parse("acme").unwrap(),
            Principal::human(PrincipalId::parse("ada").unwrap()),
            UnixTime::MAX,
        );
        let small = weight(&claims);
        assert!((1024..1200).contains(&small), "{small}");
        // 4,000 characters of a token that become 64,000 bytes.
        claims
            .custom
            .insert("list".to_owned(), json!(vec![0; 2000]));
        let list = weight(&claims).saturating_sub(small);
        assert!(list >= 2000 * size_of::<Value>(), "{list}");
        claims.scopes = vec!["a".to_owned(); 256];
        assert!(weight(&claims) > small + list + 256 * EACH);
    }

    #[test]
    fn i6_a_long_chain_of_ancestors_is_weighed() {
        let id = |text: &str| tenant_context::CredentialId::parse(text).unwrap();
        let mut claims = Claims::new(
            TenantId::parse("acme").unwrap(),
            Principal::human(PrincipalId::parse("ada").unwrap()),
            UnixTime::MAX,
        );
        let mut last = weight(&claims);
        let mut grew = |claims: &Claims, at_least: usize, what: &str| {
            let now = weight(claims);
            assert!(now >= last + at_least, "{what}: {last} to {now}");
            last = now;
        };
        let mut link = Parent::new(id("parent"), UnixTime::MAX, vec!["a:read".into(); 256]);
        claims.parents = vec![link.clone(); 8];
        grew(&claims, 8 * 256 * (6 + 16), "the scopes of ancestors");
        let role = RoleGrants::new(vec!["b:read"; 100]).except(vec!["c:read"; 100]);
        link.roles = Some(vec![role]);
        claims.parents = vec![link.clone(); 8];
        grew(&claims, 8 * 200 * (6 + 16), "the roles of ancestors");
        link.issuer = Some("i".repeat(1000).into());
        link.key_id = Some("k".repeat(1000).into());
        link.api_key = Some(id(&"a".repeat(200)));
        link.resource_prefix = Some("p".repeat(1000).into());
        claims.parents = vec![link; 8];
        grew(&claims, 8 * 3200, "the names of ancestors");
        claims.purpose = Some("x".repeat(256));
        grew(&claims, 256, "purpose");
        claims.org_id = Some("x".repeat(4000));
        grew(&claims, 4000, "organization");
        claims.issuer = Some("x".repeat(2000).into());
        grew(&claims, 2000, "a template's issuer");
        claims.session = Some(id(&"s".repeat(255)));
        grew(&claims, 255, "session");
    }
}
