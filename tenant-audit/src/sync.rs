//! The atomics of the queue's counters, in a module of their own so that loom's can take their place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
