//! What is said in the log.

use std::{
    fmt::Write,
    sync::{Arc, Once},
};

use parking_lot::Mutex;
use tracing::{
    Subscriber,
    field::{Field, Visit},
};

/// What the log says, of all threads.
#[derive(Clone, Default)]
pub struct Said(pub Arc<Mutex<String>>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0.lock(), "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Said {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
        *self.0.lock() += "\n";
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Runs this with a subscriber of its own thread's.
///
/// Whoever comes first to a place that logs decides whether it is ever heard, and where there is only one subscriber
/// `tracing-core` asks the thread's own: another test's, which has none. So all other threads have one too.
pub fn heard_by(subscriber: impl Subscriber + Send + Sync, run: impl FnOnce()) {
    static ELSEWHERE: Once = Once::new();
    ELSEWHERE.call_once(|| tracing::subscriber::set_global_default(Said::default()).unwrap());
    tracing::subscriber::with_default(subscriber, run);
}
