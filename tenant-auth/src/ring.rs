//! The keys that an issuer has at one time, and the choice among them.

use std::sync::Arc;

use tenant_context::Monotonic;

use crate::{VerifyingKey, jwt::Header, origin::Seal, reason::Reason};

/// A token names a key that is not there.
pub(crate) const UNKNOWN: Reason = "kid";

/// A key of an issuer, with its seal.
#[derive(Clone, Debug)]
pub(crate) struct RingKey {
    pub(crate) key: VerifyingKey,
    pub(crate) seal: Arc<Seal>,
}

/// An issuer's keys at one time. By default there are none, and never were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    keys: Box<[RingKey]>,
    until: Monotonic,
}

impl Ring {
    /// Keys that are trusted until their issuer is removed.
    pub(crate) fn lasting(keys: Vec<VerifyingKey>) -> Self {
        Self::default().followed_by(keys, Monotonic::MAX)
    }

    /// Until when these keys may be used.
    pub(crate) const fn until(&self) -> Monotonic {
        self.until
    }

    /// The keys that come after these. A key that stays keeps its seal, so that what it admitted stays
    /// cached.
    pub(crate) fn followed_by(&self, keys: Vec<VerifyingKey>, until: Monotonic) -> Self {
        let sealed = |key: VerifyingKey| {
            let known = self.keys.iter().find(|known| known.key.is(&key));
            let seal = known.map_or_else(|| Seal::until(until), |known| Arc::clone(&known.seal));
            seal.renew(until);
            RingKey { key, seal }
        };
        Self {
            keys: keys.into_iter().map(sealed).collect(),
            until,
        }
    }

    /// Trusts no longer what is not among the keys that came after these.
    pub(crate) fn retire(&self, next: &Self) {
        for old in &self.keys {
            if !next
                .keys
                .iter()
                .any(|key| Arc::ptr_eq(&key.seal, &old.seal))
            {
                old.seal.break_for_good();
            }
        }
    }

    /// The one key a token may be verified with. Its `kid` names it; a token without one is verified
    /// with the only key of its algorithm. A key without a name takes what no named key takes.
    pub(crate) fn select(&self, header: &Header<'_>) -> Result<&RingKey, Reason> {
        let fits = |entry: &&RingKey| entry.key.algorithm() == header.algorithm;
        let Some(kid) = header.kid else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(entry), None) => Ok(entry),
                (Some(_), Some(_)) => Err("kid_missing"),
                (None, _) => Err("algorithm"),
            };
        };
        for name in [Some(kid), None] {
            let mut named = self
                .keys
                .iter()
                .filter(|entry| entry.key.name().map(AsRef::as_ref) == name);
            let mut named = named.by_ref().peekable();
            if named.peek().is_some() {
                return named.find(fits).ok_or("algorithm");
            }
        }
        Err(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::At;

    fn key(name: &str, secret: u8) -> VerifyingKey {
        VerifyingKey::hs256([secret; 32]).kid(name)
    }

    /// What was admitted with a key is admitted while a set has that very key, and no longer.
    #[test]
    fn i5_a_seal_is_of_one_key_and_holds_as_long_as_its_set_does() {
        let secs = Monotonic::from_secs;
        let names = ["stays", "leaves", "is another"];
        let first = Ring::default().followed_by(names.map(|name| key(name, 1)).into(), secs(10));
        let next = vec![key("stays", 1), key("is another", 2)];
        let second = first.followed_by(next, secs(20));
        first.retire(&second);
        let holds = |seal: &Seal, at: u64| seal.holds(&At(secs(at)));
        let [stays, leaves, old] = &*first.keys else {
            panic!("three keys");
        };
        assert!(holds(&stays.seal, 19) && !holds(&stays.seal, 20));
        assert!(!holds(&leaves.seal, 1) && !holds(&old.seal, 1));
        let new = second
            .keys
            .iter()
            .find(|entry| entry.key.is(&key("is another", 2)));
        assert!(holds(&new.unwrap().seal, 19));
    }
}
