//! What code that serves no request asks to be recorded.

use std::{borrow::Cow, fmt};

use serde_json::Value;
use tenant_context::{Trail, TrailFacts};

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
/// change. The bounds of its texts are those of [`Trail`].
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
pub struct Event {
    trail: Trail,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Cow<'static, str>>,
}

impl Event {
    /// A success of `action`: `report.sent`.
    pub fn new(action: impl Into<Cow<'static, str>>) -> Self {
        let trail = Trail::open();
        trail.action(action);
        Self {
            trail,
            outcome: Outcome::Success,
            reason: None,
        }
    }

    /// Says what it was done to.
    pub fn resource(self, kind: impl Into<Cow<'static, str>>, id: impl fmt::Display) -> Self {
        self.trail.resource(kind, id);
        self
    }

    /// Adds a detail, shown under `metadata`.
    pub fn detail(self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.trail.detail(name, value);
        self
    }

    /// Says how it ended.
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Says why it ended so. Text beyond [`Trail::MAX_TEXT`] bytes is cut when it is recorded.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn into_parts(self) -> (TrailFacts, Outcome, Option<Cow<'static, str>>) {
        let facts = self.trail.with(std::mem::take).unwrap_or_default();
        (facts, self.outcome, self.reason)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("outcome", &self.outcome)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
