//! JSON Web Tokens (RFC 7519, RFC 8725): one strict pass from bytes to [`Claims`].

mod base64url;
mod claims;
mod token;

use std::sync::Arc;

use tenant_context::{Claims, Resolver, UnixTime};

pub(crate) use self::token::Header;
use self::{claims::Unread, token::Parts};
use crate::{
    Issuers, issuers::Trusted, json::Tape, jwks::Arrival, origin::Origin, reason::Reason,
    ring::UNKNOWN,
};

/// Tokens whose parts are no longer than this are decoded without an allocation.
const FEW_BYTES: usize = 2048;

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
    resolver: &Resolver,
    patient: bool,
) -> Result<Verified, Unverified> {
    let parts = Parts::split(token)?;
    let (mut few, mut many) = ([0; FEW_BYTES], Vec::new());
    let room = match parts.decoded_len() {
        needed if needed <= FEW_BYTES => few.as_mut_slice(),
        needed => {
            many.resize(needed, 0);
            &mut many
        }
    };
    let (header, claims, room) = parts.decode(room)?;
    let mut header_tape = Tape::default();
    let header = Header::read(header, &mut header_tape)?;
    let mut claims_tape = Tape::default();
    claims_tape.read(claims)?;
    let claims = Unread::of(&claims_tape);
    // Read before the table: who is removed in between is seen by the next hit.
    let removals = issuers.removals();
    let table = issuers.table();
    let named = table.select(claims.issuer()?)?;
    let Trusted {
        issuer, keys, seal, ..
    } = named.trusted;
    if !issuer.algorithms.contains(header.algorithm) {
        return Err("algorithm".into());
    }
    issuer.accepts_type(&header)?;
    claims.check_expiry(issuer, now)?;
    let signature = parts.signature(room)?;
    let mut ring = keys.ring(patient)?;
    let entry = match ring.select(&header) {
        Err(UNKNOWN) if patient => {
            if let Some(arrival) = keys.unknown(header.kid.unwrap_or_default()) {
                return Err(Unverified::Wait(arrival));
            }
            // A fetch may have ended since the keys were looked at.
            ring = keys.ring(false)?;
            ring.select(&header)?
        }
        selected => selected?,
    };
    if !entry.key.verifies(parts.signed, signature) {
        return Err("signature".into());
    }
    let mut claims = claims.read(&named, now, resolver, parts.signed)?;
    claims.key_id = entry.key.name().cloned();
    table.stand_behind(&claims.parents)?;
    Ok(Verified {
        origin: Origin {
            issuer: Arc::clone(seal),
            key: Arc::clone(&entry.seal),
            removals: (!claims.parents.is_empty()).then_some(removals),
        },
        claims,
    })
}
