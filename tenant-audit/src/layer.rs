//! The audit layer and its builder.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::Method;
use tenant_context::{
    Clock, ConfigError, StackPart, SystemClock, Timer,
    stack::{AuditPart, place},
};
use tower_layer::Layer;

use crate::{
    AuditGate, AuditHandle, AuditService, AuditSink, AuditWorker, Durability, TenantKeys,
    durability::Policy,
    personal::Keyring,
    queue::{Bounds, Door, Intake, Queue},
    record::Encoder,
    worker,
};

/// Begins an audit layer that writes to `sink`.
///
/// ```
/// use tenant_audit::{FileSink, WhenFull};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let (audit, worker) = tenant_audit::layer(FileSink::open(dir.path())?)
///     .when_full(WhenFull::Refuse)
///     .build()?;
/// // tokio::spawn(worker);
/// # Ok(())
/// # }
/// ```
pub fn layer(sink: impl AuditSink) -> AuditLayerBuilder {
    AuditLayerBuilder {
        sink: Box::new(sink),
        queue: 65_536,
        in_flight: 65_536,
        when_full: WhenFull::default(),
        clock: Arc::new(SystemClock::new()),
        timer: None,
        policy: Policy::default(),
        sync_deadline: Duration::from_secs(5),
        continue_unsynced: false,
        trace: false,
        encoder: Encoder::default(),
    }
}

/// What happens to a request for whose record there is no place.
///
/// Whatever is chosen, requests that got no record are counted, and the worker records the exact
/// count as soon as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits, at most this long; then it is refused with 503 before the handler runs.
    Wait {
        /// The longest wait.
        deadline: Duration,
    },
    /// It is refused with 503 at once.
    Refuse,
    /// It is served. If there is no place at its end either, its record is lost, and a record of
    /// the gap says how many were. Requests are refused only if the worker is gone.
    DropAndRecord,
}

impl Default for WhenFull {
    /// Waits for one second.
    fn default() -> Self {
        Self::Wait {
            deadline: Duration::from_secs(1),
        }
    }
}

/// Builds an [`AuditLayer`] and its [`AuditWorker`].
#[must_use = "a builder does nothing until `build`"]
pub struct AuditLayerBuilder {
    sink: Box<dyn AuditSink>,
    queue: usize,
    in_flight: usize,
    when_full: WhenFull,
    clock: Arc<dyn Clock>,
    timer: Option<Arc<dyn Timer>>,
    policy: Policy,
    sync_deadline: Duration,
    continue_unsynced: bool,
    trace: bool,
    encoder: Encoder,
}

impl AuditLayerBuilder {
    /// The most records that may wait, and the most requests in flight.
    pub const MAX_QUEUE: usize = 1 << 20;

    /// How many records may wait to be written before requests are turned away. Default 65,536. A
    /// record takes about 500 bytes, and what its [`Trail`] collected.
    ///
    /// The records of requests in flight find room beyond this bound: what is reserved is never lost. So the most memory is that of `queue` and
    /// [`in_flight`](Self::in_flight) records together, each at most some 100 KiB if its handler fills all that a trail takes, and of the 4,096
    /// lines that the worker is writing.
    ///
    /// [`Trail`]: tenant_context::Trail
    pub fn queue(mut self, places: usize) -> Self {
        self.queue = places;
        self
    }

    /// How many requests may be in flight, from their arrival to the end of their answer's body, open
    /// streams included. Default 65,536.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests;
        self
    }

    /// What happens when the queue is full. Default: wait for one second.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How sure the records of GET, HEAD, OPTIONS and TRACE requests must be. Default:
    /// [`Durability::Deferred`].
    pub fn safe_methods(mut self, durability: Durability) -> Self {
        self.policy.safe = durability;
        self
    }

    /// How sure the records of all other requests must be, gRPC calls among them. Default:
    /// [`Durability::Synced`].
    pub fn unsafe_methods(mut self, durability: Durability) -> Self {
        self.policy.others = durability;
        self
    }

    /// How sure the records of one route must be, whatever its method's class: the template is axum's, or
    /// a gRPC method's path.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the template is none, or clashes with another.
    pub fn route(
        mut self,
        method: Method,
        template: &str,
        durability: Durability,
    ) -> Result<Self, ConfigError> {
        self.policy.declare(method, template, durability)?;
        Ok(self)
    }

    /// What requests to a route are called in records, unless the handler says it: `invoice.read` instead of
    /// `http.get`. The template is axum's, or a gRPC method's path. Costs a request nothing: the worker looks it up.
    ///
    /// ```
    /// use http::Method;
    /// # use tenant_audit::{MemorySink, WhenFull};
    ///
    /// # fn main() -> Result<(), tenant_audit::ConfigError> {
    /// let (audit, worker) = tenant_audit::layer(MemorySink::new())
    ///     .when_full(WhenFull::Refuse)
    ///     .action(Method::GET, "/invoices/{id}", "invoice.read")?
    ///     .action(Method::POST, "/billing.v1.Invoices/Void", "invoice.void")?
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the template is none, or clashes with another.
    pub fn action(
        mut self,
        method: Method,
        template: &str,
        action: impl Into<Cow<'static, str>>,
    ) -> Result<Self, ConfigError> {
        self.encoder
            .actions
            .declare(method, template, action.into())?;
        Ok(self)
    }

    /// Takes the ids of the trace and of the caller's span from `traceparent`, into `trace_id` and `span_id`. It is the
    /// only header that is ever taken, and only so.
    pub fn trace_context(mut self) -> Self {
        self.trace = true;
        self
    }

    /// The keys under which personal values ([`Trail::personal`](tenant_context::Trail::personal)) are sealed. Without,
    /// records hold a commitment to them and nothing else.
    pub fn personal_keys(mut self, keys: impl TenantKeys) -> Self {
        self.encoder.keys = Some(Keyring(Arc::new(keys)));
        self
    }

    /// How long an answer or a handler waits for its record's sync. It needs a [`timer`](Self::timer): without
    /// one, a sink that hangs holds them for as long as it hangs. Default: five seconds.
    pub fn sync_deadline(mut self, deadline: Duration) -> Self {
        self.sync_deadline = deadline;
        self
    }

    /// Serves requests whose records cannot be synced: availability before evidence. What is not durable is
    /// still queued, and written when the sink is back; a crash until then loses it.
    pub fn continue_unsynced(mut self) -> Self {
        self.continue_unsynced = true;
        self
    }

    /// Where time is read from. Default: the system's clocks.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What bounds waits, and paces the worker's new attempts after a sink has failed. Without a
    /// timer the worker ends at the first failure of its sink, and requests are refused from then on.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }

    /// Builds the layer, and the worker, which the application spawns.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the queue has no place or too many, a wait has no deadline or no timer,
    /// or the system gives no random bytes.
    pub fn build(self) -> Result<(AuditLayer, AuditWorker), ConfigError> {
        for (name, places) in [("queue", self.queue), ("in_flight", self.in_flight)] {
            if places == 0 {
                return Err(ConfigError::new(format!(
                    "audit layer: `{name}` is 0, so no request could be recorded; leave it at 65,536"
                )));
            }
            if places > Self::MAX_QUEUE {
                return Err(ConfigError::new(format!(
                    "audit layer: `{name}` is {places}, which would not bound the memory; at most {}",
                    Self::MAX_QUEUE
                )));
            }
        }
        if let WhenFull::Wait { deadline } = self.when_full {
            if self.timer.is_none() {
                return Err(ConfigError::new(
                    "audit layer: requests wait for a place when the queue is full, and nothing ends the wait; \
                     add `.timer(TokioTimer::new())`, or choose `.when_full(WhenFull::Refuse)`",
                ));
            }
            if deadline.is_zero() {
                return Err(ConfigError::new(
                    "audit layer: the deadline of `WhenFull::Wait` is 0; choose `WhenFull::Refuse` to refuse at once",
                ));
            }
        }
        let secret = getrandom::u64().map_err(|error| {
            ConfigError::new(format!(
                "audit layer: the system gives no random bytes for record ids: {error}"
            ))
        })?;
        let queue = Arc::new(Queue::new(Bounds {
            in_flight: self.in_flight,
            waiting: self.queue,
        }));
        let worker = worker::Parts {
            intake: Intake::new(Arc::clone(&queue)),
            sink: self.sink,
            clock: Arc::clone(&self.clock),
            timer: self.timer.clone(),
            secret,
            encoder: self.encoder,
        };
        let door = Arc::new(Door {
            queue,
            when_full: self.when_full,
            clock: self.clock,
            timer: self.timer,
            policy: self.policy,
            sync_deadline: self.sync_deadline,
            continue_unsynced: self.continue_unsynced,
            trace: self.trace,
        });
        Ok((AuditLayer { door }, AuditWorker::new(worker)))
    }
}

impl fmt::Debug for AuditLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayerBuilder")
            .field("queue", &self.queue)
            .field("in_flight", &self.in_flight)
            .field("when_full", &self.when_full)
            .field("timer", &self.timer)
            .finish_non_exhaustive()
    }
}

/// Records every request, refusals included. It stands outermost: it opens the request's
/// [`Trail`](tenant_context::Trail), into which the layers inside and the handler write, and closes
/// it when the last byte of the answer has left, the client hung up, or the handler panicked.
///
/// Made by [`layer`]. Clones share one queue.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct AuditLayer {
    door: Arc<Door>,
}

impl AuditLayer {
    /// The layer's inner part, for a stack without [`TenantStack`](crate::TenantStack): directly around the
    /// application.
    pub fn gate(&self) -> AuditGate {
        AuditPart::gate(self)
    }

    /// For code that is no request, and for waiting until all is written.
    pub fn handle(&self) -> AuditHandle {
        AuditHandle::new(Arc::clone(&self.door))
    }
}

impl StackPart for AuditLayer {
    type Place = place::Audit;
}

impl AuditPart for AuditLayer {
    type Gate = AuditGate;

    fn gate(&self) -> AuditGate {
        AuditGate::new(Arc::clone(&self.door))
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService::new(inner, Arc::clone(&self.door))
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer")
            .field("queue", &self.door)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::DiscardSink;

    fn refusal(builder: AuditLayerBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn a_wait_that_nothing_ends_is_not_built() {
        let message = refusal(layer(DiscardSink::new()));
        assert!(
            message.contains(".timer(") && message.contains("WhenFull::Refuse"),
            "{message}"
        );
    }

    #[test]
    fn i6_the_queue_has_both_bounds() {
        let builder = || layer(DiscardSink::new()).when_full(WhenFull::Refuse);
        assert!(refusal(builder().queue(0)).contains("`queue` is 0"));
        assert!(refusal(builder().queue(usize::MAX)).contains("at most"));
        assert!(refusal(builder().in_flight(0)).contains("`in_flight` is 0"));
        assert!(builder().queue(1).in_flight(1).build().is_ok());
    }
}
