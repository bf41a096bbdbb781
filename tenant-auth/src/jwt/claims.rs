//! A token's claims: every JSON type is checked, what is wrong refuses the token.

use std::{fmt::Write, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tenant_context::{Claims, CredentialId, Principal, PrincipalId, Resolver, TenantId, UnixTime};

use crate::{
    Issuer,
    delegation::verify,
    issuers::Named,
    json::{Json, Tape},
    reason::{Claim, Reason},
};

/// The claims as they stand, each found once. Nothing of them is true yet.
pub(super) struct Unread<'t, 'a> {
    root: Json<'t, 'a>,
    iss: Found<'t, 'a>,
    aud: Found<'t, 'a>,
    exp: Found<'t, 'a>,
    nbf: Found<'t, 'a>,
    iat: Found<'t, 'a>,
    sub: Found<'t, 'a>,
    jti: Found<'t, 'a>,
    sid: Found<'t, 'a>,
    act: Found<'t, 'a>,
    tenant_chain: Found<'t, 'a>,
    cnf: Found<'t, 'a>,
    scope: Found<'t, 'a>,
    scp: Found<'t, 'a>,
    scopes: Found<'t, 'a>,
    roles: Found<'t, 'a>,
    org_id: Found<'t, 'a>,
    resource_prefix: Found<'t, 'a>,
}

type Found<'t, 'a> = Option<Json<'t, 'a>>;

impl<'t, 'a: 't> Unread<'t, 'a> {
    pub(super) fn of(tape: &'t Tape<'a>) -> Self {
        let root = tape.root();
        let mut unread = Self {
            root,
            iss: None,
            aud: None,
            exp: None,
            nbf: None,
            iat: None,
            sub: None,
            jti: None,
            sid: None,
            act: None,
            tenant_chain: None,
            cnf: None,
            scope: None,
            scp: None,
            scopes: None,
            roles: None,
            org_id: None,
            resource_prefix: None,
        };
        for member in root.members().into_iter().flatten() {
            let place = match member.name() {
                "iss" => &mut unread.iss,
                "aud" => &mut unread.aud,
                "exp" => &mut unread.exp,
                "nbf" => &mut unread.nbf,
                "iat" => &mut unread.iat,
                "sub" => &mut unread.sub,
                "jti" => &mut unread.jti,
                "sid" => &mut unread.sid,
                "act" => &mut unread.act,
                verify::CLAIM => &mut unread.tenant_chain,
                "cnf" => &mut unread.cnf,
                "scope" => &mut unread.scope,
                "scp" => &mut unread.scp,
                "scopes" => &mut unread.scopes,
                "roles" => &mut unread.roles,
                "org_id" => &mut unread.org_id,
                "resource_prefix" => &mut unread.resource_prefix,
                _ => continue,
            };
            *place = Some(member);
        }
        unread
    }

    /// Whom the token names as its issuer.
    pub(super) fn issuer(&self) -> Result<&'t str, Reason> {
        required(self.iss, Claim::ISS)
    }

    /// The expiry alone: cheap, so it is looked at before the signature.
    pub(super) fn check_expiry(&self, issuer: &Issuer, now: UnixTime) -> Result<(), Reason> {
        let expires_at = time(self.exp.ok_or(Claim::EXP.missing)?, Claim::EXP)?;
        if now >= expires_at.saturating_add(issuer.leeway) {
            return Err("expired");
        }
        Ok(())
    }

    /// All claims, once the signature is verified.
    pub(super) fn read(
        &self,
        named: &Named<'_>,
        now: UnixTime,
        resolver: &Resolver,
        signed: &[u8],
    ) -> Result<Claims, Reason> {
        let issuer = &named.trusted.issuer;
        // A token bound to a key or a certificate is no bearer token (RFC 9449, RFC 8705).
        if self.cnf.is_some() {
            return Err("cnf");
        }
        if !audience(self.aud.ok_or(Claim::AUD.missing)?, issuer)? {
            return Err("audience");
        }
        let (stated, issued_at) = self.lifetime(issuer, now)?;
        let expires_at = stated.saturating_add(issuer.leeway);
        let tenant = self.tenant(named, resolver)?;
        let subject = required(self.sub, Claim::SUB)?;
        let subject = PrincipalId::parse(subject).map_err(|_| Claim::SUB.invalid)?;
        let kind = issuer.kinds.kind(self.root)?;

        let mut claims = Claims::new(tenant, Principal::new(kind, subject), expires_at);
        if let Some(act) = self.act {
            claims.actors = chain(act, named, &claims.tenant)?;
        }
        claims.scopes = self.scopes()?;
        // A claim named scopes, even if none: roles add nothing then.
        claims.limited = [self.scope, self.scp, self.scopes]
            .iter()
            .any(Option::is_some);
        claims.roles = match self.roles {
            Some(roles) => texts(roles, Claim::ROLES)?,
            None => Vec::new(),
        };
        claims.credential = match optional(self.jti, Claim::JTI)? {
            Some(jti) => Some(CredentialId::parse(jti).map_err(|_| Claim::JTI.invalid)?),
            None if issuer.require_jti => return Err(Claim::JTI.missing),
            None => digest(signed),
        };
        claims.session = match optional(self.sid, Claim::SID)? {
            Some(sid) => Some(CredentialId::parse(sid).map_err(|_| Claim::SID.invalid)?),
            None => None,
        };
        claims.stated_expiry = Some(stated);
        claims.issued_at = issued_at;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        claims.resource_prefix = owned(optional(self.resource_prefix, Claim::RESOURCE_PREFIX)?);
        claims.org_id = owned(optional(self.org_id, Claim::ORG_ID)?);
        claims.issuer = Some(named.name());
        let exp = time(self.exp.ok_or(Claim::EXP.missing)?, Claim::EXP)?;
        verify::chain(self.tenant_chain, issuer, exp, &mut claims)?;
        let mut weight = 0_usize;
        for name in &issuer.kept {
            if let Some(value) = self.root.get(name) {
                weight = weight.saturating_add(value.weight());
                if weight > Issuer::MAX_KEPT_LEN {
                    return Err("claims_too_long");
                }
                claims.custom.insert(name.to_string(), value.to_value());
            }
        }
        Ok(claims)
    }

    /// The one tenant that the claim, the issuer's name and its fixed tenant agree on, of those that the
    /// issuer may speak for.
    fn tenant(&self, named: &Named<'_>, resolver: &Resolver) -> Result<TenantId, Reason> {
        let issuer = &named.trusted.issuer;
        let claimed = match &issuer.tenant_claim {
            Some(path) => Some(required(self.root.at_path(path), Claim::TENANT)?),
            None => None,
        };
        let fixed = issuer.fixed_tenant.as_ref().map(TenantId::as_str);
        let mut known = [claimed, named.tenant, fixed].into_iter().flatten();
        let tenant = known.next().ok_or(Claim::TENANT.missing)?;
        if known.any(|other| other != tenant) {
            return Err("issuer_tenant");
        }
        let tenant = resolver.tenant_id(tenant);
        let tenant = tenant.map_err(|_| Claim::TENANT.invalid)?;
        issuer.speaks_for(&tenant)?;
        Ok(tenant)
    }

    /// When the token ends, leeway apart, and when it was issued, after a look at all its times.
    fn lifetime(
        &self,
        issuer: &Issuer,
        now: UnixTime,
    ) -> Result<(UnixTime, Option<UnixTime>), Reason> {
        let latest = now.saturating_add(issuer.leeway);
        let not_before = self.nbf.map(|value| time(value, Claim::NBF)).transpose()?;
        if not_before.is_some_and(|time| time > latest) {
            return Err("not_yet_valid");
        }
        let issued_at = self.iat.map(|value| time(value, Claim::IAT)).transpose()?;
        if issued_at.is_some_and(|time| time > latest) {
            return Err("issued_in_future");
        }
        let expires_at = time(self.exp.ok_or(Claim::EXP.missing)?, Claim::EXP)?;
        let ends = match issuer.max_age {
            None => expires_at,
            Some(max_age) => {
                let issued_at = issued_at.ok_or(Claim::IAT.missing)?;
                expires_at.min(issued_at.saturating_add(max_age))
            }
        };
        if now >= ends.saturating_add(issuer.leeway) {
            return Err("too_old");
        }
        Ok((ends, issued_at))
    }

    /// The scopes of all three claims, in either form.
    fn scopes(&self) -> Result<Vec<String>, Reason> {
        let mut scopes = Vec::new();
        if let Some(list) = optional(self.scope, Claim::SCOPE)? {
            split_scopes(list, &mut scopes)?;
        }
        for value in [self.scp, self.scopes].into_iter().flatten() {
            if let Some(list) = value.as_text() {
                split_scopes(list, &mut scopes)?;
                continue;
            }
            let list = value.texts().ok_or(Claim::SCOPE.wrong_type)?;
            scopes.reserve_exact(list.clone().count());
            for scope in list {
                scopes.push(one_scope(scope)?.to_owned());
            }
        }
        Ok(scopes)
    }
}

fn optional<'t>(value: Found<'t, '_>, claim: Claim) -> Result<Option<&'t str>, Reason> {
    match value {
        Some(value) => value.as_text().map(Some).ok_or(claim.wrong_type),
        None => Ok(None),
    }
}

fn required<'t>(value: Found<'t, '_>, claim: Claim) -> Result<&'t str, Reason> {
    optional(value, claim)?.ok_or(claim.missing)
}

fn texts(value: Json<'_, '_>, claim: Claim) -> Result<Vec<String>, Reason> {
    let texts = value.texts().ok_or(claim.wrong_type)?;
    let mut list = Vec::with_capacity(texts.clone().count());
    list.extend(texts.map(str::to_owned));
    Ok(list)
}

/// A `NumericDate` (RFC 7519 §2): a number of seconds, fractions allowed.
fn time(value: Json<'_, '_>, claim: Claim) -> Result<UnixTime, Reason> {
    let number = value.as_number().ok_or(claim.wrong_type)?;
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
fn audience(value: Json<'_, '_>, issuer: &Issuer) -> Result<bool, Reason> {
    let ours = |audience: &str| issuer.audiences.iter().any(|known| &**known == audience);
    if let Some(audience) = value.as_text() {
        return Ok(ours(audience));
    }
    let mut list = value.texts().ok_or(Claim::AUD.wrong_type)?;
    Ok(list.any(ours))
}

/// A list of scopes separated by spaces (RFC 6749 §3.3).
fn split_scopes(list: &str, scopes: &mut Vec<String>) -> Result<(), Reason> {
    let allowed = |all: bool, byte: &u8| all & (*byte == b' ' || is_of_scope(*byte));
    if !list.as_bytes().iter().fold(true, allowed) {
        return Err(Claim::SCOPE.invalid);
    }
    // Of all white space there is only the space.
    let spaces = list.bytes().filter(|byte| *byte == b' ').count();
    scopes.reserve_exact(spaces.saturating_add(1).min(Claims::MAX_GRANTS));
    scopes.extend(list.split_ascii_whitespace().map(str::to_owned));
    Ok(())
}

fn one_scope(scope: &str) -> Result<&str, Reason> {
    if !scope.is_empty() && scope.bytes().all(is_of_scope) {
        Ok(scope)
    } else {
        Err(Claim::SCOPE.invalid)
    }
}

const fn is_of_scope(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~')
}

/// The chain of actors (RFC 8693 §4.1), the current one first.
fn chain(
    act: Json<'_, '_>,
    named: &Named<'_>,
    tenant: &TenantId,
) -> Result<Vec<Principal>, Reason> {
    let issuer = &named.trusted.issuer;
    let depth = std::iter::successors(Some(act), |act| act.get("act")).count();
    let mut actors = Vec::with_capacity(depth.min(Claims::MAX_ACTORS));
    let mut next = Some(act);
    while let Some(act) = next.take() {
        if actors.len() == Claims::MAX_ACTORS {
            return Err("act_depth");
        }
        let (mut subject, mut iss) = (None, None);
        for member in act.members().ok_or(Claim::ACT.wrong_type)? {
            match member.name() {
                "sub" => subject = Some(member),
                "iss" => iss = Some(member),
                "act" => next = Some(member),
                _ => {}
            }
        }
        let claimed = issuer.tenant_claim.as_ref();
        if let Some(value) = claimed.and_then(|path| act.at_path(path))
            && value.as_text().ok_or(Claim::ACT.wrong_type)? != tenant.as_str()
        {
            return Err("cross_tenant_chain");
        }
        // Where the issuer's name names the tenant, an actor of another issuer is one of another tenant.
        if named.tenant.is_some()
            && let Some(value) = iss
            && value.as_text() != Some(named.iss)
        {
            return Err("cross_tenant_chain");
        }
        let subject = subject.ok_or(Claim::ACT.invalid)?;
        let subject = subject.as_text().ok_or(Claim::ACT.wrong_type)?;
        let subject = PrincipalId::parse(subject).map_err(|_| Claim::ACT.invalid)?;
        let kind = issuer.kinds.actor(act)?;
        actors.push(Principal::new(kind, subject));
    }
    Ok(actors)
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

/// The issuer's name as an identity keeps it: that of the issuer, or of a template the token's own.
impl Named<'_> {
    fn name(&self) -> Arc<str> {
        if self.tenant.is_some() {
            self.iss.into()
        } else {
            Arc::clone(&self.trusted.name)
        }
    }
}
