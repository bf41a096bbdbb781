//! The builder of [`Jobs`].

use std::{fmt, sync::Arc, time::Duration};

use tenant_context::{CachedRegistry, ConfigError, Resolver};

use super::{DeadLetter, Jobs, Limits, Shared, replays::Replays};
use crate::{ApiKeys, Issuers, Revocations, TokenMinter, VerifyingKey};

type OnDeadLetter = Box<dyn Fn(DeadLetter<'_>) + Send + Sync>;

/// Builds [`Jobs`].
#[must_use = "a builder does nothing until `build`"]
pub struct JobsBuilder {
    tenants: CachedRegistry,
    queue: String,
    signer: Option<TokenMinter>,
    keys: Vec<VerifyingKey>,
    revocations: Option<Revocations>,
    issuers: Option<Issuers>,
    api_keys: Option<ApiKeys>,
    limits: Limits,
    on_dead_letter: Option<OnDeadLetter>,
}

impl Jobs {
    /// Begins the jobs of one queue, of these tenants.
    pub fn builder(tenants: CachedRegistry) -> JobsBuilder {
        JobsBuilder {
            tenants,
            queue: String::new(),
            signer: None,
            keys: Vec::new(),
            revocations: None,
            issuers: None,
            api_keys: None,
            limits: Limits {
                ttl: Duration::from_secs(3600),
                max_ttl: Duration::from_secs(86_400),
                max_payload: 256 * 1024,
                replay_capacity: 100_000,
                tenant_replay_capacity: 10_000,
            },
            on_dead_letter: None,
        }
    }
}

impl JobsBuilder {
    /// The longest life that may be allowed: 30 days.
    pub const LONGEST_TTL: Duration = Duration::from_secs(30 * 86_400);
    /// The longest payload that may be allowed: 16 MiB.
    pub const LONGEST_PAYLOAD: usize = 16 * 1024 * 1024;

    /// The queue's name, 1 to 255 bytes: a job that was sealed for another one is not opened. Name the
    /// service in it (`billing/reports`) if services share a key.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = name.into();
        self
    }

    /// The key that seals, and one of those that open. A key pair lets workers open without being able to
    /// seal; an HMAC secret is faster, and whoever opens with it can seal.
    pub fn sign_with(mut self, key: TokenMinter) -> Self {
        self.keys.push(key.verifying_key());
        self.signer = Some(key);
        self
    }

    /// A key that opens. Add the next one before it seals, and keep the last one until its jobs have
    /// expired.
    pub fn verify_with(mut self, key: VerifyingKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Asks these before a job starts and while it runs: a job ends with the credential that sealed it and with all
    /// that this was derived from, whether they are revoked by themselves or by their session, their subject, their
    /// actors, their issuer or its signing key.
    ///
    /// Keep [`max_ttl`](Self::max_ttl) below
    /// [`longest_life`](crate::RevocationsBuilder::longest_life), less the life of a token: a revocation is kept no
    /// longer, so a job that could outlive it is refused.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Refuses jobs that were sealed with a token of an issuer that was removed from these, or with what was derived
    /// from one. Without it, a removed issuer's jobs live out their own life.
    pub fn issuers(mut self, issuers: Issuers) -> Self {
        self.issuers = Some(issuers);
        self
    }

    /// Ends jobs with the API key that sealed them, or that what sealed them was derived from, when it is revoked, rotated away
    /// or expires in these. Without it, a job lives out its own life; a [`Revocation`](crate::Revocation) of the key reaches it
    /// through [`revocations`](Self::revocations).
    pub fn api_keys(mut self, keys: ApiKeys) -> Self {
        self.api_keys = Some(keys);
        self
    }

    /// Takes what is never going to be opened: log it, count it, put it aside. Called on the worker's
    /// thread.
    pub fn on_dead_letter(
        mut self,
        callback: impl Fn(DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_dead_letter = Some(Box::new(callback));
        self
    }

    /// A job's life unless it says otherwise, from its sealing to the end of its work. Default 1 h.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.limits.ttl = ttl;
        self
    }

    /// The longest life of a job. Default 24 h, at most [`LONGEST_TTL`](Self::LONGEST_TTL).
    pub const fn max_ttl(mut self, ttl: Duration) -> Self {
        self.limits.max_ttl = ttl;
        self
    }

    /// The most bytes of a payload. Default 256 KiB, at most [`LONGEST_PAYLOAD`](Self::LONGEST_PAYLOAD).
    pub const fn max_payload(mut self, bytes: usize) -> Self {
        self.limits.max_payload = bytes;
        self
    }

    /// How many jobs that run or are done are remembered until they expire, at about 100 bytes each.
    /// Beyond it no job is opened: none is forgotten. Default 100,000.
    pub const fn replay_capacity(mut self, jobs: usize) -> Self {
        self.limits.replay_capacity = jobs;
        self
    }

    /// How many of them may be one tenant's. Beyond it this tenant's jobs wait, and nobody else's. Default 10,000.
    pub const fn tenant_replay_capacity(mut self, jobs: usize) -> Self {
        self.limits.tenant_replay_capacity = jobs;
        self
    }

    /// Builds them. The time is taken from the registry's clock.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with a sentence on what to do: no queue, no key or one that cannot be used or has
    /// no name, nobody who takes dead letters, a bound that is out of range.
    pub fn build(self) -> Result<Jobs, ConfigError> {
        let error = |message: String| Err(ConfigError::new(message));
        if !(1..=255).contains(&self.queue.len()) {
            return error(format!(
                "Jobs: the queue's name has {} bytes; add `.queue(\"reports\")`, of 1 to 255 bytes",
                self.queue.len()
            ));
        }
        self.check_keys()?;
        let Some(on_dead_letter) = self.on_dead_letter else {
            return error(
                "Jobs: nobody takes the jobs that cannot be opened; add `.on_dead_letter(..)`"
                    .to_owned(),
            );
        };
        if let Some(revocations) = &self.revocations
            && !revocations.is_for(&self.tenants)
        {
            return error(
                "Jobs: the revocations were built for another registry, so they would not reach these tenants; use `Revocations::builder(&tenants)` with the jobs' own"
                    .to_owned(),
            );
        }
        let limits = self.limits;
        if limits.max_ttl > Self::LONGEST_TTL || limits.ttl > limits.max_ttl || limits.ttl.is_zero()
        {
            return error(format!(
                "Jobs: `ttl` is {:?} and `max_ttl` {:?}; choose `ttl` above 0 and up to `max_ttl`, and that up to {:?}",
                limits.ttl,
                limits.max_ttl,
                Self::LONGEST_TTL
            ));
        }
        if limits.max_payload > Self::LONGEST_PAYLOAD {
            return error(format!(
                "Jobs: `max_payload` is {}; choose at most {} bytes, and keep what is larger elsewhere",
                limits.max_payload,
                Self::LONGEST_PAYLOAD
            ));
        }
        if limits.replay_capacity == 0 || limits.tenant_replay_capacity == 0 {
            return error(
                "Jobs: `replay_capacity` or `tenant_replay_capacity` is 0, so no job could be opened; leave them at 100,000 and 10,000"
                    .to_owned(),
            );
        }
        Ok(Jobs(Arc::new(Shared {
            queue: self.queue,
            signer: self.signer,
            keys: self.keys,
            revocations: self.revocations,
            issuers: self.issuers,
            api_keys: self.api_keys,
            clock: self.tenants.clock(),
            resolver: Resolver::new(self.tenants),
            limits,
            replays: Replays::new(limits.replay_capacity, limits.tenant_replay_capacity),
            on_dead_letter,
        })))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        if self.keys.is_empty() {
            return Err(ConfigError::new(
                "Jobs: no key; add `.sign_with(..)` where jobs are sealed, `.verify_with(..)` where they are only opened",
            ));
        }
        for (at, key) in self.keys.iter().enumerate() {
            key.check()?;
            let Some(name) = key.name() else {
                return Err(ConfigError::new(
                    "Jobs: a key has no name; add `.kid(\"2026-01\")`, so that the next one can be told from it",
                ));
            };
            if self
                .keys
                .iter()
                .skip(at.saturating_add(1))
                .any(|other| other.name() == Some(name))
            {
                return Err(ConfigError::new(format!(
                    "Jobs: two keys have the name {name:?}; give each its own"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for JobsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobsBuilder")
            .field("queue", &self.queue)
            .field("signer", &self.signer)
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
