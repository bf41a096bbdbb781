//! The handle: decides on requests, and on work that is none.

use std::{fmt, sync::Arc};

use http::Request;
use tenant_context::{
    Clock, ConfigError, InstanceId, Monotonic, PrincipalKind, PublicRoute, TenantContext,
    TenantState,
};

use crate::{
    Decision, Denied, Dimension, TenantQuota,
    cells::{Budget, GlobalCell, Lane, OWN, charge},
    decision::Bound,
    endpoints::Endpoints,
    tenants::{Resolved, Shape, Tenants},
};

/// All budgets of one limiter, for code that is no request: a job, a message, a step of an agent.
///
/// Clones, and the [`RateLimitLayer`](crate::RateLimitLayer) they come from, spend the same budgets.
///
/// ```
/// use tenant_context::{Rejection, TenantContext};
/// use tenant_ratelimit::{Limits, Quota};
///
/// let layer = tenant_ratelimit::layer()
///     .tenant(Quota::per_second(100))
///     .endpoint("POST /reports", Quota::per_minute(10))
///     .build()?;
/// let limits: Limits = layer.limits().clone();
/// let reports = limits.endpoint("POST /reports")?;
///
/// // A report that is made at night costs what one costs by day.
/// let nightly = move |tenant: &TenantContext| -> Result<(), Rejection> {
///     limits.check(tenant, Some(reports))?;
///     Ok(())
/// };
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

/// What a builder has gathered.
pub(crate) struct Inner {
    pub(crate) instance: InstanceId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) global: Option<(Budget, GlobalCell)>,
    pub(crate) tenant: Option<Box<dyn TenantQuota>>,
    pub(crate) agent: Option<Budget>,
    pub(crate) endpoints: Endpoints,
    pub(crate) max_agents: usize,
    pub(crate) tenants: Tenants,
}

/// What an identity keeps does not go stale: plans change in place.
const GENERATION: u64 = 0;

/// A declared endpoint, for [`Limits::check`]. [`Limits::endpoint`] hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    instance: InstanceId,
    at: usize,
}

impl Limits {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The endpoint that was declared in these words: `"POST /reports"`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if none was.
    pub fn endpoint(&self, route: &str) -> Result<Endpoint, ConfigError> {
        let at = self.0.endpoints.named(route).ok_or_else(|| {
            ConfigError::new(format!(
                "limits: no endpoint {route:?} is declared; add `.endpoint({route:?}, quota)` to the layer's builder"
            ))
        })?;
        Ok(Endpoint {
            instance: self.0.instance,
            at,
        })
    }

    /// Charges one request to every budget it falls under: the global one, the tenant's, the acting
    /// agent's, and the endpoint's if one is named; or refuses and charges none of them.
    ///
    /// On an identity that came before: no look-up and no allocation; a lock that only this tenant's
    /// requests share, and a reading of each clock.
    ///
    /// # Errors
    ///
    /// [`Denied`], which names the binding budget and the true wait; also if the context no longer holds.
    pub fn check(
        &self,
        tenant: &TenantContext,
        endpoint: Option<Endpoint>,
    ) -> Result<Decision, Denied> {
        tenant.check().map_err(Denied::context_ended)?;
        let at = match endpoint {
            Some(endpoint) if endpoint.instance != self.0.instance => {
                tracing::error!(
                    "`Limits::check` was given another limiter's endpoint: take it from `Limits::endpoint` of the same one"
                );
                return Err(Denied::misconfigured("endpoint_foreign"));
            }
            endpoint => endpoint.map(|endpoint| endpoint.at),
        };
        self.0.decide(tenant, at, |bound| Decision::from(bound))
    }

    /// How many tenants are known, at most the builder's `max_tenants`.
    pub fn tenants(&self) -> usize {
        self.0.tenants.len()
    }

    /// Charges a request that the identity layer has let pass. `answer` reads the binding budget.
    pub(crate) fn admit<B, R>(
        &self,
        request: &Request<B>,
        answer: impl FnOnce(Option<Bound<'_>>) -> R,
    ) -> Result<R, Denied> {
        let inner = &*self.0;
        let extensions = request.extensions();
        match TenantContext::of(extensions) {
            Some(tenant) => {
                let path = request.uri().path();
                let endpoint = inner.endpoints.of(request.method(), path, extensions);
                inner.decide(tenant, endpoint, answer)
            }
            None if PublicRoute::of(extensions) => {
                inner.decide_global(inner.clock.monotonic(), answer)
            }
            None => {
                tracing::error!(
                    "no TenantContext in the request: put the identity layer (`tenant_auth::layer(..)`, or `TenantStack`) outside of the limits"
                );
                Err(Denied::context_missing())
            }
        }
    }
}

impl Inner {
    fn global(&self) -> Option<Lane<'_>> {
        self.global.as_ref().map(|(budget, cell)| Lane {
            budget,
            cell: &cell.0,
        })
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            agent: self.agent.as_ref(),
            max_agents: self.max_agents,
            endpoints: &self.endpoints,
        }
    }

    /// Whether there are budgets inside a tenant.
    fn has_own(&self) -> bool {
        self.tenant.is_some() || self.agent.is_some() || !self.endpoints.is_empty()
    }

    fn kept_by<'a>(&self, tenant: &'a TenantContext) -> Option<&'a Resolved> {
        tenant.attachments().get(self.instance, GENERATION)
    }

    fn decide_global<R>(
        &self,
        now: Monotonic,
        answer: impl FnOnce(Option<Bound<'_>>) -> R,
    ) -> Result<R, Denied> {
        let charged = charge([None; OWN], self.global(), now);
        charged.map(answer).map_err(Denied::spent)
    }

    fn decide<R>(
        &self,
        tenant: &TenantContext,
        endpoint: Option<usize>,
        answer: impl FnOnce(Option<Bound<'_>>) -> R,
    ) -> Result<R, Denied> {
        let now = self.clock.monotonic();
        if !self.has_own() {
            return self.decide_global(now, answer);
        }
        if let Some(resolved) = self.kept_by(tenant) {
            return self.decide_resolved(resolved, tenant, endpoint, now, answer);
        }
        let cells = self.tenants.cells(tenant.tenant_id(), &self.shape(), now);
        let resolved = Arc::new(Resolved::new(cells.ok_or_else(Denied::too_many_tenants)?));
        tenant
            .attachments()
            .attach(self.instance, GENERATION, Arc::clone(&resolved));
        self.decide_resolved(&resolved, tenant, endpoint, now, answer)
    }

    fn decide_resolved<R>(
        &self,
        resolved: &Resolved,
        tenant: &TenantContext,
        endpoint: Option<usize>,
        now: Monotonic,
        answer: impl FnOnce(Option<Bound<'_>>) -> R,
    ) -> Result<R, Denied> {
        let mut own = resolved.cells.lock();
        if let Some(source) = &self.tenant {
            let state = tenant.tenant();
            // Read before the record is: a change that comes meanwhile is planned for by the next request.
            let revision = state.revision();
            if !own.is_planned(state, revision) {
                // The application's code runs outside of the lock.
                drop(own);
                let planned = plan(&**source, state);
                own = resolved.cells.lock();
                own.plan(state, revision, planned, now);
            }
        }
        let actor = tenant.actor();
        let agent = self
            .agent
            .as_ref()
            .filter(|_| actor.kind() == PrincipalKind::Agent);
        if let Some(budget) = agent {
            resolved.settle(&mut own, actor.id(), budget, now);
        }
        let endpoint = endpoint.and_then(|at| {
            let (budget, cell) = (self.endpoints.budget(at)?, own.endpoints.get(at)?);
            Some(Lane { budget, cell })
        });
        let agent = agent.map(|budget| Lane {
            budget,
            cell: resolved.agent(&own),
        });
        let whole = match &self.tenant {
            None => None,
            Some(_) => Some(Lane {
                budget: own
                    .budget()
                    .ok_or_else(|| Denied::misconfigured("quota_invalid"))?,
                cell: &own.tenant,
            }),
        };
        let charged = charge([endpoint, agent, whole], self.global(), now);
        charged.map(answer).map_err(Denied::spent)
    }
}

fn plan(source: &dyn TenantQuota, tenant: &TenantState) -> Option<Budget> {
    match Budget::new(Dimension::Tenant, source.quota(tenant)) {
        Ok(budget) => Some(budget),
        Err(error) => {
            tracing::error!(
                tenant = %tenant.id(),
                error = &error as &dyn std::error::Error,
                "the tenant's quota is none: its requests are refused until its record changes"
            );
            None
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Limits")
            .field(
                "global",
                &inner.global.as_ref().map(|(budget, _)| budget.quota),
            )
            .field("tenant", &inner.tenant.is_some())
            .field("agent", &inner.agent.as_ref().map(|budget| budget.quota))
            .field("endpoints", &inner.endpoints)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Quota, layer};

    #[test]
    fn an_identity_keeps_its_cells_so_that_its_next_request_needs_no_look_up() {
        let clock = tenant_testkit::ManualClock::new();
        let tenants = tenant_testkit::tenants(&["acme"], &clock);
        let ada = tenant_testkit::context(&tenants, "acme", "ada");
        let layer = layer().tenant(Quota::per_minute(1)).build().unwrap();
        let limits = layer.limits();
        assert!(limits.0.kept_by(&ada).is_none());
        assert!(limits.check(&ada, None).is_ok());
        let kept = limits.0.kept_by(&ada).unwrap();
        assert!(
            Arc::strong_count(&kept.cells) == 2,
            "the table's and the identity's"
        );
    }
}
