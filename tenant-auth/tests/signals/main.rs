//! All signals of a request name one tenant: credentials, host, and a header of a trusted ingress.

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
#[path = "../edge/mod.rs"]
mod edge;

mod agreement;
mod gateway;
mod hosts;
mod ingress;
