//! Why a job is not sealed, not opened, or not finished.

use std::{error::Error, fmt};

use tenant_context::{EndReason, Rejection, TenantId};

use super::{JobEnvelope, JobId};
use crate::KeyError;

/// Why a job was not sealed. In a handler `?` turns it into the [`Rejection`] to answer with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SealError {
    /// The context does not hold any more: its tenant is suspended, its credential revoked or expired.
    Ended(Rejection),
    /// A scope that the context does not have was asked for.
    Scope(Box<str>),
    /// More payload than [`max_payload`](super::JobsBuilder::max_payload).
    PayloadTooLong,
    /// More claims than an envelope holds (64 KiB, 256 scopes).
    ClaimsTooLong,
    /// A longer life than [`max_ttl`](super::JobsBuilder::max_ttl), or none.
    Ttl,
    /// The payload cannot be written as JSON.
    Json,
    /// This process only opens jobs: no [`sign_with`](super::JobsBuilder::sign_with).
    NoKey,
    /// Signing failed, or the operating system gave no randomness.
    Key(KeyError),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(rejection) => rejection.fmt(f),
            Self::Scope(scope) => write!(f, "the context does not have the scope {scope:?}"),
            Self::PayloadTooLong => f.write_str("the payload is longer than `max_payload`"),
            Self::ClaimsTooLong => f.write_str("the identity's claims do not fit into an envelope"),
            Self::Ttl => f.write_str("the job's life is 0 or longer than `max_ttl`"),
            Self::Json => f.write_str("the payload cannot be written as JSON"),
            Self::NoKey => f.write_str(
                "this process only opens jobs; add `.sign_with(..)` where jobs are sealed",
            ),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl Error for SealError {}

impl From<SealError> for Rejection {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Ended(rejection) => rejection,
            SealError::Scope(scope) => Self::insufficient_scope([scope]),
            SealError::PayloadTooLong => Self::malformed("job_payload_too_long").with_source(error),
            SealError::ClaimsTooLong => Self::malformed("job_claims_too_long").with_source(error),
            _ => Self::store_unavailable()
                .with_reason("job_not_sealed")
                .with_source(error),
        }
    }
}

/// Why an envelope is never going to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// There is no envelope: a job without a tenant is nobody's, least of all the system's.
    Missing,
    /// More bytes than are read.
    TooLong,
    /// No envelope.
    Malformed,
    /// Of a version that this one does not read.
    Version,
    /// Sealed with a key that is not known here.
    UnknownKey,
    /// The signature does not fit, or the payload is not the sealed one.
    Altered,
    /// Of another queue, or of another tenant than the one it was opened for.
    Foreign,
    /// Too late.
    Expired,
    /// Sealed in the future, by more than the leeway of one minute.
    SealedInFuture,
    /// Its life is longer than [`max_ttl`](super::JobsBuilder::max_ttl).
    LivesTooLong,
    /// It was finished already.
    Replayed,
    /// The tenant is unknown or closed.
    TenantUnknown,
    /// The credential that it was sealed with is revoked.
    Revoked,
    /// The claims cannot be admitted, for another reason.
    Refused,
}

impl DeadReason {
    /// The reason as records show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "job_missing",
            Self::TooLong => "job_too_long",
            Self::Malformed => "job_malformed",
            Self::Version => "job_version",
            Self::UnknownKey => "job_unknown_key",
            Self::Altered => "job_altered",
            Self::Foreign => "job_foreign",
            Self::Expired => "job_expired",
            Self::SealedInFuture => "job_sealed_in_future",
            Self::LivesTooLong => "job_lives_too_long",
            Self::Replayed => "job_replayed",
            Self::TenantUnknown => "job_tenant_unknown",
            Self::Revoked => "job_revoked",
            Self::Refused => "job_refused",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the dead-letter callback is given.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeadLetter<'a> {
    /// Why.
    pub reason: DeadReason,
    /// The envelope as it came; `None` if there was none.
    pub envelope: Option<&'a JobEnvelope>,
    /// Whose job it is, if the signature fits. An envelope without a good signature is nobody's.
    pub tenant: Option<&'a TenantId>,
    /// Which job it is, if the signature fits.
    pub id: Option<JobId>,
}

/// Why a job was not opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It is never going to be opened; the dead-letter callback has it.
    Dead(DeadReason),
    /// Its tenant is suspended: leave it in the queue.
    Suspended,
    /// It is being worked on, by another delivery: leave it to that one.
    Running,
    /// The tenants or the revocations cannot be asked, or there is no room to remember the job: try again
    /// later.
    Unavailable(Rejection),
}

impl OpenError {
    /// Whether another delivery could be opened.
    pub const fn is_temporary(&self) -> bool {
        !matches!(self, Self::Dead(_))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(reason) => write!(f, "the job is dead: {reason}"),
            Self::Suspended => f.write_str("the job's tenant is suspended"),
            Self::Running => f.write_str("the job is being worked on"),
            Self::Unavailable(_) => f.write_str("the job cannot be opened now"),
        }
    }
}

impl Error for OpenError {}

/// Why a job was not finished.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RunError<E> {
    /// It was not opened; no work was done.
    Open(OpenError),
    /// The context ended while the work ran: the work was dropped where it stood.
    Cancelled(EndReason),
    /// The work's own error.
    Failed(E),
}

impl<E> RunError<E> {
    /// Whether the queue should deliver the job again: not if it is dead, revoked or expired.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Open(error) => error.is_temporary(),
            Self::Cancelled(reason) => matches!(reason, EndReason::Suspended),
            Self::Failed(_) => true,
        }
    }
}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Cancelled(reason) => write!(f, "the job was cancelled: {reason}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for RunError<E> {}
