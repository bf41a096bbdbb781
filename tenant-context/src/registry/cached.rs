//! The bounded cache of tenant states in front of a registry.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use dashmap::{DashMap, Entry};
use futures_util::future::{self, Either, FutureExt};
use parking_lot::Mutex;

use super::{LookupError, LookupErrorKind, RegistryWorker, Source, TenantRegistry};
use crate::{
    Clock, ConfigError, Lookup, Monotonic, RoleMapping, Roles, SystemClock, TenantId, TenantRecord,
    TenantState, TenantStatus, Timer,
    state::{Flight, LoadTicket},
};

/// All tenants of this process: a bounded cache of [`TenantState`]s in front of a [`TenantRegistry`].
///
/// - A record is used for its time to live without a look; then one request looks again while the
///   others go on with what is known, until the maximum staleness. After that the tenant is refused
///   until the registry answers.
/// - Unknown tenants are remembered too, for their own time to live.
/// - Concurrent look-ups of one tenant are one call of the registry, which ends when nobody waits
///   for it any more.
/// - A state is never made twice while anything refers to it. At capacity, states that nobody refers
///   to are dropped; if all are in use, further tenants are refused.
/// - [`suspend`](Self::suspend) and [`resume`](Self::resume) take effect before they return.
///
/// Clones share the cache.
///
/// ```
/// use std::time::Duration;
/// use tenant_context::{CachedRegistry, MemoryRegistry, TenantId, TenantRecord};
///
/// let registry = MemoryRegistry::new();
/// registry.insert(TenantRecord::new(TenantId::parse("acme")?));
/// let tenants = CachedRegistry::builder(registry).ttl(Duration::from_secs(5)).build()?;
/// tenants.suspend(&TenantId::parse("acme")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CachedRegistry(Arc<Directory>);

pub(crate) struct Directory {
    states: DashMap<TenantId, Arc<TenantState>>,
    source: Arc<dyn Source>,
    settings: Settings,
    last_sweep: Mutex<Option<Monotonic>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) ttl: Duration,
    negative_ttl: Duration,
    retry_after: Duration,
    pub(crate) max_stale: Duration,
    capacity: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    roles: Arc<dyn RoleMapping>,
    load_timeout: Option<Duration>,
}

const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Builds a [`CachedRegistry`].
#[must_use = "a builder does nothing until `build`"]
pub struct CachedRegistryBuilder {
    source: Arc<dyn Source>,
    settings: Settings,
}

impl CachedRegistryBuilder {
    /// How long a record is used without another look. Default 5 s; at least 1 ms.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// How long an unknown tenant is remembered. Default 5 s; at least 1 ms.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = ttl;
        self
    }

    /// How long after its last successful look a record is still used while the registry fails.
    /// Then its tenant is refused with 503. Default 60 s; at least the time to live.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.settings.max_stale = max_stale;
        self
    }

    /// How long to leave a failing registry alone. Default 1 s.
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.settings.retry_after = retry_after;
        self
    }

    /// The most tenants known at a time, unknown ones included. Default 100,000. Tenants that are suspended by hand
    /// are kept beyond it.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.settings.capacity = capacity;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// A timer: with it, a look-up is given up after [`load_timeout`](Self::load_timeout), and
    /// [`TenantContext::ended`](crate::TenantContext::ended) also resolves at expiry. Without it the
    /// registry must bound its own calls.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.settings.timer = Some(Arc::new(timer));
        self
    }

    /// How long a look-up may take. Default 2 s; it needs a [`timer`](Self::timer).
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.settings.load_timeout = Some(timeout);
        self
    }

    /// What the tenants' roles mean, wherever their identities are made. Default: [`Roles::ready`].
    pub fn roles(mut self, roles: impl RoleMapping) -> Self {
        self.settings.roles = Arc::new(roles);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a time to live is below 1 ms, the maximum staleness is below the time to
    /// live, the capacity is zero, or there is a `load_timeout` and no timer.
    pub fn build(self) -> Result<CachedRegistry, ConfigError> {
        let settings = self.settings;
        if settings.ttl < Duration::from_millis(1)
            || settings.negative_ttl < Duration::from_millis(1)
        {
            return Err(ConfigError::new(
                "CachedRegistry: `ttl` and `negative_ttl` must be at least 1 ms, or every request would look the tenant up; choose a few seconds",
            ));
        }
        if settings.max_stale < settings.ttl {
            return Err(ConfigError::new(
                "CachedRegistry: `max_stale` is below `ttl`; set it to at least the time to live",
            ));
        }
        if settings.load_timeout.is_some() && settings.timer.is_none() {
            return Err(ConfigError::new(
                "CachedRegistry: nothing ends a look-up after `load_timeout`; add `.timer(TokioTimer::new())`",
            ));
        }
        if settings.capacity == 0 {
            return Err(ConfigError::new(
                "CachedRegistry: `capacity` is 0; set it to the number of tenants you expect",
            ));
        }
        Ok(CachedRegistry(Arc::new(Directory {
            states: DashMap::new(),
            source: self.source,
            settings,
            last_sweep: Mutex::new(None),
        })))
    }
}

impl fmt::Debug for CachedRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedRegistryBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl CachedRegistry {
    /// A cache in front of `registry`.
    pub fn builder(registry: impl TenantRegistry) -> CachedRegistryBuilder {
        CachedRegistryBuilder {
            source: Arc::new(registry),
            settings: Settings {
                ttl: Duration::from_secs(5),
                negative_ttl: Duration::from_secs(5),
                retry_after: Duration::from_secs(1),
                max_stale: Duration::from_secs(60),
                capacity: 100_000,
                clock: Arc::new(SystemClock::new()),
                timer: None,
                roles: Arc::new(Roles::ready()),
                load_timeout: None,
            },
        }
    }

    /// The tenant's state, looked up if need be. A suspended tenant has a state; an unknown or
    /// closed one is [`LookupErrorKind::Unknown`].
    pub fn get(&self, id: &TenantId) -> Lookup<Result<Arc<TenantState>, LookupError>> {
        let state = match self.0.state(id) {
            Ok(state) => state,
            Err(error) => return Lookup::Ready(Err(error)),
        };
        match state.ensure_fresh(self.0.settings.clock.monotonic()) {
            Lookup::Ready(answer) => Lookup::Ready(answer.and_then(|()| known(state))),
            Lookup::Pending(load) => Lookup::pending(async move {
                load.await?;
                known(state)
            }),
        }
    }

    /// Suspends a tenant in this process. When this returns, its next request is refused, whoever
    /// waits on [`ended`](crate::TenantContext::ended) has been woken, and its open streams end. It
    /// stands until [`resume`](Self::resume), or until a newer record that suspends or closes the tenant has taken it
    /// over and a newer one again lifts that: no load that is under way undoes it, no change of another kind, and
    /// no eviction forgets it.
    ///
    /// Other processes learn of it from the registry: for requests within the time to live, for what is open already
    /// within twice that if they run the [`worker`](Self::worker).
    pub fn suspend(&self, id: &TenantId) {
        self.0.state_uncapped(id).suspend();
    }

    /// The worker, which the application spawns: it looks again at the tenants whose streams, `WebSocket`s and jobs wait
    /// for their [`end`](crate::TenantContext::ended), for requests look by themselves. Without it, what is open when a
    /// tenant is suspended *elsewhere* goes on until a request of the same tenant looks.
    ///
    /// It looks every time to live, at 16 tenants at a time, and ends what is open if a record cannot be had for
    /// longer than the maximum staleness. It ends when the registry is dropped.
    ///
    /// ```
    /// use tenant_context::{CachedRegistry, MemoryRegistry};
    /// # #[cfg(feature = "tokio")]
    /// # async fn run() -> Result<(), tenant_context::ConfigError> {
    /// let tenants = CachedRegistry::builder(MemoryRegistry::new())
    ///     .timer(tenant_context::TokioTimer::new())
    ///     .build()?;
    /// tokio::spawn(tenants.worker()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] without a [`timer`](CachedRegistryBuilder::timer).
    pub fn worker(&self) -> Result<RegistryWorker, ConfigError> {
        let Some(timer) = self.0.settings.timer.clone() else {
            return Err(ConfigError::new(
                "CachedRegistry: the worker sleeps by a timer; add `.timer(TokioTimer::new())`",
            ));
        };
        Ok(RegistryWorker::new(Arc::downgrade(&self.0), timer))
    }

    /// Lifts a suspension made in this process. The registry's own status counts again; it is looked
    /// at before the tenant's next request.
    pub fn resume(&self, id: &TenantId) {
        if let Some(state) = self.known(id) {
            state.resume();
        }
    }

    /// Makes every identity of this tenant ask again whether its credential was revoked
    /// ([`Revocable`](crate::Revocable)), and wakes its open streams. Record what is revoked before you
    /// call this: when it returns, the revocation holds.
    pub fn recheck(&self, id: &TenantId) {
        if let Some(state) = self.known(id) {
            state.live().recheck();
        }
    }

    /// [`recheck`](Self::recheck) for all tenants that are known: for what is revoked in all of them, such
    /// as a signing key. Costs a walk over the cache.
    pub fn recheck_all(&self) {
        // Waking is anybody's code: not while a shard of the map is locked.
        let states: Vec<Arc<TenantState>> = self.0.states.iter().map(|s| Arc::clone(&s)).collect();
        for state in states {
            state.live().recheck();
        }
    }

    /// Whether the two are clones of one cache: a tenant then has one state in both.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Makes the next request of this tenant look at the registry again: call it when a change of
    /// its record becomes known. A look-up that is under way does not count as that look.
    pub fn refresh(&self, id: &TenantId) {
        if let Some(state) = self.known(id) {
            state.expire();
        }
    }

    /// Takes in a record that was pushed (a change feed, a webhook), if it is newer than the one
    /// known, or refuses under the same version.
    pub fn apply(&self, record: TenantRecord) {
        if let Some(state) = self.known(&record.id) {
            let now = self.0.settings.clock.monotonic();
            state.pushed(record, now, now.saturating_add(self.0.settings.ttl));
        }
    }

    pub(crate) fn roles(&self) -> Arc<dyn RoleMapping> {
        Arc::clone(&self.0.settings.roles)
    }

    /// The clock this cache was built with.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.settings.clock)
    }

    /// How many tenants are known, unknown ones that are remembered included.
    pub fn len(&self) -> usize {
        self.0.states.len()
    }

    /// Whether no tenant is known yet.
    pub fn is_empty(&self) -> bool {
        self.0.states.is_empty()
    }

    /// The id of a tenant that has a state, known or not known to the registry.
    pub(crate) fn known_id(&self, text: &str) -> Option<TenantId> {
        self.0.states.get(text).map(|state| state.key().clone())
    }

    fn known(&self, id: &TenantId) -> Option<Arc<TenantState>> {
        self.0.states.get(id).map(|state| Arc::clone(&state))
    }
}

impl fmt::Debug for CachedRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedRegistry")
            .field("tenants", &self.len())
            .finish_non_exhaustive()
    }
}

fn known(state: Arc<TenantState>) -> Result<Arc<TenantState>, LookupError> {
    match state.status() {
        TenantStatus::Closed => Err(LookupError::new(LookupErrorKind::Unknown)),
        TenantStatus::Active | TenantStatus::Suspended => Ok(state),
    }
}

impl Directory {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The tenants whose end somebody waits for.
    pub(super) fn waited_for(&self) -> Vec<Arc<TenantState>> {
        let states = self.states.iter();
        states
            .filter(|state| state.is_waited_for())
            .map(|state| Arc::clone(&state))
            .collect()
    }

    fn state(self: &Arc<Self>, id: &TenantId) -> Result<Arc<TenantState>, LookupError> {
        if let Some(state) = self.states.get(id) {
            return Ok(Arc::clone(&state));
        }
        if self.states.len() >= self.settings.capacity {
            self.sweep();
            if self.states.len() >= self.settings.capacity {
                return Err(LookupError::new(LookupErrorKind::Full));
            }
        }
        Ok(self.state_uncapped(id))
    }

    fn state_uncapped(self: &Arc<Self>, id: &TenantId) -> Arc<TenantState> {
        match self.states.entry(id.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(vacant) => {
                let state = TenantState::blank(id.clone(), Arc::downgrade(self));
                Arc::clone(&vacant.insert(Arc::new(state)))
            }
        }
    }

    /// Drops the states that nobody refers to, at most once in `retry_after`. The map's shard is
    /// locked while the count is read, so nobody can come to refer to one meanwhile.
    fn sweep(&self) {
        let now = self.settings.clock.monotonic();
        {
            let mut last = self.last_sweep.lock();
            if last.is_some_and(|last| now < last.saturating_add(self.settings.retry_after)) {
                return;
            }
            *last = Some(now);
        }
        self.states
            .retain(|_, state| Arc::strong_count(state) > 1 || state.holds_decision());
    }

    /// One call of the registry for everybody who waits for this tenant.
    pub(crate) fn load(self: Arc<Self>, state: Arc<TenantState>, ticket: LoadTicket) -> Flight {
        async move {
            let answer = self.ask(state.id().clone()).await;
            let settings = &self.settings;
            let now = settings.clock.monotonic();
            match answer {
                Ok(found) => {
                    let ttl = if found.is_some() { settings.ttl } else { settings.negative_ttl };
                    state.loaded(found, ticket, now, now.saturating_add(ttl));
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(tenant = %state.id(), error = &error as &dyn std::error::Error, "tenant look-up failed");
                    state.load_failed(error.clone(), ticket, now.saturating_add(settings.retry_after));
                    Err(error)
                }
            }
        }
        .boxed()
        .shared()
    }

    async fn ask(&self, id: TenantId) -> Result<Option<TenantRecord>, LookupError> {
        // Users' code: its panic must not reach everybody who shares the flight.
        let asked = AssertUnwindSafe(async { Arc::clone(&self.source).load(id.clone()).await })
            .catch_unwind();
        let answer = match &self.settings.timer {
            None => asked.await,
            Some(timer) => {
                let timeout = timer.sleep(self.settings.load_timeout.unwrap_or(LOAD_TIMEOUT));
                match future::select(std::pin::pin!(asked), timeout).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => {
                        return Err(LookupError::unavailable(
                            "the tenant registry did not answer in time",
                        ));
                    }
                }
            }
        };
        match answer {
            Ok(Ok(Some(record))) if record.id != id => Err(LookupError::unavailable(
                "the tenant registry answered with another tenant's record",
            )),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(LookupError::unavailable(error)),
            Err(_panic) => Err(LookupError::unavailable("the tenant registry panicked")),
        }
    }
}
