//! What a budget allows.

use std::time::Duration;

use tenant_context::{ConfigError, TenantState};

use crate::gcra::Gcra;

/// So many requests in so much time, and how many of them at once.
///
/// A spent budget comes back continuously, at the even pace of the quota: with `per_minute(10)` one
/// request every six seconds. The burst is what a rested budget allows at once; it is the
/// quota's number of requests unless [`burst`](Self::burst) says otherwise.
///
/// The constructors are `const` and take any number; [`check`](Self::check), which every builder calls,
/// says what is wrong with it. Legal is: at least one request, at most one per nanosecond, a period and
/// a time in which a spent burst comes back of at most ten years. Within these bounds nothing
/// overflows, and the pace is kept exactly.
///
/// ```
/// use std::time::Duration;
/// use tenant_ratelimit::Quota;
///
/// const API: Quota = Quota::per_second(100).burst(200);
/// const REPORTS: Quota = Quota::per_minute(10);                              // ten at once, then one every 6 s
/// const EXPORTS: Quota = Quota::per(3, Duration::from_secs(86_400)).burst(1);
///
/// assert!(Quota::per_second(4000).check().is_ok());                          // 4000 requests in each second
/// assert!(Quota::per_second(0).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a quota limits nothing until it is given to a builder"]
pub struct Quota {
    requests: u64,
    period: Duration,
    burst: u64,
}

impl Quota {
    /// This many requests in each second.
    pub const fn per_second(requests: u64) -> Self {
        Self::per(requests, Duration::from_secs(1))
    }

    /// This many requests in each minute.
    pub const fn per_minute(requests: u64) -> Self {
        Self::per(requests, Duration::from_secs(60))
    }

    /// This many requests in each period.
    pub const fn per(requests: u64, period: Duration) -> Self {
        Self {
            requests,
            period,
            burst: requests,
        }
    }

    /// How many requests a rested budget allows at once.
    pub const fn burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }

    /// How many requests each [`period`](Self::period) allows.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// The period.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How many requests a rested budget allows at once.
    pub const fn max_burst(&self) -> u64 {
        self.burst
    }

    /// Whether this quota is one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong and what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.gcra().map(drop)
    }

    pub(crate) fn gcra(&self) -> Result<Gcra, ConfigError> {
        let period = u64::try_from(self.period.as_nanos()).ok();
        if let Some(gcra) = period.and_then(|period| Gcra::new(self.requests, period, self.burst)) {
            return Ok(gcra);
        }
        let Self {
            requests,
            period,
            burst,
        } = self;
        Err(ConfigError::new(if *requests == 0 || *burst == 0 {
            format!(
                "a quota of {requests} requests with a burst of {burst} would refuse everything; allow at least one request"
            )
        } else if u128::from(*requests) > period.as_nanos() {
            format!(
                "a quota of {requests} requests per {period:?} is more than one per nanosecond; use a longer period, or leave the limit out"
            )
        } else {
            format!(
                "a quota of {requests} requests per {period:?} with a burst of {burst}: the period, and the time in which a spent burst comes back, must not exceed ten years; use a shorter period or a smaller burst"
            )
        }))
    }

    /// The quota as clients are told: so many requests in so many whole seconds. The window is the
    /// time in which a spent burst comes back.
    pub(crate) fn in_whole_seconds(&self) -> (u64, u64) {
        const SECOND: u128 = 1_000_000_000;
        let (requests, burst) = (u128::from(self.requests), u128::from(self.burst));
        let period = self.period.as_nanos();
        let refill = burst.saturating_mul(period).div_ceil(requests.max(1));
        let window = refill.div_ceil(SECOND);
        let quota = window
            .saturating_mul(SECOND)
            .saturating_mul(requests)
            .checked_div(period)
            .unwrap_or(0);
        let narrow = |n| u64::try_from(n).unwrap_or(u64::MAX);
        (narrow(quota.max(burst)), narrow(window))
    }
}

/// Where a tenant's quota comes from: one [`Quota`] for all, a closure, or a type of your own.
///
/// It is asked when a tenant is first seen and whenever its record changes, not on every request. A quota that
/// fails [`Quota::check`] refuses that tenant's requests with 503 until its record changes, with an error
/// in the log.
///
/// ```
/// use tenant_context::TenantState;
/// use tenant_ratelimit::Quota;
///
/// let limits = tenant_ratelimit::layer()
///     .tenant(|tenant: &TenantState| match &*tenant.plan() {
///         "pro" => Quota::per_second(100).burst(200),
///         _ => Quota::per_minute(10),
///     })
///     .build()?;
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of a tenant's quota",
    note = "give a `Quota`, a closure `|tenant: &TenantState| -> Quota`, or a type that implements `TenantQuota`"
)]
pub trait TenantQuota: Send + Sync + 'static {
    /// This tenant's quota.
    fn quota(&self, tenant: &TenantState) -> Quota;

    /// What can be said before the first tenant comes; called by the builder.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if no tenant could ever get a valid quota.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl TenantQuota for Quota {
    fn quota(&self, _: &TenantState) -> Quota {
        *self
    }

    fn check(&self) -> Result<(), ConfigError> {
        Self::check(self)
    }
}

impl<F> TenantQuota for F
where
    F: Fn(&TenantState) -> Quota + Send + Sync + 'static,
{
    fn quota(&self, tenant: &TenantState) -> Quota {
        self(tenant)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_none_says_what_to_do() {
        for (quota, says) in [
            (Quota::per_second(0), "at least one request"),
            (Quota::per_second(1).burst(0), "at least one request"),
            (
                Quota::per(1, Duration::ZERO),
                "more than one per nanosecond",
            ),
            (
                Quota::per_second(1_000_000_001),
                "more than one per nanosecond",
            ),
            (Quota::per(1, Duration::MAX), "ten years"),
            (Quota::per_minute(1).burst(u64::MAX), "ten years"),
        ] {
            let error = quota.check().unwrap_err().to_string();
            assert!(error.contains(says), "{quota:?}: {error}");
        }
    }

    #[test]
    fn clients_are_told_whole_seconds_at_the_true_pace() {
        for (quota, told) in [
            (Quota::per_minute(10), (10, 60)),
            (Quota::per_second(100).burst(200), (200, 2)),
            (Quota::per_second(4000), (4000, 1)),
            (Quota::per_second(100).burst(10), (100, 1)),
            (Quota::per(1, Duration::from_millis(100)), (10, 1)),
            (Quota::per(3, Duration::from_secs(7)), (3, 7)),
            (Quota::per_minute(100_000), (100_000, 60)),
        ] {
            assert_eq!(quota.in_whole_seconds(), told, "{quota:?}");
        }
    }
}
