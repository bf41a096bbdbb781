//! JSON Web Tokens (RFC 7519, RFC 8725): one strict pass from bytes to [`Claims`].

mod claims;
mod token;

use std::sync::Arc;

use tenant_context::{Claims, UnixTime};

pub(crate) use self::token::Header;
use self::token::Parts;
use crate::{Issuers, json::Object, origin::Origin, reason::Reason};

/// A token that verified: what it says, and who was trusted with it.
pub(crate) struct Verified {
    pub(crate) claims: Claims,
    pub(crate) origin: Origin,
}

/// Verifies a token. What costs little comes first, so that most bad tokens cost no signature:
/// form, header, algorithm, issuer, key, type, expiry; then the signature; then all claims.
pub(crate) fn verify(issuers: &Issuers, token: &[u8], now: UnixTime) -> Result<Verified, Reason> {
    let parts = Parts::split(token)?;
    let mut buffer = Vec::with_capacity(token.len());
    let (header, claims) = parts.decode(&mut buffer)?;
    let header = Header::parse(header)?;
    let claims = Object::parse(claims)?;
    let table = issuers.table();
    let trusted = table.select(&claims)?;
    let issuer = &trusted.issuer;
    let entry = trusted.keys.select(&header)?;
    issuer.accepts_type(&header)?;
    claims::check_expiry(&claims, issuer, now)?;
    let signature = parts.signature()?;
    if !entry.key.verifies(parts.signed, signature.as_slice()) {
        return Err("signature");
    }
    let mut claims = claims::read(claims, issuer, now, parts.signed)?;
    issuer.speaks_for(&claims.tenant)?;
    claims.issuer = Some(Arc::clone(&trusted.name));
    let origin = Origin {
        issuer: Arc::clone(&trusted.seal),
        key: Arc::clone(&entry.seal),
        kid: entry.key.name().cloned(),
    };
    Ok(Verified { claims, origin })
}
