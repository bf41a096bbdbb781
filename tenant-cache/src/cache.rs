//! The cache of all tenants, its bounds, and purging.

use std::{
    any::{TypeId, type_name},
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use tenant_context::{
    Clock, ConfigError, Monotonic, Rejection, SystemContext, TenantContext, TenantId, TenantState,
};

use crate::{
    Namespace, Scope, TenantCacheBuilder,
    bounds::{Bounds, Plan},
    directory::{Directory, Found},
    entry::{Entry, Life},
    key::KeyWriter,
    marks::Tag,
    partition::{Gone, Partition, Place, Seat},
    pool::Pool,
    stats::{CacheStats, StoredKey},
};

/// A cache with a partition for each tenant. Clones share it.
///
/// What holds:
/// - Whatever is read or written goes through a [`TenantContext`], and only to its own tenant's
///   partition, which is a map of its own. No look-up touches another's, so its time tells nothing about a neighbour.
/// - All partitions together stay within [`max_bytes`](crate::TenantCacheBuilder::max_bytes): an insertion finds room before it
///   stores.
/// - A partition that reaches its ceiling gives up entries of its own: those that are dead, then those that were not
///   read of late. One that holds no more than its floor loses nothing to others.
/// - [`purge`](Self::purge) is one step and holds for the next read when it returns.
/// - A tenant that is suspended or closed and comes back, also as somebody else under the same id, finds nothing of what was
///   stored before.
/// - Entries expire by the [`Clock`] that was given.
///
/// Memory that purged and expired entries held goes back as anything is inserted, some entries with each; spawn
/// [`maintenance`](Self::maintenance) for a bound in time.
///
/// ```
/// use tenant_cache::TenantCache;
///
/// let cache = TenantCache::builder()
///     .max_bytes(64 << 20)
///     .max_bytes_per_tenant(8 << 20)
///     .guaranteed_bytes_per_tenant(64 << 10)
///     .build()?;
/// # Ok::<(), tenant_cache::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct TenantCache(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pool: Pool,
    directory: Directory,
    /// What serves all tenants alike.
    system: Arc<Partition>,
    hasher: DefaultHashBuilder,
    clock: Arc<dyn Clock>,
    namespaces: Mutex<HashMap<String, Registered>>,
    layers: AtomicU64,
    authorities: AtomicU64,
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

/// Longer authorities get a number of their own, unshared.
const MAX_AUTHORITY: usize = 16 << 10;

/// How many slots an insertion looks through for dead entries, of whichever partition's turn it is.
const LOOKED_THROUGH: usize = 16;

impl TenantCache {
    /// A cache of 64 MiB, 8 MiB for each tenant, on the system's clock.
    pub fn builder() -> TenantCacheBuilder {
        TenantCacheBuilder::default()
    }

    pub(crate) fn new(
        pool: Pool,
        directory: Directory,
        system_bounds: Bounds,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let system = Arc::new(Partition::new());
        pool.plan(
            &system,
            system_bounds,
            Monotonic::default(),
            &mut Gone::new(),
        );
        Self(Arc::new(Inner {
            pool,
            directory,
            system,
            hasher: DefaultHashBuilder::default(),
            clock,
            namespaces: Mutex::default(),
            layers: AtomicU64::new(1),
            authorities: AtomicU64::new(1),
        }))
    }

    /// A namespace for values of type `V`. Call it once and keep the handle; the same name gives the
    /// same namespace again.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is empty, longer than 64 bytes or taken by another type, or there
    /// are 1024 namespaces already.
    pub fn namespace<V>(&self, name: &str) -> Result<Namespace<V>, ConfigError>
    where
        V: Clone + Send + Sync + 'static,
    {
        let number = self.register(name, TypeId::of::<V>(), type_name::<V>())?;
        Ok(Namespace::new(self.clone(), number))
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
    /// after this returns finds any of it, and nothing that was being loaded or answered meanwhile is stored. One step,
    /// however much there is; the memory goes back in portions.
    ///
    /// # Errors
    ///
    /// The purge is done in any case; the error says that the context has ended.
    pub fn purge(&self, scope: &impl Scope) -> Result<(), Rejection> {
        if let Some(room) = scope.partition(self) {
            self.0.pool.discard(room.partition().purge());
        }
        scope.holds()
    }

    /// [`purge`](Self::purge) for work that belongs to no tenant, such as its offboarding.
    pub fn purge_tenant(&self, system: &SystemContext, tenant: &TenantId) {
        tracing::info!(task = system.task(), %tenant, "a tenant's cache is purged");
        // None there, nothing stored.
        if let Some(partition) = self.0.directory.known(tenant) {
            self.0.pool.discard(partition.purge());
        }
    }

    /// Forgets the tenant's values and responses that carry this tag ([`Keep::tag`](crate::Keep::tag); a response's
    /// [`surrogate_key`](crate::ResponseCacheLayerBuilder::surrogate_key)), and those that are being made now: no read that begins after this
    /// returns finds any. One step, however many there are.
    ///
    /// The latest 112 tags of a tenant are remembered; beyond that the older half is forgotten, and all that carries any tag and is
    /// older goes with it.
    ///
    /// # Errors
    ///
    /// It is done in any case; the error says that the context has ended.
    pub fn invalidate_tag(&self, scope: &impl Scope, tag: &str) -> Result<(), Rejection> {
        if let Some(room) = scope.partition(self) {
            room.partition().marks.mark(self.tag(tag));
        }
        scope.holds()
    }

    /// The counters of the context's tenant, and of it alone.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn stats(&self, scope: &impl Scope) -> Result<CacheStats, Rejection> {
        scope.holds()?;
        Ok(scope
            .partition(self)
            .map_or_else(CacheStats::default, |room| CacheStats::of(room.partition())))
    }

    /// The keys that are stored for the context's tenant, with the namespace and the size of each: for a customer's
    /// question what is kept of it. The keys of `(authorities)` hold principals, scopes, roles and custom claims of the tenant's callers as they are. At most as many as the tenant's ceiling holds.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn export_keys(&self, scope: &impl Scope) -> Result<Vec<StoredKey>, Rejection> {
        scope.holds()?;
        let names: HashMap<u32, String> = {
            let known = self.0.namespaces.lock();
            let named = known.iter().map(|(name, it)| (it.number, name.clone()));
            named.collect()
        };
        let Some(room) = scope.partition(self) else {
            return Ok(Vec::new());
        };
        let partition = room.partition();
        Ok(StoredKey::all(partition, &names, self.now()))
    }

    /// Other bounds, from now on: each tenant's are asked anew with its next request, and hold for what is stored at once.
    pub fn set_bounds(&self, plan: impl Fn(&TenantState) -> Bounds + Send + Sync + 'static) {
        self.0.directory.set_plan(Plan::By(Arc::new(plan)));
    }

    /// Bytes of all tenants together, purged memory that has not yet gone back included.
    pub fn total_bytes(&self) -> u64 {
        self.0.pool.total()
    }

    /// How many of the context's tenant's keys are being loaded now.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn loads(&self, scope: &impl Scope) -> Result<usize, Rejection> {
        scope.holds()?;
        let room = scope.partition(self);
        Ok(room.map_or(0, |room| room.partition().flights.lock().len()))
    }

    /// How many tenants have a partition now.
    pub fn tenants(&self) -> usize {
        self.0.directory.len()
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.0.clock.coarse_monotonic()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn system(&self) -> &Arc<Partition> {
        &self.0.system
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.0.hasher.hash_one(key)
    }

    /// An application's tag.
    pub(crate) fn tag(&self, tag: &str) -> Tag {
        self.0.hasher.hash_one((0_u8, tag))
    }

    /// What invalidates the responses to one resource.
    pub(crate) fn response_tag(&self, resource: &[u8]) -> Tag {
        self.0.hasher.hash_one((1_u8, resource))
    }

    pub(crate) fn seat<'c>(&self, tenant: &'c TenantContext) -> Option<Found<'c>> {
        self.0.directory.seat(tenant, &self.0.pool, || self.now())
    }

    /// A number that no other layer of this cache has.
    pub(crate) fn next_layer(&self) -> u64 {
        self.0.layers.fetch_add(1, Ordering::Relaxed)
    }

    /// A little of the work that nobody waits for.
    pub(crate) fn tidy(&self) {
        let now = self.now();
        self.0.directory.visit(&self.0.pool, LOOKED_THROUGH, now);
    }

    /// The number that stands for an identity's authority in keys, and for no other authority.
    /// Identities of equal authority share it as long as the partition remembers it; an identity
    /// that has one keeps it.
    pub(crate) fn authority(&self, seat: &Seat, tenant: &TenantContext) -> u64 {
        *seat
            .authority
            .get_or_init(|| self.intern(&seat.partition, tenant.authority()))
    }

    fn intern(&self, partition: &Arc<Partition>, authority: &[u8]) -> u64 {
        let fresh = || self.0.authorities.fetch_add(1, Ordering::Relaxed);
        if authority.len() > MAX_AUTHORITY {
            return fresh();
        }
        let generation = partition.epoch().generation;
        let mut key = KeyWriter::begin(AUTHORITIES, 0);
        key.bytes(authority);
        let (hash, now) = (self.hash(key.as_bytes()), self.now());
        let place = Place {
            hash,
            key: key.as_bytes(),
            generation,
        };
        let known = partition.find(place, now);
        if let Some(number) = known.as_ref().and_then(|entry| entry.value::<u64>()) {
            return *number;
        }
        let number = fresh();
        let entry = Arc::new(Entry::new(Life::default(), number));
        let mut gone = Gone::new();
        self.0
            .pool
            .insert(partition, place, (entry, 8), now, &mut gone);
        number
    }
}

impl Inner {
    /// A round of maintenance: every partition is looked through once.
    pub(crate) fn maintain(&self) {
        let now = self.clock.coarse_monotonic();
        self.pool.sweep(&self.system, usize::MAX, now);
        for _ in 0..self.directory.len() {
            self.directory.visit(&self.pool, usize::MAX, now);
        }
        while self.pool.unload(usize::MAX, &mut Gone::new()) {}
    }
}

impl fmt::Debug for TenantCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use tenant_testkit::{ManualClock, claims, context, context_with, tenants};

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
