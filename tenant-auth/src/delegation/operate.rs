//! Operators: staff that acts in one named tenant, for a limited time, with a reason.

use std::time::Duration;

use tenant_context::{
    Principal, PrincipalId, PrincipalKind, Rejection, TenantContext, TenantId, scope_covers,
};

use super::delegate::{forbidden, is_purpose, malformed, parents, unsigned};
use crate::{
    MintedToken, TokenIssuer,
    jobs::UNTIL,
    token_issuer::{Act, Chain, Subject, joined},
};

/// Whose staff may act in other tenants, and what it may do there. Given to
/// [`TokenIssuerBuilder::operators`](crate::TokenIssuerBuilder::operators).
///
/// There is no tenant-less administrator: an operator is a member of a tenant of its own, the staff's, and gets a token of
/// one other tenant, for minutes.
#[derive(Clone, Debug)]
#[must_use = "give it to the issuer's builder"]
pub struct Operators {
    pub(crate) staff: TenantId,
    scopes: Vec<Box<str>>,
    max_ttl: Duration,
}

impl Operators {
    /// The scope that an operator's own credential needs, in the staff's tenant.
    pub const SCOPE: &str = "operators:enter";

    /// The members of this tenant that have [`SCOPE`](Self::SCOPE). They may do nothing until scopes are named.
    pub const fn of(staff: TenantId) -> Self {
        Self {
            staff,
            scopes: Vec::new(),
            max_ttl: Duration::from_secs(1800),
        }
    }

    /// Adds what they may do in other tenants, at most.
    pub fn scopes<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// How long they may stay with one token. Default 30 minutes, at most 60.
    pub const fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl;
        self
    }

    pub(crate) fn fault(&self) -> Option<String> {
        if self.scopes.is_empty() {
            return Some(
                "operators may do nothing; name their `.scopes(..)`, or leave them out".into(),
            );
        }
        if self.max_ttl < Duration::from_secs(1) || self.max_ttl > TokenIssuer::MAX_TTL {
            return Some(format!(
                "operators stay for {:?}; choose 1 s to {:?}",
                self.max_ttl,
                TokenIssuer::MAX_TTL
            ));
        }
        None
    }
}

/// What an operator is about to do, where and why. See [`TokenIssuer::operate`].
#[derive(Clone, Debug)]
#[must_use = "an operation grants nothing until it is minted"]
pub struct Operation {
    tenant: TenantId,
    reason: Box<str>,
    principal: Option<Principal>,
    scopes: Vec<Box<str>>,
    ttl: Option<Duration>,
}

impl Operation {
    /// In this tenant, for this reason: a ticket's number and a few words, at most 256 bytes. Every record in the tenant's
    /// log has it.
    pub fn new(tenant: TenantId, reason: impl Into<Box<str>>) -> Self {
        Self {
            tenant,
            reason: reason.into(),
            principal: None,
            scopes: Vec::new(),
            ttl: None,
        }
    }

    /// On behalf of this member of the tenant. Default: the service `support`.
    pub fn on_behalf_of(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Adds scopes, of those that operators may have.
    pub fn scopes<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// For how long. Default: the issuer's access tokens' life, within the operators' longest.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl TokenIssuer {
    /// Mints a token with which a member of the staff acts in one named tenant. It goes through the same door as every other:
    /// a suspended tenant is refused, limits count, the audit has one record per request in the tenant's own chain, with both
    /// identities (the principal, and the operator as actor), and `ctx.purpose()` is the reason.
    /// `ctx.operator_of()` tells it apart where a handler will not serve operators.
    ///
    /// It is revoked in the tenant it is for, by its own id, or by that of the credential it was derived from; and in the
    /// staff's tenant with that credential, its session or its subject.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenant_auth::{MintedToken, Operation, Rejection, TenantContext, TenantId, TokenIssuer};
    ///
    /// // POST /operators/enter, a route of the staff's own tenant
    /// async fn enter(issuer: TokenIssuer, staff: TenantContext, tenant: TenantId) -> Result<MintedToken, Rejection> {
    ///     issuer.operate(
    ///         &staff,
    ///         Operation::new(tenant, "ticket 4711: invoices do not show").scopes(["invoices:read"]),
    ///     )
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// A rejection, recorded in the current trail: 403 for whoever is no operator, acts for somebody else, or asks for more than
    /// operators may (`operator`, `operator_wider`, `delegation_outlives`), and 400 without a reason (`operator_reason`); what
    /// [`TenantContext::check`] refuses; 503 if signing fails.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it reads as the order it is: `operate(&staff, Operation::new(..))`"
    )]
    pub fn operate(
        &self,
        staff: &TenantContext,
        operation: Operation,
    ) -> Result<MintedToken, Rejection> {
        self.entered(staff, &operation)
            .map_err(|rejection| staff.deny(rejection))
    }

    fn entered(
        &self,
        staff: &TenantContext,
        operation: &Operation,
    ) -> Result<MintedToken, Rejection> {
        staff.check()?;
        let operators = self.inner().operators.as_ref();
        let operators = operators.filter(|operators| operators.staff == *staff.tenant_id());
        let operators = operators.ok_or_else(|| forbidden("operator"))?;
        // A person of its own accord: no agent of theirs, no operator from elsewhere, and not at home.
        let itself = staff.actors().is_empty() && staff.principal().kind() == PrincipalKind::Human;
        if !itself || operation.tenant == operators.staff {
            return Err(forbidden("operator"));
        }
        staff.require(Operators::SCOPE)?;
        if !is_purpose(&operation.reason) || operation.reason.trim().is_empty() {
            return Err(Rejection::malformed("operator_reason"));
        }
        let allowed = |scope: &str| {
            operators
                .scopes
                .iter()
                .any(|held| scope_covers(held, scope))
        };
        if operation.scopes.is_empty() || !operation.scopes.iter().all(|scope| allowed(scope)) {
            let wanted = operation.scopes.iter().cloned();
            return Err(Rejection::insufficient_scope(wanted).with_reason("operator_wider"));
        }
        let scope = joined(&operation.scopes).map_err(|_| malformed())?;
        if operation.ttl.is_some_and(|ttl| ttl > operators.max_ttl) {
            return Err(forbidden("delegation_outlives"));
        }
        let now = self.inner().clock.unix();
        let end = self.end(staff, staff.principal(), operation.ttl, now)?;
        let end = end.min(now.saturating_add(operators.max_ttl));
        let mut parents = parents(staff, &staff.ceiling())?;
        for parent in &mut parents {
            // In this tenant the operators' scopes are the bound, not what the staff may do at home.
            parent.scope = operators.scopes.join(" ");
            parent.roles = None;
            parent.resource_prefix = None;
        }
        let support = PrincipalId::parse("support").map_err(|_| malformed())?;
        let support = Principal::service(support);
        let subject = Subject {
            tenant: &operation.tenant,
            principal: operation.principal.as_ref().unwrap_or(&support),
            audience: &self.inner().audience,
            expires_at: end,
            now,
        };
        let chain = Chain {
            parents,
            purpose: Some(&operation.reason),
            operator_of: Some(operators.staff.as_str()),
            until: staff.claim(UNTIL),
        };
        let minted = self.mint(&subject, |body| {
            body.scope = Some(&scope);
            body.sid = staff.session().map(AsRef::as_ref);
            body.act = Some(Act::chain(staff.principal(), &[]));
            body.tenant_chain = Some(chain);
        });
        minted.map_err(unsigned)
    }
}
