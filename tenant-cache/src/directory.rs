//! All partitions, found by tenant.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use parking_lot::{Mutex, RwLock};
use tenant_context::{InstanceId, Monotonic, TenantContext, TenantId, TenantState, TenantStatus};

use crate::{
    bounds::Plan,
    partition::{Gone, Partition, Seat},
    pool::Pool,
};

/// The partitions of one cache. A partition is never made twice while anything refers to it or it
/// holds an entry; one that is empty and that nothing refers to is dropped.
pub(crate) struct Directory {
    instance: InstanceId,
    partitions: DashMap<TenantId, Arc<Partition>>,
    /// All of them in rotation, for the search for dead entries.
    round: Mutex<VecDeque<TenantId>>,
    capacity: usize,
    plan: RwLock<Plan>,
    /// Counts plans; part of what a partition calls its revision.
    plans: AtomicU64,
    /// Monotonic nanoseconds before which a full directory is not searched again.
    next_search: AtomicU64,
    warned: AtomicBool,
}

/// Nanoseconds between two searches of a full directory.
const SEARCH_INTERVAL: u64 = 1_000_000_000;

/// A change of plans moves the revision further than a tenant's records ever do.
const PLAN_STEP: u64 = 1 << 40;

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
    pub(crate) fn new(capacity: usize, plan: Plan) -> Self {
        Self {
            instance: InstanceId::new(),
            partitions: DashMap::new(),
            round: Mutex::default(),
            capacity,
            plan: RwLock::new(plan),
            plans: AtomicU64::new(0),
            next_search: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// The caller's seat; `None` if there is no room for another tenant, or if its id is another's by now. A warm identity
    /// costs no look-up.
    pub(crate) fn seat<'c>(
        &self,
        tenant: &'c TenantContext,
        pool: &Pool,
        now: impl Fn() -> Monotonic,
    ) -> Option<Found<'c>> {
        let (state, attachments) = (tenant.tenant(), tenant.attachments());
        let revision = self.revision(state);
        if let Some(seat) = attachments.get::<Seat>(self.instance, 0) {
            let owns = self.owns(&seat.partition, state, revision, pool, &now);
            return owns.then_some(Found::Attached(seat));
        }
        let partition = self.partition(tenant.tenant_id(), pool, &now)?;
        if !self.owns(&partition, state, revision, pool, &now) {
            return None;
        }
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

    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    pub(crate) fn set_plan(&self, plan: Plan) {
        let mut place = self.plan.write();
        *place = plan;
        self.plans.fetch_add(PLAN_STEP, Ordering::AcqRel);
    }

    /// Looks for dead entries among the next `most` slots of the partition whose turn it is, and drops it if nobody
    /// needs it.
    pub(crate) fn visit(&self, pool: &Pool, most: usize, now: Monotonic) {
        let Some(mut round) = self.round.try_lock() else {
            return;
        };
        let Some(id) = round.pop_front() else { return };
        if let Some(partition) = self.known(&id) {
            drop(round);
            pool.sweep(&partition, most, now);
            drop(partition);
            round = self.round.lock();
        }
        // New references come from the map only, and its shard is locked.
        let gone = self
            .partitions
            .remove_if(&id, |_, partition| is_free(partition));
        match gone {
            Some((_, partition)) => pool.release_floor(&partition),
            None if self.partitions.contains_key(&id) => round.push_back(id),
            None => {}
        }
    }

    fn revision(&self, state: &TenantState) -> u64 {
        self.plans
            .load(Ordering::Acquire)
            .wrapping_add(state.revision())
    }

    /// Whether the partition is this tenant's, taken over if need be. One that may not act takes nothing over, and has nothing
    /// to do with what is another's meanwhile.
    fn owns(
        &self,
        partition: &Arc<Partition>,
        state: &Arc<TenantState>,
        revision: u64,
        pool: &Pool,
        now: impl Fn() -> Monotonic,
    ) -> bool {
        if partition.is_current(state, revision) {
            return true;
        }
        self.take_over(partition, state, revision, pool, now);
        partition.belongs_to(state)
    }

    fn take_over(
        &self,
        partition: &Arc<Partition>,
        state: &Arc<TenantState>,
        revision: u64,
        pool: &Pool,
        now: impl Fn() -> Monotonic,
    ) {
        // Nothing is served to a tenant that may not act; what it had goes when it comes back.
        if state.status() != TenantStatus::Active {
            return;
        }
        // The application's code runs before any lock is held.
        let plan = self.plan.read().clone();
        let bounds = plan.of(state);
        // What leaves is dropped after the locks.
        let (now, mut gone) = (now(), Gone::new());
        partition.take_over(
            state,
            revision,
            |room| pool.discard(room),
            || {
                let granted = pool.plan(partition, bounds, now, &mut gone);
                self.warn_unless(granted);
            },
        );
    }

    fn warn_unless(&self, granted: bool) {
        if !granted && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the tenants' floors add up to more than `max_bytes`: a tenant got what was left; raise the one or lower the other"
            );
        }
    }

    fn partition(
        &self,
        id: &TenantId,
        pool: &Pool,
        now: impl Fn() -> Monotonic,
    ) -> Option<Arc<Partition>> {
        if let Some(partition) = self.known(id) {
            return Some(partition);
        }
        if self.partitions.len() >= self.capacity && !self.make_room(pool, now()) {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    capacity = self.capacity,
                    "the cache has no room for another tenant, which goes uncached; raise `max_tenants`"
                );
            }
            return None;
        }
        let mut round = self.round.lock();
        Some(match self.partitions.entry(id.clone()) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                round.push_back(id.clone());
                Arc::clone(place.insert(Arc::new(Partition::new())).value())
            }
        })
    }

    fn make_room(&self, pool: &Pool, now: Monotonic) -> bool {
        let now = now.as_nanos();
        let due = self.next_search.load(Ordering::Acquire);
        let next = now.saturating_add(SEARCH_INTERVAL);
        if now >= due
            && self
                .next_search
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        {
            let mut round = self.round.lock();
            self.partitions.retain(|_, partition| {
                let free = is_free(partition);
                if free {
                    pool.release_floor(partition);
                }
                !free
            });
            round.retain(|id| self.partitions.contains_key(id));
        }
        self.partitions.len() < self.capacity
    }
}

/// Whether nothing but the directory knows it, and it holds nothing.
fn is_free(partition: &Arc<Partition>) -> bool {
    Arc::strong_count(partition) == 1 && partition.is_empty()
}
