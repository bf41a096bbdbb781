//! Bodies on their way into the cache: complete ones only, without delay, whatever is cancelled.

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
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use support::{Content, House, Origin, get, request, send};
use tenant_cache::{Bounds, ResponseCache, TenantContext};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Data(&'static str),
    Wait,
    Trailers,
    Fail,
}
use Step::{Data, Fail, Trailers, Wait};

/// A body that follows a script.
struct Scripted {
    steps: VecDeque<Step>,
    /// Tells its length, and its end with the last frame.
    candid: bool,
}

impl Scripted {
    fn left(&self) -> u64 {
        self.steps
            .iter()
            .map(|step| match step {
                Data(text) => text.len() as u64,
                _ => 0,
            })
            .sum()
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Data(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(text))))),
            Some(Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Fail) => Poll::Ready(Some(Err("failed"))),
            Some(Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.candid && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.candid {
            SizeHint::with_exact(self.left())
        } else {
            SizeHint::default()
        }
    }
}

fn origin(steps: &'static [Step], candid: bool, length: Option<&'static str>) -> Origin<Scripted> {
    Origin::new(move |_| {
        let mut builder = Response::builder().header("cache-control", "max-age=60");
        if let Some(length) = length {
            builder = builder.header("content-length", length);
        }
        builder
            .body(Scripted {
                steps: steps.iter().copied().collect(),
                candid,
            })
            .unwrap()
    })
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn frame<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

type Served = ResponseCache<Origin<Scripted>>;

async fn open(
    service: &Served,
    tenant: &TenantContext,
) -> Response<impl Body<Data = Bytes, Error = &'static str>> {
    service.clone().call(get(tenant, "/a")).await.unwrap()
}

async fn is_hit(service: &Served, tenant: &TenantContext) -> bool {
    let answer = open(service, tenant).await;
    answer.headers()["cache-status"] == "tenant-cache; hit; ttl=60"
}

#[tokio::test]
async fn complete_bodies_are_stored_in_every_shape() {
    for (steps, candid, length) in [
        (&[][..], true, None),
        (&[], false, None),
        (&[], false, Some("0")),
        (&[Data("one")], true, None),
        (&[Data("one")], false, None),
        (&[Data("one"), Wait, Data("two"), Wait], false, None),
        (&[Data("one"), Data("two")], true, Some("6")),
        (&[Data("one"), Data("two")], false, Some("6")),
    ] {
        let house = House::new();
        let origin = origin(steps, candid, length);
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        let first = open(&service, &ada)
            .await
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        let second = open(&service, &ada).await;
        assert_eq!(
            second.headers()["cache-status"],
            "tenant-cache; hit; ttl=60",
            "{steps:?} {candid} {length:?}"
        );
        assert_eq!(
            second.headers()["content-length"],
            first.len().to_string().as_str()
        );
        let body = second.into_body();
        assert_eq!(body.size_hint().exact(), Some(first.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), first);
    }
}

#[tokio::test]
async fn incomplete_failed_mistaken_and_trailing_bodies_are_not_stored() {
    for (steps, candid, length) in [
        (&[Data("one"), Fail][..], false, None),
        (&[Fail], false, None),
        (&[Data("one"), Trailers], false, None),
        (&[Trailers], false, None),
        (&[Data("one")], false, Some("4")),
        (&[Data("one")], false, Some("2")),
        (&[Data("one")], true, Some("4")),
        (&[Data("one")], false, Some("three")),
        (&[Data("one")], false, Some("+3")),
    ] {
        let house = House::new();
        let origin = origin(steps, candid, length);
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        let _read = open(&service, &ada).await.into_body().collect().await;
        assert!(!is_hit(&service, &ada).await, "{steps:?} {length:?}");
    }
}

#[tokio::test]
async fn frames_pass_without_delay_and_unchanged() {
    let house = House::new();
    let origin = origin(&[Data("one"), Wait, Data("two"), Trailers], false, None);
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let mut body = pin!(open(&service, &ada).await.into_body());
    let mut next = || {
        body.as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()))
    };
    let data = |frame: Poll<Option<Result<Frame<Bytes>, _>>>| match frame {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    };
    assert_eq!(data(next()).unwrap(), "one");
    assert!(next().is_pending());
    assert_eq!(data(next()).unwrap(), "two");
    assert!(matches!(next(), Poll::Ready(Some(Ok(frame))) if frame.is_trailers()));
    assert!(matches!(next(), Poll::Ready(None)));
}

#[tokio::test]
async fn i6_bodies_above_the_bound_pass_through_unstored() {
    for (steps, candid, max, stored) in [
        (&[Data("one"), Data("two")][..], true, 6, true),
        (&[Data("one"), Data("two")], true, 5, false),
        (&[Data("one"), Data("two")], false, 6, true),
        (&[Data("one"), Data("two")], false, 5, false),
    ] {
        let house = House::new();
        let layer = tenant_cache::layer(house.cache.clone())
            .explain(true)
            .max_body(max)
            .build()
            .unwrap();
        let service = layer.layer(origin(steps, candid, None));
        let ada = house.of("acme", "ada");
        let answer = open(&service, &ada).await;
        if candid {
            let says = answer.headers()["cache-status"]
                .to_str()
                .unwrap()
                .ends_with("stored");
            assert_eq!(says, stored, "known in advance");
        }
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "onetwo"
        );
        assert_eq!(is_hit(&service, &ada).await, stored, "{candid} {max}");
    }
}

/// A server that knows the length from the head takes the last byte for the end.
#[tokio::test]
async fn a_whole_body_of_known_length_is_stored_without_being_asked_for_its_end() {
    for (length, asked, stored) in [
        (Some("6"), 2, true),
        (Some("6"), 1, false),
        (None, 2, false),
    ] {
        let house = House::new();
        let origin = origin(&[Data("one"), Data("two")], false, length);
        let service = house.around(&origin);
        let ada = house.of("acme", "ada");
        let mut body = Box::pin(open(&service, &ada).await.into_body());
        for _ in 0..asked {
            assert!(frame(&mut body).is_ready());
        }
        drop(body);
        assert_eq!(is_hit(&service, &ada).await, stored, "{length:?} {asked}");
    }
}

/// A handler that needs a few polls, and a body that needs some more.
#[derive(Clone)]
struct Slow(Origin<Scripted>);

impl Service<Request<Content>> for Slow {
    type Response = Response<Scripted>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Scripted>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Content>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            answer.await
        })
    }
}

const SLOW: &[Step] = &[Data("one"), Wait, Data("two"), Wait, Data("three"), Wait];

/// "A cancelled request left a reply, and the next user got it": here, dropped after any number of
/// polls, a read leaves nothing half stored, and the next reader gets a whole answer.
#[tokio::test]
async fn cancelled_at_every_await_nothing_half_is_stored() {
    let mut stored = Vec::new();
    for polls in 0..14 {
        let house = House::new();
        let service = house.layer().layer(Slow(origin(SLOW, false, None)));
        let (ada, bob) = (house.of("acme", "ada"), house.of("acme", "bob"));
        {
            let mut service = service.clone();
            let mut read = Box::pin(async move {
                service
                    .call(get(&ada, "/a"))
                    .await
                    .unwrap()
                    .into_body()
                    .collect()
                    .await
            });
            for _ in 0..polls {
                if poll(read.as_mut()).is_ready() {
                    break;
                }
            }
        }
        let ada = house.of("acme", "ada");
        let answer = service.clone().call(get(&ada, "/a")).await.unwrap();
        stored.push(answer.headers()["cache-status"] == "tenant-cache; hit; ttl=60");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "onetwothree", "{polls}");
        let other = service.clone().call(get(&bob, "/a")).await.unwrap();
        assert_ne!(other.headers()["cache-status"], "tenant-cache; hit; ttl=60");
    }
    assert!(!stored[0] && stored[13] && stored.is_sorted(), "{stored:?}");
    assert_eq!(
        stored.iter().filter(|stored| !**stored).count(),
        7,
        "only the last poll stores"
    );
}

#[tokio::test]
async fn a_cancelled_write_may_have_written() {
    for polls in 0..4 {
        let house = House::new();
        let service = house.layer().layer(Slow(origin(&[Data("x")], true, None)));
        let ada = house.of("acme", "ada");
        let read = |expected: &'static str| {
            let (mut service, ada) = (service.clone(), ada.clone());
            async move {
                let answer = service.call(get(&ada, "/a")).await.unwrap();
                assert_eq!(answer.headers()["cache-status"], expected);
                answer.into_body().collect().await.unwrap();
            }
        };
        read("tenant-cache; fwd=uri-miss; stored").await;
        read("tenant-cache; hit; ttl=60").await;
        let mut writing = Box::pin(service.clone().call(request(Method::POST, &ada, "/a", &[])));
        for _ in 0..polls {
            assert!(poll(writing.as_mut()).is_pending());
        }
        drop(writing);
        read("tenant-cache; fwd=uri-miss; stored").await;
    }
}

#[tokio::test]
async fn concurrent_reads_store_whole_answers() {
    let house = House::new();
    let service = house.layer().layer(Slow(origin(SLOW, false, None)));
    let ada = house.of("acme", "ada");
    let reads = (0..20).map(|n| {
        let (mut service, ada) = (service.clone(), ada.clone());
        async move {
            let path = format!("/{}", n % 3);
            let answer = service.call(get(&ada, &path)).await.unwrap();
            assert_eq!(
                answer.into_body().collect().await.unwrap().to_bytes(),
                "onetwothree"
            );
        }
    });
    futures_util::future::join_all(reads).await;
    let plain = Origin::new(|_| support::response(&[], "x"));
    assert_eq!(send(&house.around(&plain), get(&ada, "/0")).await.body, "x");
}

#[test]
fn variants_that_are_stored_at_the_same_time_all_stay() {
    const VARIANTS: usize = 2;
    const ROUNDS: usize = 1_500;
    let house = House::new();
    house.cache.set_bounds(|_| Bounds::ceiling(64 << 20));
    let origin = Origin::new(|_| {
        support::response(&[("cache-control", "max-age=60"), ("vary", "x-a")], "x")
    });
    let service = house.around(&origin);
    let ada = house.of("acme", "ada");
    let ask = |round: usize, variant: usize| {
        let fields = [("x-a", &*variant.to_string())];
        let asked = request(Method::GET, &ada, &format!("/{round}"), &fields);
        send(&service, asked).now_or_never().unwrap()
    };
    let arrived = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for variant in 0..VARIANTS {
            let (ask, arrived) = (&ask, &arrived);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < VARIANTS * (round + 1) {
                        std::thread::yield_now();
                    }
                    assert!(ask(round, variant).is_stored());
                }
            });
        }
    });
    for round in 0..ROUNDS {
        for variant in 0..VARIANTS {
            assert!(ask(round, variant).is_hit(), "{round} {variant}");
        }
    }
}
