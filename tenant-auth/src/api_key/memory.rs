//! The embedded store of API keys.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use hmac::{Hmac, Mac};
use parking_lot::{Mutex, RwLock};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tenant_context::{Claims, ConfigError, CredentialId, Identity, Rejection, UnixTime};

use super::{
    ApiKeySecret, NewApiKey,
    format::{Format, random},
};
use crate::{KeyError, reason::Reason};

/// API keys in memory, hashed with a secret of the server.
///
/// A key is `<prefix>_<env>_<random><checksum>`: 43 characters of base62 from the operating system
/// (256 bits) and a CRC-32 that only rejects typing errors. What is kept of it is its HMAC-SHA-256
/// under the server's secret, so neither the store nor a copy of it gives a key away.
///
/// Clones share their keys.
///
/// ```
/// use tenant_auth::{MemoryApiKeys, NewApiKey};
/// use tenant_context::{Principal, PrincipalId, TenantId};
///
/// let keys = MemoryApiKeys::new("sk", "live", [7; 32])?;           // the secret: 32 random bytes
/// let owner = Principal::service(PrincipalId::parse("ci")?);
/// let (secret, id) = keys.issue(NewApiKey::new(TenantId::parse("acme")?, owner).scopes(["invoices:read"]))?;
/// assert!(secret.expose().starts_with("sk_live_"));               // shown to its owner, once
/// assert!(keys.revoke(&id));                                      // in effect for the next request
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryApiKeys(Arc<Store>);

struct Store {
    format: Format,
    hasher: Hmac<Sha256>,
    keys: RwLock<Keys>,
}

#[derive(Default)]
struct Keys {
    by_hash: HashMap<[u8; 16], Arc<Record>>,
    by_id: HashMap<CredentialId, Arc<Record>>,
}

/// One key: its hash, what it stands for, and who is using it.
pub(crate) struct Record {
    hash: [u8; 32],
    claims: Claims,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    revoked: bool,
    /// The identities made from this key: what a revocation has to reach.
    identities: Vec<Weak<Identity>>,
}

impl Record {
    pub(crate) fn claims(&self) -> Claims {
        self.claims.clone()
    }

    /// Ties an identity to the key: a revocation that landed while it was being made refuses it, a
    /// later one ends it wherever it is held.
    pub(crate) fn adopt(&self, identity: &Arc<Identity>) -> Result<(), Rejection> {
        let mut live = self.live.lock();
        if live.revoked {
            return Err(Rejection::credential_invalid("revoked"));
        }
        if live.identities.len() == live.identities.capacity() {
            live.identities.retain(|known| known.strong_count() > 0);
            // Twice as much room as is used, so that the next sweep is that many identities away.
            let room = live.identities.len().max(4);
            live.identities.reserve(room);
        }
        live.identities.push(Arc::downgrade(identity));
        Ok(())
    }
}

impl MemoryApiKeys {
    /// The fewest bytes of the server's secret.
    pub const MIN_SECRET_LEN: usize = 32;

    /// A store without keys, for keys that begin with `<prefix>_<env>_`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if prefix or environment are not 1 to 16 letters and digits, or the secret is
    /// shorter than 32 bytes.
    pub fn new(prefix: &str, env: &str, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let format = Format::new(prefix, env)?;
        let secret = secret.as_ref();
        if secret.len() < Self::MIN_SECRET_LEN {
            return Err(ConfigError::new(format!(
                "API keys: the HMAC secret has {} bytes; use at least {} random bytes",
                secret.len(),
                Self::MIN_SECRET_LEN
            )));
        }
        let hasher = Hmac::new_from_slice(secret)
            .map_err(|_| ConfigError::new("API keys: the secret cannot be used"))?;
        Ok(Self(Arc::new(Store {
            format,
            hasher,
            keys: RwLock::default(),
        })))
    }

    /// Makes a key. The text is shown once; the id names the key in logs, in the audit and for
    /// [`revoke`](Self::revoke).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the operating system gives no randomness.
    pub fn issue(&self, new: NewApiKey) -> Result<(ApiKeySecret, CredentialId), KeyError> {
        let text = self.0.format.generate()?;
        let id = CredentialId::parse(format!("key_{}", random(22)?))
            .map_err(|_| KeyError::randomness())?;
        let claims = Claims::new(new.tenant, new.principal, new.expires_at)
            .scopes(new.scopes)
            .roles(new.roles)
            .credential(id.clone());
        let hash = self.0.hash(text.as_bytes());
        let record = Arc::new(Record {
            hash,
            claims,
            live: Mutex::default(),
        });
        let mut keys = self.0.keys.write();
        keys.by_hash.insert(prefix(&hash), Arc::clone(&record));
        keys.by_id.insert(id.clone(), record);
        Ok((ApiKeySecret(text), id))
    }

    /// Ends a key, and says whether there was one. When this returns, the key's next request is
    /// refused, cached or not, its identities are no longer valid wherever they are held, and their
    /// open streams end.
    pub fn revoke(&self, id: &CredentialId) -> bool {
        let Some(record) = self.0.keys.read().by_id.get(id).cloned() else {
            return false;
        };
        let mut live = record.live.lock();
        live.revoked = true;
        for identity in live.identities.drain(..) {
            if let Some(identity) = identity.upgrade() {
                identity.revoke();
            }
        }
        true
    }

    /// How many keys have been issued, revoked ones included.
    pub fn len(&self) -> usize {
        self.0.keys.read().by_id.len()
    }

    /// Whether no key has been issued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a bearer value is meant to be one of these keys.
    pub(crate) fn claims(&self, credential: &[u8]) -> bool {
        self.0.format.claims(credential)
    }

    /// The record of a key that is presented. An unknown key costs what a wrong one costs: one hash.
    pub(crate) fn verify(&self, key: &[u8], now: UnixTime) -> Result<Arc<Record>, Reason> {
        self.0.format.check(key)?;
        let hash = self.0.hash(key);
        let found = self.0.keys.read().by_hash.get(&prefix(&hash)).cloned();
        let record = found
            .filter(|record| record.hash.ct_eq(&hash).into())
            .ok_or("api_key_unknown")?;
        if record.live.lock().revoked {
            return Err("revoked");
        }
        if now >= record.claims.expires_at {
            return Err("expired");
        }
        Ok(record)
    }
}

impl Store {
    fn hash(&self, key: &[u8]) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        hasher.update(key);
        hasher.finalize().into_bytes().into()
    }
}

/// What a hash is found by. The whole of it is compared afterwards, in constant time.
fn prefix(hash: &[u8; 32]) -> [u8; 16] {
    hash.first_chunk().copied().unwrap_or_default()
}

impl fmt::Debug for MemoryApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryApiKeys")
            .field("format", &self.0.format.to_string())
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
