//! A namespace: the handle through which an application reads and writes its values.

use std::{fmt, sync::Arc, time::Duration};

use tenant_context::{Rejection, TenantContext};

use crate::{CacheKey, TenantCache, key::KeyWriter, store::Place};

type Weigh<V> = Arc<dyn Fn(&V) -> usize + Send + Sync>;

/// Values of one type under one name, apart for each tenant. Made by [`TenantCache::namespace`];
/// clones are the same namespace.
///
/// Every call takes the proof of who is asking, and only that tenant's values can be met. A key is any
/// [`CacheKey`]; there is no call that takes a whole key.
///
/// ```
/// use std::time::Duration;
/// use tenant_cache::{Namespace, Rejection, TenantContext};
///
/// #[derive(Clone)]
/// struct Invoice { cents: u64 }
///
/// fn total(invoices: &Namespace<Invoice>, tenant: &TenantContext, id: u64) -> Result<u64, Rejection> {
///     if let Some(invoice) = invoices.get(tenant, &id)? {
///         return Ok(invoice.cents);
///     }
///     let invoice = Invoice { cents: 1200 };                 // from the database
///     invoices.insert(tenant, &id, invoice.clone(), Duration::from_secs(60))?;
///     Ok(invoice.cents)
/// }
/// ```
pub struct Namespace<V> {
    cache: TenantCache,
    number: u32,
    weigh: Weigh<V>,
}

impl<V: Clone + Send + Sync + 'static> Namespace<V> {
    pub(crate) fn new(cache: TenantCache, number: u32, weigh: Weigh<V>) -> Self {
        Self {
            cache,
            number,
            weigh,
        }
    }

    /// The tenant's value for this key, if it has one that has not expired.
    ///
    /// Allocates nothing for keys that encode in some 230 bytes, apart from what cloning the value does.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended.
    pub fn get<K: CacheKey + ?Sized>(
        &self,
        tenant: &TenantContext,
        key: &K,
    ) -> Result<Option<V>, Rejection> {
        tenant.check()?;
        let Some(seat) = self.cache.seat(tenant) else {
            return Ok(None);
        };
        let partition = &*seat.partition;
        let key = self.key(partition.number(), partition.epoch().generation, key);
        let found = self.cache.store().get(key.as_bytes(), self.cache.now());
        let value = found.as_ref().and_then(|entry| entry.value::<V>()).cloned();
        partition.count(value.is_some());
        Ok(value)
    }

    /// Keeps a value for `ttl`, in place of what the key had. A `ttl` of zero and a value above the
    /// tenant's ceiling keep nothing: then the key has no value.
    ///
    /// A purge that begins after this call began takes the value with it. A value that was loaded before
    /// a purge and is inserted after it stays: purge after the data has changed, and give values a
    /// `ttl` that bounds how long an overtaken load may be seen.
    ///
    /// # Errors
    ///
    /// The rejection to answer with if the context has ended; nothing is stored then.
    pub fn insert<K: CacheKey + ?Sized>(
        &self,
        tenant: &TenantContext,
        key: &K,
        value: V,
        ttl: Duration,
    ) -> Result<(), Rejection> {
        tenant.check()?;
        let Some(seat) = self.cache.seat(tenant) else {
            return Ok(());
        };
        let partition = &*seat.partition;
        // Before anything else: a purge from here on makes the key unreachable.
        let epoch = partition.epoch();
        let key = self.key(partition.number(), epoch.generation, key);
        let weight = u64::try_from((self.weigh)(&value)).unwrap_or(u64::MAX);
        let now = self.cache.now();
        let place = Place {
            partition,
            epoch,
            key: key.as_bytes(),
            expires_at: now.saturating_add(ttl),
        };
        self.cache.insert(place, value, weight, now);
        Ok(())
    }

    /// Removes the key's value: no read that begins after this returns finds it.
    ///
    /// # Errors
    ///
    /// The value is removed in any case; the error says that the context has ended.
    pub fn remove<K: CacheKey + ?Sized>(
        &self,
        tenant: &TenantContext,
        key: &K,
    ) -> Result<(), Rejection> {
        if let Some(seat) = self.cache.seat(tenant) {
            let partition = &*seat.partition;
            let key = self.key(partition.number(), partition.epoch().generation, key);
            self.cache.store().remove(key.as_bytes());
        }
        tenant.check()
    }

    fn key<K: CacheKey + ?Sized>(&self, partition: u64, generation: u64, key: &K) -> KeyWriter {
        let mut writer = KeyWriter::begin(partition, generation, self.number);
        key.encode(&mut writer);
        writer
    }
}

impl<V> Clone for Namespace<V> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            number: self.number,
            weigh: Arc::clone(&self.weigh),
        }
    }
}

impl<V> fmt::Debug for Namespace<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
