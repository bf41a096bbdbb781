//! Verified tenant identity for tower services.
//!
//! One fact goes from the edge of a service to the last byte it writes: *who is asking, proven*. This crate holds
//! what carries it: the proof ([`TenantContext`]), the door that makes it ([`IdentityLayer`] and
//! [`Authenticate`]), the tenants ([`CachedRegistry`] in front of your [`TenantRegistry`]), refusals
//! ([`Rejection`], [`RenderLayer`]), the audit's [`Trail`], and the order of the layers
//! ([`TenantStack`]). The siblings add credentials (`tenant-auth`), budgets (`tenant-ratelimit`),
//! partitions (`tenant-cache`) and records (`tenant-audit`).
//!
//! No crypto, no runtime, no framework by default.
//!
//! # Example
//!
//! A handler takes the proof, and data leaves its owner's scope only with it:
//!
//! ```
//! use tenant_context::{ForTenant, Rejection, TenantContext, TenantId, TenantScoped, Trail};
//!
//! # async fn load(id: u64) -> Option<TenantScoped<String>> { None }
//! async fn read(tenant: TenantContext, trail: Trail, id: u64) -> Result<String, Rejection> {
//!     trail.action("invoice.read").resource("invoice", id);
//!     load(id).await.for_tenant(&tenant)          // 404 for anyone else's, as for a missing one
//! }
//! ```
//!
//! There is no other way to a context: it has no constructor, and nothing converts into it.
//!
//! ```compile_fail
//! # let id = tenant_context::TenantId::parse("acme").unwrap();
//! let forged = tenant_context::TenantContext::from(id);
//! ```
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | who | [`TenantId`], [`PrincipalId`], [`Principal`], [`Claims`], [`Identity`] |
//! | the proof | [`TenantContext`], [`Authenticate`], [`Resolver`], [`IdentityLayer`] |
//! | tenants | [`TenantRegistry`], [`MemoryRegistry`], [`CachedRegistry`], [`TenantState`] |
//! | what it may do | [`TenantContext::require`], [`Roles`], [`scope_covers`], [`Authorize`] |
//! | data | [`TenantScoped`], [`SystemContext`] |
//! | without a request at hand | [`TenantContext::scope`], [`TenantContext::current`], [`TenantContext::propagate`] |
//! | refusals | [`Rejection`], [`RenderLayer`], [`Protocol`] |
//! | from where | [`ClientAddress`], [`ClientAddressLayer`], [`TrustedHops`] |
//! | audit | [`Trail`], [`RequestIdLayer`] |
//! | order | [`TenantStack`] |
//! | time | [`Clock`], [`Timer`] |
//!
//! # Features
//!
//! - `axum`: extractors for [`TenantContext`] and [`Trail`], `IntoResponse` for [`Rejection`],
//!   the peer of `ConnectInfo<SocketAddr>`.
//! - `tonic`: accessors for gRPC requests, `Status::from(rejection)`, the peer of `TcpConnectInfo`.
//! - `tokio`: `TokioTimer`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod attachments;
mod authenticate;
mod authority;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod challenge;
mod claims;
mod client_address;
mod clock;
mod context;
mod error;
mod expiry;
mod future;
mod id;
mod identity;
mod layer;
mod live;
mod lookup;
mod principal;
mod public;
mod record;
mod registry;
mod rejection;
mod render;
mod request_id;
mod request_id_layer;
mod resolver;
mod revocable;
mod scope;
mod scoped;
mod service;
pub mod stack;
mod state;
mod sync;
mod system;
mod template;
#[cfg(feature = "tonic")]
mod tonic;
mod trace_parent;
mod trail;
mod upload;
mod wakers;
mod watched_body;

#[cfg(feature = "tokio")]
pub use self::clock::TokioTimer;
pub use self::{
    attachments::{Attachments, InstanceId},
    authenticate::{Authenticate, RequestHead},
    authority::{
        Authorize, RoleGrants, RoleMapping, Roles, prefix_covers, scope_covers, scopes_overlap,
    },
    body::GuardedBody,
    challenge::Challenge,
    claims::{Claims, Parent},
    client_address::{
        ClientAddress, ClientAddressLayer, ClientAddressService, ClientKey, HopHeader, Network,
        PeerAddress, TrustedHops,
    },
    clock::{Clock, Monotonic, SystemClock, Timer, UnixTime},
    context::{Ended, TenantContext},
    error::ConfigError,
    future::ResponseFuture,
    id::{CredentialId, IdError, IdErrorKind, PrincipalId, TenantId},
    identity::{EndReason, Identity},
    layer::{IdentityLayer, IdentityLayerBuilder},
    lookup::Lookup,
    principal::{Principal, PrincipalKind},
    public::PublicRoute,
    record::{TenantRecord, TenantStatus},
    registry::{
        BoxError, CachedRegistry, CachedRegistryBuilder, LookupError, LookupErrorKind,
        MemoryRegistry, RegistryWorker, TenantRegistry,
    },
    rejection::{Rejection, RejectionKind, Violation},
    render::{Protocol, RefusalBody, Render, RenderBody, RenderFuture, RenderLayer, Rendered},
    request_id::{RequestId, X_REQUEST_ID},
    request_id_layer::{RequestIdFuture, RequestIdLayer, RequestIdService},
    resolver::Resolver,
    revocable::Revocable,
    scope::{NoContext, Scoped},
    scoped::{ForTenant, TenantScoped},
    service::IdentityService,
    stack::{AuditPart, StackPart, TenantStack},
    state::TenantState,
    system::SystemContext,
    template::check_template,
    trace_parent::{TRACEPARENT, TraceParent},
    trail::{Access, MoreFacts, Personal, ToolCall, Trail, TrailCell, TrailFacts},
    watched_body::WatchedBody,
};
