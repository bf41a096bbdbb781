//! A verified token's claims: every JSON type is checked, what is wrong refuses the token.

use std::{borrow::Cow, fmt::Write, time::Duration};

use serde_json::Map;
use sha2::{Digest, Sha256};
use tenant_context::{
    Claims, CredentialId, Principal, PrincipalId, PrincipalKind, TenantId, UnixTime,
};

use crate::{
    Issuer,
    json::{Json, Object},
    reason::{Claim, Reason},
};

/// The expiry alone: cheap, so it is looked at before the signature.
pub(super) fn check_expiry(
    claims: &Object<'_>,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<(), Reason> {
    let expires_at = time(claims.get("exp").ok_or(Claim::EXP.missing)?, Claim::EXP)?;
    if now >= expires_at.saturating_add(issuer.leeway) {
        return Err("expired");
    }
    Ok(())
}

#[derive(Default)]
struct Read<'a> {
    subject: Option<Cow<'a, str>>,
    tenant: Option<Cow<'a, str>>,
    kind: Option<PrincipalKind>,
    audience: Option<bool>,
    expires_at: Option<UnixTime>,
    not_before: Option<UnixTime>,
    issued_at: Option<UnixTime>,
    credential: Option<CredentialId>,
    act: Option<Json<'a>>,
    scopes: Vec<String>,
    /// A claim named scopes, even if none: roles add nothing then.
    limited: bool,
    roles: Vec<String>,
    resource_prefix: Option<String>,
    org_id: Option<String>,
    custom: Map<String, serde_json::Value>,
}

/// All claims of a token whose signature is verified.
pub(super) fn read(
    claims: Object<'_>,
    issuer: &Issuer,
    now: UnixTime,
    signed: &[u8],
) -> Result<Claims, Reason> {
    let mut read = Read::default();
    for (name, value) in claims.into_members() {
        read.member(name, value, issuer)?;
    }
    if !read.audience.ok_or(Claim::AUD.missing)? {
        return Err("audience");
    }
    let expires_at = read.lifetime(issuer, now)?;
    let tenant = read.tenant.ok_or(Claim::TENANT.missing)?;
    let tenant = TenantId::parse(tenant).map_err(|_| Claim::TENANT.invalid)?;
    let subject = read.subject.ok_or(Claim::SUB.missing)?;
    let subject = PrincipalId::parse(subject).map_err(|_| Claim::SUB.invalid)?;
    let kind = read.kind.unwrap_or_else(|| issuer.kinds.default_kind());
    let actors = match read.act {
        Some(act) => chain(act, issuer, &tenant)?,
        None => Vec::new(),
    };

    let mut claims = Claims::new(tenant, Principal::new(kind, subject), expires_at);
    claims.actors = actors;
    claims.scopes = read.scopes;
    claims.limited = read.limited;
    claims.roles = read.roles;
    claims.credential = match read.credential {
        None if issuer.require_jti => return Err(Claim::JTI.missing),
        None => digest(signed),
        jti => jti,
    };
    claims.issued_at = read.issued_at;
    claims.resource_prefix = read.resource_prefix;
    claims.org_id = read.org_id;
    claims.custom = read.custom;
    Ok(claims)
}

impl<'a> Read<'a> {
    fn member(
        &mut self,
        name: Cow<'a, str>,
        value: Json<'a>,
        issuer: &Issuer,
    ) -> Result<(), Reason> {
        match name.as_ref() {
            "aud" => self.audience = Some(audience(value, issuer)?),
            "exp" => self.expires_at = Some(time(&value, Claim::EXP)?),
            "nbf" => self.not_before = Some(time(&value, Claim::NBF)?),
            "iat" => self.issued_at = Some(time(&value, Claim::IAT)?),
            "sub" => self.subject = Some(text(value, Claim::SUB)?),
            "jti" => {
                let jti = text(value, Claim::JTI)?;
                self.credential = Some(CredentialId::parse(jti).map_err(|_| Claim::JTI.invalid)?);
            }
            "act" => self.act = Some(value),
            // A token bound to a key or a certificate is no bearer token (RFC 9449, RFC 8705).
            "cnf" => return Err("cnf"),
            "scope" => {
                self.limited = true;
                scopes(&text(value, Claim::SCOPE)?, &mut self.scopes)?;
            }
            "scp" | "scopes" => {
                self.limited = true;
                match value {
                    Json::Text(text) => scopes(&text, &mut self.scopes)?,
                    list => {
                        for scope in texts(list, Claim::SCOPE)? {
                            self.scopes.push(one_scope(&scope)?.to_owned());
                        }
                    }
                }
            }
            "roles" => {
                let roles = texts(value, Claim::ROLES)?;
                self.roles = roles.into_iter().map(Cow::into_owned).collect();
            }
            "resource_prefix" => {
                self.resource_prefix = Some(text(value, Claim::RESOURCE_PREFIX)?.into_owned());
            }
            name if name == &*issuer.tenant_claim => {
                self.tenant = Some(text(value, Claim::TENANT)?);
            }
            name if Some(name) == issuer.kinds.claim_name() => self.kind = Some(kind(value)?),
            // It is kept as a field: two issuers' subjects of one name are two callers.
            "iss" => {}
            "org_id" if *issuer.tenant_claim != *"org_id" => {
                self.org_id = Some(text(value, Claim::ORG_ID)?.into_owned());
            }
            _ => {
                self.custom.insert(name.into_owned(), value.into_value());
            }
        }
        Ok(())
    }

    /// When the token ends, after a look at all its times.
    fn lifetime(&self, issuer: &Issuer, now: UnixTime) -> Result<UnixTime, Reason> {
        let latest = now.saturating_add(issuer.leeway);
        if self.not_before.is_some_and(|time| time > latest) {
            return Err("not_yet_valid");
        }
        if self.issued_at.is_some_and(|time| time > latest) {
            return Err("issued_in_future");
        }
        let expires_at = self.expires_at.ok_or(Claim::EXP.missing)?;
        let ends = match issuer.max_age {
            None => expires_at,
            Some(max_age) => {
                let issued_at = self.issued_at.ok_or(Claim::IAT.missing)?;
                expires_at.min(issued_at.saturating_add(max_age))
            }
        };
        let ends = ends.saturating_add(issuer.leeway);
        if now >= ends {
            return Err("too_old");
        }
        Ok(ends)
    }
}

fn text(value: Json<'_>, claim: Claim) -> Result<Cow<'_, str>, Reason> {
    value.into_text().ok_or(claim.wrong_type)
}

fn texts(value: Json<'_>, claim: Claim) -> Result<Vec<Cow<'_, str>>, Reason> {
    value.into_texts().ok_or(claim.wrong_type)
}

/// A `NumericDate` (RFC 7519 §2): a number of seconds, fractions allowed.
fn time(value: &Json<'_>, claim: Claim) -> Result<UnixTime, Reason> {
    let Json::Number(number) = value else {
        return Err(claim.wrong_type);
    };
    if let Some(secs) = number.as_u64() {
        return Ok(UnixTime::from_secs(secs));
    }
    number
        .as_f64()
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .map(|since| UnixTime::default().saturating_add(since))
        .ok_or(claim.invalid)
}

/// Whether one of a token's audiences is ours.
fn audience(value: Json<'_>, issuer: &Issuer) -> Result<bool, Reason> {
    let ours = |audience: &str| issuer.audiences.iter().any(|known| &**known == audience);
    match value {
        Json::Text(audience) => Ok(ours(&audience)),
        list => Ok(texts(list, Claim::AUD)?
            .iter()
            .any(|audience| ours(audience))),
    }
}

/// A list of scopes separated by spaces (RFC 6749 §3.3).
fn scopes(list: &str, scopes: &mut Vec<String>) -> Result<(), Reason> {
    for scope in list.split(' ').filter(|scope| !scope.is_empty()) {
        scopes.push(one_scope(scope)?.to_owned());
    }
    Ok(())
}

fn one_scope(scope: &str) -> Result<&str, Reason> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !scope.is_empty() && scope.bytes().all(allowed) {
        Ok(scope)
    } else {
        Err(Claim::SCOPE.invalid)
    }
}

fn kind(value: Json<'_>) -> Result<PrincipalKind, Reason> {
    match text(value, Claim::KIND)?.as_ref() {
        "human" => Ok(PrincipalKind::Human),
        "agent" => Ok(PrincipalKind::Agent),
        "service" => Ok(PrincipalKind::Service),
        _ => Err(Claim::KIND.invalid),
    }
}

/// The chain of actors (RFC 8693 §4.1), the current one first.
fn chain(act: Json<'_>, issuer: &Issuer, tenant: &TenantId) -> Result<Vec<Principal>, Reason> {
    let mut actors = Vec::new();
    let mut next = Some(act);
    while let Some(act) = next.take() {
        let Json::Object(members) = act else {
            return Err(Claim::ACT.wrong_type);
        };
        if actors.len() == Claims::MAX_ACTORS {
            return Err("act_depth");
        }
        let (mut subject, mut actor_kind) = (None, PrincipalKind::Agent);
        for (name, value) in members.into_members() {
            match name.as_ref() {
                "sub" => subject = Some(text(value, Claim::ACT)?),
                "act" => next = Some(value),
                name if name == &*issuer.tenant_claim => {
                    same_tenant(&text(value, Claim::ACT)?, tenant)?;
                }
                name if Some(name) == issuer.kinds.claim_name() => {
                    actor_kind = kind(value)?;
                }
                _ => {}
            }
        }
        let subject = subject.ok_or(Claim::ACT.invalid)?;
        let subject = PrincipalId::parse(subject).map_err(|_| Claim::ACT.invalid)?;
        actors.push(Principal::new(actor_kind, subject));
    }
    Ok(actors)
}

fn same_tenant(named: &str, tenant: &TenantId) -> Result<(), Reason> {
    if named == tenant.as_str() {
        Ok(())
    } else {
        Err("cross_tenant_chain")
    }
}

/// Names a token without a `jti`: a digest of what its signature covers, not of the signature, of
/// which an ECDSA token has more than one.
fn digest(signed: &[u8]) -> Option<CredentialId> {
    let digest = Sha256::digest(signed);
    let mut name = String::from("sha256:");
    for byte in digest.iter().take(16) {
        write!(name, "{byte:02x}").ok()?;
    }
    CredentialId::parse(name).ok()
}
