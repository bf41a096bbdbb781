//! A sink that keeps nothing.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};

use crate::{AuditSink, Batch, SinkError};

/// Keeps nothing, and says that it did: for benchmarks of what stands before it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DiscardSink;

impl DiscardSink {
    /// A sink that keeps nothing.
    pub const fn new() -> Self {
        Self
    }
}

impl AuditSink for DiscardSink {
    fn append(&mut self, _: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        ready(Ok(())).boxed()
    }
}
