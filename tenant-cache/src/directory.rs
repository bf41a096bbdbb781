//! All partitions, found by tenant.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use tenant_context::{InstanceId, Monotonic, TenantContext, TenantId};

use crate::partition::{Partition, Seat};

/// The partitions of one cache. A partition is never made twice while anything refers to it or it
/// holds an entry; at capacity, those that nothing refers to are dropped.
pub(crate) struct Directory {
    instance: InstanceId,
    partitions: DashMap<TenantId, Arc<Partition>>,
    capacity: usize,
    next: AtomicU64,
    /// Monotonic nanoseconds before which a full directory is not searched again.
    next_search: AtomicU64,
    warned: AtomicBool,
}

/// Nanoseconds between two searches of a full directory.
const SEARCH_INTERVAL: u64 = 1_000_000_000;

/// An identity's seat: attached to it, or made for this call.
pub(crate) enum Found<'a> {
    Attached(&'a Seat),
    Made(Arc<Seat>),
}

impl Deref for Found<'_> {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        match self {
            Self::Attached(seat) => seat,
            Self::Made(seat) => seat,
        }
    }
}

impl Directory {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            instance: InstanceId::new(),
            partitions: DashMap::new(),
            capacity,
            next: AtomicU64::new(1),
            next_search: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// The caller's seat; `None` if there is no room for another tenant. A warm identity costs no
    /// look-up.
    pub(crate) fn seat<'c>(
        &self,
        tenant: &'c TenantContext,
        now: impl FnOnce() -> Monotonic,
    ) -> Option<Found<'c>> {
        let attachments = tenant.attachments();
        if let Some(seat) = attachments.get::<Seat>(self.instance, 0) {
            return Some(Found::Attached(seat));
        }
        let partition = self.partition(tenant.tenant_id(), now)?;
        let seat = Arc::new(Seat::new(partition));
        attachments.attach(self.instance, 0, Arc::clone(&seat));
        // Another thread may have been first: then its seat is the identity's.
        Some(
            attachments
                .get::<Seat>(self.instance, 0)
                .map_or(Found::Made(seat), Found::Attached),
        )
    }

    /// The partition of a tenant, if it has one.
    pub(crate) fn known(&self, id: &TenantId) -> Option<Arc<Partition>> {
        self.partitions
            .get(id)
            .map(|partition| Arc::clone(&partition))
    }

    fn partition(&self, id: &TenantId, now: impl FnOnce() -> Monotonic) -> Option<Arc<Partition>> {
        if let Some(partition) = self.known(id) {
            return Some(partition);
        }
        if self.partitions.len() >= self.capacity && !self.make_room(now()) {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    capacity = self.capacity,
                    "the cache has no room for another tenant, which goes uncached; raise `max_tenants`"
                );
            }
            return None;
        }
        Some(match self.partitions.entry(id.clone()) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                Arc::clone(place.insert(Arc::new(Partition::new(number))).value())
            }
        })
    }

    fn make_room(&self, now: Monotonic) -> bool {
        let now = now.as_nanos();
        let due = self.next_search.load(Ordering::Acquire);
        let next = now.saturating_add(SEARCH_INTERVAL);
        if now >= due
            && self
                .next_search
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        {
            // New references come from the map only, and its shard is locked.
            self.partitions
                .retain(|_, partition| Arc::strong_count(partition) > 1 || !partition.is_empty());
        }
        self.partitions.len() < self.capacity
    }
}
