//! The tower contract.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use support::{House, Origin, get, response, send};
use tenant_context::TenantContext;
use tenant_testkit::contract::{Probe, ProbeBody, ProbeService};
use tower::util::{MapRequest, MapResponse};
use tower_layer::Layer;
use tower_service::Service;

fn asking(method: Method, tenant: Option<&TenantContext>, path: &str) -> Request<ProbeBody> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "api.test");
    if let Some(tenant) = tenant {
        builder = builder.extension(tenant.clone());
    }
    builder.body(ProbeBody::default()).unwrap()
}

fn fresh(mut response: Response<ProbeBody>) -> Response<ProbeBody> {
    let value = HeaderValue::from_static("max-age=60");
    response.headers_mut().insert("cache-control", value);
    response
}

/// The probe sends content with every request, and a GET with content passes the cache by. On the way
/// through the layer it says that it has none.
struct Hushed(ProbeBody);

impl Body for Hushed {
    type Data = <ProbeBody as Body>::Data;
    type Error = <ProbeBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

fn hush(request: Request<ProbeBody>) -> Request<Hushed> {
    request.map(Hushed)
}

fn unhush(request: Request<Hushed>) -> Request<ProbeBody> {
    request.map(|body| body.0)
}

type Hush = fn(Request<ProbeBody>) -> Request<Hushed>;
type Unhush = fn(Request<Hushed>) -> Request<ProbeBody>;
type Freshen = fn(Response<ProbeBody>) -> Response<ProbeBody>;

/// What is stored on its way, and answered from the store.
#[test]
fn reads_keep_the_contract() {
    let house = House::new();
    let layer = house.layer();
    let ada = house.of("acme", "ada");
    let origin = Origin::new(|_| response(&[("cache-control", "max-age=60")], "stored"));
    let service = layer.layer(origin);
    let stored = send(&service, get(&ada, "/stored")).now_or_never();
    assert!(stored.unwrap().is_stored());

    let (reader, hitter, cache) = (ada.clone(), ada.clone(), house.cache.clone());
    let path = AtomicUsize::new(0);
    Probe::new("response cache: reads")
        .layer(move |handler: ProbeService| {
            let handler = MapResponse::new(handler, fresh as Freshen);
            let cached = layer.layer(MapRequest::new(handler, unhush as Unhush));
            MapRequest::new(cached, hush as Hush)
        })
        .admitted(move || {
            let path = format!("/{}", path.fetch_add(1, Ordering::SeqCst));
            asking(Method::GET, Some(&reader), &path)
        })
        .refused(move || asking(Method::GET, Some(&hitter), "/stored"))
        .check();
    assert!(cache.stats(&ada).unwrap().hits > 0);
    assert!(
        cache.stats(&ada).unwrap().bytes > 5_000,
        "the probe's answers were stored"
    );
}

/// What passes, and what is refused for want of a context.
#[test]
fn writes_keep_the_contract() {
    let house = House::new();
    let layer = house.layer();
    let ada = house.of("acme", "ada");
    Probe::new("response cache: writes")
        .layer(move |handler: ProbeService| layer.layer(handler))
        .admitted(move || asking(Method::POST, Some(&ada), "/a"))
        .refused(|| asking(Method::GET, None, "/a"))
        .check();
}

#[test]
fn a_hit_gives_the_inner_reservation_back() {
    let house = House::new();
    let origin = Origin::new(|_| response(&[("cache-control", "max-age=60")], "x"));
    let limited = tower::limit::ConcurrencyLimit::new(origin, 1);
    let mut service = house.layer().layer(limited);
    let mut other = service.clone();
    let ada = house.of("acme", "ada");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let stored = service
        .call(get(&ada, "/a"))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert!(stored.into_body().collect().now_or_never().unwrap().is_ok());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(
        other.poll_ready(&mut cx).is_pending(),
        "there is one permit"
    );
    let hit = service
        .call(get(&ada, "/a"))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(hit.headers()["cache-status"], "tenant-cache; hit; ttl=60");
    assert!(other.poll_ready(&mut cx).is_ready());
}
