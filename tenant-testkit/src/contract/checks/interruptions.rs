//! Requests that do not run to their end, or end badly.

use std::pin::pin;

use crate::{
    Gate,
    contract::{
        Behaviour, Fault, Layered, Probe, ProbeService,
        rig::{Check, Kind, Rig, ensure, handler_may_panic, is_the_handlers},
    },
    polls::Polls,
};

/// More awaits than any layer has.
const AWAITS: usize = 200;

pub(in crate::contract) fn dropped_anywhere<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds() {
        for polls in 0..AWAITS {
            let behaviour = Behaviour::new().capacity(1).pending(2).frames(["body"]);
            let (rig, mut service) = Rig::new(probe, behaviour);
            rig.ready(&mut service)?;
            let mut call = Box::pin(service.call(rig.request(kind)));
            let mut completed = false;
            for _ in 0..polls {
                completed = rig.polls.poll(call.as_mut()).is_ready();
                if completed {
                    break;
                }
                probe.turn();
            }
            drop(call);
            let after = |why| format!("the {kind} request, dropped after {polls} polls: {why}");
            rig.at_rest().map_err(after)?;
            ensure(rig.ledger.calls() <= 1, || {
                after("the handler was called more than once".to_owned())
            })?;
            let usable = rig.exchange(&mut service, Kind::Admitted);
            usable
                .and_then(|()| rig.at_rest())
                .map_err(|why| after(format!("the service is not usable any more: {why}")))?;
            if completed {
                break;
            }
        }
    }
    Ok(())
}

pub(in crate::contract) fn handler_panics<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds().filter(|kind| kind.calls() == 1) {
        for fault in [Fault::PanicInCall, Fault::PanicInFuture, Fault::PanicInBody] {
            let behaviour = Behaviour::new()
                .capacity(1)
                .pending(1)
                .frames(["one", "two"]);
            let (rig, mut service) = Rig::new(probe, behaviour);
            rig.handler.inject(fault);
            let after = |why| format!("{fault:?} in the {kind} request: {why}");
            // A layer may turn the panic into a response, or let it pass.
            handler_may_panic(|| rig.exchange(&mut service, kind)).map_err(after)?;
            ensure(!rig.handler.fault_is_due(), || {
                after("the handler did not get so far".to_owned())
            })?;
            rig.at_rest().map_err(after)?;
            let usable = rig.exchange(&mut service, kind);
            usable
                .and_then(|()| rig.at_rest())
                .map_err(|why| after(format!("the service is not usable any more: {why}")))?;
        }
    }
    Ok(())
}

pub(in crate::contract) fn errors<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds().filter(|kind| kind.calls() == 1) {
        let (rig, mut service) = Rig::new(probe, Behaviour::new().capacity(1));
        rig.handler.inject(Fault::Error);
        rig.ready(&mut service)?;
        match rig.finish(pin!(service.call(rig.request(kind))))? {
            Ok(response) => {
                return Err(format!(
                    "the handler failed, but the layer answered with {}",
                    response.status()
                ));
            }
            Err(error) => ensure(is_the_handlers(error), || {
                "the layer's error does not name the handler's as its source".to_owned()
            })?,
        }
        rig.at_rest()?;
        rig.exchange(&mut service, kind)?;
        rig.at_rest()?;
    }
    Ok(())
}

pub(in crate::contract) fn wakers<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds().filter(|kind| kind.calls() == 1) {
        let (respond, send) = (Gate::closed(), Gate::closed());
        let behaviour = Behaviour::new()
            .frames(["body"])
            .respond_behind(&respond)
            .body_behind(&send);
        let (rig, mut service) = Rig::new(probe, behaviour);
        let (first, last) = (Polls::new(), Polls::new());

        rig.ready(&mut service)?;
        let mut call = pin!(service.call(rig.request(kind)));
        for polls in [&first, &last] {
            let rested = rig.rest(polls, |cx| call.as_mut().poll(cx));
            ensure(rested.is_pending(), || {
                "the layer answered before the handler did".to_owned()
            })?;
        }
        let woken = last.woken();
        respond.open();
        ensure(last.woken() > woken, || {
            "the handler can answer, but whoever polled the response future last is not woken"
                .to_owned()
        })?;
        let response = rig.response(call)?;

        let mut body = pin!(response.into_body());
        for polls in [&first, &last] {
            let rested = rig.rest(polls, |cx| {
                http_body::Body::poll_frame(body.as_mut(), cx).map(drop)
            });
            ensure(rested.is_pending(), || {
                "the body has a frame before the handler sent one".to_owned()
            })?;
        }
        let woken = last.woken();
        send.open();
        ensure(last.woken() > woken, || {
            "the body has a frame, but whoever polled it last is not woken".to_owned()
        })?;
    }
    Ok(())
}
