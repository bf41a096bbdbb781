//! Budgets of tenants, agents, principals and endpoints, and global ones, decided together, as a tower layer.
//!
//! A request falls under many budgets. All of them are charged, or none: a refused request drains
//! nothing, under any interleaving, and the answer names the budget that binds and the true wait, after
//! which *all* of them admit. Requests are told apart by their verified identity, never by what a
//! client may write into them.
//!
//! # Example
//!
//! ```
//! use tenant_ratelimit::Quota;
//!
//! let limits = tenant_ratelimit::layer()
//!     .global(Quota::per_minute(100_000))
//!     .tenant(Quota::per_second(100))
//!     .agent(Quota::per_second(50).burst(100))
//!     .endpoint("POST /reports", Quota::per_minute(10))
//!     .build()?;
//!
//! let for_grpc = limits.clone();          // the same budgets
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! The layer stands inside of the identity layer, in a `TenantStack` or in a `ServiceBuilder`. A
//! request without a context is refused with 500, unless its route is declared public: it then spends
//! the [`public`](RateLimitLayerBuilder::public) budget and no tenant's.
//!
//! # The budgets
//!
//! | budget | counts | cells |
//! |---|---|---|
//! | [`global`](RateLimitLayerBuilder::global) | every tenant's requests | one that tenants share |
//! | [`endpoint_across`](RateLimitLayerBuilder::endpoint_across) | every tenant's requests to a route | one for each, that tenants share |
//! | [`tenant`](RateLimitLayerBuilder::tenant) | a tenant's requests, by its plan | one per tenant |
//! | [`principal`](RateLimitLayerBuilder::principal) | requests on behalf of one principal, whoever acts | one per principal of a tenant |
//! | [`agent`](RateLimitLayerBuilder::agent) | an agent's requests, and its sub-agents' | one per agent of a tenant |
//! | [`carried_budgets`](RateLimitLayerBuilder::carried_budgets) | requests under a delegation, by the budget in it | one per delegation |
//! | [`dimension`](RateLimitLayerBuilder::dimension) | whatever you say, by a [`Key`] | one per key of a tenant |
//! | [`endpoint`](RateLimitLayerBuilder::endpoint), [`operation`](RateLimitLayerBuilder::operation) | a tenant's requests to a route, or uses of something that is none | one per endpoint and tenant |
//!
//! Endpoints are route templates. Inside of `Router::layer` and with the feature `axum` the router's
//! own template counts; elsewhere the layer matches the path against the declared templates, with the
//! router's own matcher. There a route that is more specific than a declared template, and not declared
//! itself, counts as the template.
//!
//! Declare an endpoint in the router's words; an expensive one gets a quota of its own, per tenant or for all together:
//!
//! ```
//! # use tenant_ratelimit::{Dimension, Quota};
//! # let clock = tenant_testkit::ManualClock::new();
//! # let tenants = tenant_testkit::tenants(&["acme", "globex"], &clock);
//! # let [ada, eve] = ["acme", "globex"].map(|tenant| tenant_testkit::context(&tenants, tenant, "ada"));
//! let layer = tenant_ratelimit::layer()
//!     .endpoint("POST /reports", Quota::per_minute(10))             // of each tenant
//!     .endpoint_across("POST /reports", Quota::per_minute(15))      // of all together
//!     .endpoint("GET /invoices/{id}", Quota::per_second(50))
//!     .endpoint("gRPC /billing.Invoices/Render", Quota::per_second(5))
//! #   .clock(clock)
//!     .build()?;
//! let limits = layer.limits();
//!
//! assert!(limits.check(&ada, "POST /reports", 10).is_ok());
//! let denied = limits.check(&ada, "POST /reports", 1).unwrap_err();
//! assert_eq!(denied.dimension(), Some(Dimension::Endpoint));
//! let denied = limits.check(&eve, "POST /reports", 6).unwrap_err();
//! assert_eq!(denied.dimension(), Some(Dimension::EndpointAcross));
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! An agent spends its own budget, and that of every agent it acts for:
//!
//! ```
//! # use tenant_context::{Principal, PrincipalId};
//! # use tenant_ratelimit::{Dimension, Quota};
//! # let clock = tenant_testkit::ManualClock::new();
//! # let tenants = tenant_testkit::tenants(&["acme"], &clock);
//! # let chain = |ids: &[&str]| {
//! #     let agents = ids.iter().map(|id| Principal::agent(PrincipalId::parse(*id).unwrap()));
//! #     let claims = tenant_testkit::claims("acme", "ada");
//! #     tenant_testkit::context_with(&tenants, agents.fold(claims, |claims, agent| claims.actor(agent)))
//! # };
//! let layer = tenant_ratelimit::layer()
//!     .agent(Quota::per_minute(10))
//! #   .clock(clock)
//!     .build()?;
//! let limits = layer.limits();
//!
//! // Two sub-agents of one planner, the current actor first.
//! let (crawler, writer) = (chain(&["crawler", "planner"]), chain(&["writer", "planner"]));
//! assert!(limits.check(&crawler, None, 7).is_ok());
//! let denied = limits.check(&writer, None, 7).unwrap_err();           // the planner's: 10 - 7
//! assert_eq!(denied.dimension(), Some(Dimension::Agent));
//! assert!(limits.check(&writer, None, 3).is_ok());
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! A tenant's quota goes by its plan, and follows it:
//!
//! ```
//! # use tenant_context::{CachedRegistry, MemoryRegistry, TenantId, TenantRecord};
//! # use tenant_ratelimit::{Quota, TenantState};
//! # let clock = tenant_testkit::ManualClock::new();
//! # let record = |plan, version| {
//! #     TenantRecord::new(TenantId::parse("acme").unwrap()).plan(plan).version(version)
//! # };
//! # let registry = MemoryRegistry::new();
//! # registry.insert(record("free", 1));
//! # let tenants = CachedRegistry::builder(registry).clock(clock.clone()).build()?;
//! # let ada = tenant_testkit::context(&tenants, "acme", "ada");
//! let layer = tenant_ratelimit::layer()
//!     .tenant(|tenant: &TenantState| match &*tenant.plan() {
//!         "pro" => Quota::per_second(100).burst(200),
//!         _ => Quota::per_minute(10),
//!     })
//! #   .clock(clock)
//!     .build()?;
//! let limits = layer.limits();
//!
//! assert!(limits.check(&ada, None, 10).is_ok());
//! assert!(limits.check(&ada, None, 1).is_err());                      // on the plan "free"
//! tenants.apply(record("pro", 2));
//! assert!(limits.check(&ada, None, 190).is_ok());                     // 10 stay spent, of 200
//! assert!(limits.check(&ada, None, 1).is_err());
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! # Costs
//!
//! A request costs one unit of every budget, unless [`endpoint_cost`](RateLimitLayerBuilder::endpoint_cost) or
//! [`cost`](RateLimitLayerBuilder::cost) say otherwise. What is known only afterwards, the tokens of a language
//! model, is reserved before and settled after: by [`Limits::reserve`] in your own code, or by the layer from a
//! response's header, trailer or body ([`Settle`]).
//!
//! ```
//! # use tenant_ratelimit::Quota;
//! # let clock = tenant_testkit::ManualClock::new();
//! # let tenants = tenant_testkit::tenants(&["acme"], &clock);
//! # let ada = tenant_testkit::context(&tenants, "acme", "ada");
//! let layer = tenant_ratelimit::layer()
//!     .operation("tokens", Quota::per_minute(10_000))
//! #   .clock(clock)
//!     .build()?;
//! let limits = layer.limits();
//!
//! let reserved = limits.reserve(&ada, "tokens", 2_000)?;               // an estimate; nobody else gets these
//! reserved.settle(500);                                                // what the model reports
//! assert_eq!(limits.peek(&ada, "tokens", 0)?.remaining(), Some(9_500));
//!
//! drop(limits.reserve(&ada, "tokens", 2_000)?);                        // never settled: it stays charged
//! assert_eq!(limits.peek(&ada, "tokens", 0)?.remaining(), Some(7_500));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is in flight is limited together with the rates
//! ([`tenant_in_flight`](RateLimitLayerBuilder::tenant_in_flight) and others), until the response's body has ended.
//!
//! # Fair when it hurts
//!
//! When the global budget binds, first come first served lets the loudest win. [`Floors`] guarantee each tenant
//! a part, and divide the rest evenly among all who ask for more.
//!
//! ```
//! # use tenant_ratelimit::{Floors, Quota};
//! # let clock = tenant_testkit::ManualClock::new();
//! # let tenants = tenant_testkit::tenants(&["loud", "quiet"], &clock);
//! # let [loud, quiet] = ["loud", "quiet"].map(|tenant| tenant_testkit::context(&tenants, tenant, "ada"));
//! let layer = tenant_ratelimit::layer()
//!     .global(Quota::per_second(100).burst(200))
//!     .floors(Floors::each(Quota::per_second(10), 5))                  // five tenants with at least 10 a second
//! #   .clock(clock)
//!     .build()?;
//! let limits = layer.limits();
//!
//! while limits.check(&loud, None, 1).is_ok() {}                        // takes all it may
//! for _ in 0..10 {
//!     assert!(limits.check(&quiet, None, 1).is_ok());                  // within its floor: never refused
//! }
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! # Before identity
//!
//! [`flood()`] makes a layer of its own for the outermost place: a limit per client address, so that floods fill
//! no queue and cost no signature.
//!
//! # While it runs
//!
//! Quotas change under load and keep what was spent ([`Limits::set_quota`], a tenant's plan,
//! [`Limits::override_quota`]). A new budget is tried as a [`shadow`](RateLimitLayerBuilder::shadow) first.
//! [`Limits::peek`], [`usage`](Limits::usage), [`noisiest`](Limits::noisiest), [`counts`](Limits::counts) and
//! [`reset`](Limits::reset) are for operators.
//!
//! # What is exact
//!
//! A tenant's own cells are decided as one step, and with one budget that tenants share, some sequential order of
//! the requests explains every outcome. With several of those, never more is admitted than such an order admits; a
//! refusal may reflect a charge of another request that is on its way back, because a later budget refused that one.
//! A budget named twice, the same agent twice in a chain, is charged once.
//!
//! # Bounded without amnesty
//!
//! Tenants, and each tenant's agents and other keys, are bounded in number. Only what is whole again, and so like
//! new, is forgotten. When a tenant's share is used up, its further keys share one budget for each dimension: spent
//! ones stay spent, made-up ones gain nothing.
//!
//! # Cost on the way of a request
//!
//! On an identity that came before, a decision takes no look-up and no allocation: a lock of the
//! tenant's own, one reading of the clock, one compare-and-swap. A refusal is decided at the same look and takes one
//! allocation. Headers are written on refusals only, unless [`Headers::Always`] asks for more: what they say of a quota is
//! prepared when the quota is set, which leaves the numbers of the moment and the partition's name, an HMAC.
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the layer | [`layer()`], [`RateLimitLayerBuilder`], [`RateLimitLayer`] |
//! | floods, before identity | [`flood()`], [`FloodLayer`] |
//! | quotas | [`Quota`], [`TenantQuota`], [`Floors`] |
//! | keys of your own | [`Key`] |
//! | costs that are known afterwards | [`Settle`], [`Reservation`] |
//! | without a request, and for operators | [`Limits`], [`Endpoint`], [`Budget`], [`Usage`] |
//! | answers | [`Decision`], [`Denied`], [`Dimension`], [`Headers`] |
//!
//! # Features
//!
//! - `axum`: endpoints by axum's `MatchedPath` where the router has set it.
//! - `metrics`: counters through the `metrics` crate, see below.
//!
//! # What is told
//!
//! Each refusal, and what a shadow would have refused, is a `tracing` event at the level `DEBUG` (target `tenant_ratelimit`)
//! with the fields `tenant`, `dimension`, and the dimension's count so far. With the feature `metrics` the same are the counters
//! `tenant_ratelimit_admitted_total`, `tenant_ratelimit_refused_total` and `tenant_ratelimit_shadowed_total`; the last two have the
//! label `dimension`, one value for each that was declared, and none has a tenant's or an agent's id. They are registered when a
//! layer is built: install the recorder before.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod builder;
mod carried;
mod cells;
mod charge;
mod counts;
mod decide;
mod decision;
mod dimension;
mod endpoints;
mod fair;
mod flood;
mod floors;
mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gcra;
mod headers;
mod hold;
mod key;
mod keys;
mod layer;
mod limits;
mod meters;
mod own;
mod partition;
mod quick;
mod quota;
mod reservation;
mod rules;
mod service;
mod settle;
mod sync;
mod table;
mod tenants;

pub use tenant_context::{ConfigError, Rejection, TenantContext, TenantState};

pub use self::{
    body::LimitedBody,
    builder::{RateLimitLayerBuilder, layer},
    counts::{BudgetUsage, DimensionCounts, Usage},
    decision::{Decision, Denied, DeniedKind},
    dimension::Dimension,
    flood::{Flood, FloodLayer, FloodLayerBuilder, flood},
    floors::Floors,
    future::ResponseFuture,
    headers::Headers,
    key::Key,
    layer::RateLimitLayer,
    limits::{Budget, Endpoint, Limits, Target},
    quota::{Quota, TenantQuota},
    reservation::Reservation,
    service::RateLimit,
    settle::Settle,
};
