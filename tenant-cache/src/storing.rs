//! How a namespace stores a value: what is made of it before any lock, and then put in place.

use std::{sync::Arc, time::Duration};

use tenant_context::Monotonic;

use crate::{
    Keep, Namespace,
    entry::{AnyEntry, Entry, Life},
    load::Slot,
    namespace::At,
    partition::{Epoch, Gone, Partition},
};

/// A value on its way into the cache.
pub(crate) struct Prepared {
    entry: Arc<AnyEntry>,
    weight: usize,
    now: Monotonic,
}

impl<V: Clone + Send + Sync + 'static> Namespace<V> {
    pub(crate) fn keep_of(&self, value: &V) -> Keep {
        self.keep
            .as_ref()
            .map_or_else(Keep::default, |keep| keep(value))
    }

    /// What is stored of a value that was begun in `epoch`; `None` if it is not to be stored.
    pub(crate) fn prepare(&self, epoch: Epoch, slot: Slot<V>, keep: &Keep) -> Option<Prepared> {
        if keep.tags.len() > Keep::MAX_TAGS {
            tracing::warn!(
                tags = keep.tags.len(),
                most = Keep::MAX_TAGS,
                "a value with too many tags is not cached: give it fewer"
            );
            return None;
        }
        let now = self.cache.now();
        let (ttl, stale) = match &slot {
            Slot::Value(_) => (
                keep.ttl.unwrap_or(self.ttl),
                keep.stale.unwrap_or(self.stale),
            ),
            Slot::Absent => (self.negative_ttl.unwrap_or(Duration::ZERO), Duration::ZERO),
        };
        if ttl.is_zero() {
            return None;
        }
        let fresh_until = now.saturating_add(ttl);
        let mut life = Life {
            fresh_until,
            begun: epoch.marks,
            tags: keep.tags.iter().map(|tag| self.cache.tag(tag)).collect(),
            ..Life::until(fresh_until.saturating_add(stale))
        };
        if let Some(idle) = keep.idle.or(self.idle) {
            life.idle_after(idle, now);
        }
        let weight = match &slot {
            Slot::Value(value) => (self.weigh)(value),
            Slot::Absent => 0,
        };
        let weight = weight.saturating_add(life.weight());
        Some(Prepared {
            entry: Arc::new(Entry::new(life, slot)),
            weight,
            now,
        })
    }

    /// Puts it in place of what the key had.
    pub(crate) fn commit(
        &self,
        partition: &Arc<Partition>,
        at: &At,
        epoch: Epoch,
        prepared: Option<Prepared>,
        gone: &mut Gone,
    ) {
        let pool = self.cache.pool();
        let Some(Prepared { entry, weight, now }) = prepared else {
            return pool.remove(partition, at.hash, at.key(), gone);
        };
        pool.insert(partition, at.place(epoch), (entry, weight), now, gone);
    }
}
