//! A request's content ends with its context, read frame by frame.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Empty;
use parking_lot::Mutex;
use tenant_context::{BoxError, CachedRegistry, EndReason, GuardedBody, IdentityLayer, TenantId};
use tenant_testkit::{ManualClock, TestAuth, claims, tenants};
use tower::{Layer, ServiceExt, service_fn};

/// What has arrived, and whether more may.
struct Content {
    arrived: VecDeque<&'static str>,
    more: bool,
    /// What happens while it is found that nothing has arrived.
    meanwhile: Option<CachedRegistry>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.arrived.pop_front() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            None if self.more => {
                if let Some(tenants) = self.meanwhile.take() {
                    suspend(&tenants);
                }
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.arrived.is_empty() && !self.more
    }
}

/// As a handler gets it.
fn guarded(arrived: &[&'static str], more: bool) -> (CachedRegistry, GuardedBody<Content>) {
    let (tenants, content) = content(arrived, more);
    let body = admitted(&tenants, content);
    (tenants, body)
}

fn content(arrived: &[&'static str], more: bool) -> (CachedRegistry, Content) {
    let tenants = tenants(&["acme"], &ManualClock::new());
    let content = Content {
        arrived: arrived.iter().copied().collect(),
        more,
        meanwhile: None,
    };
    (tenants, content)
}

fn admitted(tenants: &CachedRegistry, content: Content) -> GuardedBody<Content> {
    let auth = TestAuth::new(tenants.clone()).accept("ada", claims("acme", "ada"));
    let slot = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&slot);
    let handler = service_fn(move |request: Request<GuardedBody<Content>>| {
        *kept.lock() = Some(request.into_body());
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let request = Request::post("/upload")
        .header("authorization", "Test ada")
        .body(content)
        .unwrap();
    let service = IdentityLayer::builder().build(auth).unwrap().layer(handler);
    let answer = service.oneshot(request).now_or_never().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    slot.lock().take().unwrap()
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `Some(Ok)`: data; `Some(Err)`: why it was cut.
fn read(
    body: &mut GuardedBody<Content>,
    waker: &Waker,
) -> Poll<Option<Result<Bytes, Option<EndReason>>>> {
    let reason = |error: BoxError| error.downcast_ref::<EndReason>().copied();
    Pin::new(body)
        .poll_frame(&mut Context::from_waker(waker))
        .map(|frame| {
            frame.map(|frame| {
                frame
                    .map(|frame| frame.into_data().unwrap())
                    .map_err(reason)
            })
        })
}

fn suspend(tenants: &CachedRegistry) {
    tenants.suspend(&TenantId::parse("acme").unwrap());
}

const CUT: Poll<Option<Result<Bytes, Option<EndReason>>>> =
    Poll::Ready(Some(Err(Some(EndReason::Suspended))));

#[test]
fn i5_what_has_arrived_is_not_read_after_the_end() {
    let (tenants, mut body) = guarded(&["one", "two"], true);
    let first = read(&mut body, Waker::noop());
    assert_eq!(first, Poll::Ready(Some(Ok(Bytes::from_static(b"one")))));
    suspend(&tenants);
    assert_eq!(read(&mut body, Waker::noop()), CUT);
    // Once: then it has ended, and says so.
    assert_eq!(read(&mut body, Waker::noop()), Poll::Ready(None));
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[test]
fn i5_who_waits_for_more_is_woken_and_cut() {
    let (tenants, mut body) = guarded(&[], true);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(read(&mut body, &waker).is_pending());
    assert!(!woken.0.load(Ordering::SeqCst));
    suspend(&tenants);
    assert!(woken.0.load(Ordering::SeqCst));
    assert_eq!(read(&mut body, &waker), CUT);
    assert_eq!(read(&mut body, &waker), Poll::Ready(None));
}

#[test]
fn i5_an_end_between_the_look_and_the_wait_is_not_missed() {
    let (tenants, mut content) = content(&[], true);
    content.meanwhile = Some(tenants.clone());
    let mut body = admitted(&tenants, content);
    assert_eq!(read(&mut body, Waker::noop()), CUT);
}

#[test]
fn what_has_been_read_to_its_end_is_whole() {
    let (tenants, mut body) = guarded(&["all"], false);
    assert!(!body.is_end_stream());
    let all = read(&mut body, Waker::noop());
    assert_eq!(all, Poll::Ready(Some(Ok(Bytes::from_static(b"all")))));
    assert!(body.is_end_stream());
    suspend(&tenants);
    assert_eq!(read(&mut body, Waker::noop()), Poll::Ready(None));
}
