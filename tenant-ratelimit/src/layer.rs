//! The layer and its builder.

use std::{fmt, sync::Arc};

use tenant_context::{Clock, ConfigError, InstanceId, StackPart, SystemClock, stack::place};
use tower_layer::Layer;

use crate::{
    Dimension, Headers, Limits, Quota, RateLimit, TenantQuota,
    cells::{Budget, Cell, GlobalCell},
    endpoints::Endpoints,
    limits::Inner,
    tenants::Tenants,
};

/// A limiter without any budget yet. See [the crate's documentation](crate).
pub fn layer() -> RateLimitLayerBuilder {
    RateLimitLayerBuilder {
        global: None,
        tenant: None,
        agent: None,
        endpoints: Vec::new(),
        headers: Headers::default(),
        max_tenants: 100_000,
        max_agents: 10_000,
        clock: Arc::new(SystemClock::new()),
    }
}

/// Builds a [`RateLimitLayer`]. At least one budget is needed; each is optional.
#[must_use = "a builder does nothing until `build`"]
pub struct RateLimitLayerBuilder {
    global: Option<Quota>,
    tenant: Option<Box<dyn TenantQuota>>,
    agent: Option<Quota>,
    endpoints: Vec<(String, Quota)>,
    headers: Headers,
    max_tenants: usize,
    max_agents: usize,
    clock: Arc<dyn Clock>,
}

impl RateLimitLayerBuilder {
    /// Limits all requests together, of all tenants, public ones included.
    pub fn global(mut self, quota: Quota) -> Self {
        self.global = Some(quota);
        self
    }

    /// Limits all requests of each tenant: one [`Quota`] for all, or a closure that makes it from the
    /// tenant's plan. Under another plan a tenant keeps what it has spent, in requests: of 7 spent, 13
    /// are left of a burst of 20, and none of a burst of 5.
    pub fn tenant(mut self, quota: impl TenantQuota) -> Self {
        self.tenant = Some(Box::new(quota));
        self
    }

    /// Limits the requests of each agent within its tenant: the current actor, where it is an agent.
    /// Equal ids in two tenants are two agents.
    pub fn agent(mut self, quota: Quota) -> Self {
        self.agent = Some(quota);
        self
    }

    /// Limits each tenant's requests to one endpoint: `"POST /reports"`, `"GET /invoices/{id}"`, or
    /// over gRPC `"POST /pkg.Service/Method"`. Parameters are written as in axum. A `GET` endpoint's
    /// `HEAD` requests count too, and a gRPC method's calls under whatever HTTP method, because tonic does
    /// not look at it.
    pub fn endpoint(mut self, route: impl Into<String>, quota: Quota) -> Self {
        self.endpoints.push((route.into(), quota));
        self
    }

    /// Which responses carry `RateLimit` and `RateLimit-Policy`. Default: refusals.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The most tenants known at a time. Default 100,000. Beyond it a further tenant is refused with 503
    /// until one that nothing refers to has all its budgets whole again, and is forgotten.
    pub fn max_tenants(mut self, max: usize) -> Self {
        self.max_tenants = max;
        self
    }

    /// The most agents of one tenant that have a budget of their own. Default 10,000. Beyond it the
    /// tenant's further agents share one budget, so made-up agents gain nothing and other tenants
    /// notice nothing.
    pub fn max_agents_per_tenant(mut self, max: usize) -> Self {
        self.max_agents = max;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is no budget at all, a quota is none ([`Quota::check`]), an endpoint is no method and template
    /// or is declared twice, or a bound is zero.
    pub fn build(self) -> Result<RateLimitLayer, ConfigError> {
        if self.global.is_none()
            && self.tenant.is_none()
            && self.agent.is_none()
            && self.endpoints.is_empty()
        {
            return Err(ConfigError::new(
                "limits: no budget is configured, so nothing would be limited; add `.tenant(Quota::per_second(100))` or another one, or leave the layer out",
            ));
        }
        for (bound, value) in [
            ("max_tenants", self.max_tenants),
            ("max_agents_per_tenant", self.max_agents),
        ] {
            if value == 0 {
                return Err(ConfigError::new(format!(
                    "limits: `{bound}` is 0; set it to the number you expect, or leave it at its default"
                )));
            }
        }
        let named = |dimension: &'static str| {
            move |error: ConfigError| ConfigError::new(format!("limits: `{dimension}`: {error}"))
        };
        let budget = |dimension: Dimension, quota: Option<Quota>| {
            let budget = quota.map(|quota| Budget::new(dimension, quota));
            budget.transpose().map_err(named(dimension.as_str()))
        };
        if let Some(tenant) = &self.tenant {
            tenant.check().map_err(named("tenant"))?;
        }
        let mut endpoints = Endpoints::default();
        for (route, quota) in &self.endpoints {
            endpoints
                .declare(route, *quota)
                .map_err(|error| ConfigError::new(format!("limits: {error}")))?;
        }
        let global = budget(Dimension::Global, self.global)?;
        Ok(RateLimitLayer {
            limits: Limits::new(Inner {
                instance: InstanceId::new(),
                clock: self.clock,
                global: global.map(|budget| (budget, GlobalCell(Cell::new(0)))),
                tenant: self.tenant,
                agent: budget(Dimension::Agent, self.agent)?,
                endpoints,
                max_agents: self.max_agents,
                tenants: Tenants::new(self.max_tenants),
            }),
            headers: self.headers,
        })
    }
}

impl fmt::Debug for RateLimitLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayerBuilder")
            .field("global", &self.global)
            .field("tenant", &self.tenant.is_some())
            .field("agent", &self.agent)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// Enforces budgets: all that a request falls under are charged, or none. See [the crate's
/// documentation](crate).
///
/// Clones spend the same budgets: give one to the HTTP server and one to the gRPC server.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RateLimitLayer {
    limits: Limits,
    headers: Headers,
}

impl RateLimitLayer {
    /// The same budgets, for code that is no request.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl StackPart for RateLimitLayer {
    type Place = place::Limits;
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.limits.clone(), self.headers)
    }
}
