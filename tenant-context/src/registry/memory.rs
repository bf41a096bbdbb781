//! The embedded registry.

use std::sync::Arc;

use dashmap::DashMap;

use super::{BoxError, TenantRegistry};
use crate::{TenantId, TenantRecord};

/// A registry in memory, for examples, tests and services whose tenants are configuration.
///
/// Clones share their tenants.
///
/// ```
/// use tenant_context::{MemoryRegistry, TenantId, TenantRecord};
///
/// let registry = MemoryRegistry::new();
/// registry.insert(TenantRecord::new(TenantId::parse("acme")?).plan("pro"));
/// # Ok::<(), tenant_context::IdError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry(Arc<DashMap<TenantId, TenantRecord>>);

impl MemoryRegistry {
    /// A registry without tenants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts or replaces a tenant. Its version becomes one more than that of the record it
    /// replaces, if it is not newer already.
    pub fn insert(&self, mut record: TenantRecord) {
        self.0
            .entry(record.id.clone())
            .and_modify(|old| {
                record.version = record.version.max(old.version.saturating_add(1));
                old.clone_from(&record);
            })
            .or_insert(record);
    }

    /// Removes a tenant.
    pub fn remove(&self, id: &TenantId) {
        self.0.remove(id);
    }
}

impl TenantRegistry for MemoryRegistry {
    async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
        Ok(self.0.get(id).map(|record| record.clone()))
    }
}
