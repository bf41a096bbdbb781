//! A sink that makes `tracing` events.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use serde_json::Value;

use super::memory::record;
use crate::{AuditSink, Batch, ChainBatch, SinkError};

/// Makes a `tracing` event of every record, with the target `tenant_audit::record`, the level `INFO`, and fields by
/// OpenTelemetry's conventions where there is one (`http.request.method`, `url.path`, `client.address`, `user.id`). It
/// keeps nothing: use it beside a file, in a [`FanOut`](crate::FanOut).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingSink;

impl TracingSink {
    /// A sink.
    pub const fn new() -> Self {
        Self
    }
}

fn emit(record: &Value) {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let number = |name: &str| record.get(name).and_then(Value::as_u64);
    tracing::event!(
        target: "tenant_audit::record",
        tracing::Level::INFO,
        {
            event.id = text("event_id"),
            event.name = text("action"),
            event.outcome = text("outcome"),
            event.reason = text("reason"),
            tenant.id = text("tenant_id"),
            user.id = text("actor_id"),
            user.kind = text("actor_type"),
            user.on_behalf_of = text("on_behalf_of"),
            user.operator_of = text("operator_of"),
            user.purpose = text("purpose"),
            resource.kind = text("resource_type"),
            resource.id = text("resource_id"),
            http.request.method = text("method"),
            http.request.id = text("request_id"),
            http.response.status_code = number("status"),
            http.response.body.size = number("bytes"),
            rpc.grpc.status_code = number("grpc_status"),
            url.path = text("path"),
            client.address = text("ip_address"),
            trace_id = text("trace_id"),
            duration_us = number("duration_us"),
            time = text("timestamp"),
            end_time = text("end_timestamp")
        },
        "audit"
    );
}

impl AuditSink for TracingSink {
    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        let lines = batch.chains().iter().flat_map(ChainBatch::lines);
        for record in lines.filter_map(record) {
            emit(&record);
        }
        ready(Ok(())).boxed()
    }
}
