//! What remembering a credential takes, in bytes.

use serde_json::Value;
use tenant_context::{Claims, Principal};

/// The entry, the identity, and their places in the tables, without the texts.
const FIXED: usize = 1024;
/// A text's or a list's own allocation.
const EACH: usize = 24;

/// About how many bytes an identity of these claims takes while it is remembered.
pub(crate) fn weight(claims: &Claims) -> usize {
    let texts = |list: &[String]| {
        list.iter()
            .map(|text| text.len().saturating_add(EACH))
            .sum()
    };
    let principals = |list: &[Principal]| -> usize {
        list.iter()
            .map(|one| one.id().as_str().len().saturating_add(EACH))
            .sum()
    };
    let scopes: usize = texts(&claims.scopes);
    let roles: usize = texts(&claims.roles);
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
        claims.resource_prefix.as_ref().map_or(0, String::len),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
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
}
