//! Keys in memory.

use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::RwLock;
use tenant_context::{BoxError, CredentialId, TenantId, UnixTime};

use super::{ApiKeyDigest, ApiKeyRecord, ApiKeyStore, SecretTag};

/// Keys in this process's memory: for tests, and for services that issue their keys when they start. Clones share
/// them.
#[derive(Clone, Default)]
pub struct MemoryApiKeyStore(Arc<RwLock<Kept>>);

#[derive(Default)]
struct Kept {
    records: HashMap<CredentialId, ApiKeyRecord>,
    ids: HashMap<ApiKeyDigest, CredentialId>,
}

impl MemoryApiKeyStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys are kept, ended ones included.
    pub fn len(&self) -> usize {
        self.0.read().records.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kept {
    fn insert(&mut self, record: ApiKeyRecord) -> Result<(), BoxError> {
        if self.records.contains_key(&record.key_id) || self.ids.contains_key(&record.digest) {
            return Err("MemoryApiKeyStore: the key is not new".into());
        }
        self.ids
            .insert(record.digest.clone(), record.key_id.clone());
        self.records.insert(record.key_id.clone(), record);
        Ok(())
    }

    fn replace(&mut self, version: u64, mut record: ApiKeyRecord) -> bool {
        let known = self.records.get_mut(&record.key_id);
        let Some(known) = known.filter(|known| known.version == version) else {
            return false;
        };
        record.last_used_at = known.last_used_at;
        self.ids.remove(&known.digest);
        self.ids
            .insert(record.digest.clone(), record.key_id.clone());
        *known = record;
        true
    }
}

impl ApiKeyStore for MemoryApiKeyStore {
    async fn insert(&self, record: ApiKeyRecord) -> Result<(), BoxError> {
        self.0.write().insert(record)
    }

    async fn find(&self, digests: &[ApiKeyDigest]) -> Result<Option<ApiKeyRecord>, BoxError> {
        let kept = self.0.read();
        let id = digests.iter().find_map(|digest| kept.ids.get(digest));
        Ok(id.and_then(|id| kept.records.get(id)).cloned())
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<ApiKeyRecord>, BoxError> {
        let kept = self.0.read();
        let record = kept.records.get(id);
        Ok(record.filter(|record| record.tenant_id == *tenant).cloned())
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, BoxError> {
        let kept = self.0.read();
        let theirs = kept
            .records
            .values()
            .filter(|record| record.tenant_id == *tenant);
        Ok(theirs.cloned().collect())
    }

    async fn replace(&self, version: u64, record: ApiKeyRecord) -> Result<bool, BoxError> {
        Ok(self.0.write().replace(version, record))
    }

    async fn rotate(
        &self,
        version: u64,
        record: ApiKeyRecord,
        successor: ApiKeyRecord,
    ) -> Result<bool, BoxError> {
        let mut kept = self.0.write();
        let current = kept.records.get(&record.key_id);
        if current.is_none_or(|known| known.version != version) {
            return Ok(false);
        }
        kept.insert(successor)?;
        Ok(kept.replace(version, record))
    }

    async fn touch(&self, uses: &[(CredentialId, UnixTime)]) -> Result<(), BoxError> {
        let mut kept = self.0.write();
        for (id, used_at) in uses {
            if let Some(record) = kept.records.get_mut(id) {
                record.touch(*used_at);
            }
        }
        Ok(())
    }

    async fn count_other_secrets(&self, newest: SecretTag) -> Result<usize, BoxError> {
        let kept = self.0.read();
        let outside =
            |record: &&ApiKeyRecord| record.revoked_at.is_none() && !record.digest.has_tag(newest);
        Ok(kept.records.values().filter(outside).count())
    }
}

impl fmt::Debug for MemoryApiKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryApiKeyStore")
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
