//! One tamper-evident record per request, chained per tenant.
//!
//! An [`AuditLayer`] stands outermost. It reserves a place in a bounded queue when a request comes
//! in, opens the request's [`Trail`], and writes *one* record when the request is over, however it
//! ends: answered, refused, failed, cancelled, panicked, cut off in the middle of the body. The
//! request's thread encodes nothing and waits for nothing; the [`AuditWorker`], which the application
//! spawns, encodes, chains and hands batches to the [`AuditSink`].
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
//!     .when_full(WhenFull::Refuse)      // or wait: `.timer(TokioTimer::new())`
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
//! `credential_id`, `action`, `resource_type`, `resource_id`, `outcome` (`success`, `failure`,
//! `blocked`), `reason`, `limit`, `cache`, `method`, `path`, `status`, `grpc_status`, `bytes` of the
//! answer, `duration_us`, `request_id`, `metadata`. No header, no query and no body is ever taken.
//! Text from outside is bounded, and cannot break a line or steer a terminal.
//!
//! # What this proves, and what it does not
//!
//! Every record's hash commits to its chain, its number and all before it (SHA-256 over length-prefixed
//! fields and RFC 8785 bytes). A signed checkpoint ([`FileSink::signed`]) commits to every chain's head.
//!
//! | somebody who | is found by |
//! |---|---|
//! | changes, removes, adds, repeats, reorders or moves records, or cuts a chain | [`verify`] |
//! | writes another history with all its hashes, without the signing key | [`Verifier::key`] |
//! | puts an older copy of the directory in place | [`Verifier::against`], with a checkpoint kept elsewhere |
//! | hides some of a tenant's records from it | [`verify_bundle`], up to the bundle's checkpoint |
//! | has the signing key and writes another history | a checkpoint that was published before, and nothing else |
//! | cuts what was written after the last checkpoint, signing key or not | nothing: publish checkpoints often |
//! | writes false records through the process itself | nothing: a record is as true as the process that wrote it |
//!
//! A bundle shows of other tenants the magnitude of their number (a power of two, 64 at least), and an event's
//! id the microsecond of its request.
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the layer | [`layer`], [`AuditLayerBuilder`], [`AuditLayer`], [`WhenFull`] |
//! | how sure | [`Durability`], [`AuditGate`] |
//! | writing | [`AuditWorker`], [`AuditHandle`], [`Event`], [`Outcome`] |
//! | sinks | [`FileSink`], [`MemorySink`], [`ChannelSink`], [`DiscardSink`], or your own [`AuditSink`] |
//! | chains | [`ChainId`], [`Head`] |
//! | signed checkpoints | [`CheckpointSigner`], [`CheckpointKey`], [`FileSink::signed`] |
//! | for a tenant | [`export`], [`verify_bundle`] |
//! | checking | [`verify`], [`Verifier`], and the binary `tenant-audit verify DIR` |
//!
//! # Features
//!
//! - `cli`: the binary `tenant-audit`.
//! - `tokio`: [`TokioTimer`](tenant_context::Timer), for the deadline at the queue.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod bundle;
mod chain;
mod durability;
mod error;
mod event;
mod future;
mod gate;
mod handle;
mod held;
mod layer;
mod ledger;
mod merkle;
mod note;
mod open;
mod outcome;
mod queue;
mod record;
mod request;
mod service;
mod sink;
mod sync;
mod text;
mod verify;
mod worker;

#[cfg(feature = "tokio")]
pub use tenant_context::TokioTimer;
pub use tenant_context::{
    Clock, ConfigError, SystemClock, SystemContext, TenantContext, TenantStack, Timer, Trail,
};

pub use self::{
    body::AuditBody,
    bundle::{VerifiedBundle, export, verify_bundle},
    chain::{ChainId, Head},
    durability::Durability,
    error::{AuditError, AuditErrorKind, SinkError},
    event::{Event, Outcome},
    future::ResponseFuture,
    gate::{AuditGate, GateFuture, GateService},
    handle::AuditHandle,
    layer::{AuditLayer, AuditLayerBuilder, WhenFull, layer},
    note::{CheckpointKey, CheckpointSigner},
    service::AuditService,
    sink::{
        AuditSink, Batch, ChainBatch, ChannelSink, DiscardSink, FileSink, MemorySink, Records,
        Recovery, Resumed,
    },
    verify::{Finding, Verified, Verifier, VerifyError, VerifyErrorKind, verify},
    worker::AuditWorker,
};
