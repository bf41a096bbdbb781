//! Tokens that must be refused, and those that must not, each with its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod actors;
mod choice;
mod claims;
mod form;
mod tenants;
mod times;
