//! All tenants' cells.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use smallvec::SmallVec;
use tenant_context::{Monotonic, TenantId};

use crate::{
    own::{Named, Own},
    sync::{Mutex, MutexGuard},
    table::Table,
};

/// How many tenants' cells are looked at for each newcomer when all places are taken.
const LOOKS: usize = 64;
const SHARDS: usize = 16;

/// One tenant's own cells, behind one short lock: alone in their cache lines, so that no neighbour's work takes them along, nor
/// what is counted of their references.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct TenantCells(Mutex<Own>);

impl TenantCells {
    pub(crate) fn new(own: Own) -> Self {
        Self(Mutex::new(own))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Own> {
        self.0.lock()
    }
}

/// All tenants that are known to one limiter: at most so many, and only those whose cells are all full
/// again, and which nothing refers to, are forgotten.
#[derive(Debug)]
pub(crate) struct Tenants {
    shards: Box<[Shard]>,
    hasher: RandomState,
    known: AtomicUsize,
    most: usize,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Table<TenantId, Arc<TenantCells>>>);

impl Tenants {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS)
                .map(|_| Shard(Mutex::new(Table::new(LOOKS))))
                .collect(),
            hasher: RandomState::new(),
            known: AtomicUsize::new(0),
            most,
        }
    }

    fn shard(&self, id: &TenantId) -> Option<(u64, &Shard)> {
        let hash = self.hasher.hash_one(id.as_str());
        // Other bits than those by which the table spreads them.
        let at = usize::try_from(hash >> 40).unwrap_or(0);
        Some((hash, self.shards.get(at.checked_rem(SHARDS)?)?))
    }

    /// A tenant's cells; `None` if there is no place for them.
    pub(crate) fn cells(
        &self,
        id: &TenantId,
        now: Monotonic,
        make: impl Fn() -> Own,
    ) -> Option<Arc<TenantCells>> {
        let make = || Arc::new(TenantCells::new(make()));
        // Counted under the table's lock: nobody can come to refer to them meanwhile.
        let forgettable =
            |cells: &Arc<TenantCells>| Arc::strong_count(cells) == 1 && cells.lock().is_idle(now);
        let (hash, shard) = self.shard(id)?;
        {
            let mut table = shard.0.lock();
            if let Some(cells) = table.get(hash, id) {
                return Some(Arc::clone(cells));
            }
            if self.count() {
                return table.push(hash, id, make()).cloned();
            }
            if let Some(cells) = table.replace(hash, id, forgettable, make) {
                return Some(Arc::clone(cells));
            }
        }
        // None in its own shard: another one makes room. One lock at a time.
        let mut shards = self.shards.iter();
        if !shards.any(|shard| shard.0.lock().forget(forgettable)) {
            return None;
        }
        self.known.fetch_sub(1, Ordering::Relaxed);
        let mut table = shard.0.lock();
        match table.get(hash, id) {
            Some(cells) => Some(Arc::clone(cells)),
            None if self.count() => table.push(hash, id, make()).cloned(),
            None => None,
        }
    }

    /// Takes one of the places.
    fn count(&self) -> bool {
        let more = |known: usize| known.checked_add(1).filter(|known| *known <= self.most);
        self.known
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// A tenant's cells, if it is known.
    pub(crate) fn find(&self, id: &TenantId) -> Option<Arc<TenantCells>> {
        let (hash, shard) = self.shard(id)?;
        shard.0.lock().get(hash, id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Looks at every tenant, one shard after the other.
    pub(crate) fn each(&self, mut look: impl FnMut(&TenantId, &Arc<TenantCells>)) {
        for shard in &self.shards {
            for (id, cells) in shard.0.lock().entries() {
                look(id, cells);
            }
        }
    }
}

/// What an identity keeps, so that its next request needs no look-up.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) cells: Arc<TenantCells>,
    /// The keyed cells that it names: no cell twice. Most name an agent, a principal, or both.
    pub(crate) named: SmallVec<[Kept; 2]>,
}

/// A keyed cell, and where it was the last time.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) named: Named,
    pub(crate) hint: std::sync::atomic::AtomicU32,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;
    use crate::keys::Places;

    #[test]
    fn what_every_request_of_a_tenant_writes_shares_the_locks_cache_line_and_nothing_of_a_neighbour()
     {
        // The lock's byte stands before what it guards.
        let written = [offset_of!(Own, tenant), offset_of!(Own, counts)];
        assert!(offset_of!(Own, rules) <= 56, "{written:?}");
        assert!(written.iter().all(|at| *at < offset_of!(Own, rules)));
        assert_eq!(align_of::<TenantCells>(), 64);
        assert_eq!(align_of::<Places>(), 128);
        assert!(
            size_of::<TenantCells>() <= 448,
            "{}",
            size_of::<TenantCells>()
        );
    }
}
