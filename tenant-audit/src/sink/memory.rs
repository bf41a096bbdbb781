//! A sink in memory.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{AuditSink, Batch, ChainId, SinkError, chain::record_of};

/// Keeps all records in memory, for tests. Clones share them; call
/// [`AuditHandle::flush`](crate::AuditHandle::flush) before looking.
///
/// ```
/// use tenant_audit::{MemorySink, WhenFull};
///
/// # fn main() -> Result<(), tenant_audit::ConfigError> {
/// let sink = MemorySink::new();
/// let (audit, worker) = tenant_audit::layer(sink.clone()).when_full(WhenFull::Refuse).build()?;
/// // … requests …
/// assert!(sink.records().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Lines>>);

type Lines = Vec<(ChainId, Box<str>)>;

impl MemorySink {
    /// A sink without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// All records, in each chain's order.
    pub fn records(&self) -> Vec<Value> {
        self.0
            .lock()
            .iter()
            .filter_map(|(_, line)| record(line))
            .collect()
    }

    /// The lines of one chain, in order.
    pub fn lines(&self, chain: &ChainId) -> Vec<String> {
        self.0
            .lock()
            .iter()
            .filter(|(of, _)| of == chain)
            .map(|(_, line)| line.to_string())
            .collect()
    }
}

pub(super) fn record(line: &str) -> Option<Value> {
    serde_json::from_str(record_of(line.as_bytes())?).ok()
}

impl AuditSink for MemorySink {
    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        let mut kept = self.0.lock();
        for chain in batch.chains() {
            kept.extend(
                chain
                    .lines()
                    .map(|line| (chain.chain().clone(), line.into())),
            );
        }
        ready(Ok(())).boxed()
    }
}
