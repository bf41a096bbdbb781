//! The credential cache: a verified credential's identity, found again by a keyed hash.

mod book;
mod weight;

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tenant_context::{Clock, Identity, UnixTime};

use self::book::{Account, Book};
pub(crate) use self::{book::Bounds, weight::weight};
use crate::{
    KeyError,
    api_key::LiveKey,
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
/// asks it each time. Whether a token's issuer and key are trusted still, and where an API key comes
/// from, is asked by whoever finds the entry.
///
/// A hit takes a lock of one of many shards to read; all else is kept in the [`Book`], which only
/// verifications touch.
pub(crate) struct CredentialCache {
    hash: KeyedHash,
    bounds: Bounds,
    entries: DashMap<CacheKey, Entry, PassThrough>,
    /// Locked before a shard of `entries`, never while one is.
    book: Mutex<Book<CacheKey>>,
    /// The earliest end of all entries, in nanoseconds.
    next_end: AtomicU64,
}

struct Entry {
    identity: Arc<Identity>,
    voucher: Voucher,
    /// Whether it was found since the book last looked.
    found: AtomicBool,
}

/// What vouches for a credential as long as it is cached.
#[derive(Clone, Default)]
pub(crate) struct Voucher {
    /// Who issued the token.
    pub(crate) origin: Option<Origin>,
    /// The API key.
    pub(crate) api_key: Option<Arc<LiveKey>>,
    /// The API keys that the token was derived from.
    pub(crate) behind: Vec<Arc<LiveKey>>,
}

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheKey {
    kind: Kind,
    digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Token,
    ApiKey,
    Both,
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest.fold());
    }
}

/// What was found.
pub(crate) enum Found<R> {
    Nothing,
    Identity(Arc<Identity>),
    Refused(R),
}

impl CredentialCache {
    /// A cache within these bounds, for credentials of at most `max_len` bytes each.
    pub(crate) fn new(bounds: Bounds, max_len: usize) -> Result<Self, KeyError> {
        let pair = max_len.saturating_mul(2).saturating_add(size_of::<u64>());
        Ok(Self {
            hash: KeyedHash::generate(pair)?,
            bounds,
            entries: DashMap::with_hasher(PassThrough),
            book: Mutex::default(),
            next_end: AtomicU64::new(u64::MAX),
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

    /// The key of a token and an API key that are presented together.
    pub(crate) fn key_of_both(&self, token: &[u8], api_key: &[u8]) -> Option<CacheKey> {
        let length = u64::try_from(token.len()).ok()?.to_le_bytes();
        let digest = self.hash.digest(&[&length, token, api_key].concat())?;
        let kind = Kind::Both;
        Some(CacheKey { kind, digest })
    }

    /// Looks a credential up. `check` says whether what vouches for it stands: `None` if it is to be
    /// verified anew, an error if this request is refused.
    pub(crate) fn get<R>(
        &self,
        key: &CacheKey,
        check: impl FnOnce(&Voucher) -> Option<Result<(), R>>,
    ) -> Found<R> {
        let Some(entry) = self.entries.get(key) else {
            return Found::Nothing;
        };
        match check(&entry.voucher) {
            Some(Ok(())) => {}
            Some(Err(refusal)) => return Found::Refused(refusal),
            None => {
                drop(entry);
                self.remove(key);
                return Found::Nothing;
            }
        }
        if !entry.found.load(Ordering::Relaxed) {
            entry.found.store(true, Ordering::Relaxed);
        }
        Found::Identity(Arc::clone(&entry.identity))
    }

    /// Keeps an identity until its credential ends, or until there is no room for it.
    pub(crate) fn insert(
        &self,
        key: CacheKey,
        identity: &Arc<Identity>,
        voucher: Voucher,
        weight: usize,
    ) {
        if !self.bounds.admit(weight) {
            return;
        }
        let account = Account {
            tenant: identity.tenant().id().clone(),
            weight,
            ends: identity.expires_at(),
        };
        let entry = Entry {
            identity: Arc::clone(identity),
            voucher,
            found: AtomicBool::new(false),
        };
        let mut book = self.book.lock();
        let found = |key: &CacheKey| {
            let entry = self.entries.get(key);
            entry.is_some_and(|entry| entry.found.swap(false, Ordering::Relaxed))
        };
        let gone = book.open(key, account, &self.bounds, found);
        // Dropped after the lock: an identity carries what anybody attached to it.
        let _dropped: Vec<_> = gone
            .iter()
            .map(|key| self.entries.remove(key))
            .chain([self.entries.insert(key, entry).map(|entry| (key, entry))])
            .collect();
        self.note_next_end(&book);
        drop(book);
    }

    fn remove(&self, key: &CacheKey) {
        let mut book = self.book.lock();
        book.close(key);
        let dropped = self.entries.remove(key);
        self.note_next_end(&book);
        drop(book);
        drop(dropped);
    }

    /// Drops what has ended. One atomic load if there is nothing.
    pub(crate) fn sweep(&self, clock: &dyn Clock) {
        if self.next_end.load(Ordering::Relaxed) == u64::MAX {
            return;
        }
        let now = clock.coarse_unix();
        if now.as_nanos() >= self.next_end.load(Ordering::Relaxed) {
            self.drop_ended(now);
        }
    }

    #[cold]
    fn drop_ended(&self, now: UnixTime) {
        let mut book = self.book.lock();
        let mut dropped = Vec::new();
        while let Some(key) = book.close_ended(now) {
            dropped.extend(self.entries.remove(&key));
        }
        self.note_next_end(&book);
        drop(book);
        drop(dropped);
    }

    fn note_next_end(&self, book: &Book<CacheKey>) {
        let next = book.next_end().map_or(u64::MAX, UnixTime::as_nanos);
        self.next_end.store(next, Ordering::Relaxed);
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache")
            .field("bounds", &self.bounds)
            .field("book", &*self.book.lock())
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

    fn cache() -> CredentialCache {
        let bounds = Bounds {
            entries: 100,
            bytes: 1_000_000,
        };
        CredentialCache::new(bounds, 1000).unwrap()
    }

    #[test]
    fn token_cache_keyed_by_a_prefix() {
        let cache = cache();
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
    fn i11_the_kind_of_a_credential_counts_and_a_pair_is_split_in_one_place() {
        let cache = cache();
        assert!(cache.key(&Credential::Token(b"a")) != cache.key(&Credential::ApiKey(b"a")));
        let both = |token: &[u8], key: &[u8]| cache.key_of_both(token, key).unwrap();
        assert!(both(b"ab", b"c") == both(b"ab", b"c"));
        assert!(both(b"ab", b"c") != both(b"a", b"bc"));
        assert!(both(b"abc", b"") != both(b"", b"abc"));
        assert!(cache.key_of_both(&[b'a'; 1000], &[b'b'; 1000]).is_some());
    }
}
