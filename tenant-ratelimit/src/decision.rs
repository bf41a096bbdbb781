//! What the limiter answers.

use std::{error::Error, fmt, time::Duration};

use tenant_context::{Rejection, TenantId, Violation};

use crate::{
    Dimension, Quota,
    charge::{Bound, Refusal, Why},
    headers,
};

/// A request was admitted, and every budget it falls under was charged.
///
/// It tells of the *binding* budget: the one with the fewest units left. All answers are `None` if
/// the request falls under no budget: a human's, where only agents are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(Option<Bound>);

impl From<Option<Bound>> for Decision {
    fn from(bound: Option<Bound>) -> Self {
        Self(bound)
    }
}

impl Decision {
    /// Which budget binds.
    pub fn dimension(&self) -> Option<Dimension> {
        self.0.map(|bound| bound.dimension)
    }

    /// The binding budget's quota.
    pub fn quota(&self) -> Option<Quota> {
        self.0.map(|bound| bound.quota)
    }

    /// How many more units the binding budget allows at once, now.
    pub fn remaining(&self) -> Option<u64> {
        self.0.map(|bound| bound.left)
    }

    /// How long until the binding budget is whole again, if nothing else is charged.
    pub fn reset(&self) -> Option<Duration> {
        self.0.map(|bound| bound.gcra.full_in(bound.tat, bound.now))
    }
}

/// A request was refused, and no budget was charged.
#[derive(Clone, Debug)]
#[must_use = "a refusal refuses nothing until it is returned"]
pub struct Denied(Cause);

#[derive(Clone, Debug)]
enum Cause {
    /// The binding one first; whose cells they are.
    Refused(Vec<Refusal>, Option<TenantId>),
    Other(DeniedKind, Rejection),
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeniedKind {
    /// A budget is spent: 429.
    QuotaExceeded,
    /// As many requests as a budget allows are in flight: 429. How long that will last nobody knows.
    TooManyInFlight,
    /// The request costs more than a budget ever allows at once: 429, without a wait, because none would
    /// help.
    CostAboveBurst,
    /// As many tenants as the limiter may know are in use, or a tenant's delegations carry more different
    /// budgets than 256: 503.
    TooManyTenants,
    /// The application's mistake: a tenant's quota that is none, an endpoint of another limiter, an
    /// operation that was not declared: 503, with an error in the log.
    Misconfigured,
    /// The credential carries a budget that cannot be read as one: 401.
    CarriedBudgetInvalid,
    /// The context no longer holds: the tenant is suspended, the credential revoked or expired.
    ContextEnded,
    /// The request has no context, and its route is not declared public: 500.
    ContextMissing,
}

impl Denied {
    pub(crate) const fn refused(refusals: Vec<Refusal>, tenant: Option<TenantId>) -> Self {
        Self(Cause::Refused(refusals, tenant))
    }

    pub(crate) fn too_many_tenants() -> Self {
        let rejection = Rejection::overloaded(FULL_RETRY).with_reason("limits_full");
        Self(Cause::Other(DeniedKind::TooManyTenants, rejection))
    }

    pub(crate) fn too_many_budgets() -> Self {
        let rejection = Rejection::overloaded(FULL_RETRY).with_reason("carried_budgets_full");
        Self(Cause::Other(DeniedKind::TooManyTenants, rejection))
    }

    pub(crate) fn misconfigured(reason: &'static str) -> Self {
        let rejection = Rejection::store_unavailable().with_reason(reason);
        Self(Cause::Other(DeniedKind::Misconfigured, rejection))
    }

    pub(crate) fn carried_budget_invalid() -> Self {
        let rejection = Rejection::credential_invalid("budget");
        Self(Cause::Other(DeniedKind::CarriedBudgetInvalid, rejection))
    }

    pub(crate) const fn context_ended(rejection: Rejection) -> Self {
        Self(Cause::Other(DeniedKind::ContextEnded, rejection))
    }

    pub(crate) fn context_missing() -> Self {
        let rejection = Rejection::context_missing();
        Self(Cause::Other(DeniedKind::ContextMissing, rejection))
    }

    /// Why.
    pub fn kind(&self) -> DeniedKind {
        match &self.0 {
            Cause::Refused(refusals, _) => match refusals.first().map(|refusal| refusal.why) {
                Some(Why::InFlight(_)) => DeniedKind::TooManyInFlight,
                Some(Why::AboveBurst) => DeniedKind::CostAboveBurst,
                Some(Why::Spent(_)) | None => DeniedKind::QuotaExceeded,
            },
            Cause::Other(kind, _) => *kind,
        }
    }

    fn binding(&self) -> Option<&Refusal> {
        match &self.0 {
            Cause::Refused(refusals, _) => refusals.first(),
            Cause::Other(..) => None,
        }
    }

    /// Which budget binds: of those that are spent the one with the longest wait.
    pub fn dimension(&self) -> Option<Dimension> {
        self.binding().map(|refusal| refusal.dimension)
    }

    /// The binding budget's quota.
    pub fn quota(&self) -> Option<Quota> {
        self.binding()?.rate.as_ref().map(|rate| rate.quota)
    }

    /// How long to wait. Whoever comes after exactly this time is admitted by every budget, if nothing
    /// else is charged meanwhile; a nanosecond earlier the binding one still refuses.
    ///
    /// `None` if no wait would help, or nobody knows it: too many in flight, a cost above the burst.
    pub fn wait(&self) -> Option<Duration> {
        match self.binding()?.why {
            Why::Spent(wait) => Some(wait),
            Why::InFlight(_) | Why::AboveBurst => None,
        }
    }

    /// The answer: 429 with `Retry-After`, `RateLimit` and `RateLimit-Policy`, over gRPC
    /// `RESOURCE_EXHAUSTED` with `RetryInfo` and `QuotaFailure`; or what the [`kind`](Self::kind) says.
    pub fn rejection(self) -> Rejection {
        match self.0 {
            Cause::Refused(refusals, tenant) => refuse(&refusals, tenant.as_ref()),
            Cause::Other(_, rejection) => rejection,
        }
    }
}

/// How long to leave a limiter alone that knows as many tenants as it may.
const FULL_RETRY: Duration = Duration::from_secs(1);

fn refuse(refusals: &[Refusal], tenant: Option<&TenantId>) -> Rejection {
    let (dimension, why) = refusals.first().map_or(("limits", None), |binding| {
        (binding.dimension.as_str(), Some(binding.why))
    });
    let wait = match why {
        Some(Why::Spent(wait)) => Some(wait),
        _ => None,
    };
    let mut rejection = Rejection::quota_exceeded(dimension, wait);
    match why {
        Some(Why::InFlight(_)) => {
            rejection = rejection.with_reason(format!("too_many_in_flight:{dimension}"));
        }
        Some(Why::AboveBurst) => {
            rejection = rejection.with_reason(format!("cost_above_burst:{dimension}"));
        }
        Some(Why::Spent(_)) | None => {}
    }
    let violations = refusals.iter().enumerate().filter_map(|(at, refusal)| {
        let (dimension, before) = (refusal.dimension, refusals.get(..at).unwrap_or_default());
        let first = before.iter().all(|known| known.dimension != dimension);
        first.then(|| Violation::new(dimension.as_str(), dimension.description()))
    });
    rejection
        .with_violations(violations)
        .with_headers(headers::of_refusals(refusals, tenant))
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        denied.rejection()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (
            &self.0,
            self.binding()
                .map(|refusal| (refusal.dimension, refusal.why)),
        ) {
            (_, Some((dimension, Why::Spent(wait)))) => {
                write!(
                    f,
                    "the {dimension} quota is spent; it admits again in {wait:?}"
                )
            }
            (_, Some((dimension, Why::InFlight(most)))) => {
                write!(
                    f,
                    "{most} requests are in flight, the most that the {dimension} limit allows"
                )
            }
            (_, Some((dimension, Why::AboveBurst))) => {
                write!(
                    f,
                    "the request costs more than the {dimension} quota ever allows at once"
                )
            }
            (Cause::Other(_, rejection), None) => write!(f, "{rejection} ({})", rejection.reason()),
            (Cause::Refused(..), None) => f.write_str("a quota is spent"),
        }
    }
}

impl Error for Denied {}
