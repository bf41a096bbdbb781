//! One tamper-evident record per request, chained per tenant.
//!
//! An [`AuditLayer`] stands outermost. It reserves a place in a bounded queue when a request comes
//! in, opens the request's [`Trail`], and writes *one* record when the request is over, however it
//! ends: answered, refused, failed, cancelled, panicked, cut off in the middle of the body. The
//! request's thread encodes nothing; the [`AuditWorker`], which the application
//! spawns, encodes, chains and hands batches to the [`AuditSink`].
//!
//! GET, HEAD, OPTIONS and TRACE wait for nothing. The answer to every other request, gRPC included, waits until its record
//! is synced, at most [`sync_deadline`](AuditLayerBuilder::sync_deadline) (5 s), then it is 503: [`Durability`] changes that by
//! class of methods or by route.
//!
//! # Example
//!
//! ```
//! use tenant_audit::{FileSink, WhenFull};
//! use tower::{ServiceBuilder, ServiceExt};
//! # use http::{Request, Response};
//! # use http_body_util::Empty;
//! # type Body = Empty<bytes::Bytes>;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! # let dir = tmp.path();
//! let (audit, worker) = tenant_audit::layer(FileSink::open(dir)?)
//!     .when_full(WhenFull::Refuse)      // a service also needs `.timer(TokioTimer::new())`: without one a disk error ends the worker
//!     .build()?;
//! let worker = tokio::spawn(worker);
//!
//! let app = ServiceBuilder::new()
//!     .layer(audit)
//!     .service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::new())));
//! app.oneshot(Request::get("/invoices/17").body(Body::new())?).await?;
//!
//! worker.await??;                       // ends when all layers are gone and everything is synced
//! assert_eq!(tenant_audit::verify(dir)?.records, 1);
//! # Ok(())
//! # }
//! ```
//!
//! In a [`TenantStack`]: `TenantStack::new().audit(audit).identity(identity)`.
//! Handlers write to the trail: `trail.action("invoice.read").resource("invoice", id)`. Code that
//! serves no request records through an [`AuditHandle`].
//!
//! # What a record says
//!
//! `event_id`, `timestamp`, `tenant_id`, `actor_id`, `actor_type` (`human`, `agent`, `service`,
//! `system`, `anonymous`), `on_behalf_of` and `actors` where somebody acts for another,
//! `operator_of` (whose staff) and `purpose` where an operator or a delegation says why,
//! `credential_id`, `action`, `resource_type`, `resource_id`, `outcome` (`success`, `failure`,
//! `blocked`), `reason`, `limit`, `cache`, `method`, `path`, `ip_address`, `status`, `grpc_status`, `bytes` of the
//! answer, `duration_us`, `end_timestamp`, `request_id`, `metadata`; `accesses` where several resources were touched, `tool` of an
//! agent's call, `personal` values as commitments, `trace_id` and `span_id` if they were asked for. `timestamp` is the
//! request's begin, `end_timestamp` exactly `duration_us` later, by the clock that does not jump. No query, no body and no other header is ever taken.
//! Text from outside is bounded, and cannot break a line or steer a terminal.
//!
//! # What this proves, and what it does not
//!
//! Every record's hash commits to its chain, its number and all before it, a signed checkpoint
//! ([`FileSink::signed`]) to every chain's head. Whoever changes, removes, adds, repeats, reorders or moves a record, cuts a
//! chain or puts an older copy in place is found and named; whoever has the signing key is found only by a
//! checkpoint that was published before. [`what_it_proves`] says all of it, and what a tenant's bundle shows.
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the layer | [`layer`], [`AuditLayerBuilder`], [`AuditLayer`], [`WhenFull`] |
//! | how sure | [`Durability`], [`AuditGate`] |
//! | writing | [`AuditWorker`], [`AuditHandle`], [`Event`], [`Outcome`] |
//! | sinks | [`FileSink`] with [`Rotation`] and [`Retention`], [`TracingSink`], [`ChannelSink`], [`MemorySink`], [`DiscardSink`], or your own [`AuditSink`] |
//! | several sinks | [`FanOut`], [`RegionSink`] |
//! | personal values | [`KeyDir`], [`TenantKeys`], [`reveal`] |
//! | the service's end | [`AuditHandle::close`] |
//! | chains | [`ChainId`], [`Head`] |
//! | signed checkpoints | [`CheckpointSigner`], [`CheckpointKey`], [`FileSink::signed`] |
//! | for a tenant | [`export`], [`Export`], [`verify_bundle`] |
//! | checking | [`verify`], [`Verifier`], and the binary `tenant-audit verify DIR` |
//!
//! # Features
//!
//! - `cli`: the binary `tenant-audit`.
//! - `tokio`: [`TokioTimer`](tenant_context::Timer), for the deadline at the queue.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod actions;
mod actor;
mod body;
mod bundle;
mod chain;
mod draft;
mod durability;
mod durable;
mod error;
mod event;
mod future;
mod gate;
mod handle;
mod held;
mod json;
mod key_dir;
mod layer;
mod ledger;
mod merkle;
mod note;
mod ocsf;
mod open;
mod outcome;
mod personal;
mod queue;
mod record;
mod request;
mod service;
mod sink;
mod stamp;
mod sync;
mod text;
mod verify;
mod worker;

#[doc = include_str!("proofs.md")]
pub mod what_it_proves {}

#[cfg(feature = "tokio")]
pub use tenant_context::TokioTimer;
pub use tenant_context::{
    Clock, ConfigError, SystemClock, SystemContext, TenantContext, TenantStack, Timer, Trail,
};

pub use self::{
    body::AuditBody,
    bundle::{Export, VerifiedBundle, export, verify_bundle},
    chain::{ChainId, Head},
    durability::Durability,
    error::{AuditError, AuditErrorKind, SinkError},
    event::{Event, Outcome},
    future::ResponseFuture,
    gate::{AuditGate, GateFuture, GateService},
    handle::{AuditHandle, Closed},
    key_dir::KeyDir,
    layer::{AuditLayer, AuditLayerBuilder, WhenFull, layer},
    note::{CheckpointKey, CheckpointSigner},
    personal::{TenantKey, TenantKeys, reveal},
    service::AuditService,
    sink::{
        AuditSink, Batch, ChainBatch, ChannelSink, DiscardSink, Expired, FanOut, FileSink,
        MemorySink, Records, Recovery, RegionSink, Resumed, Retention, Rotation, TracingSink,
    },
    verify::{Finding, Verified, Verifier, VerifyError, VerifyErrorKind, verify},
    worker::AuditWorker,
};
