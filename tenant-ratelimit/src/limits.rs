//! The handle: decides on requests, and on work that is none.

use std::{fmt, sync::Arc};

use http::Request;
use tenant_context::{
    ConfigError, InstanceId, PublicRoute, RequestHead, SystemContext, TenantContext, TenantId,
};

use crate::{
    BudgetUsage, Decision, Denied, DimensionCounts, Quota, Reservation, Usage,
    decide::{Inner, Wanted},
    headers::Told,
    hold::Hold,
    rules::Declared,
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
///     .operation("export", Quota::per_minute(1_000))
///     .build()?;
/// let limits: Limits = layer.limits().clone();
///
/// // At a job's submission: so many rows cost so much of the tenant's budgets, or the job is refused.
/// let submit = move |tenant: &TenantContext, rows: u64| -> Result<(), Rejection> {
///     limits.check(tenant, "export", rows)?;
///     Ok(())
/// };
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

/// A declared endpoint or operation, for [`Limits::check`]. [`Limits::endpoint`] hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    instance: InstanceId,
    at: usize,
}

/// What [`Limits::check`] charges for: the name of an endpoint or operation as it was declared, an
/// [`Endpoint`], or `None`.
///
/// A name is `'static`, a word of the program: what a client wrote is none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no endpoint or operation",
    note = "give the name in the words of its declaration (`\"export\"`), an `Endpoint`, or `None`; a text that a client wrote is none of them"
)]
pub trait Target: sealed::Sealed {
    #[doc(hidden)]
    fn find(self, limits: &Limits) -> Result<Option<usize>, Denied>;
}

mod sealed {
    #[allow(unnameable_types, reason = "nobody else implements `Target`")]
    pub trait Sealed {}
    impl Sealed for &'static str {}
    impl Sealed for super::Endpoint {}
    impl Sealed for Option<super::Endpoint> {}
}

impl Target for &'static str {
    #[doc(hidden)]
    fn find(self, limits: &Limits) -> Result<Option<usize>, Denied> {
        let at = limits.0.endpoints.named(self);
        at.map(Some).ok_or_else(|| {
            tracing::error!(
                name = self,
                "no endpoint or operation of this name is declared: it is refused; add `.operation(name, quota)` to the layer's builder"
            );
            Denied::misconfigured("operation_unknown")
        })
    }
}

impl Target for Endpoint {
    #[doc(hidden)]
    #[inline]
    fn find(self, limits: &Limits) -> Result<Option<usize>, Denied> {
        if self.instance == limits.0.instance {
            return Ok(Some(self.at));
        }
        tracing::error!(
            "`Limits` was given another limiter's endpoint: take it from `Limits::endpoint` of the same one"
        );
        Err(Denied::misconfigured("endpoint_foreign"))
    }
}

impl Target for Option<Endpoint> {
    #[doc(hidden)]
    fn find(self, limits: &Limits) -> Result<Option<usize>, Denied> {
        self.map_or(Ok(None), |endpoint| endpoint.find(limits))
    }
}

impl Limits {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The endpoint or operation that was declared in these words: `"POST /reports"`, `"export"`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if none was.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint, ConfigError> {
        let at = self.0.endpoints.named(name).ok_or_else(|| {
            ConfigError::new(format!(
                "limits: no endpoint {name:?} is declared; add `.endpoint({name:?}, quota)` to the layer's builder"
            ))
        })?;
        Ok(Endpoint {
            instance: self.0.instance,
            at,
        })
    }

    /// Charges so many units to every budget that this falls under: the global one, the tenant's, those of
    /// the agents, the principal, the delegation, and the endpoint's or operation's if one is named; or refuses
    /// and charges none of them. Dimensions of the application's own take a request.
    ///
    /// On an identity that came before: no look-up and no allocation; a lock that only this tenant's
    /// requests share, and a reading of each clock.
    ///
    /// Requests in flight are not counted: that takes [`reserve`](Self::reserve).
    ///
    /// # Errors
    ///
    /// [`Denied`], which names the binding budget and the true wait; also if the context no longer holds.
    pub fn check(
        &self,
        tenant: &TenantContext,
        target: impl Target,
        cost: u64,
    ) -> Result<Decision, Denied> {
        let wanted = self.wanted(tenant, target, cost)?;
        self.0.check(tenant, wanted, Decision::from)
    }

    /// What [`check`](Self::check) would answer. Nothing is charged.
    ///
    /// # Errors
    ///
    /// [`Denied`], as `check` would.
    pub fn peek(
        &self,
        tenant: &TenantContext,
        target: impl Target,
        cost: u64,
    ) -> Result<Decision, Denied> {
        let wanted = Wanted {
            peeks: true,
            ..self.wanted(tenant, target, cost)?
        };
        self.0
            .decide(tenant, wanted, |granted| granted.bound().into())
    }

    /// Charges an estimate, and counts as in flight, until the reservation is settled or dropped: for costs
    /// that are known only afterwards, and for limits on what is in flight.
    ///
    /// ```
    /// # use tenant_context::{Rejection, TenantContext};
    /// # use tenant_ratelimit::Limits;
    /// # async fn model(prompt: &str) -> (String, u64) { (String::new(), 7) }
    /// async fn complete(limits: &Limits, tenant: &TenantContext, prompt: &str) -> Result<String, Rejection> {
    ///     let reserved = limits.reserve(tenant, "tokens", 2_000)?;
    ///     let (answer, tokens) = model(prompt).await;     // dropped here, or a panic: 2,000 stay charged
    ///     reserved.settle(tokens);
    ///     Ok(answer)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Denied`], as [`check`](Self::check), and if too many requests are in flight.
    pub fn reserve(
        &self,
        tenant: &TenantContext,
        target: impl Target,
        estimate: u64,
    ) -> Result<Reservation, Denied> {
        let wanted = Wanted {
            enters: true,
            ..self.wanted(tenant, target, estimate)?
        };
        self.0.decide(tenant, wanted, |granted| {
            Reservation::new(Hold::new(&self.0, &granted), granted.bound().into())
        })
    }

    #[inline]
    fn wanted(
        &self,
        tenant: &TenantContext,
        target: impl Target,
        cost: u64,
    ) -> Result<Wanted<'static>, Denied> {
        tenant.check().map_err(Denied::context_ended)?;
        Ok(Wanted {
            endpoint: target.find(self)?,
            cost,
            head: None,
            peeks: false,
            enters: false,
        })
    }

    /// Gives a declared budget another quota, under load: what was spent stays spent, in units. It holds for
    /// every request that begins after this returns. What was spent beyond a smaller burst stands in nobody's way and counts again under
    /// a larger one; it comes back once the budget is whole. Under a smaller global quota floors too wait until what was spent of it is back.
    ///
    /// A tenant's quota comes from its plan: change that, or see [`override_quota`](Self::override_quota).
    ///
    /// ```
    /// use tenant_ratelimit::{Budget, Quota};
    ///
    /// let layer = tenant_ratelimit::layer().global(Quota::per_second(100)).build()?;
    /// layer.limits().set_quota(Budget::Global, Quota::per_second(200))?;
    /// # Ok::<(), tenant_context::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the quota is none, the budget was not declared, or the floors do not fit into it: in burst or in pace.
    /// Nothing is changed then.
    pub fn set_quota(&self, budget: Budget<'_>, quota: Quota) -> Result<(), ConfigError> {
        let declared = match budget {
            Budget::Global => Declared::Global,
            Budget::Public => Declared::Public,
            Budget::Agent => Declared::Keyed(crate::Dimension::Agent),
            Budget::Principal => Declared::Keyed(crate::Dimension::Principal),
            Budget::Endpoint(name) => Declared::Endpoint(self.endpoint(name)?.at),
            Budget::EndpointAcross(name) => Declared::Across(self.endpoint(name)?.at),
            Budget::Custom(name) => {
                let known = self.0.custom.iter().find(|custom| custom.name == name);
                let known = known.ok_or_else(|| {
                    ConfigError::new(format!("limits: no dimension {name:?} is declared; add `.dimension({name:?}, quota, key)` to the layer's builder"))
                })?;
                Declared::Keyed(crate::Dimension::Custom(known.name))
            }
        };
        self.0
            .change(|rules, moved| rules.with(declared, quota, moved))
    }

    /// Gives one tenant another quota than its plan's, or, with `None`, its plan's again. What was spent stays spent,
    /// in units. At most as many as tenants may be known.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the quota is none, no tenant has one, or there are too many of these.
    pub fn override_quota(
        &self,
        _system: &SystemContext,
        tenant: &TenantId,
        quota: Option<Quota>,
    ) -> Result<(), ConfigError> {
        if let Some(quota) = quota {
            quota.check()?;
        }
        if self.0.plans.is_none() {
            return Err(ConfigError::new(
                "limits: tenants have no quota to override; add `.tenant(quota)` to the layer's builder",
            ));
        }
        let mut overrides = self.0.overrides.lock();
        match quota {
            None => drop(overrides.remove(tenant)),
            Some(_) if overrides.len() >= self.0.max_tenants && !overrides.contains_key(tenant) => {
                return Err(ConfigError::new(
                    "limits: as many quotas are overridden as tenants may be known; raise `max_tenants`",
                ));
            }
            Some(quota) => drop(overrides.insert(tenant.clone(), quota)),
        }
        drop(overrides);
        if let Some(cells) = self.0.tenants.find(tenant) {
            cells.lock().forget_plan();
        }
        Ok(())
    }

    /// Makes all budgets of one tenant whole. Those that tenants share stay as they are.
    pub fn reset(&self, _system: &SystemContext, tenant: &TenantId) {
        if let Some(cells) = self.0.tenants.find(tenant) {
            cells.lock().reset();
        }
    }

    /// What a tenant has spent. `None` if the limiter does not know it, or has forgotten it, all its budgets
    /// being whole.
    pub fn usage(&self, tenant: &TenantContext) -> Option<Usage> {
        self.usage_of(tenant.tenant_id())
    }

    /// What any tenant has spent, for operators.
    pub fn usage_by_id(&self, _system: &SystemContext, tenant: &TenantId) -> Option<Usage> {
        self.usage_of(tenant)
    }

    fn usage_of(&self, tenant: &TenantId) -> Option<Usage> {
        let cells = self.0.tenants.find(tenant)?;
        let now = self.0.clock.monotonic();
        let mut own = cells.lock();
        if own.rules.generation != self.0.generation() {
            own.adopt(self.0.current(), now);
        }
        let mut budgets = Vec::new();
        if let (Some(rate), Some(terms)) = (own.rate(), own.rules.tenant.as_ref()) {
            budgets.push(BudgetUsage::new(
                terms.dimension,
                None,
                rate,
                own.tenant.tat(),
                now,
            ));
        }
        for at in 0..own.endpoints.len() {
            if let (Some((level, rate)), Some(name)) = (own.endpoint(at), self.0.endpoints.name(at))
            {
                let dimension = crate::Dimension::Endpoint;
                let name = Some(name.to_owned());
                budgets.push(BudgetUsage::new(dimension, name, rate, level.tat(), now));
            }
        }
        Some(Usage {
            admitted: own.counts.admitted(),
            refused: own.counts.refused(),
            recent: own.counts.recent(now),
            in_flight: own.tenant.in_flight(),
            budgets,
            keys: own.keys().len(),
        })
    }

    /// The tenants with the most requests in the last minute, about, the noisiest first, with their numbers. It
    /// looks at every tenant, one after the other: on demand, not on a request's way.
    pub fn noisiest(&self, _system: &SystemContext, most: usize) -> Vec<(TenantId, u64)> {
        let now = self.0.clock.monotonic();
        let mut all: Vec<(TenantId, u64)> = Vec::new();
        self.0.tenants.each(|id, cells| {
            let recent = cells.lock().counts.recent(now);
            if recent > 0 {
                all.push((id.clone(), recent));
            }
        });
        all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        all.truncate(most);
        all
    }

    /// What each dimension has refused, and what it would have refused as a shadow, since the limiter was
    /// built.
    pub fn counts(&self) -> Vec<DimensionCounts> {
        self.0.tally.read()
    }

    /// How many tenants are known, at most the builder's `max_tenants`.
    pub fn tenants(&self) -> usize {
        self.0.tenants.len()
    }

    /// How many agents, principals and other keys have a cell of their own, of all tenants: at most the
    /// builder's `max_keys`.
    pub fn keys(&self) -> usize {
        self.0.places.taken()
    }

    /// Charges a request that the identity layer has let pass.
    #[inline]
    pub(crate) fn admit<B>(
        &self,
        request: &Request<B>,
        holds: bool,
        tells: bool,
    ) -> Result<Admitted, Denied> {
        let inner = &*self.0;
        let extensions = request.extensions();
        match TenantContext::of(extensions) {
            Some(tenant) => {
                let path = request.uri().path();
                let endpoint = inner.endpoints.of(request.method(), path, extensions);
                let mut wanted = Wanted {
                    endpoint,
                    cost: 1,
                    head: None,
                    peeks: false,
                    enters: holds,
                };
                if !inner.reads_head && !holds && !tells {
                    wanted.cost = inner.endpoints.cost(endpoint);
                    return inner.check(tenant, wanted, |_| Admitted {
                        told: None,
                        hold: None,
                    });
                }
                let head = RequestHead::of_request(request);
                wanted.head = Some(&head);
                wanted.cost = match &inner.cost {
                    Some(cost) => cost(tenant, &head),
                    None => inner.endpoints.cost(endpoint),
                };
                inner.decide(tenant, wanted, |granted| Admitted {
                    told: tells.then(|| granted.told(tenant.tenant_id())).flatten(),
                    hold: holds.then(|| Box::new(Hold::new(&self.0, &granted))),
                })
            }
            None if PublicRoute::of(extensions) => inner.decide_public(1, |bound| {
                let told = |(bound, policy)| Told::new(bound, policy, None);
                Admitted {
                    told: bound.filter(|_| tells).map(told),
                    hold: None,
                }
            }),
            None => {
                tracing::error!(
                    "no TenantContext in the request: put the identity layer (`tenant_auth::layer(..)`, or `TenantStack`) outside of the limits"
                );
                Err(Denied::context_missing())
            }
        }
    }
}

/// A request that was charged.
pub(crate) struct Admitted {
    pub(crate) told: Option<Told>,
    pub(crate) hold: Option<Box<Hold>>,
}

/// A declared budget, for [`Limits::set_quota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget<'a> {
    /// All requests of all tenants.
    Global,
    /// Requests without a tenant.
    Public,
    /// Each agent's.
    Agent,
    /// Each principal's.
    Principal,
    /// Each tenant's to the endpoint or operation of this name.
    Endpoint(&'a str),
    /// All tenants' to the endpoint of this name.
    EndpointAcross(&'a str),
    /// Each key's of the application's own dimension of this name.
    Custom(&'a str),
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.current();
        f.debug_struct("Limits")
            .field(
                "global",
                &rules.global.as_ref().map(|cross| cross.rate.quota),
            )
            .field("tenant", &rules.tenant.is_some())
            .field("endpoints", &self.0.endpoints)
            .field("tenants", &self.tenants())
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
        assert!(limits.check(&ada, None, 1).is_ok());
        let kept = limits.0.kept_by(&ada).unwrap();
        assert!(
            Arc::strong_count(&kept.cells) == 2,
            "the table's and the identity's"
        );
    }
}
