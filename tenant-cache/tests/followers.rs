//! What followers of a collapsed request depend on: on the handler alone, never on who reads its answer or gives up.

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
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{self, Stream, StreamExt},
};
use http::{HeaderMap, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use support::{Content, House, get};
use tenant_cache::{CacheBody, ResponseCache};
use tenant_testkit::Gate;
use tower_layer::Layer;
use tower_service::Service;

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>;
type Streamed = StreamBody<Frames>;
type Answer = Result<Response<CacheBody<Streamed>>, Infallible>;
type Asked = Pin<Box<dyn Future<Output = Answer>>>;

/// Answers, once its gate lets it, with the frames that its n-th call makes.
#[derive(Clone)]
struct Handler {
    gate: Gate,
    calls: Arc<AtomicUsize>,
    length: usize,
    frames: Arc<dyn Fn(usize) -> Frames + Send + Sync>,
}

impl Service<Request<Content>> for Handler {
    type Response = Response<Streamed>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Streamed>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Content>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (pass, frames, length) = (self.gate.pass(), (self.frames)(call), self.length);
        Box::pin(async move {
            pass.await;
            let mut response = Response::new(StreamBody::new(frames));
            let fresh = "max-age=60".parse().unwrap();
            response.headers_mut().insert(header::CACHE_CONTROL, fresh);
            let length = length.into();
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            Ok(response)
        })
    }
}

struct Scene {
    house: House,
    handler: Handler,
    service: ResponseCache<Handler>,
}

fn scene(length: usize, frames: impl Fn(usize) -> Frames + Send + Sync + 'static) -> Scene {
    let house = House::new();
    let handler = Handler {
        gate: Gate::closed(),
        calls: Arc::default(),
        length,
        frames: Arc::new(frames),
    };
    let layer = tenant_cache::layer(house.cache.clone()).collapse(8);
    let service = layer.build().unwrap().layer(handler.clone());
    Scene {
        house,
        handler,
        service,
    }
}

impl Scene {
    fn ask(&self) -> Asked {
        let caller = self.house.of("acme", "ada");
        Box::pin(self.service.clone().call(get(&caller, "/a")))
    }

    /// So many that have all begun: the first leads.
    fn all(&self, count: usize) -> Vec<Asked> {
        let mut asked: Vec<Asked> = (0..count).map(|_| self.ask()).collect();
        for one in &mut asked {
            assert!(poll(one).is_pending());
        }
        assert_eq!(self.calls(), 1);
        asked
    }

    fn calls(&self) -> usize {
        self.handler.calls.load(Ordering::SeqCst)
    }
}

fn poll(asked: &mut Asked) -> Poll<Answer> {
    asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn answer(asked: &mut Asked) -> Response<CacheBody<Streamed>> {
    match poll(asked) {
        Poll::Ready(Ok(answer)) => answer,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => panic!("it waits"),
    }
}

fn text(answer: Response<CacheBody<Streamed>>) -> Bytes {
    let whole = answer.into_body().collect().now_or_never();
    whole.expect("all of it is there").unwrap().to_bytes()
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "an item of a stream that may fail"
)]
fn data(text: impl Into<Bytes>) -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(text.into()))
}

fn numbered(call: usize) -> Frames {
    Box::pin(stream::iter([data("answer "), data(call.to_string())]))
}

#[test]
fn a_client_that_does_not_read_keeps_nobody_waiting() {
    let scene = scene(8, numbered);
    let mut asked = scene.all(3);
    scene.handler.gate.open();
    let unread = answer(&mut asked[0]);
    assert_eq!(text(answer(&mut asked[1])), "answer 1");
    assert_eq!(text(answer(&mut asked[2])), "answer 1");
    assert_eq!(unread.body().size_hint().lower(), 8);
    assert_eq!(
        text(unread),
        "answer 1",
        "and it is whole for the first one"
    );
    assert_eq!(scene.calls(), 1);
}

#[test]
fn a_body_that_is_not_there_keeps_nobody_waiting() {
    let scene = scene(8, |call| {
        Box::pin(
            stream::iter([data("answer ")]).chain(stream::once(async move {
                if call == 1 {
                    std::future::pending::<()>().await;
                }
                data(call.to_string())
            })),
        )
    });
    let mut asked = scene.all(2);
    scene.handler.gate.open();
    let mut first = answer(&mut asked[0]).into_body();
    assert_eq!(text(answer(&mut asked[1])), "answer 2");
    let begun = first.frame().now_or_never().flatten().unwrap().unwrap();
    assert_eq!(
        begun.into_data().unwrap(),
        "answer ",
        "what is there goes out at once"
    );
    assert!(first.frame().now_or_never().is_none());
}

#[test]
fn what_is_no_data_goes_out_unchanged_and_is_not_stored() {
    let scene = scene(7, |call| {
        let last = if call == 1 {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            Ok(Frame::trailers(trailers))
        } else {
            Err(io::Error::other("cut off"))
        };
        Box::pin(stream::iter([data("answer "), last]))
    });
    scene.handler.gate.open();
    let whole = answer(&mut scene.ask()).into_body().collect();
    let whole = whole.now_or_never().unwrap().unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "1");
    assert_eq!(whole.to_bytes(), "answer ");
    let mut cut = answer(&mut scene.ask()).into_body();
    let begun = cut.frame().now_or_never().flatten().unwrap().unwrap();
    assert_eq!(begun.into_data().unwrap(), "answer ");
    let error = cut.frame().now_or_never().flatten().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "cut off");
    assert_eq!(scene.calls(), 2, "neither was stored");
}

#[test]
fn i6_a_body_of_empty_frames_is_not_read_for_ever() {
    let scene = scene(1, |_| Box::pin(stream::repeat_with(|| data(""))));
    let mut asked = scene.all(2);
    scene.handler.gate.open();
    answer(&mut asked[0]);
    answer(&mut asked[1]);
    assert_eq!(scene.calls(), 2);
}

#[test]
fn one_follower_goes_in_the_place_of_a_leader_that_is_given_up() {
    let scene = scene(8, numbered);
    let mut asked = scene.all(5);
    drop(asked.remove(0));
    for one in &mut asked {
        assert!(poll(one).is_pending());
    }
    assert_eq!(scene.calls(), 2, "one for all, once more");
    scene.handler.gate.open();
    for one in &mut asked {
        assert_eq!(text(answer(one)), "answer 2");
    }
}

#[test]
fn a_handler_that_panics_leaves_nobody_waiting() {
    let house = House::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let gate = Gate::closed();
    let service = {
        let (calls, gate) = (Arc::clone(&calls), gate.clone());
        tower::service_fn(move |_: Request<Content>| {
            let (call, pass) = (calls.fetch_add(1, Ordering::SeqCst), gate.pass());
            async move {
                pass.await;
                assert_ne!(call, 0, "the handler failed badly");
                Ok::<_, Infallible>(support::response(&[("cache-control", "max-age=60")], "x"))
            }
        })
    };
    let layer = tenant_cache::layer(house.cache.clone()).collapse(8);
    let service = layer.build().unwrap().layer(service);
    let ask = || Box::pin(service.clone().call(get(&house.of("acme", "ada"), "/a")));
    let (mut leader, mut follower) = (ask(), ask());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(leader.as_mut().poll(&mut cx).is_pending());
    assert!(follower.as_mut().poll(&mut cx).is_pending());
    gate.open();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        leader
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }));
    assert!(failed.is_err());
    assert!(follower.as_mut().poll(&mut cx).is_ready());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn i6_who_gives_up_over_and_over_keeps_nobody() {
    let scene = scene(8, numbered);
    let mut asked = scene.all(1);
    let mut patient = scene.ask();
    assert!(poll(&mut patient).is_pending());
    let mut abandoned = 0;
    while scene.calls() == abandoned + 1 {
        // The next one asks before whoever waits has noticed.
        drop(asked.remove(0));
        abandoned += 1;
        asked.push(scene.ask());
        assert!(poll(&mut asked[0]).is_pending());
        assert!(poll(&mut patient).is_pending());
        assert!(abandoned < 10, "it waits for ever");
    }
    scene.handler.gate.open();
    answer(&mut patient);
}

#[test]
fn isolation_a_context_that_ended_while_it_waited_is_refused() {
    let scene = scene(8, numbered);
    let mut asked = scene.all(2);
    let ada = scene.house.of("acme", "ada");
    scene.house.tenants.suspend(ada.tenant_id());
    drop(asked.remove(0));
    assert_eq!(answer(&mut asked[0]).status(), 403);
    assert_eq!(scene.calls(), 1, "the handler is not asked for it");
}

/// A chatty writer elsewhere in the tenant moves the epoch all the time: readers still wait for one answer.
#[test]
fn requests_are_collapsed_while_others_write() {
    let scene = scene(8, numbered);
    let ada = scene.house.of("acme", "ada");
    let mut asked = scene.all(2);
    scene.house.cache.invalidate_tag(&ada, "elsewhere").unwrap();
    let mut late: Vec<Asked> = (0..4).map(|_| scene.ask()).collect();
    for one in &mut late {
        assert!(poll(one).is_pending());
    }
    assert_eq!(scene.calls(), 2, "one more for all who came after it");
    scene.handler.gate.open();
    for one in asked.iter_mut().chain(&mut late) {
        answer(one);
    }
    assert_eq!(scene.calls(), 2);
}
