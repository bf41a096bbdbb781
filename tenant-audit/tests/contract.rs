//! The tower contract, in each of the ways in which the queue decides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::Audit;
use futures_util::FutureExt;
use http::Request;
use tenant_audit::{AuditHandle, AuditLayerBuilder, Durability, Event, SystemContext, WhenFull};
use tenant_testkit::contract::{Clause, Probe, ProbeBody, ProbeService};
use tower_layer::Layer;

fn fill(handle: &AuditHandle) {
    let system = SystemContext::begin("probe");
    while matches!(
        handle
            .record_system(&system, Event::new("filler"))
            .now_or_never(),
        Some(Ok(()))
    ) {}
}

fn plain() -> Request<ProbeBody> {
    Request::new(ProbeBody::default())
}

#[test]
fn i10_the_contract_holds_with_a_queue_that_refuses() {
    let audit = Audit::with(|builder| deferred(builder).queue(64).when_full(WhenFull::Refuse));
    let (layer, handle, work) = (audit.layer.clone(), audit.handle.clone(), audit.working());
    Probe::new("audit")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .admitted(move || {
            work();
            plain()
        })
        .refused(move || {
            fill(&handle);
            plain()
        })
        .check();
}

const DEADLINE: Duration = Duration::from_secs(1);

fn waiting() -> Audit {
    let deadline = DEADLINE;
    Audit::with(|builder| {
        deferred(builder)
            .queue(64)
            .when_full(WhenFull::Wait { deadline })
    })
}

/// The probe's requests have content, and nobody writes meanwhile: nothing shall wait for the sink.
fn deferred(builder: AuditLayerBuilder) -> AuditLayerBuilder {
    builder.unsafe_methods(Durability::Deferred)
}

#[test]
fn i10_the_contract_holds_for_requests_that_wait_for_a_place() {
    let audit = waiting();
    let (layer, handle) = (audit.layer.clone(), audit.handle.clone());
    let (drain, work) = (audit.working(), audit.working());
    Probe::new("audit, waiting")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .admitted(move || {
            drain();
            plain()
        })
        .pending(move || {
            fill(&handle);
            plain()
        })
        .between_polls(work)
        .check();
}

#[test]
fn i10_the_contract_holds_for_requests_that_wait_in_vain() {
    let audit = waiting();
    let (layer, handle, drain) = (audit.layer.clone(), audit.handle.clone(), audit.working());
    let clock = audit.clock.clone();
    Probe::new("audit, waiting in vain")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .admitted(move || {
            drain();
            plain()
        })
        .pending_refused(move || {
            fill(&handle);
            plain()
        })
        .between_polls(move || clock.advance(DEADLINE))
        .except(
            Clause::Clones,
            "all share one queue: the place that is freed for the later request goes to the earlier one",
        )
        .check();
}

#[test]
fn i10_the_contract_holds_with_a_queue_that_drops() {
    let audit = Audit::with(|builder| {
        deferred(builder)
            .queue(1)
            .in_flight(1)
            .when_full(WhenFull::DropAndRecord)
    });
    let layer = audit.layer.clone();
    Probe::new("audit, dropping")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .check();
}
