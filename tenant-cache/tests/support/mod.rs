//! An origin behind the layer, and a client in front of it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tenant_cache::{ResponseCache, ResponseCacheLayer, TenantCache, TenantContext};
use tenant_context::{CachedRegistry, Trail};
use tenant_testkit::{ManualClock, context, tenants};
use tower_layer::Layer;
use tower_service::Service;

pub type Content = Full<Bytes>;
pub type Answering<B> = dyn Fn(&Request<Content>) -> Response<B> + Send + Sync;

/// A service that answers at once and counts.
pub struct Origin<B> {
    calls: Arc<AtomicUsize>,
    answer: Arc<Answering<B>>,
}

impl<B> Origin<B> {
    pub fn new(answer: impl Fn(&Request<Content>) -> Response<B> + Send + Sync + 'static) -> Self {
        Self {
            calls: Arc::default(),
            answer: Arc::new(answer),
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl<B> Clone for Origin<B> {
    fn clone(&self) -> Self {
        Self {
            calls: Arc::clone(&self.calls),
            answer: Arc::clone(&self.answer),
        }
    }
}

impl<B> Service<Request<Content>> for Origin<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Content>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok((self.answer)(&request)))
    }
}

pub struct House {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub cache: TenantCache,
}

impl House {
    pub fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            tenants: tenants(&["acme", "globex"], &clock),
            cache: TenantCache::builder().clock(clock.clone()).build().unwrap(),
            clock,
        }
    }

    pub fn of(&self, tenant: &str, principal: &str) -> TenantContext {
        context(&self.tenants, tenant, principal)
    }

    pub fn layer(&self) -> ResponseCacheLayer {
        tenant_cache::layer(self.cache.clone())
            .explain(true)
            .build()
            .unwrap()
    }

    pub fn around<B>(&self, origin: &Origin<B>) -> ResponseCache<Origin<B>> {
        self.layer().layer(origin.clone())
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A response with these fields whose body says how often the origin was called.
pub fn counted(fields: &'static [(&'static str, &'static str)]) -> Origin<Content> {
    let calls = AtomicUsize::new(0);
    Origin::new(move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        response(fields, format!("answer {call}"))
    })
}

pub fn response(fields: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Content> {
    let mut builder = Response::builder();
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

pub fn get(tenant: &TenantContext, uri: &str) -> Request<Content> {
    request(Method::GET, tenant, uri, &[])
}

pub fn request(
    method: Method,
    tenant: &TenantContext,
    uri: &str,
    fields: &[(&str, &str)],
) -> Request<Content> {
    let mut builder = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "api.test")
        .extension(tenant.clone());
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(Content::default()).unwrap()
}

pub fn with_trail(mut request: Request<Content>) -> (Request<Content>, Trail) {
    let trail = Trail::open();
    request.extensions_mut().insert(trail.clone());
    (request, trail)
}

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status").unwrap_or("")
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().starts_with("tenant-cache; hit")
    }

    pub fn is_stored(&self) -> bool {
        self.cache_status().ends_with("; stored")
    }
}

/// Sends a request and reads the answer to its end.
pub async fn send<S, B>(service: &S, request: Request<Content>) -> Answer
where
    S: Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let mut service = service.clone();
    std::future::poll_fn(|cx| service.poll_ready(cx))
        .await
        .unwrap();
    let (head, body) = service.call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}
