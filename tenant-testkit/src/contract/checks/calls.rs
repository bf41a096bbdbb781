//! Who is called, and how often.

use std::{mem, pin::pin};

use crate::contract::{
    Behaviour, Layered, Probe, ProbeService,
    rig::{Check, Kind, Rig, ensure},
};

pub(in crate::contract) fn right_clone<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds() {
        // One service, again and again.
        let (rig, mut service) = Rig::new(probe, Behaviour::new().pending(1));
        for _ in 0..3 {
            rig.exchange(&mut service, kind)?;
            rig.exchange(&mut service, Kind::Admitted)?;
        }
        rig.at_rest()?;

        // A clone made and dropped between readiness and call.
        rig.ready(&mut service)?;
        drop(service.clone());
        rig.response(pin!(service.call(rig.request(kind))))?;
        rig.at_rest()?;

        // The ready one taken away, a clone left in its place: as servers do.
        rig.ready(&mut service)?;
        let left = service.clone();
        let mut ready = mem::replace(&mut service, left);
        let call = ready.call(rig.request(kind));
        drop(ready);
        rig.response(pin!(call))?;
        rig.exchange(&mut service, kind)?;

        // The service gone before its response.
        rig.ready(&mut service)?;
        let call = service.call(rig.request(kind));
        drop(service);
        rig.response(pin!(call))?;
        rig.at_rest()?;
    }
    Ok(())
}

pub(in crate::contract) fn exactly_once<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    for kind in probe.kinds() {
        let (rig, mut service) = Rig::new(probe, Behaviour::new().frames(["body"]));
        rig.ready(&mut service)?;
        rig.called(0)?;
        let response = rig.response(pin!(service.call(rig.request(kind))))?;
        let status = response.status();
        rig.read(response.into_body())?;
        ensure(rig.ledger.calls() == kind.calls(), || {
            format!(
                "the {kind} request was answered with {status} after {} calls of the handler instead of {}",
                rig.ledger.calls(),
                kind.calls()
            )
        })?;
        drop(service);
        rig.at_rest()?;
    }
    Ok(())
}

pub(in crate::contract) fn clones<F, S>(probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    let (rig, mut ready) = Rig::new(probe, Behaviour::new());
    rig.ready(&mut ready)?;
    let clone = ready.clone();
    let reserved = rig.ledger.reserved();
    ensure(reserved == 1, || {
        format!(
            "after one was polled ready and cloned, {reserved} reservations are out instead of 1"
        )
    })?;
    drop(ready);
    ensure(rig.ledger.reserved() == 0, || {
        "the ready service was dropped, but its clone keeps its reservation".to_owned()
    })?;
    drop(clone);

    for first in probe.kinds() {
        for second in probe.kinds() {
            interleaved(probe, first, second)?;
        }
    }

    // One place: whoever waits gets it when the other is dropped.
    let (rig, mut one) = Rig::new(probe, Behaviour::new().capacity(1));
    let mut other = one.clone();
    rig.ready(&mut one)?;
    ensure(rig.poll_ready(&mut other).is_pending(), || {
        "the only reservation is taken, but a clone says that it is ready".to_owned()
    })?;
    let woken = rig.polls.woken();
    drop(one);
    ensure(rig.polls.woken() > woken, || {
        "a waiting clone was not woken when the ready one was dropped".to_owned()
    })?;
    rig.exchange(&mut other, Kind::Admitted)?;
    rig.at_rest()
}

fn interleaved<F, S>(probe: &Probe<F>, first: Kind, second: Kind) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    let (rig, mut one) = Rig::new(probe, Behaviour::new().pending(1));
    let mut other = one.clone();
    rig.ready(&mut one)?;
    rig.ready(&mut other)?;
    let reserved = rig.ledger.reserved();
    ensure(reserved == 2, || {
        format!("two clones are ready with {reserved} reservations between them")
    })?;
    let mut earlier = pin!(one.call(rig.request(first)));
    let begun = rig.polls.poll(earlier.as_mut());
    let later = pin!(other.call(rig.request(second)));
    rig.response(later)?;
    if begun.is_pending() {
        rig.response(earlier)?;
    }
    drop((one, other));
    rig.called(first.calls().saturating_add(second.calls()))
}
