//! What the limiter answers.

use std::{error::Error, fmt, time::Duration};

use http::HeaderValue;
use tenant_context::{Monotonic, Rejection, Violation};

use crate::{Quota, cells::Budget, gcra::Gcra, headers};

/// What a budget is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// All requests, of all tenants.
    Global,
    /// All requests of one tenant.
    Tenant,
    /// The requests of one agent of one tenant.
    Agent,
    /// One tenant's requests to one endpoint.
    Endpoint,
}

impl Dimension {
    /// The dimension's name, as policies, problems and audit records show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Tenant => "tenant",
            Self::Agent => "agent",
            Self::Endpoint => "endpoint",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Global => "All requests to this service.",
            Self::Tenant => "All requests of this tenant.",
            Self::Agent => "All requests of this agent.",
            Self::Endpoint => "This tenant's requests to this endpoint.",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request was admitted, and every budget it falls under was charged.
///
/// It tells of the *binding* budget: the one with the fewest requests left. All answers are `None` if
/// the request falls under no budget: a human's, where only agents are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(Option<Binding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    dimension: Dimension,
    quota: Quota,
    gcra: Gcra,
    tat: u64,
    now: Monotonic,
}

/// The binding budget after it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) tat: u64,
    pub(crate) now: Monotonic,
}

impl From<Option<Bound<'_>>> for Decision {
    fn from(bound: Option<Bound<'_>>) -> Self {
        Self(bound.map(|Bound { budget, tat, now }| Binding {
            dimension: budget.dimension,
            quota: budget.quota,
            gcra: budget.gcra,
            tat,
            now,
        }))
    }
}

impl Decision {
    /// Which budget binds.
    pub fn dimension(&self) -> Option<Dimension> {
        self.0.map(|binding| binding.dimension)
    }

    /// The binding budget's quota.
    pub fn quota(&self) -> Option<Quota> {
        self.0.map(|binding| binding.quota)
    }

    /// How many more requests the binding budget allows at once, now.
    pub fn remaining(&self) -> Option<u64> {
        self.0
            .map(|binding| binding.gcra.remaining(binding.tat, binding.now))
    }

    /// How long until the binding budget is whole again, if nothing else is charged.
    pub fn reset(&self) -> Option<Duration> {
        self.0
            .map(|binding| binding.gcra.full_in(binding.tat, binding.now))
    }
}

/// A request was refused, and no budget was charged.
#[derive(Clone, Debug)]
#[must_use = "a refusal refuses nothing until it is returned"]
pub struct Denied(Cause);

#[derive(Clone, Debug)]
enum Cause {
    Spent(Spent),
    Other(DeniedKind, Rejection),
}

/// The binding one of the budgets that refuse: the one with the longest wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) dimension: Dimension,
    pub(crate) quota: Quota,
    pub(crate) policy: Option<HeaderValue>,
    pub(crate) wait: Duration,
}

impl Spent {
    pub(crate) fn new(budget: &Budget, wait: Duration) -> Self {
        Self {
            dimension: budget.dimension,
            quota: budget.quota,
            policy: budget.policy.clone(),
            wait,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeniedKind {
    /// A budget is spent: 429.
    QuotaExceeded,
    /// As many tenants as the limiter may know are in use: 503.
    TooManyTenants,
    /// The application's mistake: a tenant's quota that is none, an endpoint of another limiter: 503,
    /// with an error in the log.
    Misconfigured,
    /// The context no longer holds: the tenant is suspended, the credential revoked or expired.
    ContextEnded,
    /// The request has no context, and its route is not declared public: 500.
    ContextMissing,
}

impl Denied {
    pub(crate) const fn spent(spent: Spent) -> Self {
        Self(Cause::Spent(spent))
    }

    pub(crate) fn too_many_tenants() -> Self {
        let rejection = Rejection::overloaded(FULL_RETRY).with_reason("limits_full");
        Self(Cause::Other(DeniedKind::TooManyTenants, rejection))
    }

    pub(crate) fn misconfigured(reason: &'static str) -> Self {
        let rejection = Rejection::store_unavailable().with_reason(reason);
        Self(Cause::Other(DeniedKind::Misconfigured, rejection))
    }

    pub(crate) const fn context_ended(rejection: Rejection) -> Self {
        Self(Cause::Other(DeniedKind::ContextEnded, rejection))
    }

    pub(crate) fn context_missing() -> Self {
        let rejection = Rejection::context_missing();
        Self(Cause::Other(DeniedKind::ContextMissing, rejection))
    }

    /// Why.
    pub const fn kind(&self) -> DeniedKind {
        match self.0 {
            Cause::Spent(_) => DeniedKind::QuotaExceeded,
            Cause::Other(kind, _) => kind,
        }
    }

    const fn binding(&self) -> Option<&Spent> {
        match &self.0 {
            Cause::Spent(spent) => Some(spent),
            Cause::Other(..) => None,
        }
    }

    /// Which budget binds, if one is spent: the one with the longest wait.
    pub fn dimension(&self) -> Option<Dimension> {
        self.binding().map(|spent| spent.dimension)
    }

    /// The binding budget's quota.
    pub fn quota(&self) -> Option<Quota> {
        self.binding().map(|spent| spent.quota)
    }

    /// How long to wait. Whoever comes after exactly this time is admitted by every budget, if nothing
    /// else is charged meanwhile; a nanosecond earlier the binding one still refuses.
    pub fn wait(&self) -> Option<Duration> {
        self.binding().map(|spent| spent.wait)
    }

    /// The answer: 429 with `Retry-After`, `RateLimit` and `RateLimit-Policy`, over gRPC
    /// `RESOURCE_EXHAUSTED` with `RetryInfo` and `QuotaFailure`; or what the [`kind`](Self::kind) says.
    pub fn rejection(self) -> Rejection {
        match self.0 {
            Cause::Spent(spent) => refuse(spent),
            Cause::Other(_, rejection) => rejection,
        }
    }
}

/// How long to leave a limiter alone that knows as many tenants as it may.
const FULL_RETRY: Duration = Duration::from_secs(1);

fn refuse(spent: Spent) -> Rejection {
    let Spent {
        dimension,
        policy,
        wait,
        ..
    } = spent;
    let violation = Violation::new(dimension.as_str(), dimension.description());
    let mut rejection =
        Rejection::quota_exceeded(dimension.as_str(), Some(wait)).with_violation(violation);
    if let (Some(policy), Some(state)) = (policy, headers::state(dimension, 0, wait)) {
        rejection = rejection
            .with_header(headers::RATE_LIMIT_POLICY, policy)
            .with_header(headers::RATE_LIMIT, state);
    }
    rejection
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        denied.rejection()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Spent(spent) => write!(
                f,
                "the {} quota is spent; it admits again in {:?}",
                spent.dimension, spent.wait
            ),
            Cause::Other(_, rejection) => write!(f, "{rejection} ({})", rejection.reason()),
        }
    }
}

impl Error for Denied {}
