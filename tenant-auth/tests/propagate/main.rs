//! Calls from one service to another, over HTTP on loopback: what arrives, and what is refused.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "tests"
)]

mod fixture;
mod receiving;
mod sending;
mod tokens;
mod traces;
