//! A sink that hands records to whoever listens.

use std::{fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::Value;
use tokio::sync::mpsc;

use super::memory::record;
use crate::{AuditSink, Batch, SinkError};

/// Hands every record to a listener, for tests and for forwarding. A listener that does not keep up
/// holds the worker back; once it is gone, appending fails.
#[derive(Debug)]
pub struct ChannelSink {
    sender: mpsc::Sender<Value>,
}

/// The listener of a [`ChannelSink`].
pub struct Records {
    receiver: mpsc::Receiver<Value>,
}

impl ChannelSink {
    /// A sink and its listener, with room for `places` records between them, at least one.
    pub fn new(places: usize) -> (Self, Records) {
        let (sender, receiver) = mpsc::channel(places.clamp(1, 1 << 20));
        (Self { sender }, Records { receiver })
    }
}

impl Records {
    /// The next record; `None` when the worker has ended.
    pub async fn next(&mut self) -> Option<Value> {
        self.receiver.recv().await
    }
}

impl AuditSink for ChannelSink {
    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            let lines = batch.chains().iter().flat_map(crate::ChainBatch::lines);
            for record in lines.filter_map(record) {
                if self.sender.send(record).await.is_err() {
                    return Err(SinkError::new(
                        "nobody listens to the audit channel any more: keep its `Records`",
                    ));
                }
            }
            Ok(())
        }
        .boxed()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}
