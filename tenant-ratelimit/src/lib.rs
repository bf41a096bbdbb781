//! Global, tenant, agent and endpoint budgets, decided together, as a tower layer.
//!
//! A request falls under up to four budgets. All of them are charged, or none: a refused request drains
//! nothing, under any interleaving, and the answer names the budget that binds and the true wait, after
//! which *all* of them admit. Requests are told apart by their verified identity, never by what a
//! client may write into them.
//!
//! # Example
//!
//! ```
//! use tenant_ratelimit::{Quota, TenantState};
//!
//! let limits = tenant_ratelimit::layer()
//!     .global(Quota::per_minute(100_000))
//!     .tenant(|tenant: &TenantState| match &*tenant.plan() {
//!         "pro" => Quota::per_second(100).burst(200),
//!         _ => Quota::per_minute(10),
//!     })
//!     .agent(Quota::per_second(50).burst(100))
//!     .endpoint("POST /reports", Quota::per_minute(10))
//!     .build()?;
//!
//! let for_grpc = limits.clone();          // the same budgets
//! # Ok::<(), tenant_ratelimit::ConfigError>(())
//! ```
//!
//! The layer stands inside of the identity layer, in a `TenantStack` or in a `ServiceBuilder`. A
//! request without a context is refused with 500, unless its route is declared public: it then falls
//! under the global budget alone.
//!
//! # The budgets
//!
//! | budget | counts | cells |
//! |---|---|---|
//! | [`global`](RateLimitLayerBuilder::global) | every request | one, the only one that tenants share |
//! | [`tenant`](RateLimitLayerBuilder::tenant) | a tenant's requests, by its plan | one per tenant |
//! | [`agent`](RateLimitLayerBuilder::agent) | an agent's requests | one per agent of a tenant, up to a bound, then one for all others |
//! | [`endpoint`](RateLimitLayerBuilder::endpoint) | a tenant's requests to a route | one per endpoint and tenant |
//!
//! Endpoints are route templates. Inside of `Router::layer` and with the feature `axum` the router's
//! own template counts; elsewhere the layer matches the path against the declared templates, with the
//! router's own matcher. There a route that is more specific than a declared template, and not declared
//! itself, counts as the template.
//!
//! # Bounded without amnesty
//!
//! Tenants and each tenant's agents are bounded in number. Only what is whole again, and so like new,
//! is forgotten. When a tenant's share is used up, its further agents share one budget: spent ones stay
//! spent, made-up ones gain nothing.
//!
//! # Cost
//!
//! On an identity that came before, a decision takes no look-up and no allocation: a lock of the
//! tenant's own, one reading of the clock, one compare-and-swap. Headers are written on refusals only,
//! unless [`Headers::Always`] asks for more.
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the layer | [`layer()`], [`RateLimitLayerBuilder`], [`RateLimitLayer`] |
//! | quotas | [`Quota`], [`TenantQuota`] |
//! | without a request | [`Limits`], [`Endpoint`] |
//! | answers | [`Decision`], [`Denied`], [`Dimension`], [`Headers`] |
//!
//! # Features
//!
//! - `axum`: endpoints by axum's `MatchedPath` where the router has set it.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cells;
mod decision;
mod endpoints;
mod future;
mod gcra;
mod headers;
mod layer;
mod limits;
mod quota;
mod service;
mod sync;
mod table;
mod tenants;

pub use tenant_context::{ConfigError, Rejection, TenantContext, TenantState};

pub use self::{
    decision::{Decision, Denied, DeniedKind, Dimension},
    future::ResponseFuture,
    headers::Headers,
    layer::{RateLimitLayer, RateLimitLayerBuilder, layer},
    limits::{Endpoint, Limits},
    quota::{Quota, TenantQuota},
    service::RateLimit,
};
