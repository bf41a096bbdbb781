//! The facts a request leaves for the audit.

use std::{any::Any, borrow::Cow, fmt, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

use crate::{Identity, Rejection, RequestId, TraceParent};

/// Where a request's facts are written: identity, limits, cache and handler write, the audit layer
/// reads at the end.
///
/// Clones write to the same trail. Without an audit layer there is nothing to write to, nothing is
/// allocated, and writing does nothing.
///
/// ```
/// use tenant_context::Trail;
///
/// let trail = Trail::detached();
/// trail.action("invoice.read").resource("invoice", 17).detail("amount", 3);
/// ```
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<TrailCell<dyn Any + Send + Sync>>>);

/// A trail's facts beside the record of an audit layer, in one allocation. For audit layers.
///
/// ```
/// use std::sync::Arc;
/// use tenant_context::{Trail, TrailCell};
///
/// let cell = Arc::new(TrailCell::new("my record"));
/// let trail = Trail::on(&cell);                       // what goes into the request
/// trail.action("invoice.read");
/// assert_eq!(cell.with(|facts| facts.action.clone()).as_deref(), Some("invoice.read"));
/// assert_eq!(trail.record::<&str>(), Some(&"my record"));
/// ```
pub struct TrailCell<R: ?Sized> {
    facts: Mutex<TrailFacts>,
    record: R,
}

impl<R> TrailCell<R> {
    /// No facts yet, and a record.
    pub fn new(record: R) -> Self {
        Self {
            facts: Mutex::default(),
            record,
        }
    }

    /// The same, of a request that has an id.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<RequestId>) -> Self {
        self.facts.get_mut().request_id = id;
        self
    }

    /// The same, of a request that is part of a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceParent>) -> Self {
        if trace.is_some() {
            self.facts.get_mut().more().trace = trace;
        }
        self
    }
}

impl<R: ?Sized> TrailCell<R> {
    /// The audit layer's record.
    pub const fn record(&self) -> &R {
        &self.record
    }

    /// Reads or changes the collected facts.
    pub fn with<T>(&self, f: impl FnOnce(&mut TrailFacts) -> T) -> T {
        f(&mut self.facts.lock())
    }
}

impl<R: ?Sized> fmt::Debug for TrailCell<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailCell").finish_non_exhaustive()
    }
}

/// What a trail has collected.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TrailFacts {
    /// Whose request it is, if its credential was verified: also when it was refused after that.
    pub identity: Option<Arc<Identity>>,
    /// The validated or made request id.
    pub request_id: Option<RequestId>,
    /// What was done, in the application's words.
    pub action: Option<Cow<'static, str>>,
    /// The kind of resource that was touched.
    pub resource_type: Option<Cow<'static, str>>,
    /// The resource that was touched.
    pub resource_id: Option<String>,
    /// Details the application added, at most [`Trail::MAX_DETAILS`].
    pub details: Vec<(Cow<'static, str>, Value)>,
    /// How many details did not fit.
    pub details_dropped: u32,
    /// The last refusal that was decided, also if the application rendered it in its own way.
    pub rejection: Option<Rejection>,
    /// What the response cache did: `hit`, `miss`, `pass`.
    pub cache: Option<&'static str>,
    /// What few requests have.
    pub more: Option<Box<MoreFacts>>,
}

/// Facts that few requests leave.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct MoreFacts {
    /// The trace that the caller named, if the audit layer was told to take it.
    pub trace: Option<TraceParent>,
    /// Each resource that was touched, at most [`Trail::MAX_ACCESSES`].
    pub accesses: Vec<Access>,
    /// How many did not fit.
    pub accesses_dropped: u32,
    /// The tool that an agent called.
    pub tool: Option<ToolCall>,
    /// Values that are personal, at most [`Trail::MAX_DETAILS`]; those beyond count as dropped details.
    pub personal: Vec<(Cow<'static, str>, Personal)>,
}

/// One of several resources that a request touched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// What was done to it.
    pub action: Cow<'static, str>,
    /// The kind of resource.
    pub resource_type: Cow<'static, str>,
    /// Which one.
    pub resource_id: String,
}

/// A tool that an agent called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// The tool's name.
    pub name: Cow<'static, str>,
    /// The call's id, as the agent gave it.
    pub call_id: Option<String>,
}

/// A personal value on its way to the record: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Personal(String);

impl Personal {
    /// A value.
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(…)")
    }
}

impl TrailFacts {
    /// [`Trail::action`].
    pub fn set_action(&mut self, action: impl Into<Cow<'static, str>>) {
        self.action = Some(bounded(action.into()));
    }

    /// [`Trail::resource`]. The id is text already: nobody's `Display` runs under the trail's lock.
    pub fn set_resource(&mut self, kind: impl Into<Cow<'static, str>>, id: String) {
        self.resource_type = Some(bounded(kind.into()));
        self.resource_id = Some(bounded(id.into()).into_owned());
    }

    /// [`Trail::detail`].
    pub fn add_detail(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.push_detail(bounded(name.into()), bounded_value(value.into()));
    }

    /// The trace that the caller named, if it was taken.
    pub fn trace(&self) -> Option<&TraceParent> {
        self.more.as_ref()?.trace.as_ref()
    }

    fn more(&mut self) -> &mut MoreFacts {
        self.more.get_or_insert_default()
    }

    /// [`Trail::access`].
    pub fn add_access(
        &mut self,
        action: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        id: &dyn fmt::Display,
    ) {
        let access = Access {
            action: bounded(action.into()),
            resource_type: bounded(kind.into()),
            resource_id: bounded(id.to_string().into()).into_owned(),
        };
        self.push_access(access);
    }

    fn push_access(&mut self, access: Access) {
        let more = self.more();
        if more.accesses.len() < Trail::MAX_ACCESSES {
            more.accesses.push(access);
        } else {
            more.accesses_dropped = more.accesses_dropped.saturating_add(1);
        }
    }

    /// [`Trail::tool_call`].
    pub fn set_tool_call(&mut self, name: impl Into<Cow<'static, str>>, call_id: Option<&str>) {
        let name = bounded(name.into());
        if self.action.is_none() {
            self.action = Some(bounded(format!("tool.{name}").into()));
        }
        let call_id = call_id.map(|id| bounded(id.to_owned().into()).into_owned());
        self.more().tool = Some(ToolCall { name, call_id });
    }

    /// [`Trail::personal`].
    pub fn add_personal(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let mut value = value.into();
        if value.len() > Trail::MAX_VALUE {
            let mut end = Trail::MAX_VALUE;
            while !value.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            value.truncate(end);
        }
        let value = (bounded(name.into()), Personal(value));
        let more = self.more();
        if more.personal.len() < Trail::MAX_DETAILS {
            more.personal.push(value);
        } else {
            self.details_dropped = self.details_dropped.saturating_add(1);
        }
    }

    fn push_detail(&mut self, name: Cow<'static, str>, value: Value) {
        if self.details.len() < Trail::MAX_DETAILS {
            self.details.push((name, value));
        } else {
            self.details_dropped = self.details_dropped.saturating_add(1);
        }
    }
}

impl Trail {
    /// The most details of a trail.
    pub const MAX_DETAILS: usize = 16;
    /// The most resources that [`access`](Self::access) names; more are counted.
    pub const MAX_ACCESSES: usize = 64;
    /// The most bytes of an action, a resource's type or id, or a detail's name.
    pub const MAX_TEXT: usize = 256;
    /// The most bytes of a detail's value, as JSON.
    pub const MAX_VALUE: usize = 1024;

    /// A trail that collects: what an audit layer inserts into a request's extensions.
    pub fn open() -> Self {
        Self(Some(Arc::new(TrailCell::new(()))))
    }

    /// A trail that collects into a cell of an audit layer's own.
    pub fn on<R: Send + Sync + 'static>(cell: &Arc<TrailCell<R>>) -> Self {
        let cell: Arc<TrailCell<R>> = Arc::clone(cell);
        Self(Some(cell))
    }

    /// The record of the audit layer that opened this trail, if it is an `R`.
    pub fn record<R: 'static>(&self) -> Option<&R> {
        self.0.as_ref()?.record.downcast_ref()
    }

    /// A trail that goes nowhere.
    pub const fn detached() -> Self {
        Self(None)
    }

    /// The trail of a request; a detached one if there is no audit layer.
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Whether an audit layer reads this trail.
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Reads or changes the collected facts, for audit layers and layers of your own.
    pub fn with<R>(&self, f: impl FnOnce(&mut TrailFacts) -> R) -> Option<R> {
        self.0.as_ref().map(|cell| cell.with(f))
    }

    /// Says what is done: `invoice.read`.
    #[allow(
        clippy::must_use_candidate,
        reason = "the return value only allows chaining"
    )]
    pub fn action(&self, action: impl Into<Cow<'static, str>>) -> &Self {
        if self.is_open() {
            let action = bounded(action.into());
            self.with(|facts| facts.action = Some(action));
        }
        self
    }

    /// Says what it is done to.
    pub fn resource(&self, kind: impl Into<Cow<'static, str>>, id: impl fmt::Display) -> &Self {
        if self.is_open() {
            // Before the lock: `Display` is anybody's code, and may write to this trail.
            let (kind, id) = (
                bounded(kind.into()),
                bounded(id.to_string().into()).into_owned(),
            );
            self.with(|facts| {
                facts.resource_type = Some(kind);
                facts.resource_id = Some(id);
            });
        }
        self
    }

    /// Adds a detail. A value whose JSON is longer than [`Trail::MAX_VALUE`] is replaced by its length.
    pub fn detail(&self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> &Self {
        if !self.is_open() {
            return self;
        }
        let (name, value) = (bounded(name.into()), bounded_value(value.into()));
        self.with(|facts| facts.push_detail(name, value));
        self
    }

    /// Says that one of several resources was touched, and how: of a request that reads two invoices and changes
    /// a third. The first [`MAX_ACCESSES`](Self::MAX_ACCESSES) are named, what is beyond is counted.
    ///
    /// ```
    /// use tenant_context::Trail;
    ///
    /// let trail = Trail::open();
    /// trail.action("invoice.merge").access("invoice.read", "invoice", 17).access("invoice.write", "invoice", 18);
    /// ```
    pub fn access(
        &self,
        action: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        id: impl fmt::Display,
    ) -> &Self {
        if self.is_open() {
            // Before the lock, as in `resource`.
            let access = Access {
                action: bounded(action.into()),
                resource_type: bounded(kind.into()),
                resource_id: bounded(id.to_string().into()).into_owned(),
            };
            self.with(|facts| facts.push_access(access));
        }
        self
    }

    /// Says that this request is an agent's call of a tool, and the id that the agent gave the call. The action is
    /// `tool.NAME`, unless another one is said.
    ///
    /// ```
    /// use tenant_context::Trail;
    ///
    /// let trail = Trail::open();
    /// trail.tool_call("search_invoices", Some("call_7f3a"));
    /// ```
    pub fn tool_call(&self, name: impl Into<Cow<'static, str>>, call_id: Option<&str>) -> &Self {
        if self.is_open() {
            let name = name.into();
            self.with(|facts| facts.set_tool_call(name, call_id));
        }
        self
    }

    /// Adds a value that is personal: a name, an address. Its record holds a commitment to it, and the value itself
    /// only under the tenant's key, if the audit layer has keys: without the key the value is gone, and the record
    /// still verifies. At most [`MAX_VALUE`](Self::MAX_VALUE) bytes.
    pub fn personal(&self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> &Self {
        if self.is_open() {
            let (name, value) = (name.into(), value.into());
            self.with(|facts| facts.add_personal(name, value));
        }
        self
    }

    /// Records a refusal that the application renders in its own way, and hands it back.
    pub fn deny(&self, rejection: Rejection) -> Rejection {
        self.with(|facts| facts.rejection = Some(rejection.clone()));
        rejection
    }
}

fn bounded_value(value: Value) -> Value {
    let length = value.to_string().len();
    if length > Trail::MAX_VALUE {
        Value::from(format!("({length} bytes)"))
    } else {
        value
    }
}

/// Cuts at a character's boundary: text may come from outside.
fn bounded(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() > Trail::MAX_TEXT {
        let mut end = Trail::MAX_TEXT;
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        // A copy: what is cut off is not kept.
        return text.get(..end).unwrap_or_default().to_owned().into();
    }
    text
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn i6_a_trail_is_bounded() {
        let trail = Trail::open();
        trail
            .action("ä".repeat(300))
            .resource("kind", "x".repeat(10_000));
        for n in 0..100 {
            trail.detail(format!("detail {n}"), "y".repeat(5_000));
        }
        trail.with(|facts| {
            assert_eq!(facts.action.as_ref().unwrap().len(), 256);
            let id = facts.resource_id.as_ref().unwrap();
            assert_eq!(
                (id.len(), id.capacity()),
                (256, 256),
                "what was cut off is not kept"
            );
            assert_eq!(facts.details.len(), 16);
            assert_eq!(facts.details_dropped, 84);
            assert!(
                facts
                    .details
                    .iter()
                    .all(|(_, value)| value.to_string().len() < 100)
            );
        });
    }

    #[test]
    fn i6_what_few_requests_leave_is_bounded_too() {
        let trail = Trail::open();
        trail.tool_call("t".repeat(300), Some(&"c".repeat(300)));
        for n in 0..100 {
            trail.access("a".repeat(300), "kind", n);
            trail.personal(format!("p{n}"), "ä".repeat(5_000));
        }
        trail.with(|facts| {
            let more = facts.more.as_ref().unwrap();
            assert_eq!((more.accesses.len(), more.accesses_dropped), (64, 36));
            assert_eq!(more.accesses[0].action.len(), 256);
            let tool = more.tool.as_ref().unwrap();
            assert_eq!(
                (tool.name.len(), tool.call_id.as_ref().unwrap().len()),
                (256, 256)
            );
            assert_eq!((more.personal.len(), facts.details_dropped), (16, 84));
            assert_eq!(more.personal[0].1.reveal().len(), 1024);
        });
    }

    #[test]
    fn i8_a_personal_value_is_not_shown() {
        let trail = Trail::open();
        trail.personal("email", "canary@example.com");
        let shown = trail.with(|facts| format!("{facts:?}")).unwrap();
        assert!(
            shown.contains("email") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn a_tool_call_names_the_action_unless_another_is_said() {
        let trail = Trail::open();
        trail.tool_call("search", None);
        let action = |trail: &Trail| trail.with(|facts| facts.action.clone()).flatten();
        assert_eq!(action(&trail).as_deref(), Some("tool.search"));
        trail.action("invoice.search").tool_call("search", None);
        assert_eq!(action(&trail).as_deref(), Some("invoice.search"));
    }

    #[test]
    fn a_value_that_writes_to_the_trail_while_it_is_shown_does_not_lock_up() {
        struct Chatty(Trail);
        impl fmt::Display for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.detail("shown", true);
                f.write_str("17")
            }
        }
        let trail = Trail::open();
        trail.resource("invoice", Chatty(trail.clone()));
        let seen = trail.with(|facts| (facts.resource_id.clone(), facts.details.len()));
        assert_eq!(seen, Some((Some("17".to_owned()), 1)));
    }

    #[test]
    fn a_detached_trail_takes_everything_and_keeps_nothing() {
        assert!(
            Trail::detached()
                .action("a")
                .resource("b", 1)
                .detail("c", 2)
                .with(|_| ())
                .is_none()
        );
    }
}
