//! The builder of [`RefreshTokens`].

use std::{fmt, sync::Arc, time::Duration};

use tenant_context::{CachedRegistry, ConfigError};

use super::{Limits, RefreshStore, RefreshTokens, SessionEnded, Shared};
use crate::Revocations;

type OnReuse = Box<dyn Fn(&SessionEnded) + Send + Sync>;

/// Builds [`RefreshTokens`].
#[must_use = "a builder does nothing until `build`"]
pub struct RefreshTokensBuilder<S> {
    tenants: CachedRegistry,
    store: S,
    limits: Limits,
    revocations: Option<Revocations>,
    on_reuse: Option<OnReuse>,
}

impl<S: RefreshStore> RefreshTokens<S> {
    /// Begins the refresh tokens of these tenants' sessions, kept in `store`.
    pub const fn builder(tenants: CachedRegistry, store: S) -> RefreshTokensBuilder<S> {
        RefreshTokensBuilder {
            tenants,
            store,
            limits: Limits {
                idle: Duration::from_secs(30 * 86_400),
                life: Duration::from_secs(90 * 86_400),
                grace: Duration::ZERO,
            },
            revocations: None,
            on_reuse: None,
        }
    }
}

impl<S: RefreshStore> RefreshTokensBuilder<S> {
    /// The longest grace that may be allowed: 60 s.
    pub const LONGEST_GRACE: Duration = Duration::from_secs(60);

    /// How long a session lives without a refresh. Default 30 days.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.limits.idle = idle;
        self
    }

    /// How long a session lives, however often it is refreshed. Default 90 days.
    pub const fn life(mut self, life: Duration) -> Self {
        self.limits.life = life;
        self
    }

    /// How long after its rotation the last token still gets its client the same successor. Off by
    /// default; at most [`LONGEST_GRACE`](Self::LONGEST_GRACE).
    pub const fn concurrent_grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace;
        self
    }

    /// Ends a session's access tokens with it, by their `sid`: give them the session's id
    /// ([`AccessToken::session`](crate::AccessToken::session)), and use the layer's revocations. Without them its access tokens
    /// live on to their own end.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Called for each session that a replay ended, before the replay is answered: tell its owner. Required. Once for each session, and once more for
    /// each replay whose request is given up half-way: then nobody knows whether it was the first.
    pub fn on_reuse(mut self, callback: impl Fn(&SessionEnded) + Send + Sync + 'static) -> Self {
        self.on_reuse = Some(Box::new(callback));
        self
    }

    /// Builds them. The time is taken from the registry's clock.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with a sentence on what to do: nobody is told of a replay, a time is out of range.
    pub fn build(self) -> Result<RefreshTokens<S>, ConfigError> {
        let limits = self.limits;
        if limits.grace > Self::LONGEST_GRACE {
            return Err(ConfigError::new(format!(
                "RefreshTokens: `concurrent_grace` is {:?}, as long a stolen token goes undetected; choose at most {:?}",
                limits.grace,
                Self::LONGEST_GRACE
            )));
        }
        if limits.idle.is_zero() || limits.idle > limits.life {
            return Err(ConfigError::new(format!(
                "RefreshTokens: `idle` is {:?} and `life` {:?}; choose `idle` above 0 and up to `life`",
                limits.idle, limits.life
            )));
        }
        let Some(on_reuse) = self.on_reuse else {
            return Err(ConfigError::new(
                "RefreshTokens: nobody ends a stolen session's access tokens; add `.on_reuse(..)`",
            ));
        };
        if let Some(revocations) = &self.revocations
            && !revocations.is_for(&self.tenants)
        {
            return Err(ConfigError::new(
                "RefreshTokens: the revocations were built for another registry, so they would not reach these tenants; use `Revocations::builder(&tenants)` with the same one",
            ));
        }
        Ok(RefreshTokens(Arc::new(Shared {
            store: self.store,
            revocations: self.revocations,
            clock: self.tenants.clock(),
            tenants: self.tenants,
            limits,
            on_reuse,
        })))
    }
}

impl<S> fmt::Debug for RefreshTokensBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokensBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
