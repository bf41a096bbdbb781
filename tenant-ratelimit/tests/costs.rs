//! Weights, reservations and their settlement, requests in flight.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::doc_markdown,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared between tests")]
mod common;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use common::{SECOND, agent, tenants};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tenant_context::{SystemContext, TenantContext};
use tenant_ratelimit::{
    DeniedKind, Dimension, LimitedBody, Limits, Quota, RateLimitLayer, RateLimitLayerBuilder,
    Settle, layer,
};
use tenant_testkit::{ManualClock, context};
use tower::{Layer, ServiceExt, service_fn};

const TOKENS: HeaderName = HeaderName::from_static("x-tokens");

struct World {
    clock: ManualClock,
    ada: TenantContext,
    bot: TenantContext,
    layer: RateLimitLayer,
}

impl World {
    fn new(with: impl FnOnce(RateLimitLayerBuilder) -> RateLimitLayerBuilder) -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&clock);
        Self {
            ada: context(&tenants, "acme", "ada"),
            bot: agent(&tenants, "acme", "bot"),
            layer: with(layer().clock(clock.clone())).build().unwrap(),
            clock,
        }
    }

    fn limits(&self) -> &Limits {
        self.layer.limits()
    }

    /// What is left of the tenant's budget.
    fn left(&self) -> u64 {
        let usage = self.limits().usage(&self.ada).unwrap();
        usage.budgets[0].remaining
    }
}

#[test]
fn a_weight_is_charged_to_every_budget() {
    let world = World::new(|layer| {
        layer
            .global(Quota::per_minute(100))
            .tenant(Quota::per_minute(50))
            .operation("export", Quota::per_minute(30))
    });
    let limits = world.limits();
    let decision = limits.check(&world.ada, "export", 20).unwrap();
    assert_eq!(
        (decision.dimension(), decision.remaining()),
        (Some(Dimension::Endpoint), Some(10))
    );
    let denied = limits.check(&world.ada, "export", 20).unwrap_err();
    assert_eq!(denied.wait(), Some(20 * SECOND), "until ten more are there");
    assert_eq!(
        limits.peek(&world.ada, "export", 10).unwrap().remaining(),
        Some(0)
    );
    assert_eq!(
        limits.check(&world.ada, None, 30).unwrap().remaining(),
        Some(0)
    );
    assert_eq!(
        limits
            .check(&world.ada, "export", 1)
            .unwrap_err()
            .dimension(),
        Some(Dimension::Tenant)
    );
    assert!(
        limits.check(&world.ada, "export", 0).is_ok(),
        "what costs nothing"
    );
}

#[test]
fn a_cost_above_the_burst_is_its_own_refusal_without_a_wait() {
    let world = World::new(|layer| layer.tenant(Quota::per_minute(50)));
    let denied = world.limits().check(&world.ada, None, 51).unwrap_err();
    assert_eq!(
        (denied.kind(), denied.wait()),
        (DeniedKind::CostAboveBurst, None)
    );
    assert_eq!(denied.dimension(), Some(Dimension::Tenant));
    let rejection = denied.rejection();
    assert_eq!(
        (rejection.status().as_u16(), rejection.retry_after()),
        (429, None)
    );
    assert_eq!(rejection.reason(), "cost_above_burst:tenant");
    assert!(
        world.limits().check(&world.ada, None, 50).is_ok(),
        "nothing was charged"
    );
}

#[test]
fn an_operation_that_was_not_declared_is_refused() {
    let world = World::new(|layer| layer.tenant(Quota::per_minute(50)));
    let denied = world.limits().check(&world.ada, "exprot", 1).unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::Misconfigured);
    assert_eq!(denied.rejection().reason(), "operation_unknown");
}

#[test]
fn reserve_before_settle_after_and_settled_is_reported() {
    let world = World::new(|layer| {
        layer
            .global(Quota::per_minute(1_000))
            .tenant(Quota::per_minute(100))
    });
    let limits = world.limits();
    limits.reserve(&world.ada, None, 60).unwrap().settle(10);
    assert_eq!(world.left(), 90);
    limits.reserve(&world.ada, None, 60).unwrap().settle(80);
    assert_eq!(world.left(), 10);
    drop(limits.reserve(&world.ada, None, 10).unwrap());
    assert_eq!(
        world.left(),
        0,
        "dropped without settling the reservation is charged"
    );
}

#[test]
fn token_budgets_bite_at_once_and_a_debt_is_bounded() {
    let world = World::new(|layer| layer.tenant(Quota::per_minute(60)));
    let reserved = world.limits().reserve(&world.ada, None, 10).unwrap();
    reserved.settle(1_000_000);
    // 60 spent, and as much again owed.
    let denied = world.limits().check(&world.ada, None, 1).unwrap_err();
    assert_eq!(denied.wait(), Some(61 * SECOND));
    world.clock.advance(61 * SECOND);
    assert!(world.limits().check(&world.ada, None, 1).is_ok());
}

#[test]
fn a_late_settlement_opens_no_second_burst() {
    let world = World::new(|layer| {
        layer
            .global(Quota::per_minute(60))
            .tenant(Quota::per_minute(60))
    });
    let limits = world.limits();
    let reserved = limits.reserve(&world.ada, None, 60).unwrap();
    world.clock.advance(45 * SECOND);
    limits.check(&world.ada, None, 45).unwrap();
    // Of the 60 only 15 have not come back by themselves, and what others spent stays spent.
    reserved.settle(0);
    assert_eq!(world.left(), 15);
    let denied = limits.check(&world.ada, None, 16).unwrap_err();
    assert_eq!(denied.wait(), Some(SECOND));
}

#[test]
fn what_was_made_whole_by_hand_does_not_come_back_again() {
    let world = World::new(|layer| layer.tenant(Quota::per_minute(10)));
    let limits = world.limits();
    let reserved = limits.reserve(&world.ada, None, 10).unwrap();
    let system = SystemContext::begin("support");
    limits.reset(&system, world.ada.tenant_id());
    limits.check(&world.ada, None, 10).unwrap();
    reserved.settle(0);
    assert!(limits.check(&world.ada, None, 1).is_err());
    // What it costs above its estimate is owed all the same.
    limits.reset(&system, world.ada.tenant_id());
    let reserved = limits.reserve(&world.ada, None, 1).unwrap();
    limits.reset(&system, world.ada.tenant_id());
    reserved.settle(7);
    assert_eq!(world.left(), 10 - 6);
}

proptest! {
    #[test]
    fn i4_all_budgets_are_settled_alike(
        estimate in 0..50_u64, actual in 0..120_u64, pause in 0..90_u64, spent in 0..40_u64,
    ) {
        let world = World::new(|layer| {
            let sixty = Quota::per_minute(60);
            layer.global(sixty).tenant(sixty).agent(sixty).operation("run", sixty).endpoint_across("POST /x", sixty)
        });
        let reserved = world.limits().reserve(&world.bot, "run", estimate).unwrap();
        world.clock.advance(Duration::from_secs(pause));
        world.limits().check(&world.bot, "run", spent).ok();
        reserved.settle(actual);
        // One budget more or less makes no difference: each was charged the same.
        let all = world.limits().peek(&world.bot, "run", 0);
        let tenant = world.limits().usage(&world.ada).unwrap();
        match all {
            Ok(decision) => {
                prop_assert!(tenant.budgets.iter().all(|budget| Some(budget.remaining) == decision.remaining()));
            }
            Err(_) => prop_assert!(tenant.budgets.iter().all(|budget| budget.remaining == 0)),
        }
    }
}

fn request(world: &World) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/complete".parse().unwrap();
    request.extensions_mut().insert(world.ada.clone());
    request
}

type Frames =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn frames(frames: Vec<Frame<Bytes>>) -> Frames {
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    StreamBody::new(futures_util::stream::iter(frames))
}

async fn answer(
    world: &World,
    header: Option<&str>,
    body: Vec<Frame<Bytes>>,
) -> Response<LimitedBody<Frames>> {
    let header = header.map(|text| HeaderValue::from_str(text).unwrap());
    let mut response = Response::new(frames(body));
    if let Some(header) = header {
        response.headers_mut().insert(TOKENS, header);
    }
    let response = parking_lot::Mutex::new(Some(response));
    let handler = service_fn(|_: Request<()>| {
        let response = response.lock().take().unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    world
        .layer
        .layer(Shared(&handler))
        .oneshot(request(world))
        .await
        .unwrap()
}

/// A service that is called through a reference.
struct Shared<'a, S>(&'a S);

impl<S> Clone for Shared<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S: Clone + tower::Service<R>, R> tower::Service<R> for Shared<'_, S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.clone().call(request)
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn trailers(value: &'static str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(
        TOKENS,
        HeaderValue::from_static(value),
    )]))
}

fn settling(settle: Settle) -> World {
    World::new(|layer| {
        layer
            .tenant(Quota::per_minute(1_000))
            .endpoint_cost("POST /complete", 100)
            .settle(settle)
    })
}

#[tokio::test]
async fn a_responses_header_settles() {
    let world = settling(Settle::header(TOKENS));
    drop(answer(&world, Some("7"), vec![]).await);
    assert_eq!(world.left(), 993);
    drop(answer(&world, Some("many"), vec![]).await);
    assert_eq!(world.left(), 893, "what says nothing leaves the estimate");
    drop(answer(&world, None, vec![]).await);
    assert_eq!(world.left(), 793);
}

#[tokio::test]
async fn a_responses_trailer_settles() {
    let world = settling(Settle::trailer(TOKENS));
    let response = answer(&world, Some("1"), vec![data("a"), trailers("30")]).await;
    assert_eq!(world.left(), 900);
    response.into_body().collect().await.unwrap();
    assert_eq!(world.left(), 970);
    drop(answer(&world, None, vec![data("a"), trailers("30")]).await);
    assert_eq!(
        world.left(),
        870,
        "a client that hangs up pays the estimate"
    );
}

#[tokio::test]
async fn a_responses_body_settles_when_it_has_ended() {
    let lines = |part: &[u8]| part.iter().map(|byte| u64::from(*byte == b'\n')).sum();
    let world = settling(Settle::body(lines));
    let response = answer(&world, None, vec![data("a\nb\n"), data("c\n")]).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(world.left(), 900);
    while body.frame().await.is_some() {}
    assert_eq!(world.left(), 997);
    let mut broken_off = answer(&world, None, vec![data("a\n"), data("c\n")])
        .await
        .into_body();
    broken_off.frame().await.unwrap().unwrap();
    drop(broken_off);
    assert_eq!(world.left(), 897);
}

#[tokio::test]
async fn a_computed_cost_is_charged_instead_of_the_endpoints() {
    let world = World::new(|layer| {
        layer
            .tenant(Quota::per_minute(1_000))
            .endpoint_cost("POST /complete", 100)
            .cost(|_, head| head.uri().path().len().try_into().unwrap())
    });
    drop(answer(&world, None, vec![]).await);
    assert_eq!(world.left(), 991);
}

#[tokio::test]
async fn a_place_in_flight_is_free_when_the_body_has_ended_or_is_dropped() {
    let world = World::new(|layer| {
        layer
            .tenant(Quota::per_minute(100))
            .tenant_in_flight(3)
            .endpoint_in_flight("POST /complete", 2)
    });
    let one = answer(&world, None, vec![data("a")]).await;
    let two = answer(&world, None, vec![data("a")]).await;
    let refused = answer(&world, None, vec![]).await;
    assert_eq!(refused.status().as_u16(), 429);
    assert!(
        !refused.headers().contains_key("retry-after"),
        "nobody knows when"
    );
    assert_eq!(world.left(), 98, "the refused one was not charged");
    one.into_body().collect().await.unwrap();
    let three = answer(&world, None, vec![data("a")]).await;
    assert_eq!(three.status().as_u16(), 200);
    assert_eq!(answer(&world, None, vec![]).await.status().as_u16(), 429);
    drop(two);
    drop(three);
    assert_eq!(world.limits().usage(&world.ada).unwrap().in_flight, 0);
    let held: Vec<_> = (0..3)
        .map(|_| world.limits().reserve(&world.ada, None, 1).unwrap())
        .collect();
    let denied = world.limits().reserve(&world.ada, None, 1).unwrap_err();
    assert_eq!(denied.kind(), DeniedKind::TooManyInFlight);
    assert_eq!(denied.rejection().reason(), "too_many_in_flight:tenant");
    drop(held);
}

#[test]
fn what_an_agent_has_in_flight_is_counted_along_its_chain_and_is_not_forgotten() {
    let world = World::new(|layer| layer.agent_in_flight(2).max_keys_per_tenant(1));
    let limits = world.limits();
    let held = limits.reserve(&world.bot, None, 1).unwrap();
    let again = limits.reserve(&world.bot, None, 1).unwrap();
    assert_eq!(
        limits.reserve(&world.bot, None, 1).unwrap_err().dimension(),
        Some(Dimension::Agent)
    );
    assert!(limits.reserve(&world.ada, None, 1).is_ok(), "a human");
    again.settle(1);
    drop(held);
    assert!(limits.reserve(&world.bot, None, 1).is_ok());
}

#[tokio::test]
async fn a_place_in_flight_is_free_when_the_request_is_cancelled_anywhere() {
    let world = World::new(|layer| layer.tenant_in_flight(1));
    let in_flight = || world.limits().usage(&world.ada).unwrap().in_flight;
    let never = service_fn(async |_: Request<()>| {
        std::future::pending::<Result<Response<Frames>, Infallible>>().await
    });
    let mut call = Box::pin(world.layer.layer(never).oneshot(request(&world)));
    let waker = std::task::Waker::noop();
    assert!(
        call.as_mut()
            .poll(&mut std::task::Context::from_waker(waker))
            .is_pending()
    );
    assert_eq!(in_flight(), 1);
    drop(call);
    assert_eq!(in_flight(), 0);
}
