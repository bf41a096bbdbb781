//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), written with a
//! structured-field library (RFC 9651).
//!
//! The optional partition key `pk` is left out: it would have to be an HMAC, never the tenant's id.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{Integer, KeyRef, ListSerializer, StringRef, key_ref};

use crate::{
    Dimension, Quota,
    charge::{Bound, Refusal, Why},
};

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
/// A refusal names the budgets that refuse, in one list, the one with the longest wait first. An admission
/// names the binding budget: the one with the fewest units left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Headers {
    /// Refusals only: an admission then costs no allocation.
    #[default]
    OnRefusal,
    /// Refusals, and HTTP responses to admitted requests too, beside what a limiter further in has written.
    /// gRPC responses carry none: a trailers-only one would have them among its trailers.
    Always,
}

/// The fields of a refusal: the policies that refuse, in one list, the binding one first, and what is left of
/// them: nothing.
pub(crate) fn of_refusals(refusals: &[Refusal]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let mut fields = Fields::default();
    for (at, refusal) in refusals.iter().enumerate() {
        let same = |known: &Refusal| known.dimension == refusal.dimension;
        let before = refusals.get(..at).unwrap_or_default();
        if let Some(rate) = refusal.rate
            && !before.iter().any(same)
        {
            // For one that only a lower cost, or fewer requests in flight, would pass there is no time to tell.
            let left = match refusal.why {
                Why::Spent(wait) => Some((0, wait)),
                Why::InFlight(_) | Why::AboveBurst => None,
            };
            fields.add(refusal.dimension, rate.quota, left);
        }
    }
    fields.finish()
}

/// What the response to an admitted request will say of the binding budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told(Bound);

impl Told {
    pub(crate) const fn new(bound: Bound) -> Self {
        Self(bound)
    }

    /// Writes the fields; beside those that a limiter further in has written, in the same list.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self(bound) = self;
        let reset = bound.rate.gcra.full_in(bound.tat, bound.now);
        let mut fields = Fields::default();
        fields.add(bound.dimension, bound.rate.quota, Some((bound.left, reset)));
        for (name, value) in fields.finish() {
            merge(headers, name, &value);
        }
    }
}

/// Adds to a list that a limiter further in has begun: its policies bind more narrowly and stay first, and
/// one of a name that it has is left out.
fn merge(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let Some(known) = headers.get(&name) else {
        headers.insert(name, value.clone());
        return;
    };
    let policy = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().unwrap_or_default().to_owned()
    };
    let names = policy(value);
    let Ok(known) = known.to_str() else { return };
    if known
        .split(", ")
        .any(|item| item.split(';').next() == Some(&names))
    {
        return;
    }
    let Ok(value) = value.to_str() else { return };
    if let Ok(list) = HeaderValue::try_from(format!("{known}, {value}")) {
        headers.insert(name, list);
    }
}

/// Both fields while they are written: each a list, with a member for each policy.
#[derive(Default)]
struct Fields {
    policy: String,
    state: String,
}

impl Fields {
    /// `"tenant";q=100;w=60`: so many units in so many seconds; `"tenant";r=50;t=30`: so many are left, and
    /// that changes in so many seconds. Numbers of seconds are rounded up.
    fn add(&mut self, dimension: Dimension, quota: Quota, left: Option<(u64, Duration)>) {
        let (units, window) = quota.in_whole_seconds();
        item(
            &mut self.policy,
            dimension,
            [(QUOTA, units), (WINDOW, window)],
        );
        if let Some((left, after)) = left {
            let partial = u64::from(after.subsec_nanos() > 0);
            let secs = after.as_secs().saturating_add(partial);
            item(
                &mut self.state,
                dimension,
                [(REMAINING, left), (TIME, secs)],
            );
        }
    }

    fn finish(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let field = |name, text: String| {
            let value = (!text.is_empty()).then(|| HeaderValue::try_from(text).ok());
            value.flatten().map(|value| (name, value))
        };
        let policy = field(RATE_LIMIT_POLICY, self.policy);
        policy.into_iter().chain(field(RATE_LIMIT, self.state))
    }
}

/// Adds one member to a list.
fn item(text: &mut String, dimension: Dimension, parameters: [(&KeyRef, u64); 2]) {
    let Ok(name) = StringRef::from_str(dimension.as_str()) else {
        return; // The builder takes none that is no such string.
    };
    if text.is_empty() {
        text.reserve(48);
    } else {
        text.push_str(", ");
    }
    let mut member = String::with_capacity(48);
    let mut list = ListSerializer::with_buffer(&mut member);
    let mut item = list.bare_item(name);
    for (key, number) in parameters {
        // Above 15 digits a structured field has no integers; the bound is as good as none.
        let number = i64::try_from(number).map_or(Integer::MAX, |number| {
            Integer::try_from(number).unwrap_or(Integer::MAX)
        });
        item = item.parameter(key, number);
    }
    drop(item);
    drop(list);
    text.push_str(&member);
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tenant_context::Monotonic;

    use super::*;
    use crate::cells::Rate;

    fn spent(dimension: Dimension, quota: Quota, wait: Duration) -> Refusal {
        Refusal {
            dimension,
            rate: Some(Rate::new(quota).unwrap()),
            why: Why::Spent(wait),
        }
    }

    fn fields(refusals: &[Refusal]) -> Vec<String> {
        of_refusals(refusals)
            .map(|(_, value)| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn several_policies_stand_in_one_list_the_binding_one_first() {
        let refusals = [
            spent(
                Dimension::Agent,
                Quota::per_minute(100),
                Duration::from_millis(29_001),
            ),
            spent(
                Dimension::Agent,
                Quota::per_minute(100),
                Duration::from_millis(3),
            ),
            spent(
                Dimension::Tenant,
                Quota::per_minute(10),
                Duration::from_nanos(1),
            ),
        ];
        assert_eq!(
            fields(&refusals),
            [
                r#""agent";q=100;w=60, "tenant";q=10;w=60"#,
                r#""agent";r=0;t=30, "tenant";r=0;t=1"#
            ]
        );
    }

    #[test]
    fn no_time_is_told_where_no_wait_helps() {
        let above = Refusal {
            why: Why::AboveBurst,
            ..spent(Dimension::Tenant, Quota::per_minute(10), Duration::ZERO)
        };
        assert_eq!(fields(&[above]), [r#""tenant";q=10;w=60"#]);
        let in_flight = Refusal {
            why: Why::InFlight(3),
            rate: None,
            ..above
        };
        assert!(fields(&[in_flight]).is_empty());
    }

    #[test]
    fn numbers_stay_in_the_fields_range() {
        let huge = Quota::per_second(1_000_000_000).burst(100_000_000_000_000_000);
        let refusal = spent(Dimension::Global, huge, Duration::MAX);
        assert_eq!(
            fields(&[refusal]),
            [
                r#""global";q=999999999999999;w=100000000"#,
                r#""global";r=0;t=999999999999999"#
            ]
        );
    }

    #[test]
    fn an_outer_limiter_adds_to_the_list_of_the_inner_one() {
        let bound = |dimension| {
            Told::new(Bound {
                dimension,
                rate: Rate::new(Quota::per_minute(10)).unwrap(),
                left: 3,
                tat: 0,
                now: Monotonic::from_secs(1),
            })
        };
        let mut headers = HeaderMap::new();
        bound(Dimension::Tenant).write(&mut headers);
        bound(Dimension::Address).write(&mut headers);
        bound(Dimension::Tenant).write(&mut headers);
        let policy = r#""tenant";q=10;w=60, "address";q=10;w=60"#;
        assert_eq!(headers[RATE_LIMIT_POLICY], policy);
        assert_eq!(
            headers[RATE_LIMIT],
            r#""tenant";r=3;t=0, "address";r=3;t=0"#
        );
    }
}
