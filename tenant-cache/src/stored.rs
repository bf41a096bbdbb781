//! Stored responses: what is kept of one, and which one fits a request.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tenant_context::{Monotonic, Trail, UnixTime};

use crate::{
    body::Stored,
    marks::Tag,
    policy::{Asked, Freshness, Reuse, Storable, is_not_modified, keeps_validator},
    status,
};

/// The responses of one URI, newest first, one for each combination of the fields they vary by.
#[derive(Clone, Default)]
pub(crate) struct Variants(Vec<Arc<StoredResponse>>);

/// One stored response.
pub(crate) struct StoredResponse {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    /// Its surrogate tags.
    pub(crate) tags: Box<[Tag]>,
}

impl StoredResponse {
    /// How it goes out (RFC 9111 §4, §5.1): in whole, or as a 304 to a client that has it.
    pub(crate) fn answer(
        &self,
        age: Duration,
        not_modified: bool,
        status: HeaderValue,
    ) -> Response<Stored> {
        self.shown(age.as_secs().into(), not_modified, status)
    }

    fn shown(&self, age: HeaderValue, not_modified: bool, status: HeaderValue) -> Response<Stored> {
        let body = if not_modified {
            Stored::default()
        } else {
            Stored::new(self.body.clone())
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.head.status;
        let headers = response.headers_mut();
        headers.clone_from(&self.head.headers);
        // In front, where they were put when it was stored; or else wherever they are.
        let mut fields = headers.iter_mut();
        match (fields.next(), fields.next()) {
            (Some((one, first)), Some((other, second)))
                if self.head.alone && *one == header::AGE && *other == status::NAME =>
            {
                (*first, *second) = (age, status);
            }
            _ => {
                headers.insert(header::AGE, age);
                status::replace(headers, status);
            }
        }
        if not_modified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            // RFC 9110 §15.4.5: what describes the content goes with the content.
            for name in [
                header::CONTENT_LENGTH,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
            ] {
                response.headers_mut().remove(name);
            }
        }
        response
    }
}

impl StoredResponse {
    /// [`answer`](Self::answer) without the handler, to a HEAD without its content.
    pub(crate) fn hit(
        &self,
        method: &Method,
        age: Duration,
        not_modified: bool,
    ) -> Response<Stored> {
        let (status, age) = status::hit(self.head.freshness.lifetime, age);
        let answer = self.shown(age, not_modified, status);
        if method == Method::HEAD {
            answer.map(|_| Stored::default())
        } else {
            answer
        }
    }
}

/// All of a stored response but its body.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Whether `Cache-Status` is ours alone.
    alone: bool,
    vary: Vec<(HeaderName, Vec<HeaderValue>)>,
    received: Monotonic,
    initial_age: Duration,
    pub(crate) freshness: Freshness,
    authorized_only: bool,
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
    pub(crate) fn repeat(&self, trail: Option<&Trail>) {
        let Some(trail) = trail else { return };
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
        let headers = kept_fields(headers, received.1)?;
        Some(Self {
            status,
            alone: is_alone(&headers),
            headers,
            vary: kept_vary(storable.vary, asked)?,
            received: received.0,
            initial_age: storable.age,
            freshness: storable.freshness,
            authorized_only: storable.authorized_only,
            deed,
        })
    }

    /// The same response after a 304 (RFC 9111 §4.3.4) to a request with the fields `asked`, with the fields that it left. It
    /// varies as these say now.
    pub(crate) fn refreshed(
        &self,
        headers: &HeaderMap,
        storable: Storable,
        asked: &HeaderMap,
        received: (Monotonic, UnixTime),
    ) -> Option<Self> {
        let authorized_only = self.authorized_only && storable.authorized_only;
        let deed = self.deed.clone();
        let new = Self::new(self.status, headers, storable, asked, deed, received)?;
        Some(Self {
            authorized_only,
            ..new
        })
    }

    /// The same response after a 304 that lets it be used this once.
    pub(crate) fn answered(&self, headers: HeaderMap, received: Monotonic) -> Self {
        Self {
            status: self.status,
            alone: is_alone(&headers),
            headers,
            vary: Vec::new(),
            received,
            initial_age: Duration::ZERO,
            freshness: self.freshness,
            authorized_only: true,
            deed: Deed::default(),
        }
    }

    /// The fields as they came, without those that each answer writes anew.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = self.headers.clone();
        fields.remove(header::AGE);
        fields.remove(status::NAME);
        let kept = self.headers.get_all(status::NAME);
        let earlier = kept.iter().count().saturating_sub(1);
        for value in kept.iter().take(earlier) {
            fields.append(status::NAME, value.clone());
        }
        fields
    }

    /// RFC 9111 §4.2.3.
    pub(crate) fn age(&self, now: Monotonic) -> Duration {
        self.initial_age
            .saturating_add(now.saturating_since(self.received))
    }

    /// Until when it can be of any use: fresh, in place of an error, or to be validated.
    fn useful_until(&self) -> Monotonic {
        let kept = if keeps_validator(&self.headers) {
            KEPT_TO_VALIDATE
        } else {
            KEPT_FOR_THE_PATIENT
        };
        let fresh = self.freshness.lifetime.saturating_sub(self.initial_age);
        let grace = self.freshness.grace().max(kept);
        self.received.saturating_add(fresh.saturating_add(grace))
    }

    /// RFC 9111 §4.1: every field byte for byte, line for line; §3.5.
    fn answers(&self, asked: &HeaderMap) -> bool {
        (!self.authorized_only || asked.contains_key(header::AUTHORIZATION))
            && self
                .vary
                .iter()
                .all(|(name, values)| asked.get_all(name).iter().eq(values.iter()))
    }

    /// Whether both would be chosen for the same requests.
    fn replaces(&self, other: &Self) -> bool {
        self.vary == other.vary && (self.authorized_only || !other.authorized_only)
    }

    /// Whether a request's own conditions are answered with 304: only what would be a success has any (RFC 9110 §13.2.1).
    pub(crate) fn answers_condition(&self, asked: &HeaderMap) -> bool {
        self.status.is_success() && is_not_modified(asked, &self.headers)
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

/// What a request had in the fields that its answer varies by; `None` if one is marked as a secret.
fn kept_vary(
    names: Vec<HeaderName>,
    asked: &HeaderMap,
) -> Option<Vec<(HeaderName, Vec<HeaderValue>)>> {
    let kept = names.into_iter().map(|name| {
        let values: Option<Vec<_>> = asked.get_all(&name).iter().map(own).collect();
        Some((name, values?))
    });
    kept.collect()
}

/// What is kept of a response's fields, in memory of their own; `None` if one is marked as a secret.
fn kept_fields(headers: &HeaderMap, now: UnixTime) -> Option<HeaderMap> {
    let mut kept = shown_fields(headers, now);
    for value in kept.values_mut() {
        *value = own(value)?;
    }
    Some(kept)
}

/// The fields that an answer from the cache has. The places of those that each answer writes anew are taken, so that a copy does
/// not grow, and stand in front, where they are found without a look-up.
pub(crate) fn shown_fields(headers: &HeaderMap, now: UnixTime) -> HeaderMap {
    let mut shown = HeaderMap::with_capacity(headers.len().saturating_add(3));
    shown.insert(header::AGE, HeaderValue::from_static("0"));
    // Behind those of caches that were nearer to the origin (RFC 9211 §2).
    let earlier = headers.contains_key(status::NAME);
    if !earlier {
        shown.insert(status::NAME, status::HIT);
    }
    for (name, value) in headers {
        if !of_the_connection(name, headers) {
            shown.append(name.clone(), value.clone());
        }
    }
    if earlier {
        shown.append(status::NAME, status::HIT);
    }
    // RFC 9110 §6.6.1: a stored response is dated.
    if !shown.contains_key(header::DATE) {
        let since = Duration::from_nanos(now.as_nanos());
        let date = UNIX_EPOCH
            .checked_add(since)
            .map(httpdate::fmt_http_date)
            .and_then(|text| HeaderValue::try_from(text).ok());
        shown.extend(date.map(|date| (header::DATE, date)));
    }
    shown
}

fn is_alone(headers: &HeaderMap) -> bool {
    headers.get_all(status::NAME).iter().nth(1).is_none()
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

/// How long a response is kept beyond its freshness, to ask the handler whether it still holds.
const KEPT_TO_VALIDATE: Duration = Duration::from_secs(3600);

/// And how long for requests that say `max-stale`.
const KEPT_FOR_THE_PATIENT: Duration = Duration::from_secs(60);

/// What was found for a request.
pub(crate) enum Choice<'a> {
    /// A response that will do, and its age.
    Serve(&'a Arc<StoredResponse>, Duration),
    /// One that has to be validated, or replaced.
    Validate(&'a Arc<StoredResponse>),
    None,
}

impl Variants {
    pub(crate) fn choose(&self, headers: &HeaderMap, asked: Asked, now: Monotonic) -> Choice<'_> {
        // §4.1: of several that fit, the most recent, which stands first.
        let Some(found) = self.0.iter().find(|stored| stored.head.answers(headers)) else {
            return Choice::None;
        };
        let age = found.head.age(now);
        match found.head.freshness.reuse(asked, age) {
            Reuse::Serve => Choice::Serve(found, age),
            Reuse::Validate => Choice::Validate(found),
        }
    }

    /// All but this one.
    pub(crate) fn without(&self, old: Option<&Arc<StoredResponse>>) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|it| !old.is_some_and(|old| Arc::ptr_eq(old, it)));
        Self(kept.cloned().collect())
    }

    /// Adds a response in front, in place of the one that it replaces and of those that have expired;
    /// beyond `most`, the oldest goes.
    pub(crate) fn with(&self, new: StoredResponse, most: usize, now: Monotonic) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|old| now < old.head.useful_until() && !new.head.replaces(&old.head))
            .take(most.saturating_sub(1))
            .cloned()
            .collect::<Vec<_>>();
        Self(std::iter::once(Arc::new(new)).chain(kept).collect())
    }

    /// All but the oldest; `None` if there is one alone.
    pub(crate) fn without_oldest(&self) -> Option<Self> {
        let (_, newer) = self.0.split_last().filter(|(_, newer)| !newer.is_empty())?;
        Some(Self(newer.to_vec()))
    }

    /// The surrogate tags of all of them.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.0.iter().flat_map(|stored| stored.tags.iter().copied())
    }

    pub(crate) fn useful_until(&self) -> Monotonic {
        self.0
            .iter()
            .map(|stored| stored.head.useful_until())
            .max()
            .unwrap_or_default()
    }

    pub(crate) fn weight(&self) -> usize {
        self.0
            .iter()
            .map(|stored| {
                size_of::<StoredResponse>()
                    .saturating_add(stored.body.len())
                    .saturating_add(size_of_val(&*stored.tags))
                    .saturating_add(stored.head.weight())
            })
            .fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
