//! The issuer's builder.

use std::{sync::Arc, time::Duration};

use tenant_context::{Claims, Clock, ConfigError, SystemClock};

use super::{Inner, TokenIssuer, ids::Ids, keys::Keys};
use crate::{Operators, SigningKey};

/// Builds a [`TokenIssuer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct TokenIssuerBuilder {
    name: String,
    audience: String,
    key: Option<SigningKey>,
    access_ttl: Duration,
    service_ttl: Duration,
    publish_ahead: Duration,
    max_depth: usize,
    operators: Option<Operators>,
    clock: Arc<dyn Clock>,
}

/// Service tokens live for minutes.
const MAX_SERVICE_TTL: Duration = Duration::from_secs(900);

impl TokenIssuerBuilder {
    pub(super) fn new(name: String, audience: String) -> Self {
        Self {
            name,
            audience,
            key: None,
            access_ttl: Duration::from_secs(900),
            service_ttl: Duration::from_secs(300),
            publish_ahead: Duration::from_secs(300),
            max_depth: 4,
            operators: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// The key to sign with. Further ones come by [`TokenIssuer::rotate`].
    pub fn key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// How long access tokens live, where nothing else is asked for. Default 15 minutes, at most 60.
    pub const fn access_ttl(mut self, ttl: Duration) -> Self {
        self.access_ttl = ttl;
        self
    }

    /// How long services' tokens live, where nothing else is asked for. Default 5 minutes, at most 15.
    pub const fn service_ttl(mut self, ttl: Duration) -> Self {
        self.service_ttl = ttl;
        self
    }

    /// How long a key is published before it signs, and so how long others may cache the set. Default 5 minutes, at
    /// most a day.
    pub const fn publish_ahead(mut self, time: Duration) -> Self {
        self.publish_ahead = time;
        self
    }

    /// The longest chain of actors that is delegated to. Default 4, at most [`Claims::MAX_ACTORS`].
    pub const fn max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }

    /// Lets the staff of one tenant act in others, by [`TokenIssuer::operate`]. Default: nobody.
    pub fn operators(mut self, operators: Operators) -> Self {
        self.operators = Some(operators);
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the issuer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name or the audience is empty, there is no key or a secret, a life is 0 or too long, or a bound is
    /// out of range.
    pub fn build(self) -> Result<TokenIssuer, ConfigError> {
        if let Some(fault) = self.fault() {
            return Err(ConfigError::new(format!("TokenIssuer: {fault}")));
        }
        let Some(key) = self.key else {
            return Err(ConfigError::new(
                "TokenIssuer: it has no key; add `.key(SigningKey::eddsa_pem(..)?)`",
            ));
        };
        Ok(TokenIssuer(Arc::new(Inner {
            name: self.name.into(),
            audience: self.audience.into(),
            access_ttl: self.access_ttl,
            service_ttl: self.service_ttl,
            max_depth: self.max_depth,
            operators: self.operators,
            clock: self.clock,
            keys: Keys::new(key, self.publish_ahead)?,
            ids: Ids::new(),
        })))
    }

    fn fault(&self) -> Option<String> {
        let second = Duration::from_secs(1);
        if self.name.is_empty() || self.audience.is_empty() {
            return Some("its name and its audience are not empty; name this service and who its tokens are for".into());
        }
        if self.access_ttl < second || self.access_ttl > TokenIssuer::MAX_TTL {
            return Some(format!(
                "access tokens of {:?}; choose 1 s to {:?}, and a refresh token for longer sessions",
                self.access_ttl,
                TokenIssuer::MAX_TTL
            ));
        }
        if self.service_ttl < second || self.service_ttl > MAX_SERVICE_TTL {
            return Some(format!(
                "service tokens of {:?}; choose 1 s to {MAX_SERVICE_TTL:?}: they are minted for the operation at hand",
                self.service_ttl
            ));
        }
        if self.publish_ahead > Duration::from_secs(86_400) {
            return Some(format!(
                "`publish_ahead` is {:?}; choose at most a day",
                self.publish_ahead
            ));
        }
        if !(1..=Claims::MAX_ACTORS).contains(&self.max_depth) {
            return Some(format!(
                "`max_depth` is {}; choose 1 to {}",
                self.max_depth,
                Claims::MAX_ACTORS
            ));
        }
        self.operators.as_ref().and_then(Operators::fault)
    }
}
