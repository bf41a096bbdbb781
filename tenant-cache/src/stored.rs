//! Stored responses: what is kept of one, and which one fits a request.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tenant_context::{Monotonic, Trail, UnixTime};

use crate::policy::{Limits, Storable};

/// The responses of one URI, newest first, one for each combination of the fields they vary by.
#[derive(Clone, Default)]
pub(crate) struct Variants(Vec<Arc<StoredResponse>>);

/// One stored response.
pub(crate) struct StoredResponse {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// All of a stored response but its body.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    vary: Vec<(HeaderName, Vec<HeaderValue>)>,
    received: Monotonic,
    initial_age: Duration,
    lifetime: Duration,
    deed: Deed,
}

/// What the handler wrote to the trail, to be written again on a hit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    action: Option<Cow<'static, str>>,
    resource_type: Option<Cow<'static, str>>,
    resource_id: Option<String>,
}

impl Deed {
    /// `None` if the application recorded a refusal: what it answered is not stored.
    pub(crate) fn of(trail: &Trail) -> Option<Self> {
        trail
            .with(|facts| {
                facts.rejection.is_none().then(|| Self {
                    action: facts.action.clone(),
                    resource_type: facts.resource_type.clone(),
                    resource_id: facts.resource_id.clone(),
                })
            })
            .unwrap_or_else(|| Some(Self::default()))
    }

    /// Writes it, and that the cache answered.
    pub(crate) fn repeat(&self, trail: &Trail) {
        trail.with(|facts| {
            facts.cache = Some("hit");
            if self.action.is_some() {
                facts.action.clone_from(&self.action);
            }
            if self.resource_type.is_some() {
                facts.resource_type.clone_from(&self.resource_type);
                facts.resource_id.clone_from(&self.resource_id);
            }
        });
    }

    fn weight(&self) -> usize {
        [&self.action, &self.resource_type]
            .into_iter()
            .flatten()
            .map(|text| text.len())
            .chain(self.resource_id.as_ref().map(String::len))
            .fold(0, usize::saturating_add)
    }
}

impl Head {
    /// Copies a response's head, apart from what belongs to one connection (RFC 9111 §3.1) and one
    /// exchange. `asked` are the fields of the request that it answered.
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        storable: Storable,
        asked: &HeaderMap,
        deed: Deed,
        received: (Monotonic, UnixTime),
    ) -> Option<Self> {
        let vary = storable
            .vary
            .into_iter()
            .map(|name| {
                let values: Option<Vec<_>> = asked.get_all(&name).iter().map(own).collect();
                Some((name, values?))
            })
            .collect::<Option<Vec<_>>>()?;
        let mut kept = HeaderMap::with_capacity(headers.len().saturating_add(1));
        for (name, value) in headers {
            if !of_the_connection(name, headers) {
                kept.append(name.clone(), own(value)?);
            }
        }
        // RFC 9110 §6.6.1: a stored response is dated.
        if !kept.contains_key(header::DATE) {
            let since = Duration::from_nanos(received.1.as_nanos());
            let text = httpdate::fmt_http_date(UNIX_EPOCH.checked_add(since)?);
            kept.insert(header::DATE, HeaderValue::try_from(text).ok()?);
        }
        Some(Self {
            status,
            headers: kept,
            vary,
            received: received.0,
            initial_age: storable.age,
            lifetime: storable.lifetime,
            deed,
        })
    }

    /// RFC 9111 §4.2.3.
    fn age(&self, now: Monotonic) -> Duration {
        self.initial_age
            .saturating_add(now.saturating_since(self.received))
    }

    fn expires_at(&self) -> Monotonic {
        self.received
            .saturating_add(self.lifetime.saturating_sub(self.initial_age))
    }

    /// RFC 9111 §4.1: every field byte for byte, line for line.
    fn answers(&self, asked: &HeaderMap) -> bool {
        self.vary
            .iter()
            .all(|(name, values)| asked.get_all(name).iter().eq(values.iter()))
    }

    /// Whether both would be chosen for the same requests.
    fn replaces(&self, other: &Self) -> bool {
        self.vary == other.vary
    }

    pub(crate) fn deed(&self) -> &Deed {
        &self.deed
    }

    /// Bytes, roughly: a header's place in its map counts as 64.
    fn weight(&self) -> usize {
        let lines = self.headers.iter();
        let vary = self
            .vary
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        lines
            .chain(vary)
            .map(|(name, value)| {
                name.as_str()
                    .len()
                    .saturating_add(value.len())
                    .saturating_add(64)
            })
            .fold(self.deed.weight(), usize::saturating_add)
    }
}

/// A copy with memory of its own: a slice of a connection's buffer would keep all of it. `None` for a
/// value marked as a secret.
fn own(value: &HeaderValue) -> Option<HeaderValue> {
    if value.is_sensitive() {
        return None;
    }
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// RFC 9111 §3.1, RFC 9110 §7.6.1. `Age` and the request's id are written anew for each answer.
fn of_the_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "proxy-connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "age"
            | "x-request-id"
    ) || headers.get_all(header::CONNECTION).iter().any(|line| {
        line.as_bytes().split(|byte| *byte == b',').any(|listed| {
            listed
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    })
}

/// What was found for a request.
pub(crate) enum Choice<'a> {
    /// A response that will do, and its age.
    Fresh(&'a Arc<StoredResponse>, Duration),
    /// One that is too old for this request.
    Stale,
    None,
}

impl Variants {
    pub(crate) fn choose(&self, asked: &HeaderMap, limits: Limits, now: Monotonic) -> Choice<'_> {
        let Some(found) = self.0.iter().find(|stored| stored.head.answers(asked)) else {
            return Choice::None;
        };
        let age = found.head.age(now);
        if limits.accept(age, found.head.lifetime) {
            Choice::Fresh(found, age)
        } else {
            Choice::Stale
        }
    }

    /// Adds a response in front, in place of the one that it replaces and of those that have expired;
    /// beyond `most`, the oldest goes.
    pub(crate) fn with(&self, new: StoredResponse, most: usize, now: Monotonic) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|old| now < old.head.expires_at() && !new.head.replaces(&old.head))
            .take(most.saturating_sub(1))
            .cloned()
            .collect::<Vec<_>>();
        Self(std::iter::once(Arc::new(new)).chain(kept).collect())
    }

    pub(crate) fn expires_at(&self) -> Monotonic {
        self.0
            .iter()
            .map(|stored| stored.head.expires_at())
            .max()
            .unwrap_or_default()
    }

    pub(crate) fn weight(&self) -> usize {
        self.0
            .iter()
            .map(|stored| {
                size_of::<StoredResponse>()
                    .saturating_add(stored.body.len())
                    .saturating_add(stored.head.weight())
            })
            .fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn head(headers: &HeaderMap, vary: &[HeaderName], asked: &HeaderMap) -> Option<Head> {
        let storable = Storable {
            lifetime: Duration::from_secs(60),
            age: Duration::ZERO,
            vary: vary.to_vec(),
        };
        let received = (Monotonic::from_secs(10), UnixTime::from_secs(784_111_777));
        Head::new(
            StatusCode::OK,
            headers,
            storable,
            asked,
            Deed::default(),
            received,
        )
    }

    fn stored(body: &'static str, asked: &HeaderMap) -> StoredResponse {
        StoredResponse {
            head: head(&HeaderMap::new(), &[header::ACCEPT], asked).unwrap(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn chosen(variants: &Variants, asked: &HeaderMap, now: u64) -> Option<Bytes> {
        match variants.choose(asked, Limits::default(), Monotonic::from_secs(now)) {
            Choice::Fresh(found, _) => Some(found.body.clone()),
            Choice::Stale | Choice::None => None,
        }
    }

    #[test]
    fn connection_fields_are_not_stored_and_a_date_is() {
        let kept = head(
            &map(&[
                ("connection", "close, X-Hop"),
                ("keep-alive", "timeout=5"),
                ("x-hop", "1"),
                ("x-request-id", "r1"),
                ("age", "3"),
                ("x-kept", "1"),
            ]),
            &[],
            &HeaderMap::new(),
        )
        .unwrap()
        .headers;
        let names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-kept", "date"]);
        assert_eq!(kept[header::DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn i8_a_value_marked_as_secret_is_not_stored() {
        let mut secret = HeaderValue::from_static("canary");
        secret.set_sensitive(true);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-key"), secret)]);
        assert!(head(&headers, &[], &HeaderMap::new()).is_none());
        let vary = [HeaderName::from_static("x-key")];
        assert!(head(&HeaderMap::new(), &vary, &headers).is_none());
    }

    #[test]
    fn vary_compares_byte_for_byte_and_line_for_line() {
        let one = map(&[("accept", "a"), ("accept", "b")]);
        let variants = Variants::default().with(stored("one", &one), 8, Monotonic::default());
        assert!(chosen(&variants, &one, 11).is_some());
        for other in [
            map(&[]),
            map(&[("accept", "a")]),
            map(&[("accept", "a, b")]),
            map(&[("accept", "b"), ("accept", "a")]),
            map(&[("accept", "A"), ("accept", "b")]),
        ] {
            assert!(chosen(&variants, &other, 11).is_none(), "{other:?}");
        }
        let absent = Variants::default().with(stored("none", &map(&[])), 8, Monotonic::default());
        assert!(chosen(&absent, &map(&[("x", "y")]), 11).is_some());
        assert!(chosen(&absent, &map(&[("accept", "")]), 11).is_none());
    }

    #[test]
    fn i6_variants_are_bounded_and_the_newest_is_chosen() {
        let asked = [
            map(&[("accept", "a")]),
            map(&[("accept", "b")]),
            map(&[("accept", "c")]),
        ];
        let mut variants = Variants::default();
        for (asked, body) in asked.iter().zip(["1", "2", "3"]) {
            variants = variants.with(stored(body, asked), 2, Monotonic::default());
        }
        assert!(chosen(&variants, &asked[0], 11).is_none());
        variants = variants.with(stored("4", &asked[2]), 2, Monotonic::default());
        assert_eq!(chosen(&variants, &asked[1], 11).unwrap(), "2");
        assert_eq!(chosen(&variants, &asked[2], 11).unwrap(), "4");
        assert!(chosen(&variants, &asked[2], 70).is_none(), "stale");
        assert_eq!(variants.expires_at(), Monotonic::from_secs(70));
        let fresh = Variants::default().with(stored("5", &asked[0]), 8, Monotonic::default());
        assert!(fresh.weight() < variants.weight());
    }
}
