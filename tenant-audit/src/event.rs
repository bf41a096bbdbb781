//! What code that serves no request asks to be recorded.

use std::{borrow::Cow, fmt};

use serde_json::Value;
use tenant_context::{TrailFacts, UnixTime};

use crate::queue::{Occurred, Who};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was tried and failed, or was cancelled.
    Failure,
    /// It was refused.
    Blocked,
}

impl Outcome {
    /// The word that records show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Blocked => "blocked",
        }
    }
}

/// Something to record that is no request: a job's step, a message's handling, an administrator's
/// change. The bounds of its texts are those of [`Trail`](tenant_context::Trail).
///
/// ```
/// use tenant_audit::{Event, Outcome};
///
/// let event = Event::new("report.sent")
///     .resource("report", 17)
///     .detail("pages", 3)
///     .outcome(Outcome::Failure)
///     .reason("mailbox_full");
/// ```
#[must_use = "an event is recorded with `AuditHandle::record`"]
pub struct Event(Box<Occurred>);

impl Event {
    /// A success of `action`: `report.sent`.
    pub fn new(action: impl Into<Cow<'static, str>>) -> Self {
        let mut facts = TrailFacts::default();
        facts.set_action(action);
        Self(Box::new(Occurred {
            who: Who::System(""),
            at: UnixTime::default(),
            facts,
            outcome: Outcome::Success,
            reason: None,
        }))
    }

    /// Says what it was done to.
    pub fn resource(mut self, kind: impl Into<Cow<'static, str>>, id: impl fmt::Display) -> Self {
        self.0.facts.set_resource(kind, id.to_string());
        self
    }

    /// Adds a detail, shown under `metadata`.
    pub fn detail(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.0.facts.add_detail(name, value);
        self
    }

    /// Says how it ended.
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Says why it ended so. Text beyond [`Trail::MAX_TEXT`](tenant_context::Trail::MAX_TEXT) bytes is cut
    /// when it is recorded.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub(crate) fn occurred(mut self, who: Who, at: UnixTime) -> Box<Occurred> {
        self.0.who = who;
        self.0.at = at;
        self.0
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("outcome", &self.0.outcome)
            .field("reason", &self.0.reason)
            .finish_non_exhaustive()
    }
}
