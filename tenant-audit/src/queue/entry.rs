//! What goes to the worker.

use std::{borrow::Cow, sync::Arc};

use tenant_context::{TenantContext, TenantId, Trail, TrailCell, TrailFacts, UnixTime};

use crate::{Outcome, request::Request};

/// A request's record, with its trail.
pub(crate) type Cell = Arc<TrailCell<Request>>;

/// What goes to the worker.
#[derive(Debug)]
pub(crate) enum Entry {
    Request(Cell),
    /// A request's handler is about to run.
    Intent(Trail),
    Event(Box<Occurred>),
}

/// Something that happened outside a request.
#[derive(Debug)]
pub(crate) struct Occurred {
    pub(crate) who: Who,
    pub(crate) at: UnixTime,
    pub(crate) facts: TrailFacts,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Cow<'static, str>>,
}

#[derive(Debug)]
pub(crate) enum Who {
    Tenant(TenantContext),
    System(&'static str),
}

#[cfg(test)]
impl Occurred {
    pub(super) fn nothing() -> Self {
        Self {
            who: Who::System("test"),
            at: UnixTime::default(),
            facts: TrailFacts::default(),
            outcome: Outcome::Success,
            reason: None,
        }
    }
}

impl Who {
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(context) => Some(context.tenant_id()),
            Self::System(_) => None,
        }
    }
}

impl Entry {
    /// Why a request was refused before its tenant was known, if it was. One that has passed the gate holds a
    /// share and may be waited for; what refused it is the application, on a public route.
    pub(super) fn refused_anonymously(&self) -> Option<String> {
        let Self::Request(cell) = self else {
            return None;
        };
        let progress = &cell.record().progress;
        if !progress.is_refused() || progress.has_passed() {
            return None;
        }
        cell.with(|facts| match (&facts.identity, &facts.rejection) {
            (None, Some(rejection)) => Some(rejection.reason().to_owned()),
            _ => None,
        })
    }

    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Request(cell) => cell.record().sync.is_wanted(),
            Self::Intent(_) => true,
            Self::Event(_) => false,
        }
    }

    pub(super) fn settle(&self, durable: bool) {
        let request = match self {
            Self::Request(cell) => Some(cell.record()),
            Self::Intent(trail) => trail.record::<Request>(),
            Self::Event(_) => None,
        };
        if let Some(request) = request {
            request.sync.settle(durable);
        }
    }
}
