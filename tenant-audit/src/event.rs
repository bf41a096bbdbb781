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
///
/// Made and not recorded, it is a warning of the compiler:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// tenant_audit::Event::new("report.sent");
/// ```
#[must_use = "an event is recorded with `AuditHandle::record`"]
pub struct Event(Box<Occurred>);

impl Event {
    /// A success of `action`: `report.sent`.
    pub fn new(action: impl Into<Cow<'static, str>>) -> Self {
        let mut event = Self::empty();
        event.0.facts.set_action(action);
        event
    }

    /// An agent's call of a tool, which is no request of its own: one record for each step of an agent's work. The
    /// action is `tool.NAME`.
    ///
    /// ```
    /// use tenant_audit::Event;
    ///
    /// let event = Event::tool_call("search_invoices", Some("call_7f3a")).resource("invoice", 17);
    /// ```
    pub fn tool_call(name: impl Into<Cow<'static, str>>, call_id: Option<&str>) -> Self {
        let mut event = Self::empty();
        event.0.facts.set_tool_call(name, call_id);
        event
    }

    fn empty() -> Self {
        Self(Box::new(Occurred {
            who: Who::System(""),
            at: UnixTime::default(),
            facts: TrailFacts::default(),
            outcome: Outcome::Success,
            reason: None,
        }))
    }

    /// One of several resources, and what was done to it: [`Trail::access`](tenant_context::Trail::access).
    pub fn access(
        mut self,
        action: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        id: impl fmt::Display,
    ) -> Self {
        self.0.facts.add_access(action, kind, &id);
        self
    }

    /// A value that is personal: [`Trail::personal`](tenant_context::Trail::personal).
    pub fn personal(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        self.0.facts.add_personal(name, value);
        self
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
