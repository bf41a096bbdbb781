//! API keys: presented, found, and what of them is held in this process.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::RwLock;
use subtle::ConstantTimeEq;
use tenant_context::{Claims, Clock, ConfigError, CredentialId, Lookup, Rejection, TenantId};

use super::{
    ApiKeyDigest, ApiKeyRecord, ApiKeysBuilder, SecretTag,
    format::Format,
    live::{Freshness, LiveKey},
    ring::{self, KeyHash, Secrets},
    store::Store,
};

/// The API keys of a service: issued, verified, rotated, revoked. Clones are the same keys.
///
/// A key is `<prefix>_<env>_<random><checksum>`: 43 characters of base62 from the operating system
/// (256 bits) and a CRC-32 that only rejects typing errors. What is kept of it is its HMAC-SHA-256
/// under the server's secret, so neither the store nor a copy of it gives a key away. The hash is
/// compared in constant time.
///
/// Records are kept in memory, or in a database of yours ([`ApiKeyStore`](super::ApiKeyStore)). A key in use costs the database one
/// question in [`fresh_for`](ApiKeysBuilder::fresh_for), and no write per request.
///
/// ```
/// use tenant_auth::{ApiKeys, NewApiKey};
/// use tenant_context::{Principal, PrincipalId, TenantId};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = ApiKeys::in_memory("sk", "live", [7; 32])?;           // the secret: 32 random bytes
/// let acme = TenantId::parse("acme")?;
/// let ci = Principal::service(PrincipalId::parse("ci")?);
/// let (secret, id) = keys.issue(NewApiKey::new(acme.clone(), ci).scopes(["invoices:read"])).await?;
/// assert!(secret.expose().starts_with("sk_live_"));               // shown to its owner, once
/// assert_eq!(secret.to_string(), "sk_live_…redacted");            // and nowhere else
///
/// let rotated = keys.rotate(&acme, &id).await?;                   // both are valid for 7 days
/// keys.revoke(&acme, &rotated.key_id).await?;                     // in effect for the next request
/// # Ok(())
/// # }
/// ```
///
/// # A rotation of the server's secret
///
/// [`rotate_secret`](Self::rotate_secret): new keys are hashed with the new secret, old ones as they are presented;
/// [`under_old_secrets`](Self::under_old_secrets) says how many never were, and
/// [`retire_old_secrets`](Self::retire_old_secrets) makes these unknown.
#[derive(Clone)]
pub struct ApiKeys(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) format: Format,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) secrets: RwLock<Secrets>,
    pub(super) freshness: Freshness,
    pub(super) capacity: usize,
    pub(super) on_grace_ending: Box<dyn Fn(&CredentialId) + Send + Sync>,
    pub(super) held: RwLock<Held>,
}

/// The keys that this process holds, because they were presented.
#[derive(Default)]
pub(super) struct Held {
    by_hash: HashMap<[u8; 16], (KeyHash, Arc<LiveKey>)>,
    pub(super) by_id: HashMap<CredentialId, Arc<LiveKey>>,
    /// How often a key was changed here: what was read before a change is read again.
    pub(super) changes: u64,
    /// What a look-up of a key that is not known is compared with.
    nobody: KeyHash,
}

/// The keys whose end is that of what was derived from them.
pub(crate) type Behind = Result<Vec<Arc<LiveKey>>, Rejection>;

/// What becomes of a request with a key that is cached.
pub(crate) enum Vouched {
    /// It goes on.
    Stands,
    /// The key is to be verified again.
    Again,
}

impl ApiKeys {
    /// The fewest bytes of the server's secret.
    pub const MIN_SECRET_LEN: usize = ring::MIN_LEN;
    /// The most secrets at a time.
    pub const MAX_SECRETS: usize = ring::MAX;
    /// The longest grace of a rotation: 14 days.
    pub const LONGEST_GRACE: Duration = Duration::from_secs(14 * 86_400);
    /// What secret scanners look for to find the keys of all services, as a regular expression. That of one's own is narrower:
    /// [`pattern`](Self::pattern).
    pub const PATTERN: &str = r"\b[0-9A-Za-z]{1,16}_[0-9A-Za-z]{1,16}_[0-9A-Za-z]{49}\b";

    /// Keys that begin with `<prefix>_<env>_`, in memory.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if prefix or environment are not 1 to 16 letters and digits, or the secret is
    /// shorter than 32 bytes.
    pub fn in_memory(
        prefix: &str,
        env: &str,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, ConfigError> {
        Self::builder(prefix, env, secret).build()
    }

    /// The regular expression by which secret scanners find this service's keys: publish it to theirs (a custom pattern of
    /// your code host, a rule of `gitleaks`), and confirm a find with [`is_well_formed`](Self::is_well_formed).
    ///
    /// ```
    /// let keys = tenant_auth::ApiKeys::in_memory("sk", "live", [7; 32])?;
    /// assert_eq!(keys.pattern(), r"\bsk_live_[0-9A-Za-z]{49}\b");
    /// # Ok::<(), tenant_auth::ConfigError>(())
    /// ```
    pub fn pattern(&self) -> String {
        self.0.format.pattern()
    }

    /// Whether a text has the form of one of this service's keys, its checksum included: one text in 2³² has by chance.
    pub fn is_well_formed(&self, text: &str) -> bool {
        self.0.format.check(text.as_bytes()).is_ok()
    }

    /// Hashes with another secret from now on. Keys that were hashed with an older one are still
    /// accepted, and hashed anew when they are presented. In all processes that share the store, the new secret
    /// must be known before one of them hashes with it: add it everywhere within a short time.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the secret is shorter than 32 bytes, or four are in use.
    pub fn rotate_secret(&self, secret: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        self.0.secrets.write().push(secret.as_ref())?;
        let held = self.0.held.read();
        held.by_id.values().for_each(|key| key.set_outdated(true));
        Ok(())
    }

    /// Forgets the old secrets, and with them the keys that are hashed with them. What such a key had delegated or sealed is
    /// still accepted: revoke the key to end that.
    pub fn retire_old_secrets(&self) {
        self.0.secrets.write().retire();
        let gone: Vec<Arc<LiveKey>> = {
            let mut held = self.0.held.write();
            held.changes = held.changes.wrapping_add(1);
            let outdated = |key: &Arc<LiveKey>| key.is_outdated();
            held.by_id.retain(|_, key| !outdated(key));
            let gone = held.by_hash.extract_if(|_, (_, key)| outdated(key));
            gone.map(|(_, (_, key))| key).collect()
        };
        for key in gone {
            key.end();
        }
    }

    /// Whether a bearer value is meant to be one of these keys.
    pub(crate) fn claims(&self, credential: &[u8]) -> bool {
        self.0.format.claims(credential)
    }

    /// Whether a key that is cached stands still. No look-up, no lock, no allocation.
    pub(crate) fn vouch(&self, key: &LiveKey) -> Vouched {
        let shared = &*self.0;
        let now = shared.clock.coarse_monotonic().as_nanos();
        let unix = shared.clock.coarse_unix();
        if key.is_outdated() || key.is_due(now) || key.is_over(unix) {
            return Vouched::Again;
        }
        shared.note_use(key, now);
        Vouched::Stands
    }

    /// Whether a key that something was derived from need not be asked for again.
    pub(crate) fn is_known(&self, key: &LiveKey) -> bool {
        let clock = &self.0.clock;
        !key.is_due(clock.coarse_monotonic().as_nanos()) && !key.is_over(clock.coarse_unix())
    }

    /// The key that is presented. One that is not held is asked for.
    pub(crate) fn verify(&self, text: &[u8]) -> Lookup<Result<Arc<LiveKey>, Rejection>> {
        let invalid = |reason| Lookup::Ready(Err(Rejection::credential_invalid(reason)));
        let shared = &self.0;
        if let Err(reason) = shared.format.check(text) {
            return invalid(reason);
        }
        let hashes: Vec<_> = shared.secrets.read().all(text).collect();
        let held = shared.held.read().find(&hashes);
        if let Some(key) = &held
            && !key.is_outdated()
            && !key.claim_refresh(&*shared.clock)
            && !key.is_stale(&*shared.clock)
        {
            return Lookup::Ready(shared.admit(key));
        }
        let mut loading = Box::pin(Arc::clone(shared).load(hashes, held));
        match (&mut loading).now_or_never() {
            Some(loaded) => Lookup::Ready(loaded),
            None => Lookup::Pending(loading),
        }
    }
}

impl ApiKeys {
    /// The keys that a token was derived from.
    pub(crate) fn behind_token(&self, claims: &Claims) -> Lookup<Behind> {
        self.behind(claims, Vec::new())
    }

    /// The keys that a job was sealed with, or that what sealed it was derived from.
    pub(crate) fn behind_job(&self, claims: &Claims) -> Lookup<Behind> {
        let own = claims.credential.iter().filter(|_| claims.issuer.is_none());
        let own = own.chain(&claims.api_key).cloned();
        self.behind(claims, own.collect())
    }

    /// Held from now on, so that their end reaches what was derived. An id that is not known here is another service's key. What
    /// an operator does in a tenant was derived from a key of its own.
    fn behind(&self, claims: &Claims, mut ids: Vec<CredentialId>) -> Lookup<Behind> {
        for parent in &claims.parents {
            let own = Some(&parent.credential).filter(|_| parent.issuer.is_none());
            ids.extend(own.into_iter().chain(&parent.api_key).cloned());
        }
        if ids.is_empty() {
            return Lookup::Ready(Ok(Vec::new()));
        }
        let keys = self.clone();
        let tenants: Vec<_> = [Some(&claims.tenant), claims.operator_of.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let mut finding = Box::pin(async move {
            let mut found = Vec::new();
            for id in &ids {
                for tenant in &tenants {
                    if let Some(key) = keys.named(tenant, id).await? {
                        key.check(keys.0.clock.unix())
                            .map_err(Rejection::credential_invalid)?;
                        found.push(key);
                        break;
                    }
                }
            }
            Ok(found)
        });
        match (&mut finding).now_or_never() {
            Some(found) => Lookup::Ready(found),
            None => Lookup::Pending(finding),
        }
    }
}

impl ApiKeys {
    /// The key of this id, asked for as often as one that is presented.
    async fn named(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Arc<LiveKey>>, Rejection> {
        let clock = &*self.0.clock;
        let Some(held) = self.held(tenant, id) else {
            return self.0.load_named(tenant, id).await;
        };
        if !held.claim_refresh(clock) && !held.is_stale(clock) {
            return Ok(Some(held));
        }
        match self.0.load_named(tenant, id).await {
            Ok(None) => {
                // Nobody deletes keys that are in use; whoever did so meant it.
                held.end();
                Ok(Some(held))
            }
            Err(_) if !held.is_stale(clock) => Ok(Some(held)),
            answer => answer,
        }
    }
}

impl Shared {
    async fn load_named(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<Arc<LiveKey>>, Rejection> {
        for _ in 0..8 {
            let seen = self.held.read().changes;
            let record = self.store.load(tenant, id).await.map_err(|error| {
                tracing::error!(%error, "the store of API keys cannot be asked");
                Rejection::store_unavailable()
            })?;
            let theirs =
                |record: &ApiKeyRecord| record.tenant_id == *tenant && record.key_id == *id;
            let Some(record) = record.filter(theirs) else {
                return Ok(None);
            };
            let hash = record.digest.hash().ok_or_else(|| {
                tracing::error!("the store of API keys answered with no digest");
                Rejection::store_unavailable()
            })?;
            if let Some(key) = self.hold(&record, hash, seen)? {
                let newest = self.secrets.read().tag();
                key.set_outdated(!record.digest.has_tag(newest));
                return Ok(Some(key));
            }
        }
        Err(Rejection::store_unavailable())
    }

    fn admit(&self, key: &Arc<LiveKey>) -> Result<Arc<LiveKey>, Rejection> {
        key.check(self.clock.unix())
            .map_err(Rejection::credential_invalid)?;
        self.note_use(key, self.clock.coarse_monotonic().as_nanos());
        Ok(Arc::clone(key))
    }

    fn note_use(&self, key: &LiveKey, now: u64) {
        key.used(now);
        if key.warns(self.clock.coarse_unix())
            && let Some(id) = key.id()
        {
            (self.on_grace_ending)(id);
        }
    }

    /// Asks the store. `held` is what is known already.
    async fn load(
        self: Arc<Self>,
        hashes: Vec<(SecretTag, KeyHash)>,
        held: Option<Arc<LiveKey>>,
    ) -> Result<Arc<LiveKey>, Rejection> {
        let digests: Vec<_> = hashes
            .iter()
            .map(|(tag, hash)| ApiKeyDigest::new(*tag, hash))
            .collect();
        // Once more for what changed here while the store was answering.
        for _ in 0..8 {
            let seen = self.held.read().changes;
            let record = match Arc::clone(&self.store).find(digests.clone()).await {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(%error, "the store of API keys cannot be asked");
                    return match held.filter(|key| !key.is_stale(&*self.clock)) {
                        Some(key) => self.admit(&key),
                        None => Err(Rejection::store_unavailable()),
                    };
                }
            };
            let Some(record) = record else {
                // Nobody deletes keys that are in use; whoever did so meant it.
                if let Some(key) = held {
                    key.end();
                }
                return Err(Rejection::credential_invalid("api_key_unknown"));
            };
            let Some((_, hash)) = hashes
                .iter()
                .zip(&digests)
                .find(|(_, digest)| **digest == record.digest)
                .map(|(hash, _)| hash)
            else {
                tracing::error!("the store of API keys answered with another key");
                return Err(Rejection::store_unavailable());
            };
            let Some(key) = self.hold(&record, *hash, seen)? else {
                continue;
            };
            self.rehash(&key, record, &hashes).await;
            return self.admit(&key);
        }
        Err(Rejection::store_unavailable())
    }

    /// Holds a key as the store has it. `None` if something changed here since it was asked.
    fn hold(
        &self,
        record: &ApiKeyRecord,
        hash: KeyHash,
        seen: u64,
    ) -> Result<Option<Arc<LiveKey>>, Rejection> {
        let known = {
            let mut held = self.held.write();
            if held.changes != seen {
                return Ok(None);
            }
            if let Some(key) = held.by_id.get(&record.key_id) {
                Arc::clone(key)
            } else {
                if held.by_id.len() >= self.capacity {
                    held.forget_idle();
                }
                if held.by_id.len() >= self.capacity {
                    return Err(Rejection::store_unavailable().with_reason("api_keys_full"));
                }
                let key = LiveKey::new(record, hash, &*self.clock, &self.freshness);
                let key = Arc::new(key);
                held.insert(record.key_id.clone(), hash, &key);
                return Ok(Some(key));
            }
        };
        known.change(record, &self.freshness);
        known.refreshed(&*self.clock, &self.freshness);
        self.held.write().find_by(&known, hash);
        Ok(Some(known))
    }

    /// Hashes a key with the newest secret, if it is not.
    async fn rehash(
        &self,
        key: &Arc<LiveKey>,
        record: ApiKeyRecord,
        hashes: &[(SecretTag, KeyHash)],
    ) {
        let Some((tag, hash)) = hashes.first() else {
            return;
        };
        if record.digest.has_tag(*tag) {
            key.set_outdated(false);
            return;
        }
        let version = record.version;
        let mut record = record;
        record.digest = ApiKeyDigest::new(*tag, hash);
        record.version = version.saturating_add(1);
        // Whoever was faster has done it, or the next request does.
        match self.store.replace(version, record.clone()).await {
            Ok(true) => {
                key.change(&record, &self.freshness);
                self.held.write().find_by(key, *hash);
                key.set_outdated(false);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "an API key is not hashed with the newest secret"),
        }
    }
}

impl Held {
    fn find(&self, hashes: &[(SecretTag, KeyHash)]) -> Option<Arc<LiveKey>> {
        let mut found = None;
        for (_, hash) in hashes {
            let known = self.by_hash.get(&prefix(hash));
            let stored = known.map_or(&self.nobody, |(stored, _)| stored);
            if bool::from(stored.ct_eq(hash)) {
                found = known.map(|(_, key)| Arc::clone(key));
            }
        }
        found
    }

    fn insert(&mut self, id: CredentialId, hash: KeyHash, key: &Arc<LiveKey>) {
        self.by_hash.insert(prefix(&hash), (hash, Arc::clone(key)));
        self.by_id.insert(id, Arc::clone(key));
    }

    /// From now on the key is found by this hash alone.
    fn find_by(&mut self, key: &Arc<LiveKey>, hash: KeyHash) {
        let before = std::mem::replace(&mut *key.hash.lock(), hash);
        self.by_hash.remove(&prefix(&before));
        self.by_hash.insert(prefix(&hash), (hash, Arc::clone(key)));
    }

    /// Forgets keys that nothing refers to: the next request asks for them again.
    pub(super) fn forget_idle(&mut self) {
        let Self { by_hash, by_id, .. } = self;
        by_id.retain(|_, key| {
            // Here, and by its hash.
            let idle = Arc::strong_count(key) <= 2 && !key.is_held();
            if idle {
                by_hash.remove(&prefix(&key.hash.lock()));
            }
            !idle
        });
    }
}

/// What a hash is found by. The whole of it is compared afterwards, in constant time.
fn prefix(hash: &KeyHash) -> [u8; 16] {
    hash.first_chunk().copied().unwrap_or_default()
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("format", &self.0.format.to_string())
            .field("held", &self.0.held.read().by_id.len())
            .field("secrets", &self.0.secrets.read().len())
            .finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// Begins the keys that begin with `<prefix>_<env>_` and are hashed with this secret of the server's: 32 random bytes.
    pub fn builder(prefix: &str, env: &str, secret: impl AsRef<[u8]>) -> ApiKeysBuilder {
        let format = Format::new(prefix, env);
        ApiKeysBuilder::new(format, Secrets::new(secret.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_key::live::tests::key;

    /// A table finds by half of the hash; all of it is compared.
    #[test]
    fn i11_every_byte_of_a_keys_hash_counts() {
        let (key, record, hash) = key();
        let (mut held, tag) = (Held::default(), Secrets::new(&[7; 32]).unwrap().tag());
        held.insert(record.key_id, hash, &Arc::new(key));
        assert!(held.find(&[(tag, hash)]).is_some());
        for at in 0..hash.len() {
            let mut other = hash;
            other[at] ^= 1;
            assert!(held.find(&[(tag, other)]).is_none(), "byte {at}");
        }
        assert!(held.find(&[(tag, KeyHash::default())]).is_none());
    }
}
