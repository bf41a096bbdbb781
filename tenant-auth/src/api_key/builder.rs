//! The builder of [`ApiKeys`].

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tenant_context::{Clock, ConfigError, CredentialId, SystemClock};

use super::{
    ApiKeyStore, ApiKeys, MemoryApiKeyStore, format::Format, keys::Shared, live::Freshness,
    ring::Secrets, store::Store,
};

/// Builds [`ApiKeys`].
#[must_use = "a builder does nothing until `build`"]
pub struct ApiKeysBuilder {
    format: Result<Format, ConfigError>,
    secrets: Result<Secrets, ConfigError>,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    freshness: Freshness,
    capacity: usize,
    on_grace_ending: Box<dyn Fn(&CredentialId) + Send + Sync>,
}

impl ApiKeysBuilder {
    pub(super) fn new(
        format: Result<Format, ConfigError>,
        secrets: Result<Secrets, ConfigError>,
    ) -> Self {
        Self {
            format,
            secrets,
            store: None,
            clock: Arc::new(SystemClock::new()),
            freshness: Freshness {
                fresh: Duration::from_secs(5),
                stale: Duration::from_secs(30),
                warning: Duration::from_secs(86_400),
            },
            capacity: 100_000,
            on_grace_ending: Box::new(|id| {
                tracing::warn!(key = %id, "a rotated API key is still in use, and its grace is ending");
            }),
        }
    }

    /// Keeps the keys in this store. Default: in memory.
    pub fn store(mut self, store: impl ApiKeyStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// How long what the store said of a key is believed: a revocation by another process holds here within this time (at
    /// once with [`Revocation::api_key`](crate::Revocation::api_key)). Default 5 s; keys in memory are this process's own.
    pub const fn fresh_for(mut self, time: Duration) -> Self {
        self.freshness.fresh = time;
        self
    }

    /// How long a key is accepted while the store does not answer; then it is refused with 503. Default 30 s.
    pub const fn max_stale(mut self, time: Duration) -> Self {
        self.freshness.stale = time;
        self
    }

    /// Called with the key's id, once in each process, when a key is used whose grace ends within
    /// [`grace_warning`](Self::grace_warning): tell its owner to take up the successor. On a request's thread: do not wait in it.
    /// Default: a warning in the log.
    pub fn on_grace_ending(
        mut self,
        callback: impl Fn(&CredentialId) + Send + Sync + 'static,
    ) -> Self {
        self.on_grace_ending = Box::new(callback);
        self
    }

    /// How long before the end of a grace [`on_grace_ending`](Self::on_grace_ending) is called. Default 24 h.
    pub const fn grace_warning(mut self, time: Duration) -> Self {
        self.freshness.warning = time;
        self
    }

    /// The most keys that are held at a time because they are in use, of some 500 bytes each; beyond it a further one is
    /// refused with 503. Default 100,000.
    pub const fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the keys.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if prefix or environment are not 1 to 16 letters and digits, the secret is shorter than 32 bytes, or a
    /// bound is 0 or out of order.
    pub fn build(self) -> Result<ApiKeys, ConfigError> {
        let mut freshness = self.freshness;
        if freshness.fresh.is_zero() || freshness.fresh > freshness.stale || self.capacity == 0 {
            return Err(ConfigError::new(format!(
                "API keys: `fresh_for` is {:?}, `max_stale` {:?} and `capacity` {}; choose `fresh_for` above 0 and up to `max_stale`, and a capacity above 0",
                freshness.fresh, freshness.stale, self.capacity
            )));
        }
        let store = self.store.unwrap_or_else(|| {
            freshness.fresh = Duration::MAX;
            Arc::new(MemoryApiKeyStore::new())
        });
        Ok(ApiKeys(Arc::new(Shared {
            format: self.format?,
            secrets: RwLock::new(self.secrets?),
            store,
            clock: self.clock,
            freshness,
            capacity: self.capacity,
            on_grace_ending: self.on_grace_ending,
            held: RwLock::default(),
        })))
    }
}

impl fmt::Debug for ApiKeysBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeysBuilder")
            .field("format", &self.format)
            .field("freshness", &self.freshness)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
