//! A cache with a partition for each tenant, and an HTTP response cache on it.
//!
//! Nothing here can be read or written without the proof of who is asking
//! ([`TenantContext`]), and no key can name another tenant: each tenant's entries are in a map of their own, under keys
//! that are encoded injectively.
//!
//! # Values
//!
//! ```
//! use std::time::Duration;
//! use tenant_cache::TenantCache;
//! use tenant_testkit::{ManualClock, context, tenants};
//!
//! let clock = ManualClock::new();
//! let cache = TenantCache::builder()
//!     .max_bytes(64 << 20)
//!     .max_bytes_per_tenant(8 << 20)
//!     .clock(clock.clone())
//!     .build()?;
//! let rates = cache.namespace::<u64>("rate")?.ttl(Duration::from_secs(60));
//!
//! let tenants = tenants(&["acme", "globex"], &clock);
//! let (acme, globex) = (context(&tenants, "acme", "ada"), context(&tenants, "globex", "eve"));
//! rates.insert(&acme, &("EUR", "USD"), 108)?;
//! assert_eq!(rates.get(&acme, &("EUR", "USD"))?, Some(108));
//! assert_eq!(rates.get(&globex, &("EUR", "USD"))?, None);
//!
//! cache.purge(&acme)?;
//! assert_eq!(rates.get(&acme, &("EUR", "USD"))?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Responses
//!
//! [`layer`] makes a tower layer that stands inside of the identity layer; it says what it stores and what the
//! key is. Handlers opt in with `Cache-Control: max-age=…`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use http_body_util::BodyExt;
//! use tenant_cache::TenantCache;
//! use tenant_testkit::{ManualClock, context, tenants};
//! use tower::ServiceExt;
//! use tower_layer::Layer;
//!
//! let prices = || async { ([("cache-control", "max-age=60")], "12.00") };
//! let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
//! let app = cache.layer(Router::<()>::new().route("/prices", get(prices)));
//!
//! // In a service the identity layer puts the context into the request.
//! let tenants = tenants(&["acme", "globex"], &ManualClock::new());
//! let ask = |tenant| {
//!     let caller = context(&tenants, tenant, "ada");
//!     Request::get("/prices").extension(caller).body(Body::empty())
//! };
//! let first = app.clone().oneshot(ask("acme")?).await?;
//! assert_eq!(first.into_body().collect().await?.to_bytes(), "12.00");    // stored once it is complete
//! let second = app.clone().oneshot(ask("acme")?).await?;
//! assert_eq!(second.headers()["cache-status"], "tenant-cache; hit; ttl=60");
//! let another = app.oneshot(ask("globex")?).await?;
//! assert_eq!(another.headers()["cache-status"], "tenant-cache; fwd=uri-miss; stored");
//! # Ok(())
//! # }
//! ```
//!
//! In a stack: `TenantStack::new().identity(identity).cache(cache).layer(router)`.
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the cache, its bounds, purging | [`TenantCache`], [`TenantCacheBuilder`], [`Bounds`], [`CacheStats`], [`StoredKey`] |
//! | values | [`Namespace`], [`Keep`], [`Scope`] |
//! | keys | [`CacheKey`], [`KeyWriter`], [`Serialized`] |
//! | responses | [`layer`], [`ResponseCacheLayer`], [`ResponseCacheLayerBuilder`] |
//! | the layer's service, future and body | [`ResponseCache`], [`ResponseFuture`], [`CacheBody`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod bounds;
mod builder;
mod cache;
mod cache_control;
mod collapse;
mod directory;
mod entry;
mod flight;
mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod keep;
mod key;
mod layer;
mod load;
mod maintenance;
mod marks;
mod namespace;
mod partition;
mod plan;
mod policy;
mod pool;
mod recording;
mod room;
mod scope;
mod serialized;
mod service;
mod stats;
mod status;
mod stored;
mod storing;
mod sync;
mod target;
mod wakers;

pub use tenant_context::{
    ConfigError, Rejection, SystemContext, TenantContext, TenantId, TenantState,
};

pub use self::{
    body::CacheBody,
    bounds::Bounds,
    builder::TenantCacheBuilder,
    cache::TenantCache,
    future::ResponseFuture,
    keep::Keep,
    key::{CacheKey, KeyWriter},
    layer::{ResponseCacheLayer, ResponseCacheLayerBuilder, layer},
    namespace::Namespace,
    scope::Scope,
    serialized::Serialized,
    service::ResponseCache,
    stats::{CacheStats, StoredKey},
};
