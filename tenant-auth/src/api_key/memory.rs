//! The embedded store of API keys.

use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::RwLock;
use subtle::ConstantTimeEq;
use tenant_context::{ConfigError, CredentialId, PrincipalId, TenantId, UnixTime};

use super::{
    ApiKeySecret, NewApiKey, Record,
    format::{Format, random},
    ring::{self, KeyHash, Secrets},
};
use crate::{KeyError, reason::Reason};

/// API keys in memory, hashed with a secret of the server.
///
/// A key is `<prefix>_<env>_<random><checksum>`: 43 characters of base62 from the operating system
/// (256 bits) and a CRC-32 that only rejects typing errors. What is kept of it is its HMAC-SHA-256
/// under the server's secret, so neither the store nor a copy of it gives a key away. The hash is
/// compared in constant time, and a key that is not known costs what a known one costs.
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
///
/// keys.rotate([8; 32])?;                                          // new keys are hashed with the new secret,
/// let left = keys.under_old_secrets();                            // old ones as they are presented;
/// keys.retire_old_secrets();                                      // those that never were are unknown then
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryApiKeys(Arc<Store>);

struct Store {
    format: Format,
    keys: RwLock<Keys>,
}

struct Keys {
    secrets: Secrets,
    by_hash: HashMap<[u8; 16], (KeyHash, Arc<Record>)>,
    by_id: HashMap<CredentialId, Arc<Record>>,
    /// What a look-up of a key that is not known is compared with.
    nobody: KeyHash,
}

impl MemoryApiKeys {
    /// The fewest bytes of the server's secret.
    pub const MIN_SECRET_LEN: usize = ring::MIN_LEN;
    /// The most secrets at a time.
    pub const MAX_SECRETS: usize = ring::MAX;

    /// A store without keys, for keys that begin with `<prefix>_<env>_`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if prefix or environment are not 1 to 16 letters and digits, or the secret is
    /// shorter than 32 bytes.
    pub fn new(prefix: &str, env: &str, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Store {
            format: Format::new(prefix, env)?,
            keys: RwLock::new(Keys {
                secrets: Secrets::new(secret.as_ref())?,
                by_hash: HashMap::new(),
                by_id: HashMap::new(),
                nobody: KeyHash::default(),
            }),
        })))
    }

    /// Makes a key. The text is shown once; the id names the key in logs, in the audit and for
    /// [`revoke`](Self::revoke).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the operating system gives no randomness, or the key's description is above a
    /// bound or ends before it begins.
    pub fn issue(&self, new: NewApiKey) -> Result<(ApiKeySecret, CredentialId), KeyError> {
        new.check()
            .map_err(|error| KeyError::format(error.to_string()))?;
        let text = self.0.format.generate()?;
        let id = CredentialId::parse(format!("key_{}", random(22)?))
            .map_err(|_| KeyError::randomness())?;
        let record = Arc::new(Record::new(new, id.clone()));
        let mut keys = self.0.keys.write();
        let hash = keys.secrets.newest(text.as_bytes());
        keys.by_hash
            .insert(prefix(&hash), (hash, Arc::clone(&record)));
        keys.by_id.insert(id.clone(), record);
        Ok((ApiKeySecret(text), id))
    }

    /// Ends a key, and says whether there was one. When this returns, the key's next request is
    /// refused, cached or not, its identities are no longer valid wherever they are held, and their
    /// open streams end; so do those of requests that presented a token beside it.
    ///
    /// It holds in this process; for others see [`Revocation::api_key`](crate::Revocation::api_key).
    pub fn revoke(&self, id: &CredentialId) -> bool {
        let Some(record) = self.0.keys.read().by_id.get(id).cloned() else {
            return false;
        };
        record.revoke();
        true
    }

    /// Ends all keys of this principal, as [`revoke`](Self::revoke), and says how many there were.
    pub fn revoke_all_of(&self, tenant: &TenantId, principal: &PrincipalId) -> usize {
        let theirs: Vec<Arc<Record>> = {
            let keys = self.0.keys.read();
            let records = keys.by_id.values().filter(|record| {
                let claims = record.claims();
                claims.tenant == *tenant && claims.principal.id() == principal
            });
            records.cloned().collect()
        };
        for record in &theirs {
            record.revoke();
        }
        theirs.len()
    }

    /// Hashes with another secret from now on. Keys that were hashed with an older one are still
    /// accepted, and hashed anew when they are presented.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the secret is shorter than 32 bytes, or four are in use.
    pub fn rotate(&self, secret: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        let mut keys = self.0.keys.write();
        keys.secrets.push(secret.as_ref())?;
        keys.by_id
            .values()
            .for_each(|record| record.set_outdated(true));
        Ok(())
    }

    /// How many keys have not been presented since the secret was rotated: they are refused as unknown
    /// once the old secrets are retired.
    pub fn under_old_secrets(&self) -> usize {
        let keys = self.0.keys.read();
        keys.by_hash
            .values()
            .filter(|(_, record)| record.is_outdated())
            .count()
    }

    /// Forgets the old secrets, and with them the keys that are hashed with them.
    pub fn retire_old_secrets(&self) {
        let gone: Vec<Arc<Record>> = {
            let mut keys = self.0.keys.write();
            keys.secrets.retire();
            let gone = keys
                .by_hash
                .extract_if(|_, (_, record)| record.is_outdated());
            gone.map(|(_, (_, record))| record).collect()
        };
        for record in gone {
            record.revoke();
        }
    }

    /// How many keys have been issued, revoked ones included.
    pub fn len(&self) -> usize {
        self.0.keys.read().by_id.len()
    }

    /// Whether no key has been issued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of this tenant's key of this id.
    pub(crate) fn record(&self, tenant: &TenantId, id: &CredentialId) -> Option<Arc<Record>> {
        let keys = self.0.keys.read();
        let record = keys.by_id.get(id)?;
        (record.claims().tenant == *tenant).then(|| Arc::clone(record))
    }

    /// Whether a bearer value is meant to be one of these keys.
    pub(crate) fn claims(&self, credential: &[u8]) -> bool {
        self.0.format.claims(credential)
    }

    /// The record of a key that is presented. A key that is not known costs what a known one costs: a
    /// hash for each secret, a look-up for each, a comparison for each.
    pub(crate) fn verify(&self, key: &[u8], now: UnixTime) -> Result<Arc<Record>, Reason> {
        self.0.format.check(key)?;
        let found = self.0.keys.read().find(key);
        let record = found.ok_or("api_key_unknown")?;
        record.check(now)?;
        if record.is_outdated() {
            self.0.keys.write().rehash(key);
        }
        Ok(record)
    }
}

impl Keys {
    fn find(&self, key: &[u8]) -> Option<Arc<Record>> {
        let mut found = None;
        for hash in self.secrets.all(key) {
            let known = self.by_hash.get(&prefix(&hash));
            let stored = known.map_or(&self.nobody, |(stored, _)| stored);
            if bool::from(stored.ct_eq(&hash)) {
                found = known.map(|(_, record)| Arc::clone(record));
            }
        }
        found
    }

    fn rehash(&mut self, key: &[u8]) {
        let newest = self.secrets.newest(key);
        let older: Vec<KeyHash> = self.secrets.all(key).skip(1).collect();
        for hash in older {
            if let Some((_, record)) = self.by_hash.remove(&prefix(&hash)) {
                record.set_outdated(false);
                self.by_hash.insert(prefix(&newest), (newest, record));
            }
        }
    }
}

/// What a hash is found by. The whole of it is compared afterwards, in constant time.
fn prefix(hash: &KeyHash) -> [u8; 16] {
    hash.first_chunk().copied().unwrap_or_default()
}

impl fmt::Debug for MemoryApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.keys.read();
        f.debug_struct("MemoryApiKeys")
            .field("format", &self.0.format.to_string())
            .field("keys", &keys.by_id.len())
            .field("secrets", &keys.secrets.len())
            .finish_non_exhaustive()
    }
}
