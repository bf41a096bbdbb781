//! JSON Web Tokens (RFC 7519, RFC 8725): one strict pass from bytes to [`Claims`].

mod claims;
mod token;

use std::collections::HashMap;

use tenant_context::{Claims, ConfigError, UnixTime};

pub(crate) use self::token::Header;
use self::token::Parts;
use crate::{
    Issuer,
    json::Object,
    reason::{Claim, Reason},
};

/// The issuers that are trusted, by name.
#[derive(Debug, Default)]
pub(crate) struct Issuers(HashMap<Box<str>, Issuer>);

impl Issuers {
    pub(crate) fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        let mut known = HashMap::with_capacity(issuers.len());
        for issuer in issuers {
            issuer.check()?;
            if let Some(twice) = known.insert(issuer.name.clone(), issuer) {
                return Err(ConfigError::new(format!(
                    "issuer {:?} is given twice; give one issuer all audiences and keys",
                    twice.name
                )));
            }
        }
        Ok(Self(known))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token. What costs little comes first, so that most bad tokens cost no signature:
    /// form, header, algorithm, issuer, key, type, expiry; then the signature; then all claims.
    pub(crate) fn verify(&self, token: &[u8], now: UnixTime) -> Result<Claims, Reason> {
        let parts = Parts::split(token)?;
        let mut buffer = Vec::with_capacity(token.len());
        let (header, claims) = parts.decode(&mut buffer)?;
        let header = Header::parse(header)?;
        let claims = Object::parse(claims)?;
        let issuer = self.select(&claims)?;
        let key = issuer.select(&header)?;
        issuer.accepts_type(&header)?;
        claims::check_expiry(&claims, issuer, now)?;
        let signature = parts.signature()?;
        if !key.verifies(parts.signed, signature.as_slice()) {
            return Err("signature");
        }
        let claims = claims::read(claims, issuer, now, parts.signed)?;
        issuer.speaks_for(&claims.tenant)?;
        Ok(claims)
    }

    /// The issuer that a token names. It is not verified yet: it only selects.
    fn select(&self, claims: &Object<'_>) -> Result<&Issuer, Reason> {
        let name = claims.get("iss").ok_or(Claim::ISS.missing)?;
        let name = name.as_text().ok_or(Claim::ISS.wrong_type)?;
        self.0.get(name).ok_or("issuer")
    }
}
