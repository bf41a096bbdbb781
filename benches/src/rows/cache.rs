//! The tenant cache: values and responses, beside an engine alone and a response cache that knows no tenants.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CACHE_CONTROL};
use http_body_util::Full;
use tenant_cache::{Namespace, TenantCache, TenantContext};
use tenant_context::{
    Authenticate, CachedRegistry, Claims, Identity, Lookup, MemoryRegistry, Principal, PrincipalId,
    Rejection, RequestHead, Resolver, TenantId, TenantRecord, UnixTime,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{Definition, Shared, layer};
use crate::{
    Result,
    drive::Tally,
    request::{RequestBody, Requests},
    row::{Operation, Row, Work},
    token::Algorithm,
};

/// How many values there are: the same for every engine.
pub(super) const VALUES: u64 = 10_000;

/// Values of 64 bytes, shared: a copy is a reference count, in each engine alike.
pub(super) fn value() -> Bytes {
    Bytes::from(vec![7; 64])
}

/// Makes contexts of tenants that it makes up.
pub(super) struct Tenants {
    registry: MemoryRegistry,
    resolver: Resolver,
    made: u64,
}

/// Admits one identity.
pub(super) struct Only(pub(super) Arc<Identity>);

impl Authenticate for Only {
    fn authenticate(
        &self,
        _: &RequestHead<'_>,
    ) -> Lookup<std::result::Result<Arc<Identity>, Rejection>> {
        Lookup::Ready(Ok(Arc::clone(&self.0)))
    }
}

fn now<T>(lookup: Lookup<T>) -> Result<T> {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(lookup.wait()).poll(&mut cx) {
        Poll::Ready(found) => Ok(found),
        Poll::Pending => Err("a registry in memory answers at once".into()),
    }
}

impl Tenants {
    pub(super) fn new() -> Result<Self> {
        let registry = MemoryRegistry::new();
        let cached = CachedRegistry::builder(registry.clone())
            .capacity(1_000_000)
            .build()?;
        Ok(Self {
            registry,
            resolver: Resolver::new(cached),
            made: 0,
        })
    }

    /// An identity of a new tenant.
    pub(super) fn identity(&mut self) -> Result<Arc<Identity>> {
        self.made = self.made.wrapping_add(1);
        let id = TenantId::parse(format!("tenant-{}", self.made))?;
        self.registry.insert(TenantRecord::new(id.clone()));
        let principal = Principal::service(PrincipalId::parse("bench")?);
        let claims = Claims::new(id, principal, UnixTime::MAX);
        Ok(now(self.resolver.resolve(claims))??)
    }

    fn next(&mut self) -> Result<TenantContext> {
        let identity = self.identity()?;
        let (parts, ()) = Request::new(()).into_parts();
        let head = RequestHead::new(&parts);
        Ok(now(TenantContext::admit(&Only(identity), &head))??)
    }

    pub(super) fn many(&mut self, count: u64) -> Result<Vec<TenantContext>> {
        (0..count).map(|_| self.next()).collect()
    }
}

pub(super) fn values() -> Result<(TenantCache, Namespace<Bytes>)> {
    let cache = TenantCache::builder()
        .max_bytes(1 << 30)
        .max_bytes_per_tenant(64 << 20)
        .build()?;
    let values = cache
        .namespace("value")?
        .ttl(Duration::from_secs(86_400))
        .weigh(|value: &Bytes| value.len().wrapping_add(size_of::<Bytes>()));
    Ok((cache, values))
}

/// Goes through all numbers below `count` in an order that no cache line foresees.
pub(super) fn scattered(count: u64) -> impl FnMut() -> u64 {
    let mut at = 0_u64;
    move || {
        at = at.wrapping_add(7_919);
        at.checked_rem(count).unwrap_or(0)
    }
}

pub(super) fn hit(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (_cache, values) = values()?;
    let tenant = Tenants::new()?.next()?;
    for key in 0..VALUES {
        values.insert(&tenant, &key, value())?;
    }
    let mut key = scattered(VALUES);
    Ok(definition.row(Operation::new(move || {
        matches!(values.get(&tenant, &key()), Ok(Some(_)))
    })))
}

/// As many values, one for each tenant.
pub(super) fn hit_10k_tenants(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (_cache, values) = values()?;
    let tenants = Tenants::new()?.many(VALUES)?;
    for tenant in &tenants {
        values.insert(tenant, &7_u64, value())?;
    }
    let mut at = scattered(VALUES);
    Ok(definition.row(Operation::new(move || {
        let tenant = usize::try_from(at()).ok().and_then(|at| tenants.get(at));
        tenant.is_some_and(|tenant| matches!(values.get(tenant, &7_u64), Ok(Some(_))))
    })))
}

#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn moka_hit(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let values = moka::sync::Cache::builder()
        .max_capacity(1 << 30)
        .weigher(|_: &u64, value: &Bytes| u32::try_from(value.len()).unwrap_or(u32::MAX))
        .time_to_live(Duration::from_secs(86_400))
        .build();
    for key in 0..VALUES {
        values.insert(key, value());
    }
    let mut key = scattered(VALUES);
    Ok(definition.row(Operation::new(move || values.get(&key()).is_some())))
}

/// New tenants, each of which looks once for a value.
struct Idle {
    tenants: Tenants,
    values: Namespace<Bytes>,
    own: TenantContext,
    prepared: Vec<TenantContext>,
}

impl Work for Idle {
    fn prepare(&mut self, operations: usize) {
        // Those of the last batch leave; each insertion looks at one partition, and drops it if nobody needs it.
        for _ in 0..self.prepared.drain(..).count().saturating_add(1) {
            self.values.insert(&self.own, &0_u64, Bytes::new()).ok();
        }
        self.prepared
            .extend((0..operations).filter_map(|_| self.tenants.next().ok()));
    }

    fn run(&mut self) {
        for tenant in &self.prepared {
            black_box(self.values.get(tenant, &7_u64).ok());
        }
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn largest_batch(&self) -> usize {
        1024
    }
}

pub(super) fn idle_partition(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (_cache, values) = values()?;
    let mut tenants = Tenants::new()?;
    Ok(definition.row(Idle {
        own: tenants.next()?,
        tenants,
        values,
        prepared: Vec::new(),
    }))
}

/// Answers 1 KiB that may be kept for an hour.
#[derive(Clone, Debug)]
struct Kibibyte(Bytes);

impl Kibibyte {
    fn new() -> Self {
        Self(Bytes::from(vec![b'x'; 1024]))
    }

    fn answer<B>(&self, body: impl FnOnce(Full<Bytes>) -> B) -> Response<B> {
        let mut response = Response::new(body(Full::new(self.0.clone())));
        let hour = HeaderValue::from_static("max-age=3600");
        response.headers_mut().insert(CACHE_CONTROL, hour);
        response
    }
}

impl Service<Request<RequestBody>> for Kibibyte {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        ready(Ok(self.answer(|body| body)))
    }
}

pub(super) fn layer_hit(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
    layer::inside(definition, shared, cache.layer(Kibibyte::new()))
}

/// The same behind `axum-response-cache`, which takes and gives axum's bodies.
#[derive(Clone, Debug)]
struct Boxed(Kibibyte);

impl Service<Request<Body>> for Boxed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(self.0.answer(Body::new)))
    }
}

/// Hands requests to a service that wants axum's bodies.
struct Outside<S>(S);

impl<S: Service<Request<Body>>> Service<Request<RequestBody>> for Outside<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.0.call(request.map(|_| Body::empty()))
    }
}

pub(super) fn response_cache_hit(
    definition: &'static Definition,
    shared: &Arc<Shared>,
) -> Result<Row> {
    let cache = axum_response_cache::CacheLayer::with_lifespan(Duration::from_secs(3600));
    let service = Outside(cache.layer(Boxed(Kibibyte::new())));
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    Ok(definition.row(crate::row::Calls::new(service, requests)))
}
