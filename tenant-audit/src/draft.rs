//! What one record is made from.

use tenant_context::{Identity, TrailFacts, UnixTime};

use crate::{Outcome, request::Request};

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor<'a> {
    Verified(&'a Identity),
    System(&'a str),
    Anonymous,
}

impl<'a> Actor<'a> {
    pub(crate) fn identity(self) -> Option<&'a Identity> {
        match self {
            Self::Verified(identity) => Some(identity),
            Self::System(_) | Self::Anonymous => None,
        }
    }
}

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
