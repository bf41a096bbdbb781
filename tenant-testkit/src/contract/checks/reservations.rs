//! Who holds which reservation, and when.

use std::{pin::pin, task::Poll};

use tower_service::Service;

use crate::{
    Gate,
    contract::{
        Behaviour, Fault, Layered, Probe, ProbeBody, ProbeService,
        rig::{Check, Kind, Rig, ensure, is_the_handlers},
    },
};

pub(in crate::contract) fn readiness<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    // Not ready before the inner service is, and woken when it is.
    let gate = Gate::closed();
    let (rig, mut service) = Rig::new(probe, Behaviour::new().ready_behind(&gate));
    ensure(rig.poll_ready(&mut service).is_pending(), || {
        "`poll_ready` is ready while the inner service is not".to_owned()
    })?;
    let woken = rig.polls.woken();
    gate.open();
    ensure(rig.polls.woken() > woken, || {
        "whoever waits for readiness is not woken when the inner service becomes ready".to_owned()
    })?;
    rig.ready(&mut service)?;
    rig.ready(&mut service)?;
    let reserved = rig.ledger.reserved();
    ensure(reserved == 1, || {
        format!("after `poll_ready` the inner service has {reserved} reservations out instead of 1")
    })?;
    drop(service);
    rig.at_rest()?;

    // Others use the inner service too.
    let (rig, mut service) = Rig::new(probe, Behaviour::new().capacity(1));
    let mut neighbour = rig.handler.clone();
    let taken =
        Service::<http::Request<ProbeBody>>::poll_ready(&mut neighbour, &mut rig.polls.context());
    ensure(taken.is_ready(), || {
        "the probe's own handler is not ready".to_owned()
    })?;
    ensure(rig.poll_ready(&mut service).is_pending(), || {
        "`poll_ready` is ready while a neighbour holds the inner service's only place".to_owned()
    })?;
    drop(neighbour);
    rig.exchange(&mut service, Kind::Admitted)?;
    rig.at_rest()?;

    // Its error comes through.
    let (rig, mut service) = Rig::new(probe, Behaviour::new());
    rig.handler.inject(Fault::ErrorInReady);
    match rig.rest(&rig.polls, |cx| service.poll_ready(cx)) {
        Poll::Ready(Err(error)) => ensure(is_the_handlers(error), || {
            "the error of `poll_ready` is not the inner service's".to_owned()
        }),
        Poll::Ready(Ok(())) => Err(
            "the inner service's `poll_ready` failed, but the layer says that it is ready"
                .to_owned(),
        ),
        Poll::Pending => {
            Err("the inner service's `poll_ready` failed, but the layer is pending".to_owned())
        }
    }
}

pub(in crate::contract) fn refusal_returns<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds().filter(|kind| kind.calls() == 0) {
        let (rig, mut service) = Rig::new(probe, Behaviour::new().capacity(1));
        rig.ready(&mut service)?;
        let mut call = pin!(service.call(rig.request(kind)));
        let response = rig.response(call.as_mut())?;
        // The layer's service, the future and the response are all alive.
        rig.called(0)?;
        ensure(rig.ledger.reserved() == 0, || {
            format!(
                "the {kind} request was answered, but its reservation was kept: the inner service stays busy"
            )
        })?;
        let mut neighbour = service.clone();
        rig.exchange(&mut neighbour, Kind::Admitted)?;
        rig.exchange(&mut service, kind)?;
        rig.exchange(&mut service, Kind::Admitted)?;
        rig.called(2)?;
        drop(response);
        rig.at_rest()?;
    }
    Ok(())
}

pub(in crate::contract) fn pending_keeps<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in [Kind::Pending, Kind::PendingRefused] {
        if !probe.has(kind) {
            continue;
        }
        let (rig, mut service) = Rig::new(probe, Behaviour::new().capacity(1));
        rig.ready(&mut service)?;
        let mut call = Box::pin(service.call(rig.request(kind)));
        ensure(rig.polls.poll(call.as_mut()).is_pending(), || {
            format!("the {kind} request was decided at once: its first poll is not pending")
        })?;
        ensure(rig.ledger.calls() == 0, || {
            format!(
                "the handler was called before the decision on the {kind} request, or that was there at once"
            )
        })?;
        ensure(rig.ledger.reserved() == 1, || {
            "the reservation was given up while the decision was pending, or is kept twice"
                .to_owned()
        })?;
        ensure(
            service.poll_ready(&mut rig.polls.context()).is_pending(),
            || {
                "the service is ready again with the reservation that a pending request holds"
                    .to_owned()
            },
        )?;
        let woken = rig.polls.woken();
        drop(call);
        ensure(rig.ledger.reserved() == 0, || {
            "a pending request was dropped, but its reservation was kept".to_owned()
        })?;
        ensure(rig.polls.woken() > woken, || {
            "whoever waits for readiness is not woken when a pending request is dropped".to_owned()
        })?;
        rig.exchange(&mut service, kind)?;
        rig.exchange(&mut service, Kind::Admitted)?;
        drop(service);
        rig.at_rest()?;
    }
    Ok(())
}
