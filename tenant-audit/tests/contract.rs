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

use std::{cell::Cell, rc::Rc, time::Duration};

use common::Audit;
use futures_util::FutureExt;
use http::Request;
use tenant_audit::{AuditHandle, Event, SystemContext, WhenFull};
use tenant_testkit::contract::{Probe, ProbeBody, ProbeService};
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
    let audit = Audit::with(|builder| builder.queue(64).when_full(WhenFull::Refuse));
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

#[test]
fn i10_the_contract_holds_with_a_queue_that_lets_wait() {
    let deadline = Duration::from_secs(1);
    let audit = Audit::with(|builder| builder.queue(64).when_full(WhenFull::Wait { deadline }));
    let (layer, clock) = (audit.layer.clone(), audit.clock.clone());
    let (handle, other) = (audit.handle.clone(), audit.handle.clone());
    let (drain, work) = (audit.working(), audit.working());
    let frees = Rc::new(Cell::new(true));
    let (wait, time_out) = (Rc::clone(&frees), Rc::clone(&frees));
    Probe::new("audit, waiting")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .admitted(move || {
            drain();
            plain()
        })
        .pending(move || {
            wait.set(true);
            fill(&handle);
            plain()
        })
        .pending_refused(move || {
            time_out.set(false);
            fill(&other);
            plain()
        })
        .between_polls(move || {
            if frees.get() {
                work();
            } else {
                clock.advance(deadline);
            }
        })
        .check();
}

#[test]
fn i10_the_contract_holds_with_a_queue_that_drops() {
    let audit = Audit::with(|builder| builder.queue(1).when_full(WhenFull::DropAndRecord));
    let layer = audit.layer.clone();
    Probe::new("audit, dropping")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .check();
}
