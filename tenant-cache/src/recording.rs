//! A GET that went to the handler: its answer is stored, refreshes what is stored, or is stood in for.

use std::{sync::Arc, task::Context};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Monotonic, Rejection, TenantContext, Trail};

use crate::{
    Keep,
    body::{CacheBody, Stored, Tee},
    collapse::Leader,
    entry::{Entry, Life},
    key::KeyWriter,
    layer::Shared,
    marks::Tag,
    partition::{Epoch, Gone, Partition, Place},
    plan::Forward,
    policy::{self, Circumstances},
    pool::Pool,
    status,
    stored::{Deed, Head, StoredResponse, Variants, shown_fields},
};

/// A GET or HEAD whose answer concerns the cache, as it was when it began.
pub(crate) struct Recording {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) epoch: Epoch,
    pub(crate) key: KeyWriter,
    pub(crate) hash: u64,
    /// What a write to the target marks.
    pub(crate) target: Tag,
    /// Whether the tenant's identities share the route.
    pub(crate) is_shared: bool,
    pub(crate) is_head: bool,
    /// The request's fields, as the client sent them.
    pub(crate) asked: HeaderMap,
    pub(crate) trail: Trail,
    pub(crate) requested: Monotonic,
    pub(crate) forward: Forward,
    /// What is stored and was not good enough, with the proof of who asked for it.
    pub(crate) stored: Option<(Arc<StoredResponse>, TenantContext)>,
    /// The surrogate tags of the response.
    pub(crate) tags: Vec<Tag>,
    /// Who waits for the answer to be stored; they go on when this is dropped, at the latest with the rest.
    pub(crate) leader: Option<Leader>,
}

/// A body of a known length up to this is taken to be there at once.
const SOON: u64 = 64 << 10;

impl Recording {
    pub(crate) fn finish<B: Body<Data = Bytes>>(
        mut self: Box<Self>,
        mut response: Response<B>,
        cx: &mut Context<'_>,
    ) -> Response<CacheBody<B>> {
        if let Some(leader) = &mut self.leader {
            leader.answered();
        }
        let tagged = self.take_tags(response.headers_mut());
        if self.is_head {
            self.compare(&response);
            return self.pass(response);
        }
        let refused = response.extensions().get::<Rejection>().is_some();
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(stored) = self.to_validate().map(Arc::clone)
        {
            if policy::same_representation(response.headers(), &stored.head.headers) {
                return self
                    .refresh(&stored, response.headers(), tagged)
                    .map(CacheBody::stored);
            }
            self.forget();
            if !policy::is_not_modified(&self.asked, response.headers()) {
                return mismatched(self.forward).map(CacheBody::stored);
            }
        }
        if policy::is_failure(response.status())
            && !refused
            && let Some(answer) = self.stand_in()
        {
            return answer.map(CacheBody::stored);
        }
        let decided = (tagged && !refused)
            .then(|| self.decide(&response))
            .flatten();
        match decided {
            Some((head, length)) => {
                // A body that may be long in coming keeps nobody waiting.
                if length.is_none_or(|length| length > SOON) {
                    self.leader = None;
                }
                let (forward, waited_for) = (self.forward, self.leader.is_some());
                let tee = Box::new(Tee::new(*self, head, length));
                let response = mark(response, forward, true);
                response.map(|body| {
                    if waited_for {
                        CacheBody::read_ahead(body, tee, cx)
                    } else {
                        CacheBody::inner(body, Some(tee))
                    }
                })
            }
            None => self.pass(response),
        }
    }

    /// A stored response in place of an error (RFC 5861 §4), if it may be, and if whoever asked still may and did not ask for
    /// one that was just validated.
    fn stand_in(&self) -> Option<Response<Stored>> {
        let (stored, context) = self.stored.as_ref()?;
        let age = stored.head.age(self.shared.cache.now());
        if self.is_head
            || self.forward == Forward::Request
            || !stored.head.freshness.covers_error(age)
            || self.has_refused()
            || context.check().is_err()
        {
            return None;
        }
        stored.head.deed().repeat(Some(&self.trail));
        Some(stored.answer(age, false, status::IN_PLACE_OF_ERROR))
    }

    /// Whether the application recorded a refusal.
    fn has_refused(&self) -> bool {
        self.trail.with(|facts| facts.rejection.is_some()) == Some(true)
    }

    /// The handler failed without an answer.
    pub(crate) fn failed(&mut self) -> Option<Response<Stored>> {
        if let Some(leader) = &mut self.leader {
            leader.answered();
        }
        self.stand_in()
    }

    /// What the handler is asked about.
    pub(crate) fn to_validate(&self) -> Option<&Arc<StoredResponse>> {
        let (stored, _) = self.stored.as_ref().filter(|_| !self.is_head)?;
        policy::keeps_validator(&stored.head.headers).then_some(stored)
    }

    fn pass<B: Body<Data = Bytes>>(
        self: Box<Self>,
        response: Response<B>,
    ) -> Response<CacheBody<B>> {
        let response = if self.shared.explains {
            mark(response, self.forward, false)
        } else {
            response
        };
        response.map(|body| CacheBody::inner(body, None))
    }

    /// Takes the surrogate tags off the response; false if there are too many to remember, or they cannot be read.
    fn take_tags(&mut self, headers: &mut HeaderMap) -> bool {
        let Some(name) = &self.shared.surrogate_key else {
            return true;
        };
        let cache = &self.shared.cache;
        let mut readable = true;
        for line in headers.get_all(name) {
            let Ok(text) = std::str::from_utf8(line.as_bytes()) else {
                readable = false;
                break;
            };
            // One more than are kept tells that there are too many.
            let room = Keep::MAX_TAGS
                .saturating_add(1)
                .saturating_sub(self.tags.len());
            let tags = text.split_ascii_whitespace().take(room);
            self.tags.extend(tags.map(|tag| cache.tag(tag)));
        }
        headers.remove(name);
        readable && self.tags.len() <= Keep::MAX_TAGS
    }

    /// RFC 9111 §4.3.5: a HEAD that tells of another representation than the stored one.
    fn compare<B>(&self, response: &Response<B>) {
        let Some((stored, _)) = &self.stored else {
            return;
        };
        let (new, old) = (response.headers(), &stored.head.headers);
        let differs = [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH]
            .iter()
            .any(|name| new.contains_key(name) && new.get(name) != old.get(name));
        if response.status() == StatusCode::OK && differs {
            self.forget();
        }
    }

    /// By mark, as a write does: taken out alone, it would be put back by whoever validates it at this moment.
    fn forget(&self) {
        self.partition.marks.mark(self.target);
    }

    fn circumstances(&self) -> (Circumstances, Monotonic) {
        let clock = self.shared.cache.clock();
        let received = clock.coarse_monotonic();
        let around = Circumstances {
            shared: self.is_shared,
            authorized: self.asked.contains_key(header::AUTHORIZATION),
            cookie: self.asked.contains_key(header::COOKIE),
            delay: received.saturating_since(self.requested),
            now: clock.unix(),
            heuristic: self.shared.heuristic,
        };
        (around, received)
    }

    /// Whether the response is stored, and how long it will be.
    fn decide<B: Body>(&self, response: &Response<B>) -> Option<(Head, Option<u64>)> {
        let (status, headers) = (response.status(), response.headers());
        if !policy::promises(headers, self.shared.heuristic.is_some()) {
            self.partition.learn(false);
            return None;
        }
        let (around, received) = self.circumstances();
        let decided = policy::response(status, headers, &around);
        self.partition.learn(decided.is_ok());
        let storable = decided.ok()?;
        let most = u64::try_from(self.shared.max_body).unwrap_or(u64::MAX);
        let length = match Length::of(headers, response.body()) {
            Length::Known(length) if length <= most => Some(length),
            Length::Unknown => None,
            Length::Known(_) | Length::Contradiction => return None,
        };
        let deed = Deed::of(&self.trail)?;
        let head = Head::new(
            status,
            headers,
            storable,
            &self.asked,
            deed,
            (received, around.now),
        )?;
        Some((head, length))
    }

    /// RFC 9111 §4.3.4: what is stored holds, with the fields that the 304 brought. `tagged` says whether the tags that it
    /// brought are known.
    fn refresh(
        &mut self,
        stored: &Arc<StoredResponse>,
        news: &HeaderMap,
        tagged: bool,
    ) -> Response<Stored> {
        // The content is what it was: it keeps its tags, and may have been forgotten by one of them meanwhile.
        self.tags.extend_from_slice(&stored.tags);
        self.tags.sort_unstable();
        self.tags.dedup();
        let tagged = tagged && self.tags.len() <= Keep::MAX_TAGS;
        let (around, received) = self.circumstances();
        let fields = policy::refreshed(&stored.head.fields(), news);
        let decided = policy::response(stored.head.status, &fields, &around)
            .ok()
            .filter(|_| tagged);
        let head = decided.and_then(|storable| {
            let received = (received, around.now);
            stored
                .head
                .refreshed(&fields, storable, &self.asked, received)
        });
        let stays = head.is_some();
        // It may no longer be stored; this once it is what the handler said.
        let head = head.unwrap_or_else(|| {
            let shown = shown_fields(&fields, around.now);
            stored.head.answered(shown, received)
        });
        let renewed = StoredResponse {
            head,
            body: stored.body.clone(),
            tags: Box::from(&*self.tags),
        };
        let same = renewed.head.answers_condition(&self.asked);
        let value = match (self.forward, stays) {
            (Forward::Request, true) => status::VALIDATED_ON_REQUEST,
            (_, true) => status::VALIDATED,
            (Forward::Request, false) => status::HELD_ON_REQUEST,
            (_, false) => status::HELD,
        };
        let age = renewed.head.age(received);
        let response = renewed.answer(age, same, value);
        if stays {
            self.put(renewed, Some(stored));
        } else {
            self.forget();
        }
        response
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
            tags: Box::from(&*self.tags),
        };
        self.put(response, None);
    }

    /// Stores a response, in place of `old` if it is that one renewed.
    fn put(&self, response: StoredResponse, old: Option<&Arc<StoredResponse>>) {
        let cache = &self.shared.cache;
        let (now, key) = (cache.now(), self.key.as_bytes());
        // Else the later of two would take the earlier one's variant out, and put back what it replaced.
        let storing = self.partition.storing.lock();
        // What was invalidated is not found, and so not taken along.
        let place = Place {
            hash: self.hash,
            key,
            generation: self.epoch.generation,
        };
        let known = self.partition.find(place, now);
        let none = Variants::default();
        let mut variants = known
            .as_ref()
            .and_then(|entry| entry.value::<Variants>())
            .unwrap_or(&none)
            .without(old)
            .with(response, self.shared.max_variants, now);
        let mut tags = self.tags_of(&variants);
        let weigh = |variants: &Variants, tags: &[Tag]| {
            variants.weight().saturating_add(Life::weight_with(tags))
        };
        // Beyond the ceiling the oldest go, not all of them.
        while !Pool::fits(&self.partition, weigh(&variants, &tags), key)
            && let Some(fewer) = variants.without_oldest()
        {
            tags = self.tags_of(&fewer);
            variants = fewer;
        }
        let weight = weigh(&variants, &tags);
        let life = Life {
            begun: self.epoch.marks,
            tags: tags.into_boxed_slice(),
            ..Life::until(variants.useful_until())
        };
        let entry = Arc::new(Entry::new(life, variants));
        let mut gone = Gone::new();
        if cache
            .pool()
            .insert(&self.partition, place, (entry, weight), now, &mut gone)
        {
            self.partition.note_response();
        }
        drop(storing);
        drop(gone);
        cache.tidy();
    }

    /// What makes an entry unreachable: everything, a write to its target, and the surrogate tags of each response.
    fn tags_of(&self, variants: &Variants) -> Vec<Tag> {
        let mut tags: Vec<Tag> = [self.shared.all_responses(), self.target]
            .into_iter()
            .chain(variants.tags())
            .collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    pub(crate) fn max_body(&self) -> usize {
        self.shared.max_body
    }
}

fn mark<B>(mut response: Response<B>, forward: Forward, stored: bool) -> Response<B> {
    let value = status::forwarded(forward, stored);
    response.headers_mut().append(status::NAME, value);
    response
}

/// The handler answered a condition of ours with a 304 about something that neither we nor the client have.
fn mismatched(forward: Forward) -> Response<Stored> {
    let mut response = Response::new(Stored::default());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let value = match forward {
        Forward::Request => status::MISMATCHED_ON_REQUEST,
        _ => status::MISMATCHED,
    };
    response.headers_mut().insert(status::NAME, value);
    response
}

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
