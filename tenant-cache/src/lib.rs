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
//! ```no_run
//! # fn example(identity: tenant_context::IdentityLayer<tenant_testkit::TestAuth>) -> Result<(), tenant_cache::ConfigError> {
//! use axum::{Router, routing::get};
//! use tenant_cache::TenantCache;
//! use tenant_context::TenantStack;
//! use tower_layer::Layer;
//!
//! let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
//! let stack = TenantStack::new().identity(identity).cache(cache);
//! let app = stack.layer(
//!     Router::<()>::new().route("/prices", get(|| async { ([("cache-control", "max-age=60")], "12.00") })),
//! );
//! # Ok(())
//! # }
//! ```
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
