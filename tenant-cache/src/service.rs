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
    future::ResponseFuture,
    layer::Shared,
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

/// What is done with a request.
enum Decision {
    Answer(Response<Stored>),
    Refuse(Rejection),
    Pass(Plan),
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ResponseCache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<crate::CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let answer = match decide(&self.shared, &request) {
            Decision::Pass(plan) => {
                if let Plan::Record(recording) = &plan
                    && let Some(stored) = recording.to_validate()
                {
                    policy::validators(&stored.head.headers, request.headers_mut());
                }
                return ResponseFuture::calling(self.inner.call(request), plan);
            }
            Decision::Answer(response) => response,
            Decision::Refuse(rejection) => rejection
                .to_response(Protocol::of(request.headers()))
                .map(|()| Stored::default()),
        };
        // What the inner service reserved for this request goes back: a clone has reserved nothing.
        self.inner = self.inner.clone();
        ResponseFuture::ready(answer)
    }
}

fn decide<B: Body>(shared: &Arc<Shared>, request: &Request<B>) -> Decision {
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
        Method::GET | Method::HEAD if !content => read(shared, tenant, request),
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

fn read<B: Body>(shared: &Arc<Shared>, tenant: &TenantContext, request: &Request<B>) -> Decision {
    let pass = || {
        Trail::of(request.extensions()).with(|facts| facts.cache = Some("pass"));
        Decision::Pass(shared.mark(Forward::Bypass))
    };
    let headers = request.headers();
    let Use::LookUp(asked) = policy::request(headers) else {
        return pass();
    };
    let Some(seat) = shared.cache.seat(tenant) else {
        return pass();
    };
    let partition = &seat.partition;
    let remembers = partition.remembers() || shared.explains;
    if !remembers && !partition.has_responses() && !asked.only_if_cached {
        return Decision::Pass(Plan::Watch(Arc::clone(partition)));
    }
    let Some(target) = Target::of(request.uri(), headers) else {
        return pass();
    };
    // Before the look-up and the handler: whatever is purged from here on takes the answer with it.
    let epoch = partition.epoch();
    let now = shared.cache.now();
    let is_shared = shared.is_shared(request.uri().path());
    let authority = (!is_shared).then(|| shared.cache.authority(&seat, tenant));
    let key = shared.key(authority, target);
    let hash = shared.cache.hash(key.as_bytes());
    let is_head = request.method() == Method::HEAD;
    let (mut forward, mut stored) = (Forward::Miss, None);
    if partition.has_responses()
        && let Some(entry) = partition.find(hash, key.as_bytes(), now)
        && let Some(variants) = entry.value::<Variants>()
    {
        match variants.choose(headers, asked, now) {
            Choice::Serve(found, age) => {
                if let Err(rejection) = tenant.check() {
                    return Decision::Refuse(rejection);
                }
                partition.count(true);
                found.head.deed().repeat(request.extensions().get());
                let same =
                    asked.conditional && policy::is_not_modified(headers, &found.head.headers);
                let answer = found.answer(age.as_secs(), same);
                return Decision::Answer(if is_head {
                    answer.map(|_| Stored::default())
                } else {
                    answer
                });
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
    partition.count(false);
    let trail = Trail::of(request.extensions());
    trail.with(|facts| facts.cache = Some("miss"));
    if asked.only_if_cached {
        // RFC 9111 §5.2.1.7.
        let mut response = Response::new(Stored::default());
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        response
            .headers_mut()
            .insert(status::NAME, status::NOT_STORED);
        return Decision::Answer(response);
    }
    if !remembers && stored.is_none() {
        return Decision::Pass(Plan::Watch(Arc::clone(partition)));
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
    })))
}

impl<S: fmt::Debug> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
