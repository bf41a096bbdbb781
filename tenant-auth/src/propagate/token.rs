//! Service tokens: of minutes, for one operation.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use serde_json::Value;
use tenant_context::{
    Claims, Clock, ConfigError, EndReason, PrincipalId, PrincipalKind, Rejection, SystemClock,
    TenantContext, UnixTime,
};

use crate::{
    NewToken, TokenMinter,
    delegation::{BUDGET, budgets, parents, verify::CLAIM},
    jobs::UNTIL,
    token_issuer::{Chain, joined},
};

/// Signs the tokens with which one service calls others.
///
/// The services that are called accept them as those of an [`Issuer`](crate::Issuer) of this name, with
/// [`TokenMinter::verifying_key`]: see the [module's documentation](super). Clones share the key.
#[derive(Clone)]
pub struct ServiceTokens {
    issuer: Arc<str>,
    service: PrincipalId,
    minter: TokenMinter,
    life: Duration,
    clock: Arc<dyn Clock>,
}

/// A token and its end.
pub(super) struct Minted {
    pub(super) token: String,
    pub(super) expires_at: UnixTime,
}

impl ServiceTokens {
    /// The longest life: 15 minutes.
    pub const LONGEST_LIFE: Duration = Duration::from_secs(900);

    /// Tokens of this issuer, for calls by this service.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the service's name is no [`PrincipalId`].
    pub fn new(issuer: &str, service: &str, minter: TokenMinter) -> Result<Self, ConfigError> {
        let service = PrincipalId::parse(service).map_err(|error| {
            ConfigError::new(format!(
                "ServiceTokens: the service's name is none: {error}; use one such as `orders`"
            ))
        })?;
        Ok(Self {
            issuer: issuer.into(),
            service,
            minter,
            life: Duration::from_secs(300),
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// How long a token lives, at most as long as the context it was minted for. Default 5 minutes, at most
    /// [`LONGEST_LIFE`](Self::LONGEST_LIFE): what is longer is cut.
    #[must_use]
    pub fn life(mut self, life: Duration) -> Self {
        self.life = life.min(Self::LONGEST_LIFE);
        self
    }

    /// The clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.unix()
    }

    /// A token for these scopes at this audience, on behalf of the context.
    pub(super) fn mint(
        &self,
        tenant: &TenantContext,
        audience: &str,
        scopes: &[String],
    ) -> Result<Minted, Rejection> {
        require(tenant, scopes)?;
        if tenant.operator_of().is_some() {
            // The token has no words for whose staff acts: the other side would take it for the tenant's own.
            return Err(lacking(scopes).with_reason("operator_not_propagated"));
        }
        if tenant.actors().len() >= Claims::MAX_ACTORS {
            return Err(Rejection::credential_invalid("act_depth"));
        }
        let now = self.clock.unix();
        let latest = now.saturating_add(self.life).min(tenant.stated_expiry());
        // Whole seconds, rounded down: the token's end is never after the credential's.
        let expires_at = UnixTime::from_secs(latest.as_secs());
        if expires_at <= now {
            return Err(EndReason::Expired.rejection());
        }
        let scope = joined(scopes).map_err(failed)?;
        let budget = budgets(tenant, None)?;
        let principal = tenant.principal();
        let mut new = NewToken::new(
            &*self.issuer,
            audience,
            tenant.tenant_id().as_str(),
            principal.id().as_str(),
        )
        .kind(principal.kind())
        .act(PrincipalKind::Service, self.service.as_str())
        // Also where there are none: the token is then limited to nothing.
        .claim("scope", scope.as_str())
        .claim("exp", expires_at.as_secs());
        for actor in tenant.actors() {
            new = new.act(actor.kind(), actor.id().as_str());
        }
        if let Some(prefix) = tenant.resource_prefix() {
            new = new.claim("resource_prefix", prefix);
        }
        if let Some(session) = tenant.session() {
            new = new.claim("sid", session.as_str());
        }
        if !budget.is_empty() {
            new = new.claim(BUDGET, budget);
        }
        if let Some(chain) = chain(tenant, &scope)? {
            new = new.claim(CLAIM, chain);
        }
        let token = self.minter.mint(&new, &*self.clock).map_err(failed)?;
        Ok(Minted { token, expires_at })
    }
}

/// What the token was derived from: when one of them is revoked, so is this. All that is said of their scopes is that
/// they are no narrower than the token's own. What has no name, such as an ingress' word, is not revoked.
fn chain(tenant: &TenantContext, scope: &str) -> Result<Option<Value>, Rejection> {
    if tenant.credential().is_none() {
        return Ok(None);
    }
    let mut parents = parents(tenant, &tenant.ceiling())?;
    for parent in &mut parents {
        scope.clone_into(&mut parent.scope);
        parent.roles = None;
    }
    let chain = Chain {
        parents,
        purpose: tenant.purpose(),
        operator_of: None,
        until: tenant.claim(UNTIL),
    };
    serde_json::to_value(chain).map(Some).map_err(failed)
}

/// Refuses a context that does not allow all of this.
pub(super) fn require(tenant: &TenantContext, scopes: &[String]) -> Result<(), Rejection> {
    if scopes.iter().all(|scope| tenant.allows(scope)) {
        Ok(())
    } else {
        Err(lacking(scopes))
    }
}

fn lacking(scopes: &[String]) -> Rejection {
    Rejection::insufficient_scope(scopes.iter().map(String::as_str))
}

fn failed(error: impl Error + Send + Sync + 'static) -> Rejection {
    Rejection::store_unavailable().with_source(error)
}

impl fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTokens")
            .field("issuer", &self.issuer)
            .field("service", &self.service)
            .field("minter", &self.minter)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}
