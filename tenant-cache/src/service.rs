//! The service of the response cache layer.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use tenant_context::{Protocol, PublicRoute, Rejection, TenantContext, Trail};
use tower_service::Service;

use crate::{
    body::Stored,
    future::ResponseFuture,
    layer::Shared,
    plan::{Forward, Invalidation, Plan, Recording},
    policy::{self, Use},
    status,
    stored::{Choice, StoredResponse, Variants},
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

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let answer = match decide(&self.shared, &request) {
            Decision::Pass(plan) => return ResponseFuture::calling(self.inner.call(request), plan),
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
        _ => Decision::Pass(match shared.cache.seat(tenant) {
            Some(seat) => Plan::Invalidate(Invalidation::new(
                Arc::clone(&seat.partition),
                shared.all_responses(),
            )),
            None => Plan::Nothing,
        }),
    }
}

fn read<B: Body>(shared: &Arc<Shared>, tenant: &TenantContext, request: &Request<B>) -> Decision {
    let pass = || {
        Trail::of(request.extensions()).with(|facts| facts.cache = Some("pass"));
        Decision::Pass(shared.mark(Forward::Bypass))
    };
    let usage = policy::request(request.headers());
    if usage == Use::Bypass {
        return pass();
    }
    let Some(seat) = shared.cache.seat(tenant) else {
        return pass();
    };
    let partition = &seat.partition;
    if !partition.remembers() && !partition.has_responses() && usage == Use::ANY && !shared.explains
    {
        return Decision::Pass(Plan::Watch(Arc::clone(partition)));
    }
    let Some(target) = Target::of(request.uri(), request.headers()) else {
        return pass();
    };
    let trail = Trail::of(request.extensions());
    // Before the look-up and the handler: whatever is purged from here on takes the answer with it.
    let epoch = partition.epoch();
    let now = shared.cache.now();
    let authority =
        (!shared.is_shared(request.uri().path())).then(|| shared.cache.authority(&seat, tenant));
    let mut forward = Forward::Miss;
    let only_if_cached = match usage {
        Use::LookUp(limits) => {
            if partition.has_responses() {
                let key = shared.key(authority, &target);
                let hash = shared.cache.hash(key.as_bytes());
                let found = partition.find(hash, key.as_bytes(), now);
                let variants = found.as_ref().and_then(|entry| entry.value::<Variants>());
                match variants.map_or(Choice::None, |known| {
                    known.choose(request.headers(), limits, now)
                }) {
                    Choice::Fresh(stored, age) => {
                        if let Err(rejection) = tenant.check() {
                            return Decision::Refuse(rejection);
                        }
                        partition.count(true);
                        stored.head.deed().repeat(&trail);
                        return Decision::Answer(answer(stored, age.as_secs(), request.method()));
                    }
                    Choice::Stale => forward = Forward::Stale,
                    Choice::None => {}
                }
            }
            limits.only_if_cached
        }
        Use::Fetch { only_if_cached } => {
            forward = Forward::Request;
            only_if_cached
        }
        Use::Bypass => return pass(),
    };
    partition.count(false);
    trail.with(|facts| facts.cache = Some("miss"));
    if only_if_cached {
        // RFC 9111 §5.2.1.7.
        let mut response = Response::new(Stored::default());
        *response.status_mut() = http::StatusCode::GATEWAY_TIMEOUT;
        return Decision::Answer(response);
    }
    if request.method() == Method::HEAD {
        return Decision::Pass(shared.mark(forward));
    }
    if !partition.remembers() && !shared.explains {
        return Decision::Pass(Plan::Watch(Arc::clone(partition)));
    }
    Decision::Pass(Plan::Record(Box::new(Recording {
        shared: Arc::clone(shared),
        partition: Arc::clone(partition),
        epoch,
        authority,
        target,
        asked: request.headers().clone(),
        trail,
        requested: now,
        forward,
    })))
}

/// A stored response as it goes out (RFC 9111 §4, §5.1); to a HEAD without its content.
fn answer(stored: &StoredResponse, age: u64, method: &Method) -> Response<Stored> {
    let body = if method == Method::HEAD {
        Stored::default()
    } else {
        Stored::new(stored.body.clone())
    };
    let mut response = Response::new(body);
    *response.status_mut() = stored.head.status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.clone_from(&stored.head.headers);
    headers.insert(http::header::AGE, age.into());
    headers.append(status::NAME, status::HIT);
    response
}

impl<S: fmt::Debug> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
