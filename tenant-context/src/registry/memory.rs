//! The embedded registry.

use std::sync::Arc;

use dashmap::{DashMap, Entry};

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
pub struct MemoryRegistry(Arc<DashMap<TenantId, Row>>);

/// A removed tenant's row keeps its version: inserted again, the tenant is newer than what caches know.
#[derive(Clone, Debug)]
struct Row {
    version: u64,
    record: Option<TenantRecord>,
}

impl MemoryRegistry {
    /// A registry without tenants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts or replaces a tenant. Its version becomes one more than that of the record it
    /// replaces, if it is not newer already.
    pub fn insert(&self, mut record: TenantRecord) {
        match self.0.entry(record.id.clone()) {
            Entry::Occupied(mut row) => {
                record.version = record.version.max(row.get().version.saturating_add(1));
                row.insert(Row {
                    version: record.version,
                    record: Some(record),
                });
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Row {
                    version: record.version,
                    record: Some(record),
                });
            }
        }
    }

    /// Removes a tenant.
    pub fn remove(&self, id: &TenantId) {
        if let Some(mut row) = self.0.get_mut(id) {
            row.record = None;
        }
    }
}

impl TenantRegistry for MemoryRegistry {
    async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
        Ok(self.0.get(id).and_then(|row| row.record.clone()))
    }
}
