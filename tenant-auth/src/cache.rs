//! The credential cache: a verified credential's identity, found again by a keyed hash.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use polyval::{
    Polyval,
    universal_hash::{KeyInit, UniversalHash},
};
use quick_cache::{UnitWeighter, sync::Cache, sync::DefaultLifecycle};
use tenant_context::{ConfigError, Identity};

use crate::credential::Credential;

/// Identities by credential.
///
/// An entry is found by POLYVAL (RFC 8452 §3) of the whole credential under a random key made at start;
/// the credential itself is not kept. POLYVAL evaluates the credential's blocks as a polynomial over
/// GF(2^128) at a secret point, so two different credentials of at most n blocks of 16 bytes meet
/// with a probability of at most n / 2^128 over the choice of the key: below 2^-115 for the longest
/// token that can be configured. Whoever does not know the key can do no better than guess. The last
/// block holds kind and length, so that padding makes no two credentials equal.
///
/// Revocation and suspension need no look here: they reach the shared identity itself, and the door
/// asks it each time.
pub(crate) struct CredentialCache {
    key: polyval::Key,
    /// `None`: caching is off.
    entries: Option<Entries>,
}

type Entries = Cache<CacheKey, Arc<Identity>, UnitWeighter, PassThrough>;

/// The keyed hash of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey(u128);

impl CredentialCache {
    pub(crate) fn new(capacity: usize) -> Result<Self, ConfigError> {
        let mut key = polyval::Key::default();
        getrandom::fill(&mut key).map_err(|_| {
            ConfigError::new(
                "the credential cache: the operating system gave no randomness for its key",
            )
        })?;
        let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
        Ok(Self {
            key,
            entries: (capacity > 0).then(|| {
                Cache::with(
                    capacity,
                    weight,
                    UnitWeighter,
                    PassThrough,
                    DefaultLifecycle::default(),
                )
            }),
        })
    }

    pub(crate) fn key(&self, credential: &Credential<'_>) -> CacheKey {
        let (kind, bytes): (u8, _) = match credential {
            Credential::Token(token) => (1, token),
            Credential::ApiKey(key) => (2, key),
        };
        let mut hash = <Polyval as KeyInit>::new(&self.key);
        hash.update_padded(bytes);
        let mut last = polyval::Block::default();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (low, high) = last.split_at_mut(8);
        low.copy_from_slice(&length.to_le_bytes());
        high.copy_from_slice(&u64::from(kind).to_le_bytes());
        hash.update(std::slice::from_ref(&last));
        CacheKey(u128::from_le_bytes(hash.finalize().into()))
    }

    pub(crate) fn get(&self, key: CacheKey) -> Option<Arc<Identity>> {
        self.entries.as_ref()?.get(&key)
    }

    pub(crate) fn insert(&self, key: CacheKey, identity: &Arc<Identity>) {
        if let Some(entries) = &self.entries {
            entries.insert(key, Arc::clone(identity));
        }
    }

    fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// The key is a keyed hash already: its low half is hash enough for a table.
#[derive(Clone, Copy, Default)]
struct PassThrough;

struct LowHalf(u64);

impl BuildHasher for PassThrough {
    type Hasher = LowHalf;

    fn build_hasher(&self) -> LowHalf {
        LowHalf(0)
    }
}

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let low = bytes.first_chunk().copied().unwrap_or_default();
        self.0 = u64::from_le_bytes(low);
    }

    fn write_u128(&mut self, key: u128) {
        self.write(&key.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache() -> CredentialCache {
        CredentialCache::new(100).unwrap()
    }

    #[test]
    fn the_kind_of_a_credential_counts() {
        let cache = cache();
        assert!(cache.key(&Credential::Token(b"a")) != cache.key(&Credential::ApiKey(b"a")));
    }

    #[test]
    fn token_cache_keyed_by_a_prefix() {
        let cache = cache();
        let token = |bytes: &[u8]| cache.key(&Credential::Token(bytes));
        let long = vec![b'a'; 800];
        assert!(token(&long) == token(&long.clone()));
        for at in 0..long.len() {
            let mut other = long.clone();
            other[at] = b'b';
            assert!(token(&long) != token(&other), "byte {at}");
            assert!(token(&long) != token(&long[..at]), "cut at {at}");
        }
        for zeros in 1..40 {
            let padded = [long.as_slice(), &vec![0; zeros]].concat();
            assert!(token(&long) != token(&padded), "{zeros} zeros");
        }
        assert!(token(b"") != token(b"\0"));
    }

    #[test]
    fn two_caches_have_two_keys() {
        let credential = Credential::Token(b"token");
        assert!(cache().key(&credential) != cache().key(&credential));
    }

    proptest! {
        #[test]
        fn i11_two_credentials_never_share_an_entry(
            one in proptest::collection::vec(any::<u8>(), 0..100),
            other in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let cache = cache();
            let same = cache.key(&Credential::Token(&one)) == cache.key(&Credential::Token(&other));
            prop_assert_eq!(same, one == other);
        }
    }
}
