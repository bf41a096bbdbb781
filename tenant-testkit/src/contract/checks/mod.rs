//! What each clause asks of a layer.

mod bodies;
mod calls;
mod interruptions;
mod reservations;

use super::{Clause, Layered, Probe, ProbeService, rig::Check};

pub(super) fn check<F, S>(clause: Clause, probe: &Probe<F>) -> Check
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    match clause {
        Clause::RightClone => calls::right_clone(probe),
        Clause::ExactlyOnce => calls::exactly_once(probe),
        Clause::Clones => calls::clones(probe),
        Clause::Readiness => reservations::readiness(probe),
        Clause::RefusalReturns => reservations::refusal_returns(probe),
        Clause::PendingKeeps => reservations::pending_keeps(probe),
        Clause::DroppedAnywhere => interruptions::dropped_anywhere(probe),
        Clause::HandlerPanics => interruptions::handler_panics(probe),
        Clause::Errors => interruptions::errors(probe),
        Clause::Wakers => interruptions::wakers(probe),
        Clause::RequestBody => bodies::request_body(probe),
        Clause::ResponseBody => bodies::response_body(probe),
    }
}
