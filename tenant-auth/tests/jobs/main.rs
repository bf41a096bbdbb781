//! Jobs: what travels, when they start, when they end, and what becomes of what cannot be opened.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "tests"
)]

mod authority;
mod builder;
mod dead_letters;
mod deliveries;
mod ends;
mod fixture;
mod sealing;
