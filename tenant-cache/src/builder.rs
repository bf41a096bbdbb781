//! The bounds of a cache, checked.

use std::sync::Arc;

use tenant_context::{Clock, ConfigError, SystemClock, TenantState};

use crate::{
    TenantCache,
    bounds::{Bounds, Plan},
    directory::Directory,
    pool::Pool,
};

/// Builds a [`TenantCache`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct TenantCacheBuilder {
    max_bytes: u64,
    max_bytes_per_tenant: Option<u64>,
    floor: u64,
    plan: Option<Plan>,
    max_tenants: usize,
    clock: Arc<dyn Clock>,
}

impl Default for TenantCacheBuilder {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_bytes_per_tenant: None,
            floor: 0,
            plan: None,
            max_tenants: 100_000,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl TenantCacheBuilder {
    /// The most bytes of all tenants together. Default 64 MiB; at least 64 KiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The most bytes of one tenant. Default an eighth of [`max_bytes`](Self::max_bytes); at least
    /// 4 KiB.
    pub fn max_bytes_per_tenant(mut self, bytes: u64) -> Self {
        self.max_bytes_per_tenant = Some(bytes);
        self
    }

    /// The bytes that each tenant has for sure: while it holds no more, no neighbour's load takes anything of it away. Default 0.
    ///
    /// Floors are promised out of [`max_bytes`](Self::max_bytes), to tenants that have a partition now; when they
    /// add up to it, a further tenant's floor is what is left, and the log says so.
    pub fn guaranteed_bytes_per_tenant(mut self, bytes: u64) -> Self {
        self.floor = bytes;
        self
    }

    /// Floor and ceiling by a tenant's plan, in place of the same for all. Asked again when the tenant's record changes; it runs on the
    /// request's way: keep it short.
    pub fn bounds(mut self, plan: impl Fn(&TenantState) -> Bounds + Send + Sync + 'static) -> Self {
        self.plan = Some(Plan::By(Arc::new(plan)));
        self
    }

    /// The most tenants that have a partition at a time. Default 100,000. A partition that holds nothing
    /// and that no identity refers to makes room; if there is none, further tenants go uncached.
    pub fn max_tenants(mut self, tenants: usize) -> Self {
        self.max_tenants = tenants;
        self
    }

    /// The clock that entries expire by. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a bound is too small to be meant, or a tenant's is above the whole.
    pub fn build(self) -> Result<TenantCache, ConfigError> {
        if self.max_bytes < 64 << 10 {
            return Err(ConfigError::new(format!(
                "TenantCache: `max_bytes` is {}; set it to at least 65536 (64 KiB), or leave the cache out",
                self.max_bytes
            )));
        }
        let ceiling = self.max_bytes_per_tenant.unwrap_or(self.max_bytes / 8);
        if ceiling < 4 << 10 {
            return Err(ConfigError::new(format!(
                "TenantCache: `max_bytes_per_tenant` is {ceiling}; set it to at least 4096 (4 KiB), or hardly a value fits"
            )));
        }
        if ceiling > self.max_bytes {
            return Err(ConfigError::new(format!(
                "TenantCache: `max_bytes_per_tenant` is {ceiling}, above `max_bytes`, which is {}; lower it, so that no tenant fills the whole cache",
                self.max_bytes
            )));
        }
        if self.floor > ceiling {
            return Err(ConfigError::new(format!(
                "TenantCache: `guaranteed_bytes_per_tenant` is {}, above `max_bytes_per_tenant`, which is {ceiling}; lower it",
                self.floor
            )));
        }
        if self.max_tenants == 0 {
            return Err(ConfigError::new(
                "TenantCache: `max_tenants` is 0; set it to the number of tenants you expect",
            ));
        }
        let same = Bounds::ceiling(ceiling).floor(self.floor);
        Ok(TenantCache::new(
            Pool::new(self.max_bytes),
            Directory::new(self.max_tenants, self.plan.unwrap_or(Plan::Same(same))),
            same,
            self.clock,
        ))
    }
}
