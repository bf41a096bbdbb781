//! The keys that an issuer has at one time, and the choice among them.

use std::sync::Arc;

use crate::{VerifyingKey, jwt::Header, origin::Seal, reason::Reason};

/// A key of an issuer, with its seal.
#[derive(Clone, Debug)]
pub(crate) struct RingKey {
    pub(crate) key: VerifyingKey,
    pub(crate) seal: Arc<Seal>,
}

/// An issuer's keys at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring(Box<[RingKey]>);

impl Ring {
    /// Keys that are trusted until their issuer is removed.
    pub(crate) fn lasting(keys: Vec<VerifyingKey>) -> Self {
        let sealed = |key| RingKey {
            key,
            seal: Seal::lasting(),
        };
        Self(keys.into_iter().map(sealed).collect())
    }

    /// The one key a token may be verified with. Its `kid` names it; a token without one is verified
    /// with the only key of its algorithm. A key without a name takes what no named key takes.
    pub(crate) fn select(&self, header: &Header<'_>) -> Result<&RingKey, Reason> {
        let fits = |entry: &&RingKey| entry.key.algorithm() == header.algorithm;
        let Some(kid) = header.kid.as_deref() else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(entry), None) => Ok(entry),
                (Some(_), Some(_)) => Err("kid_missing"),
                (None, _) => Err("algorithm"),
            };
        };
        for name in [Some(kid), None] {
            let mut named = self
                .0
                .iter()
                .filter(|entry| entry.key.name().map(AsRef::as_ref) == name);
            let mut named = named.by_ref().peekable();
            if named.peek().is_some() {
                return named.find(fits).ok_or("algorithm");
            }
        }
        Err("kid")
    }
}
