//! Delegation and operators: authority that only shrinks, at minting and again at verification.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    unreachable_pub,
    reason = "tests"
)]

mod minting;
mod mixtures;
mod operators;
mod trees;
mod verification;
mod world;
