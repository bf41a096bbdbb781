//! The credential cache: a verified credential's identity, found again by a keyed hash.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use tenant_context::{Clock, Identity};

use crate::{
    KeyError,
    credential::Credential,
    hash::{Digest, KeyedHash},
    origin::Origin,
};

/// Identities by credential.
///
/// An entry is found by a keyed hash of the whole credential; the credential itself is not kept. The
/// key is made at start, and two different credentials meet with a probability of at most 2^-128
/// over its choice (see [`KeyedHash`]). The kind of a credential is part of its entry's key.
///
/// Revocation and suspension need no look here: they reach the shared identity itself, and the door
/// asks it each time. Whether a token's issuer and key are trusted still is asked here, at each hit.
pub(crate) struct CredentialCache {
    hash: KeyedHash,
    /// `None`: caching is off.
    entries: Option<Entries>,
}

type Entries = Cache<CacheKey, Arc<Entry>, UnitWeighter, PassThrough>;

struct Entry {
    identity: Arc<Identity>,
    origin: Option<Origin>,
}

/// What an entry is found by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheKey {
    kind: Kind,
    digest: Digest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Token,
    ApiKey,
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest.fold());
    }
}

impl CredentialCache {
    /// A cache of so many credentials, each of at most `max_len` bytes.
    pub(crate) fn new(capacity: usize, max_len: usize) -> Result<Self, KeyError> {
        let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
        Ok(Self {
            hash: KeyedHash::generate(max_len)?,
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

    /// `None` if the credential is longer than any may be.
    pub(crate) fn key(&self, credential: &Credential<'_>) -> Option<CacheKey> {
        let (kind, bytes) = match credential {
            Credential::Token(token) => (Kind::Token, token),
            Credential::ApiKey(key) => (Kind::ApiKey, key),
        };
        let digest = self.hash.digest(bytes)?;
        Some(CacheKey { kind, digest })
    }

    /// `None` too if what admitted it is not trusted any more: then it is to be verified anew.
    pub(crate) fn get(&self, key: CacheKey, clock: &dyn Clock) -> Option<Arc<Identity>> {
        let entries = self.entries.as_ref()?;
        let entry = entries.get(&key)?;
        let holds = |origin: &Origin| origin.holds(clock);
        if entry.origin.as_ref().is_none_or(holds) {
            return Some(Arc::clone(&entry.identity));
        }
        entries.remove(&key);
        None
    }

    pub(crate) fn insert(&self, key: CacheKey, identity: &Arc<Identity>, origin: Option<Origin>) {
        if let Some(entries) = &self.entries {
            let identity = Arc::clone(identity);
            entries.insert(key, Arc::new(Entry { identity, origin }));
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

/// What is hashed is a hash already.
#[derive(Clone, Copy, Default)]
struct PassThrough;

struct Passed(u64);

impl BuildHasher for PassThrough {
    type Hasher = Passed;

    fn build_hasher(&self) -> Passed {
        Passed(0)
    }
}

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_cache_keyed_by_a_prefix() {
        let cache = CredentialCache::new(100, 1000).unwrap();
        let token = |bytes: &[u8]| cache.key(&Credential::Token(bytes)).unwrap();
        let long = vec![b'a'; 800];
        assert!(token(&long) == token(&long.clone()));
        for at in 0..long.len() {
            let mut other = long.clone();
            other[at] = b'b';
            assert!(token(&long) != token(&other), "byte {at}");
            assert!(token(&long) != token(&long[..at]), "cut at {at}");
        }
        assert!(token(b"") != token(b"\0"));
    }

    #[test]
    fn the_kind_of_a_credential_counts() {
        let cache = CredentialCache::new(100, 1000).unwrap();
        assert!(cache.key(&Credential::Token(b"a")) != cache.key(&Credential::ApiKey(b"a")));
    }
}
