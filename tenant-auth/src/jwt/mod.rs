//! JSON Web Tokens (RFC 7519, RFC 8725): one strict pass from bytes to [`Claims`].

mod claims;
mod token;

use std::sync::Arc;

use tenant_context::{Claims, UnixTime};

pub(crate) use self::token::Header;
use self::token::Parts;
use crate::{Issuers, json::Object, jwks::Arrival, origin::Origin, reason::Reason, ring::UNKNOWN};

/// A token that verified: what it says, and who was trusted with it.
pub(crate) struct Verified {
    pub(crate) claims: Claims,
    pub(crate) origin: Origin,
}

/// Why a token is not verified.
pub(crate) enum Unverified {
    Refused(Reason),
    /// The issuer's keys cannot be had.
    Unavailable,
    /// The issuer's keys are being fetched: to be verified again afterwards.
    Wait(Arrival),
}

impl From<Reason> for Unverified {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// Verifies a token. What costs little comes first, so that most bad tokens cost no signature:
/// form, header, algorithm, issuer, key, type, expiry; then the signature; then all claims.
///
/// Who is `patient` waits for keys that are being fetched. A fetch is caused by a token that is good in
/// all that can be seen without a key.
pub(crate) fn verify(
    issuers: &Issuers,
    token: &[u8],
    now: UnixTime,
    patient: bool,
) -> Result<Verified, Unverified> {
    let parts = Parts::split(token)?;
    let mut buffer = Vec::with_capacity(token.len());
    let (header, claims) = parts.decode(&mut buffer)?;
    let header = Header::parse(header)?;
    let claims = Object::parse(claims)?;
    let table = issuers.table();
    let trusted = table.select(&claims)?;
    let issuer = &trusted.issuer;
    issuer.accepts_type(&header)?;
    claims::check_expiry(&claims, issuer, now)?;
    let signature = parts.signature()?;
    let ring = trusted.keys.ring(patient)?;
    let entry = match ring.select(&header) {
        Err(UNKNOWN) if patient => {
            let kid = header.kid.as_deref().unwrap_or_default();
            let arrival = trusted.keys.unknown(kid);
            return Err(arrival.map_or(Unverified::Refused(UNKNOWN), Unverified::Wait));
        }
        selected => selected?,
    };
    if !entry.key.verifies(parts.signed, signature.as_slice()) {
        return Err("signature".into());
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
