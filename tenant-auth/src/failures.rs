//! A budget for failed authentications, per client address.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};
use quick_cache::sync::Cache;
use tenant_context::{
    ClientAddress, ClientKey, Clock, ConfigError, Monotonic, Rejection, RejectionKind, RequestHead,
    Violation,
};

use crate::cache::CacheKey;

/// How many credentials that do not verify one client may present. Then its credentials are answered with 429
/// before any signature is computed, until the budget has grown again.
///
/// A bad signature costs the server as much as a good one, some 13 to 36 µs for public keys; a refusal under a spent budget
/// costs about 1 µs. Credentials that are known already are served all the same, so that a spent budget does not shut out
/// who shares the address; so is everything from elsewhere.
///
/// A client is an address, or an IPv6 /64: its [`ClientAddress`]. **Behind a proxy** put a
/// [`ClientAddressLayer`](tenant_context::ClientAddressLayer) outside of the identity layer, or all clients have the
/// proxy's address and share one budget. Clients whose address nobody knows share one too.
///
/// The same bad token is remembered for a while (10 s by default) and refused again at the cost of a look-up, without
/// spending the budget.
///
/// ```
/// # use tenant_auth::{CachedRegistry, Issuer, MemoryRegistry, TokenMinter};
/// use tenant_auth::FailureBudget;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
/// # let issuer = Issuer::new("https://id.example.com").audience("api").key(TokenMinter::eddsa_generate("k")?.verifying_key());
/// let identity = tenant_auth::layer(tenants)
///     .jwt(issuer)
///     .failure_budget(FailureBudget::per_minute(30).burst(60))
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// Memory is bounded: 0.5 MiB for the budgets, whatever the number of addresses (two addresses share one with a
/// probability of 1 to 65,536; whoever has not failed is never refused), and 16,384 entries each for clients that have
/// spent theirs and for bad tokens. A client that is displaced from the first pays with one signature, and is refused
/// again: its budget is still spent.
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `AuthLayerBuilder::failure_budget`"]
pub struct FailureBudget {
    per_minute: u32,
    burst: u32,
    remember: Duration,
}

impl FailureBudget {
    /// The longest a bad token may be remembered.
    pub const MAX_REMEMBERED: Duration = Duration::from_secs(60);

    /// So many failures a minute, and as many at once.
    pub const fn per_minute(failures: u32) -> Self {
        Self {
            per_minute: failures,
            burst: failures,
            remember: Duration::from_secs(10),
        }
    }

    /// How many failures at once.
    pub const fn burst(mut self, failures: u32) -> Self {
        self.burst = failures;
        self
    }

    /// How long a bad token is remembered. A token that could become good by waiting, or by another key, never is.
    /// Default 10 s, at most [`MAX_REMEMBERED`](Self::MAX_REMEMBERED); zero: not at all.
    pub const fn remember(mut self, duration: Duration) -> Self {
        self.remember = duration;
        self
    }

    pub(crate) fn build(self, clock: Arc<dyn Clock>) -> Result<Failures, ConfigError> {
        let error = |what| {
            Err(ConfigError::new(format!(
                "tenant_auth: `failure_budget`: {what}"
            )))
        };
        let (Some(rate), Some(burst)) = (
            NonZeroU32::new(self.per_minute),
            NonZeroU32::new(self.burst),
        ) else {
            return error("no failure at all would refuse the first; allow one a minute at least");
        };
        if self.remember > Self::MAX_REMEMBERED {
            return error("a bad token is remembered for 60 s at most");
        }
        let quota = Quota::per_minute(rate).allow_burst(burst);
        let limiter = RateLimiter::new(quota, Slots::new(), Ticks(Arc::clone(&clock)));
        Ok(Failures {
            clock,
            interval: quota.replenish_interval(),
            remember: self.remember,
            limiter,
            spent: Cache::new(Failures::CAPACITY),
            bad: Cache::new(Failures::CAPACITY),
        })
    }
}

/// The budgets of all clients.
pub(crate) struct Failures {
    clock: Arc<dyn Clock>,
    interval: Duration,
    remember: Duration,
    limiter: RateLimiter<ClientKey, Slots, Ticks, StateInformationMiddleware>,
    /// Until when a client's credentials are refused.
    spent: Cache<ClientKey, Monotonic>,
    /// Tokens that failed, until when, and why.
    bad: Cache<CacheKey, (Monotonic, Rejection)>,
}

/// A credential that is about to be verified.
#[must_use = "a failure is to be counted"]
pub(crate) struct Attempt(Option<Counted>);

struct Counted {
    failures: Arc<Failures>,
    client: ClientKey,
    credential: CacheKey,
}

impl Attempt {
    /// Without a budget.
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }

    /// The credential did not verify. A request that could not be read (400) has cost nothing.
    pub(crate) fn failed(self, rejection: Rejection) -> Rejection {
        if let Some(counted) = self.0
            && rejection.kind() == RejectionKind::CredentialInvalid
        {
            let failures = counted.failures;
            failures.failed(counted.client, counted.credential, &rejection);
        }
        rejection
    }
}

impl Failures {
    const CAPACITY: usize = 16_384;

    /// Whether this client's credential is looked at. Two look-ups, no allocation unless it is refused.
    ///
    /// # Errors
    ///
    /// 429 if its budget is spent; what was said of the same bad token before.
    pub(crate) fn admit(
        self: &Arc<Self>,
        head: &RequestHead<'_>,
        credential: CacheKey,
    ) -> Result<Attempt, Rejection> {
        let client = ClientAddress::of(head.extensions()).key();
        let now = self.clock.coarse_monotonic();
        if let Some(until) = self.spent.get(&client).filter(|until| now < *until) {
            return Err(spent(until.saturating_since(now)));
        }
        if let Some((until, rejection)) = self.bad.get(&credential)
            && now < until
        {
            return Err(rejection);
        }
        Ok(Attempt(Some(Counted {
            failures: Arc::clone(self),
            client,
            credential,
        })))
    }

    fn failed(&self, client: ClientKey, credential: CacheKey, rejection: &Rejection) {
        let now = self.clock.monotonic();
        if is_final(rejection.reason()) && !self.remember.is_zero() {
            let until = now.saturating_add(self.remember);
            self.bad.insert(credential, (until, rejection.clone()));
        }
        let wait = match self.limiter.check_key(&client) {
            Ok(left) if left.remaining_burst_capacity() > 0 => return,
            Ok(_) => self.interval,
            Err(not_until) => not_until.wait_time_from(Duration::from_nanos(now.as_nanos())),
        };
        self.spent.insert(client, now.saturating_add(wait));
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures")
            .field("interval", &self.interval)
            .field("spent", &self.spent.len())
            .field("bad", &self.bad.len())
            .finish_non_exhaustive()
    }
}

fn spent(wait: Duration) -> Rejection {
    let what = Violation::new(
        "failed-authentication",
        "Failed authentications from one address.",
    );
    Rejection::quota_exceeded("failed-authentication", Some(wait)).with_violation(what)
}

/// Whether the same token will fail again: not by waiting, nor with a key that comes.
fn is_final(reason: &str) -> bool {
    matches!(
        reason,
        "signature"
            | "audience"
            | "expired"
            | "too_old"
            | "cnf"
            | "act_depth"
            | "cross_tenant_chain"
    ) || reason.starts_with("claim_")
}

/// The clients' cells: so many, whoever comes. Which client has which cell is not known outside of the process.
struct Slots {
    cells: Box<[InMemoryState]>,
    hasher: RandomState,
}

impl Slots {
    /// A power of two.
    const COUNT: usize = 65_536;

    fn new() -> Self {
        Self {
            cells: std::iter::repeat_with(InMemoryState::default)
                .take(Self::COUNT)
                .collect(),
            hasher: RandomState::new(),
        }
    }
}

impl StateStore for Slots {
    type Key = ClientKey;

    fn measure_and_replace<T, F, E>(&self, client: &ClientKey, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let hash = self.hasher.hash_one(client);
        let mask = Self::COUNT.saturating_sub(1);
        let at = usize::try_from(hash & u64::try_from(mask).unwrap_or(0)).unwrap_or(0);
        let fallback = InMemoryState::default();
        let cell = self.cells.get(at).unwrap_or(&fallback);
        cell.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

/// Our clock, as `governor` reads one.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic().as_nanos())
    }
}
