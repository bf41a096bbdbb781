//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), written with a
//! structured-field library (RFC 9651). The partition key `pk` is an HMAC, never the tenant's id.

use std::{fmt::Write as _, time::Duration};

use arrayvec::ArrayString;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{Integer, ItemSerializer, KeyRef, List, ListEntry, Parser, StringRef, key_ref};
use tenant_context::TenantId;

use crate::{
    Dimension, Quota,
    charge::{Bound, Refusal, Why},
    partition::Partition,
};

/// `ratelimit-policy`.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `ratelimit`.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const QUOTA: &KeyRef = key_ref("q");
const WINDOW: &KeyRef = key_ref("w");

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
pub(crate) fn of_refusals<'a>(
    refusals: &'a [Refusal],
    tenant: Option<&TenantId>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let told = |(at, refusal): (usize, &'a Refusal)| {
        let same = |known: &Refusal| known.dimension == refusal.dimension;
        let before = refusals.get(..at).unwrap_or_default();
        let rate = refusal.rate.as_ref()?;
        (!before.iter().any(same)).then_some((refusal, rate))
    };
    let told = refusals.iter().enumerate().filter_map(told);
    let mut policies = Fields::begin();
    for (refusal, rate) in told.clone() {
        let partition = refusal
            .part
            .and_then(|part| Partition::of(refusal.dimension, tenant, part));
        policies.policy(refusal.dimension, &rate.policy, partition);
    }
    let mut states = policies.end();
    for (refusal, _) in told {
        // For one that only a lower cost, or fewer requests in flight, would pass there is no time to tell.
        if let Why::Spent(wait) = refusal.why {
            states.state(refusal.dimension, 0, wait);
        }
    }
    states.finish()
}

/// What the response to an admitted request will say of the binding budget.
#[derive(Clone, Debug)]
pub(crate) struct Told(Bound, Policy, Option<Partition>);

impl Told {
    pub(crate) const fn new(bound: Bound, policy: Policy, partition: Option<Partition>) -> Self {
        Self(bound, policy, partition)
    }

    /// Writes the fields; beside those that a limiter further in has written, in the same list.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self(bound, policy, partition) = self;
        let reset = bound.gcra.full_in(bound.tat, bound.now);
        let mut policies = Fields::begin();
        policies.policy(bound.dimension, &policy, partition);
        let mut states = policies.end();
        states.state(bound.dimension, bound.left, reset);
        for (name, value) in states.finish() {
            merge(headers, name, &value);
        }
    }
}

/// Adds to a list that a limiter further in has begun: its policies bind more narrowly and stay first, and
/// one of a name that it has is left out. A field that is no list is the application's own, and stays as it is.
pub(crate) fn merge(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut fields = headers.get_all(&name).iter();
    let Some(known) = fields.next() else {
        headers.insert(name, value.clone());
        return;
    };
    let (Some(begun), Some(added), None) = (names(known), names(value), fields.next()) else {
        return;
    };
    if added.iter().any(|name| begun.contains(name)) {
        return;
    }
    let list = [known.as_bytes(), value.as_bytes()].join(b", ".as_slice());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// The policies' names in a list; `None` if it is none, or empty.
fn names(list: &HeaderValue) -> Option<Vec<String>> {
    let list = Parser::new(list.as_bytes()).parse::<List>().ok()?;
    let name = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => Some(item.bare_item.as_string()?.as_str().to_owned()),
        ListEntry::InnerList(_) => None,
    };
    let names: Option<Vec<String>> = list.iter().map(name).collect();
    names.filter(|names| !names.is_empty())
}

/// What is told of a quota in every policy, `;q=100;w=60`: two numbers of at most 15 digits. It stands where the quota
/// does, so that a refusal copies it and counts no references.
pub(crate) type Policy = ArrayString<36>;

pub(crate) fn policy(quota: Quota) -> Policy {
    let (units, window) = quota.in_whole_seconds();
    let any = StringRef::constant("");
    let mut item = ItemSerializer::new().bare_item(any);
    for (key, number) in [(QUOTA, units), (WINDOW, window)] {
        item = item.parameter(key, told(number));
    }
    let text = item.finish();
    Policy::from(text.trim_start_matches('"')).unwrap_or_default()
}

/// Above 15 digits a structured field has no integers; the bound is as good as none.
fn told(number: u64) -> Integer {
    let number = i64::try_from(number).ok();
    number.map_or(Integer::MAX, |number| {
        Integer::try_from(number).unwrap_or(Integer::MAX)
    })
}

/// Both fields while they are written, one behind the other in one piece of memory: each a list, with a member for each policy.
/// What stands in a member is prepared but for the partition's name and the numbers of the moment; names are `a-z0-9_-`.
struct Fields {
    text: String,
    /// Where the present list begins.
    from: usize,
}

impl Fields {
    fn begin() -> Self {
        Self {
            text: String::with_capacity(128),
            from: 0,
        }
    }

    /// `"tenant";q=100;w=60`: so many units in so many seconds.
    fn policy(&mut self, dimension: Dimension, policy: &str, partition: Option<Partition>) {
        self.member(dimension);
        self.text.push_str(policy);
        if let Some(partition) = &partition {
            self.text.push_str(";pk=");
            let name: &[u8] = partition.as_bytes();
            let item = ItemSerializer::with_buffer(&mut self.text).bare_item(name);
            drop(item);
        }
    }

    /// All policies are written.
    fn end(self) -> Self {
        Self {
            from: self.text.len(),
            ..self
        }
    }

    /// `"tenant";r=50;t=30`: so many are left, and that changes in so many seconds, rounded up.
    fn state(&mut self, dimension: Dimension, left: u64, after: Duration) {
        let partial = u64::from(after.subsec_nanos() > 0);
        let secs = after.as_secs().saturating_add(partial);
        self.member(dimension);
        // To write to a string fails never.
        write!(self.text, ";r={};t={}", told(left), told(secs)).ok();
    }

    /// Begins a member of the present list.
    fn member(&mut self, dimension: Dimension) {
        let first = self.text.len() == self.from;
        let parts = if first { "\"" } else { ", \"" };
        for part in [parts, dimension.as_str(), "\""] {
            self.text.push_str(part);
        }
    }

    fn finish(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let mut policies = Bytes::from(self.text);
        let states = policies.split_off(self.from);
        let field = |name, text: Bytes| {
            let value = (!text.is_empty()).then(|| HeaderValue::from_maybe_shared(text).ok());
            value.flatten().map(|value| (name, value))
        };
        let policy = field(RATE_LIMIT_POLICY, policies);
        policy.into_iter().chain(field(RATE_LIMIT, states))
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tenant_context::Monotonic;

    use super::*;
    use crate::{cells::Rate, partition::Part};

    fn spent(dimension: Dimension, quota: Quota, wait: Duration) -> Refusal {
        Refusal {
            dimension,
            rate: Some(Rate::new(quota).unwrap()),
            why: Why::Spent(wait),
            source: None,
            part: None,
        }
    }

    fn fields(refusals: &[Refusal]) -> Vec<String> {
        let acme = TenantId::parse("acme").unwrap();
        of_refusals(refusals, Some(&acme))
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
    fn the_longest_policy_is_told_whole() {
        let ten_years = Duration::from_secs(10 * 365 * 86_400);
        let most = Quota::per(u64::try_from(ten_years.as_nanos()).unwrap(), ten_years);
        let expected = ";q=999999999999999;w=315360000";
        assert_eq!(&*Rate::new(most).unwrap().policy, expected);
    }

    #[test]
    fn a_partition_is_a_byte_sequence() {
        let refusal = Refusal {
            part: Some(Part::Whole),
            ..spent(Dimension::Tenant, Quota::per_minute(10), Duration::ZERO)
        };
        let [policy, _] = fields(&[refusal]).try_into().unwrap();
        let pk = policy.strip_prefix(r#""tenant";q=10;w=60;pk=:"#).unwrap();
        assert_eq!(pk.len(), 25, "16 bytes in base64, and a colon: {policy}");
        assert!(pk.ends_with("==:") && !policy.contains("acme"), "{policy}");
    }

    #[test]
    fn a_field_that_is_no_list_of_policies_stays_as_it_is() {
        for known in ["", "a b", "(\"tenant\")", "limit", "\"tenant"] {
            let mut headers = HeaderMap::new();
            headers.insert(RATE_LIMIT, known.parse().unwrap());
            merge(
                &mut headers,
                RATE_LIMIT,
                &HeaderValue::from_static("\"global\";r=1;t=1"),
            );
            assert_eq!(headers[RATE_LIMIT], known);
        }
    }

    #[test]
    fn two_fields_of_the_applications_own_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        for state in ["\"one\";r=1;t=1", "\"two\";r=1;t=1"] {
            headers.append(RATE_LIMIT, state.parse().unwrap());
        }
        let before = headers.clone();
        merge(
            &mut headers,
            RATE_LIMIT,
            &HeaderValue::from_static("\"global\";r=1;t=1"),
        );
        assert_eq!(headers, before);
    }

    #[test]
    fn no_time_is_told_where_no_wait_helps() {
        let above = Refusal {
            why: Why::AboveBurst,
            ..spent(Dimension::Tenant, Quota::per_minute(10), Duration::ZERO)
        };
        assert_eq!(
            fields(std::slice::from_ref(&above)),
            [r#""tenant";q=10;w=60"#]
        );
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
            let bound = Bound {
                dimension,
                quota: Quota::per_minute(10),
                gcra: Quota::per_minute(10).gcra().unwrap(),
                left: 3,
                tat: 0,
                now: Monotonic::from_secs(1),
            };
            Told::new(bound, policy(bound.quota), None)
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
