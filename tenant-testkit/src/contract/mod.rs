//! The tower contract, and a probe that any layer over HTTP can be put to.
//!
//! What the contract asks is in [`Clause`]. The probe wraps its own [`ProbeService`] in the layer,
//! sends requests through it, polls by hand without a runtime, and reports clause by clause.
//!
//! A test says how the layer is made, and which requests it admits, answers itself, or decides later:
//!
//! ```
//! use http::Request;
//! use tenant_context::IdentityLayer;
//! use tenant_testkit::{ManualClock, TestAuth, claims, contract::{Probe, ProbeBody}, tenants};
//! use tower::Layer;
//!
//! let clock = ManualClock::new();
//! let auth = TestAuth::new(tenants(&["acme"], &clock)).accept("ada", claims("acme", "ada"));
//! let layer = IdentityLayer::builder().build(auth)?;
//!
//! Probe::new("identity")
//!     .layer(|handler| layer.layer(handler))
//!     .admitted(|| {
//!         let request = Request::builder().header("authorization", "Test ada");
//!         request.body(ProbeBody::default()).unwrap()
//!     })
//!     .refused(|| Request::new(ProbeBody::default()))
//!     .check();                                        // fails the test with the list of clauses
//! # Ok::<(), tenant_context::ConfigError>(())
//! ```
//!
//! [`Probe::run`] returns the [`Report`] instead, whose rows make a matrix of layers and clauses.
//!
//! The [`ProbeService`] serves on its own, too, where a test needs a handler that is strict about
//! readiness and keeps books.

mod body;
mod checks;
mod clause;
mod handler;
mod ledger;
mod probe;
mod report;
mod rig;

pub use self::{
    body::{ProbeBody, ProbeError},
    clause::Clause,
    handler::{Behaviour, Fault, ProbeFuture, ProbeService},
    ledger::Ledger,
    probe::{Layered, Probe},
    report::{Outcome, Report},
};
