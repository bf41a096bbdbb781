//! What can go wrong when something is to be recorded.

use std::{error::Error, fmt, sync::Arc};

/// Why something was not recorded.
#[derive(Clone, Debug)]
pub struct AuditError {
    kind: AuditErrorKind,
    source: Option<SinkError>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditErrorKind {
    /// The [`AuditWorker`](crate::AuditWorker) has ended or was dropped: nothing can be recorded.
    WorkerGone,
    /// The audit was closed: the service is about to end.
    Closed,
    /// The queue was full, for as long as the policy waits.
    QueueFull,
    /// A record was to be durable and is not: the sink failed, or did not answer in time.
    Unsynced,
    /// Many places of the queue are taken, and the tenant holds its share of them.
    ShareTaken,
    /// The sink failed. The worker keeps what it holds and, given a timer, tries again.
    Sink,
}

impl AuditError {
    pub(crate) const fn worker_gone() -> Self {
        Self {
            kind: AuditErrorKind::WorkerGone,
            source: None,
        }
    }

    pub(crate) const fn closed() -> Self {
        Self {
            kind: AuditErrorKind::Closed,
            source: None,
        }
    }

    pub(crate) const fn queue_full() -> Self {
        Self {
            kind: AuditErrorKind::QueueFull,
            source: None,
        }
    }

    pub(crate) const fn unsynced() -> Self {
        Self {
            kind: AuditErrorKind::Unsynced,
            source: None,
        }
    }

    pub(crate) const fn share_taken() -> Self {
        Self {
            kind: AuditErrorKind::ShareTaken,
            source: None,
        }
    }

    pub(crate) const fn sink(source: SinkError) -> Self {
        Self {
            kind: AuditErrorKind::Sink,
            source: Some(source),
        }
    }

    /// What went wrong.
    pub const fn kind(&self) -> AuditErrorKind {
        self.kind
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AuditErrorKind::WorkerGone => {
                "the audit worker has ended or was never spawned: spawn the `AuditWorker` that `build()` returned"
            }
            AuditErrorKind::Closed => "the audit was closed: the service is about to end",
            AuditErrorKind::QueueFull => {
                "the audit queue is full: the sink is slower than what is recorded"
            }
            AuditErrorKind::Unsynced => "the record could not be made durable in time",
            AuditErrorKind::ShareTaken => {
                "the tenant holds its share of the audit queue's places, and many are taken"
            }
            AuditErrorKind::Sink => "the audit sink failed",
        })
    }
}

impl Error for AuditError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|error| error as &(dyn Error + 'static))
    }
}

/// Why a sink cannot take or keep records.
#[derive(Clone, Debug)]
pub struct SinkError {
    message: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// An error with this message: what failed, and what to do.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the error that led here.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|error| error as &(dyn Error + 'static))
    }
}
