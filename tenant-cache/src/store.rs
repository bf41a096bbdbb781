//! The engine: one bounded map for all partitions.

use std::{any::Any, sync::Arc};

use moka::sync::Cache;
use tenant_context::Monotonic;

use crate::partition::{Charge, Epoch, Partition};

/// A stored value. The charge goes back when the entry leaves, for whatever reason.
pub(crate) struct Entry<T: ?Sized> {
    charge: Arc<Charge>,
    value: T,
}

pub(crate) type AnyEntry = Entry<dyn Any + Send + Sync>;

impl AnyEntry {
    pub(crate) fn value<T: Any>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }
}

/// Where a value goes, and until when it may be read.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) epoch: Epoch,
    pub(crate) key: &'a [u8],
    pub(crate) expires_at: Monotonic,
}

/// Expiry is by the caller's clock, never by the engine's.
pub(crate) struct Store {
    entries: Cache<Arc<[u8]>, Arc<AnyEntry>>,
    ceiling: u64,
}

/// What an entry costs beside its key and value: the engine's own (266 bytes measured at a million
/// entries), the charge and the counters.
const OVERHEAD: u64 = 400;

impl Store {
    pub(crate) fn new(max_bytes: u64, ceiling: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_key: &Arc<[u8]>, entry: &Arc<AnyEntry>| {
                u32::try_from(entry.charge.bytes).unwrap_or(u32::MAX)
            })
            .eviction_listener(|_key, entry, _cause| {
                entry.charge.release();
            })
            .build();
        Self { entries, ceiling }
    }

    /// No allocation.
    pub(crate) fn get(&self, key: &[u8], now: Monotonic) -> Option<Arc<AnyEntry>> {
        self.find(key).filter(|entry| now < entry.charge.expires_at)
    }

    /// What is stored, expired or not.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Arc<AnyEntry>> {
        self.entries.get(key)
    }

    /// Stores a value of `weight` bytes in place of what its key had. A value that alone is above the
    /// partition's ceiling is not stored; its key has none then.
    pub(crate) fn insert<T: Any + Send + Sync>(
        &self,
        place: Place<'_>,
        value: T,
        weight: u64,
        now: Monotonic,
    ) -> bool {
        let length = u64::try_from(place.key.len()).unwrap_or(u64::MAX);
        let bytes = weight.saturating_add(length).saturating_add(OVERHEAD);
        if bytes > self.ceiling.min(u64::from(u32::MAX)) || now >= place.expires_at {
            self.remove(place.key);
            return false;
        }
        if let Some(old) = self.entries.get(place.key) {
            old.charge.release();
        }
        let key: Arc<[u8]> = Arc::from(place.key);
        let (charge, victims) = place.partition.admit(
            Arc::clone(&key),
            bytes,
            place.epoch,
            place.expires_at,
            self.ceiling,
            now,
        );
        for victim in victims {
            self.entries.invalidate(&victim);
        }
        let entry: Arc<AnyEntry> = Arc::new(Entry {
            charge: Arc::clone(&charge),
            value,
        });
        self.entries.insert(key, entry);
        // Given up by another insertion in between: what is not counted does not stay.
        if charge.is_released() {
            self.remove(place.key);
        }
        true
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.entries.invalidate(key);
    }

    /// Finishes what the engine has put off.
    #[cfg(test)]
    pub(crate) fn settle(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}
