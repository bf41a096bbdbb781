//! The service of the response cache layer.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Protocol, PublicRoute, Rejection, TenantContext, Trail};
use tower_service::Service;

use crate::{
    body::Stored,
    collapse::{self, Follower, Join},
    future::{ResponseFuture, Waiting},
    layer::Shared,
    partition::{Partition, Place},
    plan::{Forward, Invalidation, Plan},
    policy::{self, Use},
    recording::Recording,
    status,
    stored::{Choice, Variants},
    target::Target,
};

/// Answers from the tenant's stored responses, or passes on and stores. See
/// [`ResponseCacheLayer`](crate::ResponseCacheLayer).
#[derive(Clone)]
pub struct ResponseCache<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> ResponseCache<S> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

/// How often a request waits again because the one it waited for was given up: who gives up over and over keeps nobody.
const TURNS: u8 = 2;

/// What is done with a request.
enum Decision {
    Answer(Response<Stored>),
    Refuse(Rejection),
    Pass(Plan),
    Wait(Follower),
}

/// How a request goes on.
pub(crate) enum Next {
    Answer(Response<Stored>),
    Call(Plan),
    Wait(Follower),
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ResponseCache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<crate::CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match next(&self.shared, &mut request, true) {
            Next::Call(plan) => {
                ResponseFuture::calling(self.inner.call(request), plan, &self.shared)
            }
            Next::Answer(response) => {
                // What the inner service reserved for this request goes back: a clone has reserved nothing.
                self.inner = self.inner.clone();
                ResponseFuture::ready(response)
            }
            Next::Wait(follower) => {
                // The one that is ready waits along.
                let unready = self.inner.clone();
                ResponseFuture::waiting(Waiting {
                    follower,
                    turns: TURNS,
                    shared: Arc::clone(&self.shared),
                    inner: std::mem::replace(&mut self.inner, unready),
                    request,
                })
            }
        }
    }
}

/// How a request goes on that has waited, perhaps for long: not if its context has ended meanwhile.
pub(crate) fn next_after_waiting<B: Body>(
    shared: &Arc<Shared>,
    request: &mut Request<B>,
    may_wait: bool,
) -> Next {
    match TenantContext::of(request.extensions()).map(TenantContext::check) {
        Some(Err(rejection)) => Next::Answer(refused(&rejection, request)),
        _ => next(shared, request, may_wait),
    }
}

fn refused<B>(rejection: &Rejection, request: &Request<B>) -> Response<Stored> {
    rejection
        .to_response(Protocol::of(request.headers()))
        .map(|()| Stored::default())
}

/// `may_wait` says whether it may wait for another request's answer.
pub(crate) fn next<B: Body>(
    shared: &Arc<Shared>,
    request: &mut Request<B>,
    may_wait: bool,
) -> Next {
    match decide(shared, request, may_wait) {
        Decision::Pass(plan) => {
            if let Plan::Record(recording) = &plan
                && let Some(stored) = recording.to_validate()
            {
                policy::validators(&stored.head.headers, request.headers_mut());
            }
            Next::Call(plan)
        }
        Decision::Answer(response) => Next::Answer(response),
        Decision::Refuse(rejection) => Next::Answer(refused(&rejection, request)),
        Decision::Wait(follower) => Next::Wait(follower),
    }
}

fn decide<B: Body>(shared: &Arc<Shared>, request: &Request<B>, may_wait: bool) -> Decision {
    if PublicRoute::of(request.extensions()) {
        return Decision::Pass(Plan::Nothing);
    }
    let tenant = match TenantContext::required(request.extensions()) {
        Ok(tenant) => tenant,
        Err(rejection) => return Decision::Refuse(rejection),
    };
    // Content may ask for a write whatever the method says: tonic serves a gRPC call under any.
    let content = !request.body().is_end_stream();
    match *request.method() {
        Method::GET | Method::HEAD if !content => read(shared, tenant, request, may_wait),
        ref method if method.is_safe() && !content => Decision::Pass(Plan::Nothing),
        _ => Decision::Pass(write(shared, tenant, request, content)),
    }
}

fn write<B>(
    shared: &Arc<Shared>,
    tenant: &TenantContext,
    request: &Request<B>,
    content: bool,
) -> Plan {
    let Some(seat) = shared.cache.seat(tenant) else {
        return Plan::Nothing;
    };
    let mut host = HeaderMap::new();
    for line in request.headers().get_all(header::HOST) {
        host.append(header::HOST, line.clone());
    }
    let uri = request.uri().clone();
    // What cannot be named was never stored under its name.
    let target = Target::of(&uri, &host).map_or_else(
        || shared.all_responses(),
        |target| shared.resource_tag(&target.resource()),
    );
    Plan::Invalidate(Box::new(Invalidation {
        shared: Arc::clone(shared),
        partition: Arc::clone(&seat.partition),
        target,
        uri,
        host,
        method: request.method().clone(),
        content,
        settled: false,
    }))
}

fn read<B: Body>(
    shared: &Arc<Shared>,
    tenant: &TenantContext,
    request: &Request<B>,
    may_wait: bool,
) -> Decision {
    let headers = request.headers();
    let pass = || bypass(shared, request);
    let Some(seat) = shared.cache.seat(tenant) else {
        return pass();
    };
    let partition = &seat.partition;
    let remembers = partition.remembers() || shared.explains;
    // The way of most requests where nothing is worth storing: there is nothing to find, and nothing that a request may ask
    // of a cache but `only-if-cached`.
    if !remembers && !partition.has_responses() && !headers.contains_key(header::CACHE_CONTROL) {
        return Decision::Pass(watch(partition));
    }
    let Use::LookUp(asked) = policy::request(headers) else {
        return pass();
    };
    let Some(target) = Target::of(request.uri(), headers) else {
        return pass();
    };
    // Before the look-up and the handler: whatever is purged from here on takes the answer with it.
    let Some(epoch) = partition.begin(tenant.tenant()) else {
        return pass();
    };
    let now = shared.cache.now();
    let is_shared = shared.is_shared(request.uri().path());
    let authority = (!is_shared).then(|| shared.cache.authority(&seat, tenant));
    let key = shared.key(authority, target);
    let hash = shared.cache.hash(key.as_bytes());
    let place = Place {
        hash,
        key: key.as_bytes(),
        generation: epoch.generation,
    };
    let is_head = request.method() == Method::HEAD;
    let (mut forward, mut stored) = (Forward::Miss, None);
    if partition.has_responses()
        && let Some(entry) = partition.find(place, now)
        && let Some(variants) = entry.value::<Variants>()
    {
        match variants.choose(headers, asked, now) {
            Choice::Serve(found, age) => {
                if let Err(rejection) = tenant.check() {
                    return Decision::Refuse(rejection);
                }
                partition.count(true);
                found.head.deed().repeat(request.extensions().get());
                let same = asked.conditional && found.head.answers_condition(headers);
                return Decision::Answer(found.hit(request.method(), age, same));
            }
            Choice::Validate(found) => {
                let by_request = asked.no_cache || asked.max_age.is_some() || asked.min_fresh > 0;
                forward = if by_request {
                    Forward::Request
                } else {
                    Forward::Stale
                };
                stored = Some((Arc::clone(found), tenant.clone()));
            }
            Choice::None => forward = Forward::Vary,
        }
    } else if asked.no_cache {
        forward = Forward::Request;
    }
    let mut leader = None;
    let plain = !is_head && !asked.conditional && !asked.only_if_cached && !asked.no_cache;
    if let Some(most) = shared.followers.filter(|_| may_wait && plain && remembers) {
        match collapse::join(partition, epoch, key.as_bytes(), most) {
            Join::Lead(first) => leader = Some(first),
            Join::Follow(follower) => return Decision::Wait(follower),
            Join::Alone => {}
        }
    }
    partition.count(false);
    let trail = Trail::of(request.extensions());
    trail.with(|facts| facts.cache = Some("miss"));
    if asked.only_if_cached {
        return Decision::Answer(not_stored());
    }
    if !remembers && stored.is_none() {
        return Decision::Pass(watch(partition));
    }
    Decision::Pass(Plan::Record(Box::new(Recording {
        shared: Arc::clone(shared),
        partition: Arc::clone(partition),
        epoch,
        hash,
        key,
        target: shared.resource_tag(&target.resource()),
        is_shared,
        is_head,
        asked: headers.clone(),
        trail,
        requested: now,
        forward,
        stored,
        tags: Vec::new(),
        leader,
    })))
}

/// What the cache has no part in goes to the handler, unless the request forbids that.
fn bypass<B>(shared: &Shared, request: &Request<B>) -> Decision {
    Trail::of(request.extensions()).with(|facts| facts.cache = Some("pass"));
    if policy::is_only_if_cached(request.headers()) {
        return Decision::Answer(not_stored());
    }
    Decision::Pass(shared.mark(Forward::Bypass))
}

/// Whether answers are worth remembering again is seen by a sample of them.
fn watch(partition: &Arc<Partition>) -> Plan {
    if partition.watches() {
        Plan::Watch(Arc::clone(partition))
    } else {
        Plan::Nothing
    }
}

/// RFC 9111 §5.2.1.7.
fn not_stored() -> Response<Stored> {
    let mut response = Response::new(Stored::default());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
        .headers_mut()
        .insert(status::NAME, status::NOT_STORED);
    response
}

impl<S: fmt::Debug> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
