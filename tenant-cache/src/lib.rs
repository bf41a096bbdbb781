//! A cache with a partition for each tenant, and an HTTP response cache on it.
//!
//! Nothing here can be read or written without the proof of who is asking
//! ([`TenantContext`]), and no key can name another tenant: the tenant's partition is
//! written into every key before the caller's part, which is encoded injectively.
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
//! let rates = cache.namespace::<u64>("rate")?;
//!
//! let tenants = tenants(&["acme", "globex"], &clock);
//! let (acme, globex) = (context(&tenants, "acme", "ada"), context(&tenants, "globex", "eve"));
//! rates.insert(&acme, &("EUR", "USD"), 108, Duration::from_secs(60))?;
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
//! | the cache, its bounds, purging | [`TenantCache`], [`TenantCacheBuilder`], [`CacheStats`] |
//! | values | [`Namespace`] |
//! | keys | [`CacheKey`], [`KeyWriter`] |
//! | responses | [`layer`], [`ResponseCacheLayer`], [`ResponseCacheLayerBuilder`] |
//! | the layer's service, future and body | [`ResponseCache`], [`ResponseFuture`], [`CacheBody`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod builder;
mod cache;
mod cache_control;
mod directory;
mod future;
mod key;
mod layer;
mod namespace;
mod partition;
mod plan;
mod policy;
mod service;
mod status;
mod store;
mod stored;
mod target;

pub use tenant_context::{ConfigError, Rejection, SystemContext, TenantContext, TenantId};

pub use self::{
    body::CacheBody,
    builder::TenantCacheBuilder,
    cache::{CacheStats, TenantCache},
    future::ResponseFuture,
    key::{CacheKey, KeyWriter},
    layer::{ResponseCacheLayer, ResponseCacheLayerBuilder, layer},
    namespace::Namespace,
    service::ResponseCache,
};
