//! Equal requests that wait for one answer.

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
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use support::{Content, House, get, request, response};
use tenant_cache::{CacheBody, ResponseCache};
use tenant_testkit::Gate;
use tower_layer::Layer;
use tower_service::Service;

/// Answers when its gate lets it.
#[derive(Clone)]
struct Slow {
    gate: Gate,
    calls: Arc<AtomicUsize>,
    control: &'static str,
}

impl Service<Request<Content>> for Slow {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Content>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Content>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (pass, control) = (self.gate.pass(), self.control);
        Box::pin(async move {
            pass.await;
            Ok(response(
                &[("cache-control", control)],
                format!("answer {call}"),
            ))
        })
    }
}

struct Scene {
    house: House,
    slow: Slow,
    service: ResponseCache<Slow>,
}

fn scene(control: &'static str, followers: usize) -> Scene {
    let house = House::new();
    let slow = Slow {
        gate: Gate::closed(),
        calls: Arc::default(),
        control,
    };
    let layer = tenant_cache::layer(house.cache.clone()).collapse(followers);
    let service = layer.build().unwrap().layer(slow.clone());
    Scene {
        house,
        slow,
        service,
    }
}

type Answer = Result<Response<CacheBody<Content>>, Infallible>;
type Asked = Pin<Box<dyn Future<Output = Answer>>>;

impl Scene {
    fn ask(&self, tenant: &str, principal: &str, path: &str) -> Asked {
        let caller = self.house.of(tenant, principal);
        Box::pin(self.service.clone().call(get(&caller, path)))
    }

    fn calls(&self) -> usize {
        self.slow.calls.load(Ordering::SeqCst)
    }
}

fn poll(asked: &mut Asked) -> Poll<Answer> {
    asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

async fn body(answer: Poll<Answer>) -> String {
    let Poll::Ready(Ok(answer)) = answer else {
        panic!("it waits");
    };
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn equal_requests_wait_for_one_answer() {
    let scene = scene("max-age=60", 8);
    let mut asked: Vec<Asked> = (0..4).map(|_| scene.ask("acme", "ada", "/a")).collect();
    for one in &mut asked {
        assert!(poll(one).is_pending());
    }
    assert_eq!(scene.calls(), 1);
    scene.slow.gate.open();
    for one in &mut asked {
        assert_eq!(body(poll(one)).await, "answer 1");
    }
    assert_eq!(scene.calls(), 1);
    assert_eq!(
        scene
            .house
            .cache
            .loads(&scene.house.of("acme", "ada"))
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn isolation_nobody_waits_for_another_tenant_or_authority() {
    let scene = scene("max-age=60", 8);
    let mut asked = [
        scene.ask("acme", "ada", "/a"),
        scene.ask("acme", "bob", "/a"),
        scene.ask("globex", "ada", "/a"),
        scene.ask("acme", "ada", "/b"),
    ];
    for one in &mut asked {
        assert!(poll(one).is_pending());
    }
    assert_eq!(scene.calls(), 4);
}

#[tokio::test]
async fn i6_beyond_the_bound_of_followers_a_request_goes_itself() {
    let scene = scene("max-age=60", 2);
    let mut asked: Vec<Asked> = (0..5).map(|_| scene.ask("acme", "ada", "/a")).collect();
    for one in &mut asked {
        assert!(poll(one).is_pending());
    }
    assert_eq!(scene.calls(), 3, "one leads, two follow, two go themselves");
    drop(asked.remove(1));
    let mut late = scene.ask("acme", "ada", "/a");
    assert!(poll(&mut late).is_pending());
    assert_eq!(scene.calls(), 3, "whoever leaves makes room");
}

#[tokio::test]
async fn nobody_hangs_on_an_answer_that_does_not_come_or_is_not_stored() {
    for (control, cancels) in [("max-age=60", true), ("no-store", false)] {
        let scene = scene(control, 8);
        let mut leader = scene.ask("acme", "ada", "/a");
        let mut follower = scene.ask("acme", "ada", "/a");
        assert!(poll(&mut leader).is_pending());
        assert!(poll(&mut follower).is_pending());
        assert_eq!(scene.calls(), 1);
        if cancels {
            drop(leader);
            assert!(poll(&mut follower).is_pending());
            scene.slow.gate.open();
        } else {
            scene.slow.gate.open();
            assert_eq!(body(poll(&mut leader)).await, "answer 1");
        }
        assert_eq!(body(poll(&mut follower)).await, "answer 2");
    }
}

#[tokio::test]
async fn who_asks_after_a_write_does_not_wait_for_what_was_begun_before_it() {
    let scene = scene("max-age=60", 8);
    let mut early = scene.ask("acme", "ada", "/a");
    let mut waiting = scene.ask("acme", "ada", "/a");
    assert!(poll(&mut early).is_pending());
    assert!(poll(&mut waiting).is_pending());
    let ada = scene.house.of("acme", "ada");
    drop(
        scene
            .service
            .clone()
            .call(request(Method::POST, &ada, "/a", &[])),
    );
    let mut late = scene.ask("acme", "ada", "/a");
    assert!(poll(&mut late).is_pending());
    assert_eq!(
        scene.calls(),
        3,
        "the first, the write, and who came after it"
    );
    scene.slow.gate.open();
    assert_eq!(body(poll(&mut early)).await, "answer 1");
    assert_eq!(
        body(poll(&mut waiting)).await,
        "answer 4",
        "not what the write overtook"
    );
}
