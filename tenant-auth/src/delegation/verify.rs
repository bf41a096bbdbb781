//! The chain of a delegated token, verified again: no link is wider than the one before it.

use std::sync::Arc;

use tenant_context::{Claims, CredentialId, Parent, RoleGrants, TenantId, UnixTime, prefix_covers};

use crate::{
    Issuer,
    jobs::UNTIL,
    json::Json,
    reason::{Claim, Reason},
};

/// The claim that holds the chain.
pub(crate) const CLAIM: &str = "tenant_chain";

/// Reads the chain into the claims, whose other members have been read. Authority only shrinks along it: each
/// credential has at most the scopes of its parent, ends no later, and has no roles.
pub(crate) fn chain(
    chain: Option<Json<'_, '_>>,
    issuer: &Issuer,
    expires_at: UnixTime,
    claims: &mut Claims,
) -> Result<(), Reason> {
    if claims.actors.len() > issuer.depth() {
        return Err("act_depth");
    }
    let Some(chain) = chain else {
        return if issuer.chained() && !claims.actors.is_empty() {
            Err(Claim::CHAIN.missing)
        } else {
            Ok(())
        };
    };
    let mut parents = None;
    for member in chain.members().ok_or(Claim::CHAIN.wrong_type)? {
        match member.name() {
            "parents" => parents = Some(links(member)?),
            "purpose" => claims.purpose = Some(text(member)?.to_owned()),
            "operator_of" => {
                let staff = TenantId::parse(text(member)?).map_err(|_| Claim::CHAIN.invalid)?;
                if !issuer.has_operators_of(&staff) {
                    return Err("cross_tenant_chain");
                }
                claims.operator_of = Some(staff);
            }
            "until" => {
                let until = secs(member)?.as_secs();
                claims.custom.insert(UNTIL.to_owned(), until.into());
            }
            // What narrows in a way that we do not know cannot be verified.
            _ => return Err(Claim::CHAIN.invalid),
        }
    }
    let parents = parents.ok_or(Claim::CHAIN.invalid)?;
    // Each delegation adds one actor.
    if parents.is_empty() || parents.len() > claims.actors.len() {
        return Err(Claim::CHAIN.invalid);
    }
    shrinks(claims, expires_at, &parents)?;
    for parent in &parents {
        // No leeway of ours lets it outlive what it was derived from.
        claims.expires_at = claims.expires_at.min(parent.expires_at);
    }
    claims.parents = parents;
    Ok(())
}

fn shrinks(claims: &Claims, expires_at: UnixTime, parents: &[Parent]) -> Result<(), Reason> {
    if !claims.limited || !claims.roles.is_empty() {
        return Err("delegation_wider");
    }
    let mut scopes: Vec<&str> = claims.scopes.iter().map(AsRef::as_ref).collect();
    let mut end = expires_at;
    let mut prefix = claims.resource_prefix.as_deref();
    for parent in parents {
        if !scopes.iter().all(|scope| parent.covers(scope)) {
            return Err("delegation_wider");
        }
        if end > parent.expires_at {
            return Err("delegation_outlives");
        }
        scopes = parent.scopes.iter().map(AsRef::as_ref).collect();
        let within = |held: &str| prefix.is_some_and(|prefix| prefix_covers(held, prefix));
        if !parent.resource_prefix.as_deref().is_none_or(within) {
            return Err("delegation_wider");
        }
        end = parent.expires_at;
        prefix = parent.resource_prefix.as_deref();
    }
    Ok(())
}

fn links(value: Json<'_, '_>) -> Result<Vec<Parent>, Reason> {
    let links = value.items().ok_or(Claim::CHAIN.wrong_type)?;
    if links.clone().count() > Claims::MAX_ACTORS {
        return Err("act_depth");
    }
    links.map(link).collect()
}

fn link(value: Json<'_, '_>) -> Result<Parent, Reason> {
    let (mut jti, mut end, mut scopes, mut roles, mut prefix) = (None, None, None, None, None);
    let (mut iss, mut kid, mut iat, mut api_key) = (None, None, None, None);
    let id = |value| CredentialId::parse(text(value)?).map_err(|_| Claim::CHAIN.invalid);
    for member in value.members().ok_or(Claim::CHAIN.wrong_type)? {
        match member.name() {
            "jti" => jti = Some(id(member)?),
            "iss" => iss = Some(Arc::from(text(member)?)),
            "kid" => kid = Some(Arc::from(text(member)?)),
            "iat" => iat = Some(secs(member)?),
            "api_key" => api_key = Some(id(member)?),
            "exp" => end = Some(secs(member)?),
            "scope" => scopes = Some(listed(member)?),
            "roles" => roles = Some(left(member)?),
            "resource_prefix" => prefix = Some(text(member)?.into()),
            _ => return Err(Claim::CHAIN.invalid),
        }
    }
    match (jti, end, scopes) {
        (Some(jti), Some(end), Some(scopes)) => {
            // A token that does not say when it was issued could not be revoked by time.
            if iss.is_some() && iat.is_none() {
                return Err(Claim::CHAIN.invalid);
            }
            let mut parent = Parent::new(jti, end, scopes);
            parent.issuer = iss;
            parent.key_id = kid;
            parent.issued_at = iat;
            parent.api_key = api_key;
            parent.roles = roles;
            parent.resource_prefix = prefix;
            Ok(parent)
        }
        _ => Err(Claim::CHAIN.invalid),
    }
}

/// What a credential's roles left of its scopes, each role by itself.
fn left(value: Json<'_, '_>) -> Result<Vec<RoleGrants>, Reason> {
    let roles = value.items().ok_or(Claim::CHAIN.wrong_type)?;
    if roles.clone().count() > Claims::MAX_GRANTS {
        return Err(Claim::CHAIN.invalid);
    }
    let role = |value: Json<'_, '_>| {
        let (mut scopes, mut except) = (None, Vec::new());
        for member in value.members().ok_or(Claim::CHAIN.wrong_type)? {
            match member.name() {
                "scope" => scopes = Some(listed(member)?),
                "except" => except = listed(member)?,
                _ => return Err(Claim::CHAIN.invalid),
            }
        }
        let scopes = scopes.ok_or(Claim::CHAIN.invalid)?;
        Ok(RoleGrants::new(scopes).except(except))
    };
    roles.map(role).collect()
}

/// Scopes separated by spaces.
fn listed(value: Json<'_, '_>) -> Result<Vec<Box<str>>, Reason> {
    let list = text(value)?.split(' ').filter(|scope| !scope.is_empty());
    let scopes: Vec<_> = list.map(Into::into).collect();
    if scopes.len() > Claims::MAX_GRANTS {
        return Err(Claim::CHAIN.invalid);
    }
    Ok(scopes)
}

fn secs(value: Json<'_, '_>) -> Result<UnixTime, Reason> {
    let number = value.as_number().ok_or(Claim::CHAIN.wrong_type)?;
    let secs = number.as_u64().ok_or(Claim::CHAIN.invalid)?;
    Ok(UnixTime::from_secs(secs))
}

fn text<'t>(value: Json<'t, '_>) -> Result<&'t str, Reason> {
    value.as_text().ok_or(Claim::CHAIN.wrong_type)
}
