//! The layer's builder.

mod build;

use std::{fmt, sync::Arc};

use tenant_context::{Clock, RequestHead, SystemClock, TenantContext};

use crate::{
    Dimension, Floors, Headers, Key, Quota, Settle, TenantQuota,
    decide::{CostOf, Custom},
};

#[cfg(doc)]
use crate::{Limits, RateLimitLayer};

/// A limiter without any budget yet. See [the crate's documentation](crate).
pub fn layer() -> RateLimitLayerBuilder {
    RateLimitLayerBuilder {
        global: None,
        floors: None,
        public: None,
        tenant: None,
        agent: None,
        principal: None,
        carried: false,
        custom: Vec::new(),
        endpoints: Vec::new(),
        in_flight: InFlight::default(),
        shadows: Vec::new(),
        cost: None,
        settle: None,
        headers: Headers::default(),
        max_tenants: 100_000,
        max_keys: 1_000_000,
        max_keys_per_tenant: 10_000,
        clock: Arc::new(SystemClock::new()),
    }
}

/// Builds a [`RateLimitLayer`]. At least one budget is needed; each is optional, and what is not declared is not limited.
///
/// Every quota has the bounds of [`Quota::check`]: at least one request, at most one per nanosecond, whole again within ten years.
/// Each budget is declared once; a later call of the same method replaces the earlier one, except for endpoints, operations and
/// dimensions, which are told apart by their names. [`build`](Self::build) says what is wrong.
#[must_use = "a builder does nothing until `build`"]
pub struct RateLimitLayerBuilder {
    global: Option<Quota>,
    floors: Option<Floors>,
    public: Option<Quota>,
    tenant: Option<Box<dyn TenantQuota>>,
    agent: Option<Quota>,
    principal: Option<Quota>,
    carried: bool,
    custom: Vec<(Custom, Quota)>,
    endpoints: Vec<(String, Says)>,
    in_flight: InFlight,
    shadows: Vec<Dimension>,
    cost: Option<Box<CostOf>>,
    settle: Option<Settle>,
    headers: Headers,
    max_tenants: usize,
    max_keys: usize,
    max_keys_per_tenant: usize,
    clock: Arc<dyn Clock>,
}

/// What is said of an endpoint.
#[derive(Clone, Copy)]
enum Says {
    Quota(Quota),
    Across(Quota),
    Operation(Quota),
    Cost(u64),
    InFlight(u32),
}

#[derive(Clone, Copy, Default)]
struct InFlight {
    tenant: Option<u32>,
    agent: Option<u32>,
}

impl RateLimitLayerBuilder {
    /// Limits the requests of all tenants together. Default: none.
    pub fn global(mut self, quota: Quota) -> Self {
        self.global = Some(quota);
        self
    }

    /// Guarantees tenants a floor of the global budget, and divides the rest fairly. Default: none, and whoever comes first is
    /// served first. It takes a [`global`](Self::global) budget, and the floors together are at most its pace and less than its burst.
    pub fn floors(mut self, floors: Floors) -> Self {
        self.floors = Some(floors);
        self
    }

    /// Limits anonymous requests to routes that are declared public. They spend this budget and no tenant's:
    /// not the global one either. Default: none, they are not limited here; see [`flood`](crate::flood()).
    pub fn public(mut self, quota: Quota) -> Self {
        self.public = Some(quota);
        self
    }

    /// Limits all requests of each tenant: one [`Quota`] for all, or a closure that makes it from the
    /// tenant's plan. Under another plan a tenant keeps what it has spent, in units: of 7 spent, 13
    /// are left of a burst of 20, and none of a burst of 5. Default: none.
    pub fn tenant(mut self, quota: impl TenantQuota) -> Self {
        self.tenant = Some(Box::new(quota));
        self
    }

    /// Limits the requests of each agent within its tenant. A request counts for the acting agent and for
    /// every agent that it acts for, along its delegation chain: a sub-agent also spends its parents' budgets.
    /// Equal ids in two tenants are two agents. Default: none. An identity that names more than 18
    /// agents and delegations, its principal included, is refused with 503.
    pub fn agent(mut self, quota: Quota) -> Self {
        self.agent = Some(quota);
        self
    }

    /// Limits the requests on behalf of each principal within its tenant, whoever acts for it. Default: none.
    pub fn principal(mut self, quota: Quota) -> Self {
        self.principal = Some(quota);
        self
    }

    /// Enforces the budgets that delegations carry in the claim `budget`:
    /// `{"requests": 100, "seconds": 3600, "burst": 10}`, `burst` may be left out; for a chain of agents a list,
    /// the current actor's first. A budget belongs to the principal and the chain of actors that it was given
    /// to: a credential that is issued anew has no new one, and a sub-agent spends it too. A claim that cannot be
    /// read as such is refused with 401. Default: they are not looked at. At most 256 different budgets of a tenant count at a time; a
    /// further one is refused with 503 until one of them is whole.
    pub fn carried_budgets(mut self) -> Self {
        self.carried = true;
        self
    }

    /// Limits each key of a dimension of your own, within its tenant; a request without a key does not fall under
    /// it. Default: none; at most four, whose names are 1 to 32 of `a-z0-9_-`, because clients are told them. Keys are made of what was
    /// verified, see [`Key`].
    ///
    /// ```
    /// use tenant_ratelimit::{Key, Quota};
    ///
    /// let limits = tenant_ratelimit::layer()
    ///     .dimension("credential", Quota::per_second(10), |tenant, _head| Key::credential(tenant))
    ///     .dimension("language", Quota::per_second(10), |_tenant, head| {
    ///         Some(Key::unverified(head.headers().get("accept-language")?))
    ///     })
    ///     .build()?;
    /// # Ok::<(), tenant_ratelimit::ConfigError>(())
    /// ```
    pub fn dimension(
        mut self,
        name: &'static str,
        quota: Quota,
        key: impl Fn(&TenantContext, &RequestHead<'_>) -> Option<Key> + Send + Sync + 'static,
    ) -> Self {
        let key = Box::new(key);
        let dimension = Key::dimension(name);
        let custom = Custom {
            name,
            dimension,
            key,
        };
        self.custom.push((custom, quota));
        self
    }

    /// Limits each tenant's requests to one endpoint: `"POST /reports"`, `"GET /invoices/{id}"`, or
    /// `"gRPC /pkg.Service/Method"`. Parameters are written as in axum. A `GET` endpoint's `HEAD` requests
    /// count too, and a gRPC method's calls under whatever HTTP method, because tonic does not look at it. Default: none; as many as
    /// you like, none of which matches the same requests as another.
    pub fn endpoint(self, route: impl Into<String>, quota: Quota) -> Self {
        self.says(route, Says::Quota(quota))
    }

    /// Limits all tenants' requests to one endpoint together. Default: none.
    pub fn endpoint_across(self, route: impl Into<String>, quota: Quota) -> Self {
        self.says(route, Says::Across(quota))
    }

    /// Limits each tenant's use of something that is no route, for [`Limits::check`]: `"export"`. A name without `/`. Default: none.
    pub fn operation(self, name: impl Into<String>, quota: Quota) -> Self {
        self.says(name, Says::Operation(quota))
    }

    /// What a request to this endpoint costs, in units of every budget. Default 1; any number, also 0. What costs more than a
    /// budget's burst is never admitted.
    pub fn endpoint_cost(self, route: impl Into<String>, units: u64) -> Self {
        self.says(route, Says::Cost(units))
    }

    /// The most requests of each tenant to this endpoint in flight: until the response's body has ended or is
    /// dropped. Default: as many as come; at least 1.
    pub fn endpoint_in_flight(self, route: impl Into<String>, most: u32) -> Self {
        self.says(route, Says::InFlight(most))
    }

    fn says(mut self, route: impl Into<String>, says: Says) -> Self {
        self.endpoints.push((route.into(), says));
        self
    }

    /// The most requests of each tenant in flight: until the response's body has ended or is dropped. Default: as many as come;
    /// at least 1.
    pub fn tenant_in_flight(mut self, most: u32) -> Self {
        self.in_flight.tenant = Some(most);
        self
    }

    /// The most requests of each agent in flight, those of its sub-agents included. Default: as many as come; at least 1.
    pub fn agent_in_flight(mut self, most: u32) -> Self {
        self.in_flight.agent = Some(most);
        self
    }

    /// Computes what a request costs, in units of every budget, instead of
    /// [`endpoint_cost`](Self::endpoint_cost). It runs for every request: keep it short. Default: the endpoint's cost, or 1.
    pub fn cost(
        mut self,
        cost: impl Fn(&TenantContext, &RequestHead<'_>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.cost = Some(Box::new(cost));
        self
    }

    /// Settles each request's cost by what its response says. What it was charged before is an estimate then. Default: it is
    /// the cost. What is owed beyond the estimate is at most one burst of each budget.
    pub fn settle(mut self, settle: Settle) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Makes a dimension a shadow: it counts and tells (see [`Limits::counts`]), and refuses nothing. What it would
    /// have refused is not charged to it. Default: none is one.
    pub fn shadow(mut self, dimension: Dimension) -> Self {
        self.shadows.push(dimension);
        self
    }

    /// Which responses carry the rate-limit headers. Default: [`Headers::OnRefusal`].
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The most tenants known at a time. Default 100,000, at least 1. Beyond it a further tenant is refused with 503
    /// until one that nothing refers to has all its budgets whole again, and is forgotten.
    pub fn max_tenants(mut self, max: usize) -> Self {
        self.max_tenants = max;
        self
    }

    /// The most agents, principals and other keys, of all tenants, that have a budget of their own. Default
    /// 1,000,000, at about 70 bytes each, at least 1. Beyond it tenants' further keys share, as beyond
    /// [`max_keys_per_tenant`](Self::max_keys_per_tenant).
    pub fn max_keys(mut self, max: usize) -> Self {
        self.max_keys = max;
        self
    }

    /// The most agents, principals and other keys of one tenant that have a budget of their own. Default 10,000, at least 1.
    /// Beyond it the tenant's further ones share one budget for each dimension, so made-up agents gain
    /// nothing and other tenants notice nothing.
    pub fn max_keys_per_tenant(mut self, max: usize) -> Self {
        self.max_keys_per_tenant = max;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl fmt::Debug for RateLimitLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayerBuilder")
            .field("global", &self.global)
            .field("tenant", &self.tenant.is_some())
            .field("agent", &self.agent)
            .field("endpoints", &self.endpoints.len())
            .finish_non_exhaustive()
    }
}
