//! What tests of multi-tenant services need: a clock that is turned by hand, identities that came
//! through the real door, stores that fail, hang or lie on command, and a probe of the tower contract
//! for layers.
//!
//! This crate is a dev-dependency. It forges nothing: a context made here was admitted by a real
//! [`Authenticate`](tenant_context::Authenticate) against a real registry, so a handler under test sees
//! what it will see in production, suspension and expiry included.
//!
//! # Example
//!
//! ```
//! use tenant_context::{Rejection, TenantContext};
//! use tenant_testkit::{ManualClock, context, tenants};
//!
//! fn greet(tenant: &TenantContext) -> Result<String, Rejection> {
//!     tenant.check()?;
//!     Ok(format!("hello, {}", tenant.principal().id()))
//! }
//!
//! let clock = ManualClock::new();
//! let tenants = tenants(&["acme", "globex"], &clock);
//! let ada = context(&tenants, "acme", "ada");
//! assert_eq!(greet(&ada).unwrap(), "hello, ada");
//!
//! tenants.suspend(ada.tenant_id());
//! assert_eq!(greet(&ada).unwrap_err().status(), 403);
//! ```
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | time | [`ManualClock`]: a [`Clock`](tenant_context::Clock) and a [`Timer`](tenant_context::Timer) |
//! | identities | [`tenants`], [`claims`], [`context`], [`context_with`] |
//! | requests | [`TestAuth`]: an `Authenticate` with tokens of the test's choice |
//! | stores | [`stores::Script`], [`stores::ScriptedRegistry`] |
//! | waiting | [`Gate`]: holds futures until the test lets them go |
//! | compile-fail tests | [`compiler_is`]: whose messages were recorded |
//! | layers | [`contract::Probe`]: the tower contract, clause by clause |
//!
//! The [`guide`] shows how to unit-test handlers, and how to write and test an `Authenticate`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![allow(
    clippy::panic,
    reason = "a test kit fails the test where the test is wrong, and panics on command"
)]

mod auth;
mod clock;
mod compiler;
pub mod contract;
mod gate;
pub mod guide {
    #![doc = include_str!("guide.md")]
}
mod identity;
mod polls;
pub mod stores;

pub use self::{
    auth::TestAuth,
    clock::{ManualClock, Sleep},
    compiler::compiler_is,
    gate::{Gate, Pass},
    identity::{claims, context, context_with, tenants},
};
