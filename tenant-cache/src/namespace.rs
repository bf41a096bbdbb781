//! A namespace: the handle through which an application reads and writes its values.

use std::{fmt, sync::Arc, time::Duration};

use tenant_context::Rejection;

use crate::{
    CacheKey, Keep, Scope, TenantCache,
    entry::AnyEntry,
    key::KeyWriter,
    load::Slot,
    partition::{Epoch, Gone, Place},
    scope::sealed::Room,
};

type Weigh<V> = Arc<dyn Fn(&V) -> usize + Send + Sync>;
type KeepBy<V> = Arc<dyn Fn(&V) -> Keep + Send + Sync>;

/// Values of one type under one name, apart for each tenant. Made by [`TenantCache::namespace`];
/// clones are the same namespace.
///
/// Every call takes the proof of who is asking, and only that tenant's values can be met. A key is any
/// [`CacheKey`], or any serialisable type as [`Serialized`](crate::Serialized); there is no call that takes a whole key.
///
/// ```
/// use std::time::Duration;
/// use tenant_cache::{ConfigError, Namespace, Rejection, TenantCache, TenantContext};
///
/// #[derive(Clone)]
/// struct Invoice { cents: u64 }
///
/// fn open(cache: &TenantCache) -> Result<Namespace<Invoice>, ConfigError> {
///     Ok(cache.namespace::<Invoice>("invoice")?.ttl(Duration::from_secs(60)))
/// }
///
/// async fn total(invoices: &Namespace<Invoice>, tenant: &TenantContext, id: u64) -> Result<u64, Rejection> {
///     let load = async { Ok::<_, Rejection>(Invoice { cents: 1200 }) };     // from the database
///     Ok(invoices.get_or_try_insert_with(tenant, &id, load).await?.cents)
/// }
/// ```
pub struct Namespace<V> {
    pub(crate) cache: TenantCache,
    number: u32,
    version: u32,
    pub(crate) ttl: Duration,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) stale: Duration,
    by_authority: bool,
    pub(crate) weigh: Weigh<V>,
    pub(crate) keep: Option<KeepBy<V>>,
}

/// Where a key is: its bytes and their hash.
pub(crate) struct At {
    pub(crate) key: KeyWriter,
    pub(crate) hash: u64,
}

impl At {
    #[inline]
    const fn empty() -> Self {
        Self {
            key: KeyWriter::empty(),
            hash: 0,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// As it is for what began in `epoch`.
    pub(crate) fn place(&self, epoch: Epoch) -> Place<'_> {
        Place {
            hash: self.hash,
            key: self.key(),
            generation: epoch.generation,
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Namespace<V> {
    pub(crate) fn new(cache: TenantCache, number: u32) -> Self {
        Self {
            cache,
            number,
            version: 0,
            ttl: Duration::from_secs(60),
            negative_ttl: None,
            idle: None,
            stale: Duration::ZERO,
            by_authority: false,
            weigh: Arc::new(|_| size_of::<V>()),
            keep: None,
        }
    }

    /// How long a value is fresh. Default one minute; a [`Keep`] may say otherwise.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// After how long without a read a value is forgotten. Default: not before its `ttl`.
    #[must_use]
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// How long it is remembered that there is no value, for
    /// [`get_or_try_find_with`](Self::get_or_try_find_with). Default: not at all.
    #[must_use]
    pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// How long after its `ttl` a value may still be served while it is loaded anew: the first caller who finds it stale
    /// loads it and waits, all others meanwhile get the stale one. Default: not at all.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// The version of what the values mean. Default 0. Values of another version are not found: raise it when a
    /// deployment reads the same type in another way.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Keeps apart what each *authority* of a tenant stores: principal, actors, scopes, roles and whatever else decides what a
    /// caller may see ([`Identity::authority`](tenant_context::Identity::authority)). Default: a tenant's values are for all of its
    /// callers.
    ///
    /// For values that depend on who asks: what was computed under a wide token is not found under a narrow one.
    /// [`remove`](Self::remove) then removes the caller's own; [`TenantCache::invalidate_tag`] and [`TenantCache::purge`] reach
    /// all. With a [`SystemContext`](crate::SystemContext) it changes nothing.
    ///
    /// ```
    /// # let cache = tenant_cache::TenantCache::builder().build()?;
    /// let visible = cache.namespace::<Vec<u64>>("visible invoices")?.per_authority();
    /// # Ok::<(), tenant_cache::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn per_authority(mut self) -> Self {
        self.by_authority = true;
        self
    }

    /// How many bytes a value takes, heap included. Default: the bytes of `V` itself; what it holds on the heap is not
    /// seen then, and the bounds count too little.
    ///
    /// ```
    /// # let cache = tenant_cache::TenantCache::builder().build()?;
    /// let reports = cache.namespace::<String>("report")?.weigh(|report| size_of::<String>() + report.capacity());
    /// # Ok::<(), tenant_cache::ConfigError>(())
    /// ```
    #[must_use]
    pub fn weigh(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Arc::new(weigh);
        self
    }

    /// How a value that was loaded or inserted without a [`Keep`] of its own is kept: its time to live and its tags, from the
    /// value itself.
    ///
    /// An error is cached by asking for it: a `Namespace<Result<V, E>>` whose errors are kept for seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenant_cache::Keep;
    /// # let cache = tenant_cache::TenantCache::builder().build()?;
    /// #[derive(Clone)]
    /// struct Invoice { customer: u64, paid: bool }
    ///
    /// let invoices = cache.namespace::<Invoice>("invoice")?.keep(|invoice| {
    ///     let ttl = Duration::from_secs(if invoice.paid { 3600 } else { 60 });
    ///     Keep::new().ttl(ttl).tag(format!("customer:{}", invoice.customer))
    /// });
    /// # Ok::<(), tenant_cache::ConfigError>(())
    /// ```
    #[must_use]
    pub fn keep(mut self, keep: impl Fn(&V) -> Keep + Send + Sync + 'static) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// The value for this key, if there is one that is fresh.
    ///
    /// Allocates nothing for keys that encode in some 240 bytes, apart from what cloning the value does.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn get<K: CacheKey + ?Sized>(
        &self,
        scope: &impl Scope,
        key: &K,
    ) -> Result<Option<V>, Rejection> {
        scope.holds()?;
        let Some(room) = scope.partition(&self.cache) else {
            return Ok(None);
        };
        Ok(self.look(&room, key))
    }

    /// The values for these keys, in their order: the context is looked at once.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_many<'k, K: CacheKey + ?Sized + 'k>(
        &self,
        scope: &impl Scope,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<Option<V>>, Rejection> {
        scope.holds()?;
        let room = scope.partition(&self.cache);
        let look = |key| self.look(room.as_ref()?, key);
        Ok(keys.into_iter().map(look).collect())
    }

    /// Keeps a value as the namespace says, in place of what the key had. A `ttl` of zero and a value above the
    /// tenant's ceiling keep nothing: then the key has no value.
    ///
    /// A purge that begins after this call began takes the value with it, and a load of the key that is under way is not
    /// stored. A value that was read from the database before a purge and is inserted after it stays: insert what was
    /// *written*, load what is *read* with [`get_or_try_insert_with`](Self::get_or_try_insert_with).
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended; nothing is stored then.
    pub fn insert<K: CacheKey + ?Sized>(
        &self,
        scope: &impl Scope,
        key: &K,
        value: V,
    ) -> Result<(), Rejection> {
        let keep = self.keep_of(&value);
        self.insert_with(scope, key, value, &keep)
    }

    /// [`insert`](Self::insert), with a time to live and tags of its own.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_with<K: CacheKey + ?Sized>(
        &self,
        scope: &impl Scope,
        key: &K,
        value: V,
        keep: &Keep,
    ) -> Result<(), Rejection> {
        scope.holds()?;
        let Some(room) = scope.partition(&self.cache) else {
            return Ok(());
        };
        let partition = room.partition();
        // Before anything else: a purge from here on keeps the value out.
        let Some(epoch) = room.begin() else {
            return Ok(());
        };
        let at = self.at(&room, key);
        let prepared = self.prepare(epoch, Slot::Value(value), keep);
        let mut gone = Gone::new();
        let mut flights = partition.flights.lock();
        let overtaken = flights.remove(at.key());
        self.commit(partition, &at, epoch, prepared, &mut gone);
        drop(flights);
        drop((overtaken, gone));
        self.cache.tidy();
        Ok(())
    }

    /// Removes the key's value: no read that begins after this returns finds it, and a load of it that is under way is not
    /// stored.
    ///
    /// # Errors
    ///
    /// The value is removed in any case; the error says that the context has ended.
    pub fn remove<K: CacheKey + ?Sized>(
        &self,
        scope: &impl Scope,
        key: &K,
    ) -> Result<(), Rejection> {
        if let Some(room) = scope.partition(&self.cache) {
            let partition = room.partition();
            let at = self.at(&room, key);
            let mut gone = Gone::new();
            let mut flights = partition.flights.lock();
            let overtaken = flights.remove(at.key());
            let pool = self.cache.pool();
            pool.remove(partition, at.hash, at.key(), &mut gone);
            drop(flights);
            drop((overtaken, gone));
        }
        scope.holds()
    }

    pub(crate) fn at<K: CacheKey + ?Sized>(&self, room: &Room<'_>, key: &K) -> At {
        let mut at = At::empty();
        self.find_at(&mut at, room, key);
        at
    }

    /// [`at`](Self::at), where the caller has room for it: moving it costs as much as writing it.
    #[inline]
    fn find_at<K: CacheKey + ?Sized>(&self, at: &mut At, room: &Room<'_>, key: &K) {
        at.key.start(self.number, self.version);
        if self.by_authority
            && let Some(number) = room.authority(&self.cache)
        {
            at.key.authority(number);
        }
        key.encode(&mut at.key);
        at.hash = self.cache.hash(at.key());
    }

    fn look<K: CacheKey + ?Sized>(&self, room: &Room<'_>, key: &K) -> Option<V> {
        let (partition, mut value) = (room.partition(), None);
        if !partition.is_empty()
            && let Some(epoch) = room.begin()
        {
            let mut at = At::empty();
            self.find_at(&mut at, room, key);
            let now = self.cache.now();
            let found = partition.find(at.place(epoch), now);
            if let Some(entry) = found
                && entry.is_fresh(now)
            {
                value = value_of(&entry).and_then(Slot::value).cloned();
            }
        }
        partition.count(value.is_some());
        value
    }
}

pub(crate) fn value_of<V: Send + Sync + 'static>(entry: &AnyEntry) -> Option<&Slot<V>> {
    entry.value::<Slot<V>>()
}

impl<V> Clone for Namespace<V> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            number: self.number,
            version: self.version,
            ttl: self.ttl,
            negative_ttl: self.negative_ttl,
            idle: self.idle,
            stale: self.stale,
            by_authority: self.by_authority,
            weigh: Arc::clone(&self.weigh),
            keep: self.keep.clone(),
        }
    }
}

impl<V> fmt::Debug for Namespace<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("number", &self.number)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
