//! The worker that gives memory back in time.

use std::{sync::Arc, time::Duration};

use tenant_context::Timer;

use crate::TenantCache;

impl TenantCache {
    /// Gives the memory of purged and expired entries, and the partitions of idle tenants, back within some `every`,
    /// whether or not anything is inserted. Spawn it; it ends when the cache is gone.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), tenant_cache::ConfigError> {
    /// use std::time::Duration;
    /// use tenant_cache::TenantCache;
    /// use tenant_context::TokioTimer;
    ///
    /// let cache = TenantCache::builder().build()?;
    /// tokio::spawn(cache.maintenance(TokioTimer::new(), Duration::from_secs(10)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn maintenance(
        &self,
        timer: impl Timer,
        every: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let cache = Arc::downgrade(&self.0);
        async move {
            loop {
                timer.sleep(every).await;
                match cache.upgrade() {
                    Some(cache) => cache.maintain(),
                    None => return,
                }
            }
        }
    }
}
