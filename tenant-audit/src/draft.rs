//! What one record is made from.

use tenant_context::{TrailFacts, UnixTime};

use crate::{Outcome, actor::Actor, request::Request};

/// All that one record is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) actor: Actor<'a>,
    pub(crate) at: UnixTime,
    pub(crate) facts: &'a TrailFacts,
    pub(crate) what: What<'a>,
}

/// What kind of thing is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Request(&'a Request),
    /// The request's handler is about to run.
    Intent(&'a Request),
    Event {
        outcome: Outcome,
        reason: Option<&'a str>,
    },
}

impl<'a> What<'a> {
    pub(crate) const fn request(&self) -> Option<&'a Request> {
        match self {
            Self::Request(request) | Self::Intent(request) => Some(request),
            Self::Event { .. } => None,
        }
    }

    pub(crate) const fn ended(&self) -> Option<&'a Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::Intent(_) | Self::Event { .. } => None,
        }
    }
}
