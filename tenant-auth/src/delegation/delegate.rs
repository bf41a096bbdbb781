//! Delegation to agents and services, in the manner of RFC 8693.

use std::time::Duration;

use serde_json::{Value, json};
use tenant_context::{
    Principal, PrincipalKind, Rejection, RoleGrants, TenantContext, UnixTime, scope_covers,
};

use crate::{
    KeyError, KeyErrorKind, MintedToken, TokenIssuer,
    jobs::UNTIL,
    token_issuer::{Act, Chain, Left, Link, Subject, joined},
};

/// What is delegated, to whom, for whom and how long. See [`TokenIssuer::delegate`].
#[derive(Clone, Debug)]
#[must_use = "a delegation grants nothing until it is minted"]
pub struct Delegation {
    actor: Result<Principal, Rejection>,
    actor_tenant: Option<tenant_context::TenantId>,
    scopes: Vec<Box<str>>,
    audience: Option<Box<str>>,
    ttl: Option<Duration>,
    budget: Option<Budget>,
    purpose: Option<Box<str>>,
    resource_prefix: Option<Box<str>>,
}

/// How many requests a delegation is good for: so many in so many seconds. `tenant-ratelimit` enforces it for
/// layers with `carried_budgets`, for the one it was given to and all that are derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    requests: u64,
    seconds: u64,
}

impl Budget {
    /// So many requests in each so many seconds.
    pub const fn new(requests: u64, seconds: u64) -> Self {
        Self { requests, seconds }
    }
}

/// The claim that carries budgets, the current actor's first.
pub(crate) const BUDGET: &str = "budget";
/// The most bytes of a purpose.
const MAX_PURPOSE: usize = 256;

impl Delegation {
    /// To this actor of the same tenant, that the caller knows: an agent, a service, or a colleague.
    pub const fn to(actor: Principal) -> Self {
        Self {
            actor: Ok(actor),
            actor_tenant: None,
            scopes: Vec::new(),
            audience: None,
            ttl: None,
            budget: None,
            purpose: None,
            resource_prefix: None,
        }
    }

    /// To an actor that has proven who it is (an actor token, RFC 8693 §2.1). One of another tenant is refused, and an operator.
    pub fn to_verified(actor: &TenantContext) -> Self {
        let mut delegation = Self::to(actor.actor().clone());
        if let Err(ended) = actor.check() {
            delegation.actor = Err(ended);
        } else if actor.operator_of().is_some() {
            // Staff would be in the tenant without its reason.
            delegation.actor = Err(forbidden("delegation_operator"));
        }
        delegation.actor_tenant = Some(actor.tenant_id().clone());
        delegation
    }

    /// Adds scopes. At least one: a token that allows nothing is of no use.
    pub fn scopes<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Who the token is for. Default: the issuer's audience.
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How long it lives. Asked for more than is left of the parent's life it is refused; without it, the token lives as
    /// long as the issuer's tokens do, and no longer than its parent.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How many requests it is good for. The parent's budgets are carried on in any case.
    pub const fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// What it is for: at most 256 bytes, shown as `ctx.purpose()`. From an operator's context the operator's reason stays.
    pub fn purpose(mut self, purpose: impl Into<Box<str>>) -> Self {
        self.purpose = Some(purpose.into());
        self
    }

    /// Limits it to resources whose path begins so, within the parent's prefix.
    pub fn resource_prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.resource_prefix = Some(prefix.into());
        self
    }
}

impl TokenIssuer {
    /// Mints a narrower token from a verified context, for an agent or a service that acts on: the same tenant and
    /// principal, the `act` chain longer by the actor, and of all else at most what the context has. Roles do not
    /// travel.
    ///
    /// What the parents were bounded by is in the token, and verified again wherever it is presented. When one of them
    /// is revoked, so is this: also when that was an API key, or when its issuer or signing key is revoked or its
    /// session has ended.
    ///
    /// | use | for |
    /// |---|---|
    /// | a delegation to an agent | work that a model decides on: few scopes, a budget, minutes |
    /// | a delegation to a service | a call on behalf of the tenant: the operation's scopes, the target's audience |
    /// | [`access_token`](Self::access_token) | a login, never a request's token passed on |
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenant_auth::{Budget, Delegation, MintedToken, Principal, PrincipalId, Rejection, TenantContext, TokenIssuer};
    ///
    /// fn hire(issuer: &TokenIssuer, tenant: &TenantContext, bot: PrincipalId) -> Result<MintedToken, Rejection> {
    ///     issuer.delegate(
    ///         tenant,
    ///         Delegation::to(Principal::agent(bot))
    ///             .scopes(["invoices:read"])
    ///             .ttl(Duration::from_secs(300))
    ///             .budget(Budget::new(100, 300))
    ///             .purpose("monthly report"),
    ///     )
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// A rejection, recorded in the current trail: 403 for scopes that the context does not have (`delegation_wider`, which
    /// names them), a longer life (`delegation_outlives`), a longer chain than the issuer allows
    /// (`delegation_depth`), a wider prefix (`delegation_prefix`), an actor of another tenant (`cross_tenant_chain`) or of another tenant's staff (`delegation_operator`); 400 for
    /// what cannot be written (`delegation_malformed`) and what verifiers would not take (`delegation_too_long`: 8192 bytes, 256 scopes, of the roles it is
    /// derived from too); what [`TenantContext::check`] refuses; 503 if signing fails.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it reads as the order it is: `delegate(&ctx, Delegation::to(..))`"
    )]
    pub fn delegate(
        &self,
        tenant: &TenantContext,
        delegation: Delegation,
    ) -> Result<MintedToken, Rejection> {
        self.narrowed(tenant, &delegation)
            .map_err(|rejection| tenant.deny(rejection))
    }

    fn narrowed(
        &self,
        tenant: &TenantContext,
        delegation: &Delegation,
    ) -> Result<MintedToken, Rejection> {
        tenant.check()?;
        let actor = delegation.actor.as_ref().map_err(Clone::clone)?;
        let foreign = |other| other != tenant.tenant_id();
        if delegation.actor_tenant.as_ref().is_some_and(foreign) {
            return Err(Rejection::tenant_mismatch().with_reason("cross_tenant_chain"));
        }
        if tenant.actors().len() >= self.inner().max_depth {
            return Err(forbidden("delegation_depth"));
        }
        let ceiling = tenant.ceiling();
        let scope = scope(tenant, &ceiling, delegation)?;
        let now = self.inner().clock.unix();
        let expires_at = self.end(tenant, actor, delegation.ttl, now)?;
        let prefix = prefix(tenant, delegation.resource_prefix.as_deref())?;
        let purpose = match tenant.operator_of() {
            // Why staff is in the tenant stays to be seen.
            Some(_) => tenant.purpose(),
            None => delegation.purpose.as_deref().or(tenant.purpose()),
        };
        if purpose.is_some_and(|purpose| !is_purpose(purpose)) {
            return Err(malformed());
        }
        let budget = budgets(tenant, delegation.budget)?;
        let audience = delegation.audience.as_deref();
        let audience = audience.unwrap_or(&self.inner().audience);
        if audience.is_empty() {
            return Err(malformed());
        }
        let chain = Chain {
            parents: parents(tenant, &ceiling)?,
            purpose,
            operator_of: tenant.operator_of().map(AsRef::as_ref),
            until: tenant.claim(UNTIL),
        };
        let subject = Subject {
            tenant: tenant.tenant_id(),
            principal: tenant.principal(),
            audience,
            expires_at,
            now,
        };
        let minted = self.mint(&subject, |body| {
            body.scope = Some(&scope);
            body.sid = tenant.session().map(AsRef::as_ref);
            body.org_id = tenant.org_id();
            body.resource_prefix = prefix;
            body.act = Some(Act::chain(actor, tenant.actors()));
            body.tenant_chain = Some(chain);
            body.budget = &budget;
        });
        minted.map_err(unsigned)
    }

    /// When it ends, in whole seconds: not after its parent says that itself ends, whatever leeway that one is granted.
    pub(super) fn end(
        &self,
        tenant: &TenantContext,
        actor: &Principal,
        ttl: Option<Duration>,
        now: UnixTime,
    ) -> Result<UnixTime, Rejection> {
        let default = match actor.kind() {
            PrincipalKind::Service => self.inner().service_ttl,
            _ => self.inner().access_ttl,
        };
        let end = now.saturating_add(ttl.unwrap_or(default));
        let latest = tenant.stated_expiry();
        if ttl.is_some_and(|ttl| ttl > Self::MAX_TTL || end > latest) {
            return Err(forbidden("delegation_outlives"));
        }
        let end = UnixTime::from_secs(end.min(latest).as_secs());
        if end <= now {
            return Err(forbidden("delegation_outlives"));
        }
        Ok(end)
    }
}

/// The scopes as the token has them, if the context has them all.
fn scope(
    tenant: &TenantContext,
    ceiling: &[Box<str>],
    delegation: &Delegation,
) -> Result<String, Rejection> {
    if delegation.scopes.is_empty() {
        return Err(malformed());
    }
    let held =
        |scope: &str| tenant.allows(scope) && ceiling.iter().any(|held| scope_covers(held, scope));
    if !delegation.scopes.iter().all(|scope| held(scope)) {
        let wanted = delegation.scopes.iter().cloned();
        return Err(Rejection::insufficient_scope(wanted).with_reason("delegation_wider"));
    }
    joined(&delegation.scopes).map_err(|_| malformed())
}

/// All that the new token is derived from, the context's own credential first, with the scopes that bound it.
pub(crate) fn parents<'a>(
    tenant: &'a TenantContext,
    ceiling: &[Box<str>],
) -> Result<Vec<Link<'a>>, Rejection> {
    // What has no name could not be revoked.
    let credential = tenant
        .credential()
        .ok_or_else(|| forbidden("delegation_nameless"))?;
    if tenant.issuer().is_some() && tenant.issued_at().is_none() {
        // Nor could what does not say since when it is.
        return Err(forbidden("delegation_undated"));
    }
    let own = Link {
        jti: credential.as_str(),
        iss: tenant.issuer(),
        kid: tenant.key_id(),
        iat: tenant.issued_at().map(UnixTime::as_secs),
        api_key: tenant.api_key().map(AsRef::as_ref),
        exp: tenant.stated_expiry().as_secs(),
        scope: joined(ceiling).map_err(|_| malformed())?,
        roles: left(tenant.role_bounds().as_deref())?,
        resource_prefix: tenant.resource_prefix(),
    };
    let earlier = tenant.parents().iter().map(|parent| {
        Ok(Link {
            jti: parent.credential.as_str(),
            iss: parent.issuer.as_deref(),
            kid: parent.key_id.as_deref(),
            iat: parent.issued_at.map(UnixTime::as_secs),
            api_key: parent.api_key.as_ref().map(AsRef::as_ref),
            exp: parent.expires_at.as_secs(),
            scope: parent.scopes.join(" "),
            roles: left(parent.roles.as_deref())?,
            resource_prefix: parent.resource_prefix.as_deref(),
        })
    });
    std::iter::once(Ok(own)).chain(earlier).collect()
}

fn left(roles: Option<&[RoleGrants]>) -> Result<Option<Vec<Left>>, Rejection> {
    let roles = roles.map(|roles| roles.iter().map(Left::of).collect());
    roles.transpose().map_err(|_| malformed())
}

fn prefix<'a>(
    tenant: &'a TenantContext,
    wanted: Option<&'a str>,
) -> Result<Option<&'a str>, Rejection> {
    match wanted {
        None => Ok(tenant.resource_prefix()),
        Some(wanted) if tenant.require_resource(wanted).is_ok() => Ok(Some(wanted)),
        Some(_) => Err(forbidden("delegation_prefix")),
    }
}

/// The new budget, then those that the parent carries. Without any there is no claim.
pub(crate) fn budgets(
    tenant: &TenantContext,
    own: Option<Budget>,
) -> Result<Vec<Value>, Rejection> {
    let carried = match tenant.claim::<Value>(BUDGET) {
        None => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one @ Value::Object(_)) => vec![one],
        Some(_) => return Err(forbidden("delegation_budget")),
    };
    // One for each actor, and one for the principal itself.
    if carried.len() > tenant.actors().len().saturating_add(1) {
        return Err(forbidden("delegation_budget"));
    }
    let own = own.map(|own| json!({"requests": own.requests, "seconds": own.seconds}));
    if own.is_none() && carried.is_empty() {
        return Ok(Vec::new());
    }
    Ok(std::iter::once(own.unwrap_or(Value::Null))
        .chain(carried)
        .collect())
}

pub(super) fn is_purpose(purpose: &str) -> bool {
    (1..=MAX_PURPOSE).contains(&purpose.len()) && !purpose.chars().any(char::is_control)
}

pub(super) fn forbidden(reason: &'static str) -> Rejection {
    Rejection::insufficient_scope(None::<&str>).with_reason(reason)
}

pub(super) fn malformed() -> Rejection {
    Rejection::malformed("delegation_malformed")
}

pub(super) fn unsigned(error: KeyError) -> Rejection {
    let rejection = match error.kind() {
        // It will be as long the next time.
        KeyErrorKind::TooLong => Rejection::malformed("delegation_too_long"),
        _ => Rejection::store_unavailable().with_reason("delegation_unsigned"),
    };
    rejection.with_source(error)
}
