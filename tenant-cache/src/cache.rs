//! The cache of all tenants, its bounds, and purging.

use std::{
    any::{TypeId, type_name},
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tenant_context::{
    Clock, ConfigError, Monotonic, Rejection, SystemContext, TenantContext, TenantId,
};

use crate::{
    Namespace, TenantCacheBuilder,
    directory::{Directory, Found},
    key::KeyWriter,
    partition::{Partition, Seat},
    store::{Place, Store},
};

/// A cache with a partition for each tenant. Clones share it.
///
/// What holds:
/// - Whatever is read or written goes through a [`TenantContext`], and only to its own tenant's
///   partition. Keys begin with the partition's number, which no other tenant ever has.
/// - All partitions together stay within [`max_bytes`](crate::TenantCacheBuilder::max_bytes), apart from
///   what the engine has yet to evict (it settles in batches of some hundred entries).
/// - A partition that reaches [`max_bytes_per_tenant`](crate::TenantCacheBuilder::max_bytes_per_tenant) gives
///   up entries of its own: those that are dead, then the oldest. So no tenant fills the whole cache.
/// - [`purge`](Self::purge) is one atomic step and holds for the next read when it returns.
/// - Entries expire by the [`Clock`] that was given.
///
/// What does not hold: there is no floor. While the whole cache is full, tenants compete for it (by
/// moka's `TinyLFU`: what was asked for once does not displace what is asked for often), and several busy tenants can
/// evict a quiet one's entries.
///
/// ```
/// use tenant_cache::TenantCache;
///
/// let cache = TenantCache::builder().max_bytes(64 << 20).max_bytes_per_tenant(8 << 20).build()?;
/// # Ok::<(), tenant_cache::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct TenantCache(Arc<Inner>);

struct Inner {
    store: Store,
    directory: Directory,
    clock: Arc<dyn Clock>,
    namespaces: Mutex<HashMap<String, Registered>>,
    layers: AtomicU64,
    authorities: AtomicU64,
    purged: Mutex<VecDeque<Arc<Partition>>>,
    purged_len: AtomicUsize,
}

struct Registered {
    number: u32,
    kind: TypeId,
    kind_name: &'static str,
}

/// Namespaces of this crate's own. The application's follow.
pub(crate) const AUTHORITIES: u32 = 0;
pub(crate) const RESPONSES: u32 = 1;
const FIRST_NAMESPACE: u32 = 2;

/// The most namespaces of one cache: names are the application's, never a client's.
const MAX_NAMESPACES: usize = 1024;

/// How many entries of purged partitions one insertion drops on its way.
const RECLAIM: usize = 8;

/// Longer authorities get a number of their own, unshared.
const MAX_AUTHORITY: usize = 16 << 10;

/// Counters of one tenant's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a value, values and responses together.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Bytes held, overhead included; what was purged or has expired counts until its memory was
    /// given back.
    pub bytes: u64,
}

impl TenantCache {
    /// A cache of 64 MiB, 8 MiB for each tenant, on the system's clock.
    pub fn builder() -> TenantCacheBuilder {
        TenantCacheBuilder::default()
    }

    pub(crate) fn new(store: Store, directory: Directory, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            store,
            directory,
            clock,
            namespaces: Mutex::default(),
            layers: AtomicU64::new(1),
            authorities: AtomicU64::new(1),
            purged: Mutex::default(),
            purged_len: AtomicUsize::new(0),
        }))
    }

    /// A namespace for values of type `V`. Call it once and keep the handle; the same name gives the
    /// same namespace again.
    ///
    /// A value counts for the bytes of `V` itself. What it holds on the heap is not seen: give such
    /// values a weight with [`namespace_weighed`](Self::namespace_weighed), or the bounds count too little.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is empty, longer than 64 bytes or taken by another type, or there
    /// are 1024 namespaces already.
    pub fn namespace<V>(&self, name: &str) -> Result<Namespace<V>, ConfigError>
    where
        V: Clone + Send + Sync + 'static,
    {
        self.namespace_weighed(name, |_| size_of::<V>())
    }

    /// A namespace whose values say how many bytes they take, heap included.
    ///
    /// ```
    /// # let cache = tenant_cache::TenantCache::builder().build()?;
    /// let reports = cache.namespace_weighed::<String>("report", |report| size_of::<String>() + report.capacity())?;
    /// # Ok::<(), tenant_cache::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`namespace`](Self::namespace).
    pub fn namespace_weighed<V>(
        &self,
        name: &str,
        weigh: impl Fn(&V) -> usize + Send + Sync + 'static,
    ) -> Result<Namespace<V>, ConfigError>
    where
        V: Clone + Send + Sync + 'static,
    {
        let number = self.register(name, TypeId::of::<V>(), type_name::<V>())?;
        Ok(Namespace::new(self.clone(), number, Arc::new(weigh)))
    }

    fn register(
        &self,
        name: &str,
        kind: TypeId,
        kind_name: &'static str,
    ) -> Result<u32, ConfigError> {
        if name.is_empty() || name.len() > 64 {
            return Err(ConfigError::new(format!(
                "TenantCache: a namespace's name has {} bytes; give it 1 to 64",
                name.len()
            )));
        }
        let mut known = self.0.namespaces.lock();
        if let Some(found) = known.get(name) {
            return if found.kind == kind {
                Ok(found.number)
            } else {
                Err(ConfigError::new(format!(
                    "TenantCache: namespace {name:?} holds {}, and now {kind_name} was asked for; give the second one another name",
                    found.kind_name
                )))
            };
        }
        let number = u32::try_from(known.len())
            .ok()
            .filter(|_| known.len() < MAX_NAMESPACES)
            .and_then(|count| count.checked_add(FIRST_NAMESPACE))
            .ok_or_else(|| {
                ConfigError::new(format!(
                    "TenantCache: there are {MAX_NAMESPACES} namespaces; make them once at start, and put what varies into the key"
                ))
            })?;
        known.insert(
            name.to_owned(),
            Registered {
                number,
                kind,
                kind_name,
            },
        );
        Ok(number)
    }

    /// Forgets all that is stored for the context's tenant, values and responses: no read that begins
    /// after this returns finds any of it, and no response that was being made meanwhile is stored. One
    /// atomic step; the memory comes back as further values are inserted, by whatever tenant.
    ///
    /// # Errors
    ///
    /// The purge is done in any case; the error says that the context has ended.
    pub fn purge(&self, tenant: &TenantContext) -> Result<(), Rejection> {
        self.purge_tenant_id(tenant.tenant_id());
        tenant.check()
    }

    /// [`purge`](Self::purge) for work that belongs to no tenant, such as its offboarding.
    pub fn purge_tenant(&self, system: &SystemContext, tenant: &TenantId) {
        tracing::info!(task = system.task(), %tenant, "a tenant's cache is purged");
        self.purge_tenant_id(tenant);
    }

    /// The counters of the context's tenant.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn stats(&self, tenant: &TenantContext) -> Result<CacheStats, Rejection> {
        tenant.check()?;
        let Some(partition) = self.0.directory.known(tenant.tenant_id()) else {
            return Ok(CacheStats::default());
        };
        Ok(CacheStats {
            hits: partition.hits.load(Ordering::Relaxed),
            misses: partition.misses.load(Ordering::Relaxed),
            bytes: partition.bytes(),
        })
    }

    fn purge_tenant_id(&self, tenant: &TenantId) {
        // Entries and identities keep their partition in the directory: none there, nothing stored.
        let Some(partition) = self.0.directory.known(tenant) else {
            return;
        };
        partition.purge();
        if partition.enqueue() {
            let mut purged = self.0.purged.lock();
            purged.push_back(partition);
            self.0.purged_len.store(purged.len(), Ordering::Release);
        }
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.0.clock.coarse_monotonic()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn seat<'c>(&self, tenant: &'c TenantContext) -> Option<Found<'c>> {
        self.0.directory.seat(tenant, || self.now())
    }

    /// A number that no other layer of this cache has.
    pub(crate) fn next_layer(&self) -> u64 {
        self.0.layers.fetch_add(1, Ordering::Relaxed)
    }

    /// Stores a value, dropping a few entries of purged partitions on the way.
    pub(crate) fn insert<T: Send + Sync + 'static>(
        &self,
        place: Place<'_>,
        value: T,
        weight: u64,
        now: Monotonic,
    ) -> bool {
        if self.0.purged_len.load(Ordering::Acquire) != 0 {
            self.reclaim();
        }
        self.0.store.insert(place, value, weight, now)
    }

    fn reclaim(&self) {
        let next = {
            let mut purged = self.0.purged.lock();
            let next = purged.pop_front();
            self.0.purged_len.store(purged.len(), Ordering::Release);
            next
        };
        let Some(partition) = next else { return };
        // Before the look, so that a purge from here on queues the partition again.
        partition.dequeue();
        let (keys, more) = partition.take_dead(RECLAIM);
        for key in keys {
            self.0.store.remove(&key);
        }
        if more && partition.enqueue() {
            let mut purged = self.0.purged.lock();
            purged.push_back(partition);
            self.0.purged_len.store(purged.len(), Ordering::Release);
        }
    }

    /// The number that stands for an identity's authority in keys, and for no other authority.
    /// Identities of equal authority share it as long as the partition remembers it; an identity
    /// that has one keeps it.
    pub(crate) fn authority(&self, seat: &Seat, tenant: &TenantContext) -> u64 {
        *seat
            .authority
            .get_or_init(|| self.intern(&seat.partition, tenant.authority()))
    }

    fn intern(&self, partition: &Partition, authority: &[u8]) -> u64 {
        let fresh = || self.0.authorities.fetch_add(1, Ordering::Relaxed);
        if authority.len() > MAX_AUTHORITY {
            return fresh();
        }
        let epoch = partition.epoch();
        let mut key = KeyWriter::begin(partition.number(), epoch.generation, AUTHORITIES);
        key.bytes(authority);
        let now = self.now();
        let known = self.0.store.get(key.as_bytes(), now);
        if let Some(number) = known.as_ref().and_then(|entry| entry.value::<u64>()) {
            return *number;
        }
        let number = fresh();
        let place = Place {
            partition,
            epoch,
            key: key.as_bytes(),
            expires_at: Monotonic::MAX,
        };
        self.insert(place, number, 8, now);
        number
    }
}

impl fmt::Debug for TenantCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenant_testkit::{ManualClock, claims, context, context_with, tenants};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn i6_all_tenants_together_stay_within_the_bound() {
        let names: Vec<String> = (0..40).map(|n| format!("tenant-{n}")).collect();
        let ids: Vec<&str> = names.iter().map(String::as_str).collect();
        let clock = ManualClock::new();
        let tenants = tenants(&ids, &clock);
        let cache = TenantCache::builder()
            .clock(clock)
            .max_bytes(256 << 10)
            .max_bytes_per_tenant(64 << 10)
            .build()
            .unwrap();
        let values = cache.namespace_weighed::<Vec<u8>>("n", Vec::len).unwrap();
        let callers: Vec<_> = ids.iter().map(|id| context(&tenants, id, "ada")).collect();
        for n in 0..50_u32 {
            for caller in &callers {
                values.insert(caller, &n, vec![0; 1000], MINUTE).unwrap();
            }
        }
        let held = cache.store().settle();
        assert!(held <= 256 << 10, "{held}");
        let charged: u64 = callers
            .iter()
            .map(|caller| cache.stats(caller).unwrap().bytes)
            .sum();
        assert_eq!(charged, held, "what the engine evicts is given back");
    }

    #[test]
    fn equal_authorities_have_one_number_and_others_another() {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex"], &clock);
        let cache = TenantCache::builder().clock(clock).build().unwrap();
        let number = |tenant: &TenantContext| {
            let seat = cache.seat(tenant).unwrap();
            cache.authority(&seat, tenant)
        };
        let ada = number(&context(&tenants, "acme", "ada"));
        assert_eq!(number(&context(&tenants, "acme", "ada")), ada);
        assert_ne!(number(&context(&tenants, "acme", "bob")), ada);
        assert_ne!(number(&context(&tenants, "globex", "ada")), ada);
        let scoped = |scope: &str| context_with(&tenants, claims("acme", "ada").scopes([scope]));
        assert_ne!(number(&scoped("a")), number(&scoped("b")));
        let absurd = "x".repeat(MAX_AUTHORITY);
        let long = scoped(&absurd);
        assert_eq!(number(&long), number(&long));
        assert_ne!(number(&scoped(&absurd)), number(&long), "not remembered");
    }

    #[test]
    fn i2_a_forgotten_authority_never_gets_a_number_that_was_anothers() {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme"], &clock);
        let cache = TenantCache::builder().clock(clock).build().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            for principal in ["ada", "bob"] {
                let caller = context(&tenants, "acme", principal);
                let seat = cache.seat(&caller).unwrap();
                assert!(seen.insert(cache.authority(&seat, &caller)));
            }
            cache.purge(&context(&tenants, "acme", "ada")).unwrap();
        }
    }
}
