//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), written with a
//! structured-field library (RFC 9651).
//!
//! The optional partition key `pk` is left out: it would have to be an HMAC, never the tenant's id.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{Integer, KeyRef, ListSerializer, StringRef, key_ref};

use crate::{Decision, Dimension, Quota, decision::Bound};

/// `ratelimit-policy`.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `ratelimit`.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const QUOTA: &KeyRef = key_ref("q");
const WINDOW: &KeyRef = key_ref("w");
const REMAINING: &KeyRef = key_ref("r");
const TIME: &KeyRef = key_ref("t");

/// Which responses carry `RateLimit` and `RateLimit-Policy`.
///
/// They name the binding budget: of a refusal the one with the longest wait, of an admission the one
/// with the fewest requests left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Headers {
    /// Refusals only: an admission then costs no allocation.
    #[default]
    OnRefusal,
    /// Refusals, and HTTP responses to admitted requests too, unless a limiter further in has written
    /// them. gRPC responses carry none: a trailers-only one would have them among its trailers.
    Always,
}

/// `"tenant";q=100;w=60`: so many requests in so many seconds.
pub(crate) fn policy(dimension: Dimension, quota: Quota) -> Option<HeaderValue> {
    let (requests, window) = quota.in_whole_seconds();
    list(dimension, [(QUOTA, requests), (WINDOW, window)])
}

/// `"tenant";r=50;t=30`: so many requests are left, and the state changes in so many seconds.
pub(crate) fn state(dimension: Dimension, remaining: u64, after: Duration) -> Option<HeaderValue> {
    let partial = u64::from(after.subsec_nanos() > 0);
    let secs = after.as_secs().saturating_add(partial);
    list(dimension, [(REMAINING, remaining), (TIME, secs)])
}

/// What the response to an admitted request will say of the binding budget.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    policy: HeaderValue,
    decision: Decision,
}

impl Told {
    pub(crate) fn new(bound: Bound<'_>) -> Option<Self> {
        Some(Self {
            policy: bound.budget.policy.clone()?,
            decision: Some(bound).into(),
        })
    }

    /// Writes the fields, unless a limiter further in, which binds more narrowly, has written its own.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self { policy, decision } = self;
        if headers.contains_key(RATE_LIMIT) {
            return;
        }
        let (dimension, remaining, reset) =
            (decision.dimension(), decision.remaining(), decision.reset());
        if let (Some(dimension), Some(remaining), Some(reset)) = (dimension, remaining, reset)
            && let Some(state) = state(dimension, remaining, reset)
        {
            headers.insert(RATE_LIMIT_POLICY, policy);
            headers.insert(RATE_LIMIT, state);
        }
    }
}

fn list(dimension: Dimension, parameters: [(&KeyRef, u64); 2]) -> Option<HeaderValue> {
    let mut text = String::with_capacity(48);
    let mut list = ListSerializer::with_buffer(&mut text);
    let mut item = list.bare_item(StringRef::from_str(dimension.as_str()).ok()?);
    for (key, number) in parameters {
        // Above 15 digits a structured field has no integers; the bound is as good as none.
        let number = i64::try_from(number).map_or(Integer::MAX, |number| {
            Integer::try_from(number).unwrap_or(Integer::MAX)
        });
        item = item.parameter(key, number);
    }
    drop(item);
    HeaderValue::try_from(text).ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_structured() {
        let policy = policy(Dimension::Tenant, Quota::per_minute(100)).unwrap();
        assert_eq!(policy, r#""tenant";q=100;w=60"#);
        let state = state(Dimension::Agent, 50, Duration::from_millis(29_001)).unwrap();
        assert_eq!(state, r#""agent";r=50;t=30"#);
    }

    #[test]
    fn numbers_stay_in_the_fields_range() {
        let huge = Quota::per_second(1_000_000_000).burst(100_000_000_000_000_000);
        huge.check().unwrap();
        let policy = policy(Dimension::Global, huge).unwrap();
        assert_eq!(policy, r#""global";q=999999999999999;w=100000000"#);
    }
}
