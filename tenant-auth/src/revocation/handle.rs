//! The set of revocations in this process, and its builder.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use tenant_context::{
    BoxError, CachedRegistry, Claims, Clock, ConfigError, Identity, Monotonic, Rejection,
    Revocable, Timer, UnixTime,
};

use super::{
    Revocation,
    feed::RevocationFeed,
    set::{Bounds, Seen, Set},
    store::{RevocationStore, Store},
    subject::Subject,
};
use crate::{
    Issuer,
    reason::{Claim, Reason},
};

/// What is revoked in this process. Clones share it; give one to
/// [`AuthLayerBuilder::revocations`](crate::AuthLayerBuilder::revocations) and keep one to revoke with.
///
/// When [`revoke`](Self::revoke) returns, the next request is refused, whether its credential was cached
/// and also if its verification had begun before; contexts that are held no longer pass `check`, and
/// open streams end. So does all that was derived from it, whoever holds it: delegated tokens, service
/// tokens and jobs carry the names of all their ancestors, and each of them is looked up, by layers and
/// [`Jobs`](crate::jobs::Jobs) that were given the revocations.
///
/// A request pays nothing for it: an identity asks again only after something was revoked in its tenant
/// (or everywhere: an issuer, a signing key, a tenant whose staff acts in others).
///
/// # Bounds
///
/// A revocation of tokens is kept as long as a token could live ([`longest_life`]); tokens that say no
/// `iat`, or live longer, are refused where revocations are in use. Revocations of keys stay. At the
/// bounds nothing is forgotten, and nobody pays for another:
///
/// | too many revocations of | then, of it alone |
/// |---|---|
/// | a tenant's tokens, sessions and subjects | all its tokens are revoked that were issued until then |
/// | a tenant's API keys | all its API keys are revoked that were issued until then, or do not say when |
/// | an issuer's signing keys | all its tokens are revoked, for good |
/// | all together ([`capacity`]) | that befalls the largest group of these; when none is left, every request is refused with 503 |
///
/// [`longest_life`]: RevocationsBuilder::longest_life
/// [`capacity`]: RevocationsBuilder::capacity
///
/// ```
/// use tenant_auth::{CachedRegistry, Issuer, MemoryRegistry, Revocation, Revocations, TenantContext, VerifyingKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
/// let revocations = Revocations::builder(&tenants).build()?;
/// let layer = tenant_auth::layer(tenants)
///     .jwt(Issuer::new("https://id.example.com").audience("api").key(VerifyingKey::hs256([7; 32])))
///     .revocations(revocations.clone())
///     .build()?;
///
/// /// Ends the token that was presented, and no other of its session; a sign-out is `RefreshTokens::end_session`.
/// async fn give_up(tenant: TenantContext, revocations: Revocations) -> Result<(), tenant_context::BoxError> {
///     if let Some(token) = tenant.credential() {
///         revocations.revoke(Revocation::token(tenant.tenant_id().clone(), token.clone())).await?;
///     }
///     Ok(())
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Revocations(Arc<Shared>);

pub(crate) struct Shared {
    set: RwLock<Set>,
    bounds: Bounds,
    tenants: CachedRegistry,
    clock: Arc<dyn Clock>,
    /// Monotonic nanoseconds until which requests are served; `u64::MAX` without a feed.
    open_until: AtomicU64,
    store: Option<Arc<dyn Store>>,
}

/// Never: the set is full.
const CLOSED: u64 = 0;

/// Builds [`Revocations`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RevocationsBuilder {
    tenants: CachedRegistry,
    bounds: Bounds,
}

impl RevocationsBuilder {
    /// The longest that a token may live, from its `iat` to its `exp`; tokens that live longer are
    /// refused. Default 24 h.
    pub const fn longest_life(mut self, life: Duration) -> Self {
        self.bounds.longest_life = life;
        self
    }

    /// The most revocations that are kept, about 200 bytes each. Default 100,000.
    pub const fn capacity(mut self, revocations: usize) -> Self {
        self.bounds.capacity = revocations;
        self
    }

    /// The most revocations of one tenant's tokens, sessions and subjects, as many again of its API keys, and as
    /// many of one issuer's signing keys. Default 10,000.
    pub const fn tenant_capacity(mut self, revocations: usize) -> Self {
        self.bounds.each_capacity = revocations;
        self
    }

    /// Shares the revocations with other processes. The timer bounds each call of the store.
    pub fn shared(
        self,
        store: impl RevocationStore,
        timer: impl Timer,
    ) -> SharedRevocationsBuilder {
        SharedRevocationsBuilder {
            local: self,
            store: Arc::new(store),
            timer: Arc::new(timer),
            max_silence: Duration::from_secs(30),
            interval: Duration::from_secs(1),
        }
    }

    /// Builds the set of this process alone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a bound is 0.
    pub fn build(self) -> Result<Revocations, ConfigError> {
        self.finish(None)
    }

    fn finish(self, store: Option<Arc<dyn Store>>) -> Result<Revocations, ConfigError> {
        let bounds = &self.bounds;
        if bounds.longest_life.is_zero() || bounds.capacity == 0 || bounds.each_capacity == 0 {
            return Err(ConfigError::new(
                "Revocations: `longest_life`, `capacity` and `tenant_capacity` must not be 0; leave them at 24 h, 100,000 and 10,000",
            ));
        }
        let open_until = if store.is_some() { CLOSED } else { u64::MAX };
        Ok(Revocations(Arc::new(Shared {
            set: RwLock::default(),
            bounds: self.bounds,
            clock: self.tenants.clock(),
            tenants: self.tenants,
            open_until: AtomicU64::new(open_until),
            store,
        })))
    }
}

/// Builds [`Revocations`] that other processes share.
#[must_use = "a builder does nothing until `build`"]
pub struct SharedRevocationsBuilder {
    local: RevocationsBuilder,
    store: Arc<dyn Store>,
    timer: Arc<dyn Timer>,
    max_silence: Duration,
    interval: Duration,
}

impl SharedRevocationsBuilder {
    /// How old the last answer of the store may be: a revocation made elsewhere holds here within this
    /// time, or every request is refused with 503. Default 30 s.
    pub const fn max_silence(mut self, silence: Duration) -> Self {
        self.max_silence = silence;
        self
    }

    /// How long to wait between two questions, where the store does not wait itself. Default 1 s.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Builds the set and the feed, which the application spawns: until the store has answered once,
    /// every request is refused with 503.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a bound is 0 or the interval is not below the longest silence.
    pub fn build(self) -> Result<(Revocations, RevocationFeed), ConfigError> {
        if self.interval.is_zero() || self.interval >= self.max_silence {
            return Err(ConfigError::new(format!(
                "Revocations: the store is asked every {:?} and may be silent for {:?}; choose an interval above 0 and well below",
                self.interval, self.max_silence
            )));
        }
        let revocations = self.local.finish(Some(Arc::clone(&self.store)))?;
        let feed = RevocationFeed::new(
            revocations.clone(),
            self.store,
            self.timer,
            self.max_silence,
            self.interval,
        );
        Ok((revocations, feed))
    }
}

impl fmt::Debug for SharedRevocationsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRevocationsBuilder")
            .field("local", &self.local)
            .field("max_silence", &self.max_silence)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl Revocations {
    /// Begins a set for the tenants of this registry: those of the layer that it is given to.
    pub fn builder(tenants: &CachedRegistry) -> RevocationsBuilder {
        RevocationsBuilder {
            tenants: tenants.clone(),
            bounds: Bounds {
                longest_life: Duration::from_secs(86_400),
                capacity: 100_000,
                each_capacity: 10_000,
            },
        }
    }

    /// Revokes. **When this returns it is in effect in this process**; the future that it returns
    /// publishes it to the others, and is ready at once where there is no store.
    #[must_use = "in effect here; await it, so that other processes learn of it"]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it reads as the order it is: `revoke(Revocation::token(..))`"
    )]
    pub fn revoke(&self, revocation: Revocation) -> Revoking {
        self.apply(&revocation);
        let store = self.0.store.as_ref();
        Revoking(store.map(|store| Arc::clone(store).publish(revocation)))
    }

    /// How many revocations are kept.
    pub fn len(&self) -> usize {
        self.0.set.read().len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn apply(&self, revocation: &Revocation) {
        let shared = &self.0;
        let (full, of_one) = {
            let mut set = shared.set.write();
            set.insert(&revocation.0, shared.clock.unix(), &shared.bounds);
            let tenant = revocation.tenant_id();
            let of_one = tenant.filter(|tenant| !set.has_staff(tenant) && !set.is_full());
            (set.is_full(), of_one)
        };
        // Recorded first, then told: whoever looks from now on finds it.
        match of_one {
            Some(tenant) => shared.tenants.recheck(tenant),
            None => shared.tenants.recheck_all(),
        }
        if full && shared.open_until.swap(CLOSED, Ordering::SeqCst) != CLOSED {
            tracing::error!(
                "the set of revocations is full and nothing can be widened: every request is refused; raise its capacity"
            );
        }
    }

    /// The store has answered: requests are served until then.
    pub(super) fn heard(&self, until: Monotonic) {
        if !self.0.set.read().is_full() {
            self.0.open_until.store(until.as_nanos(), Ordering::SeqCst);
        }
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Whether requests are served at all: one load without a feed, and a clock reading with one.
    pub(crate) fn open(&self) -> Result<(), Rejection> {
        match self.0.open_until.load(Ordering::SeqCst) {
            u64::MAX => Ok(()),
            until if self.0.clock.coarse_monotonic().as_nanos() < until => Ok(()),
            _ => Err(self.0.refusal()),
        }
    }

    pub(crate) fn is_for(&self, tenants: &CachedRegistry) -> bool {
        self.0.tenants.is_clone_of(tenants)
    }

    /// Prepares to use a credential: gives what an identity of these claims asks.
    ///
    /// A revocation is kept for the longest life of a token. So a token that says no `iat`, or lives
    /// longer, cannot be revoked, and is refused. What has no issuer is an API key.
    pub(crate) fn admit(&self, claims: &Claims) -> Result<Arc<dyn Revocable>, Reason> {
        let shared = &self.0;
        let mut seen = Seen {
            issued_at: claims.issued_at.unwrap_or_default(),
            expires_at: UnixTime::default(),
            staff: claims.operator_of.as_ref(),
        };
        if claims.issuer.is_some() {
            let issued_at = claims.issued_at.ok_or(Claim::IAT.missing)?;
            if claims.expires_at > shared.latest_end(issued_at) {
                return Err("life_too_long");
            }
            seen.expires_at = claims.expires_at;
        }
        shared.note(&seen);
        Ok(Arc::clone(&self.0) as Arc<dyn Revocable>)
    }
}

impl Shared {
    #[cold]
    fn refusal(&self) -> Rejection {
        let reason = if self.set.read().is_full() {
            "revocations_full"
        } else {
            "revocations_stale"
        };
        Rejection::store_unavailable().with_reason(reason)
    }

    /// The latest that a token issued then may end, its leeway included.
    fn latest_end(&self, issued_at: UnixTime) -> UnixTime {
        issued_at
            .saturating_add(self.bounds.longest_life)
            .saturating_add(Issuer::MAX_LEEWAY)
    }

    /// Before the identity asks for the first time: whoever revokes from then on knows of it.
    fn note(&self, seen: &Seen<'_>) {
        let noted = self.set.read().has_noted(seen);
        if !noted {
            self.set.write().note(seen);
        }
    }
}

impl Revocable for Shared {
    fn is_revoked(&self, identity: &Identity) -> bool {
        self.set.read().is_revoked(&Subject::from(identity))
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The future of [`Revocations::revoke`]: the revocation is in effect here, and is being published.
#[must_use = "in effect here; await it, so that other processes learn of it"]
pub struct Revoking(Option<BoxFuture<'static, Result<(), BoxError>>>);

impl Future for Revoking {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Ok(())),
            Some(publishing) => publishing.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Revoking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoking")
            .field("shared", &self.0.is_some())
            .finish()
    }
}
