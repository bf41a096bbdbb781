//! What is done with the response of a request that went to the handler.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Monotonic, Rejection, Trail};

use crate::{
    body::{CacheBody, Tee},
    entry::{Entry, Life},
    layer::Shared,
    marks::Tag,
    partition::{Epoch, Partition, Place},
    policy, status,
    stored::{Deed, Head, StoredResponse, Variants},
    target::Target,
};

pub(crate) enum Plan {
    /// It goes out as it is.
    Nothing,
    /// It says why the cache did not answer.
    Mark(Forward),
    /// Nothing is stored: the tenant's answers have not been worth remembering a request for. Whether this
    /// one would have been decides about the next.
    Watch(Arc<Partition>),
    /// It is stored, if it may be. In a box: the future of every other request stays small.
    Record(Box<Recording>),
    /// It makes what is stored unreachable.
    Invalidate(Invalidation),
}

/// Why a request went to the handler (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Bypass,
    Miss,
    Stale,
    Request,
}

/// A request that may have written: on drop, all of its tenant's responses are forgotten.
pub(crate) struct Invalidation {
    partition: Option<(Arc<Partition>, Tag)>,
}

impl Invalidation {
    pub(crate) const fn new(partition: Arc<Partition>, all: Tag) -> Self {
        Self {
            partition: Some((partition, all)),
        }
    }

    /// RFC 9111 §4.4, and more: only what was refused has certainly changed nothing.
    fn settle<B>(mut self, response: &Response<B>) {
        let refused = response.status().is_client_error()
            || response.extensions().get::<Rejection>().is_some();
        if refused {
            self.partition = None;
        }
    }
}

impl Drop for Invalidation {
    fn drop(&mut self) {
        if let Some((partition, all)) = &self.partition {
            partition.marks.mark(*all);
        }
    }
}

/// A GET whose answer may be stored, as it was when it began.
pub(crate) struct Recording {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) epoch: Epoch,
    /// `None` on a route that the tenant's identities share.
    pub(crate) authority: Option<u64>,
    pub(crate) target: Target,
    pub(crate) asked: HeaderMap,
    pub(crate) trail: Trail,
    pub(crate) requested: Monotonic,
    pub(crate) forward: Forward,
}

impl Plan {
    pub(crate) fn finish<B: Body<Data = Bytes>>(
        self,
        mut response: Response<B>,
    ) -> Response<CacheBody<B>> {
        let (forward, tee) = match self {
            Self::Nothing => return response.map(|body| CacheBody::inner(body, None)),
            Self::Invalidate(invalidation) => {
                invalidation.settle(&response);
                return response.map(|body| CacheBody::inner(body, None));
            }
            Self::Mark(forward) => (Some(forward), None),
            Self::Watch(partition) => {
                if policy::promises(response.headers()) {
                    partition.learn(true);
                }
                return response.map(|body| CacheBody::inner(body, None));
            }
            Self::Record(recording) => {
                let (forward, explains) = (recording.forward, recording.shared.explains);
                let tee = recording.begin(&response);
                ((explains || tee.is_some()).then_some(forward), tee)
            }
        };
        if let Some(forward) = forward {
            let value = status::forwarded(forward, tee.is_some());
            response.headers_mut().append(status::NAME, value);
        }
        response.map(|body| CacheBody::inner(body, tee))
    }
}

impl Recording {
    /// Decides whether the response is stored, and if so begins.
    fn begin<B: Body>(self: Box<Self>, response: &Response<B>) -> Option<Box<Tee>> {
        let (status, headers) = (response.status(), response.headers());
        if response.extensions().get::<Rejection>().is_some() {
            return None;
        }
        if !policy::states_freshness(headers) {
            self.partition.learn(false);
            return None;
        }
        let clock = self.shared.cache.clock();
        let received = (clock.coarse_monotonic(), clock.unix());
        let delay = received.0.saturating_since(self.requested);
        let decided =
            policy::response(status, headers, self.authority.is_none(), delay, received.1);
        self.partition.learn(decided.is_ok());
        let storable = decided.ok()?;
        let most = u64::try_from(self.shared.max_body).unwrap_or(u64::MAX);
        let length = match Length::of(headers, response.body()) {
            Length::Known(length) if length <= most => Some(length),
            Length::Unknown => None,
            Length::Known(_) | Length::Contradiction => return None,
        };
        let deed = Deed::of(&self.trail)?;
        let head = Head::new(status, headers, storable, &self.asked, deed, received)?;
        Some(Box::new(Tee::new(*self, head, length)))
    }

    /// Stores a response that came to its end.
    pub(crate) fn store(&self, mut head: Head, body: Vec<u8>) {
        // What was purged meanwhile could not be found again: not worth the memory.
        if self.partition.epoch().generation != self.epoch.generation {
            return;
        }
        if head.status != StatusCode::NO_CONTENT {
            head.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let response = StoredResponse {
            head,
            body: Bytes::from(body.into_boxed_slice()),
        };
        let cache = &self.shared.cache;
        let now = cache.now();
        let key = self.shared.key(self.authority, &self.target);
        let hash = cache.hash(key.as_bytes());
        let known = self.partition.find(hash, key.as_bytes(), now);
        let variants = known
            .as_ref()
            .and_then(|entry| entry.value::<Variants>())
            .unwrap_or(&Variants::default())
            .with(response, self.shared.max_variants, now);
        let place = Place {
            hash,
            key: key.as_bytes(),
            generation: self.epoch.generation,
        };
        let life = Life {
            begun: self.epoch.marks,
            tags: Box::new([self.shared.all_responses()]),
            ..Life::until(variants.expires_at().saturating_add(STALE_FOR))
        };
        let weight = variants.weight();
        let entry = Arc::new(Entry::new(life, variants));
        cache
            .pool()
            .insert(&self.partition, place, entry, weight, now);
        self.partition.note_response();
        cache.tidy();
    }

    pub(crate) fn max_body(&self) -> usize {
        self.shared.max_body
    }
}

/// How long a response is kept beyond its freshness.
const STALE_FOR: std::time::Duration = std::time::Duration::from_secs(600);

/// What is known of a body's length before it comes.
enum Length {
    Known(u64),
    Unknown,
    /// The field and the body contradict each other, or the field is no number.
    Contradiction,
}

impl Length {
    fn of(headers: &HeaderMap, body: &impl Body) -> Self {
        let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
        let stated = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(line), None) => match decimal(line.as_bytes()) {
                None => return Self::Contradiction,
                length => length,
            },
            _ => return Self::Contradiction,
        };
        match (stated, body.size_hint().exact()) {
            (Some(stated), Some(exact)) if stated != exact => Self::Contradiction,
            (Some(length), _) | (None, Some(length)) => Self::Known(length),
            (None, None) => Self::Unknown,
        }
    }
}

/// Digits only: `parse` alone would take a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
