//! Open streams end with their context, over real sockets.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use axum::{Router, ServiceExt, body::Body, extract::Request, routing::get, routing::post};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    stream::{self, StreamExt},
};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tenant_context::{CachedRegistry, EndReason, IdentityLayer, TenantContext, TenantId};
use tenant_testkit::{ManualClock, TestAuth, claims, context, tenants};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tower::{Layer, ServiceExt as _, service_fn};

const LIMIT: Duration = Duration::from_secs(20);

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn world() -> (CachedRegistry, TestAuth) {
    let tenants = tenants(&["acme", "globex"], &ManualClock::new());
    let auth = TestAuth::new(tenants.clone())
        .accept("ada", claims("acme", "ada"))
        .accept("gus", claims("globex", "gus"));
    (tenants, auth)
}

/// Sends one item at once and then none, and says so when it is dropped.
async fn events() -> Body {
    let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first\n")) });
    Body::from_stream(first.chain(stream::pending()))
}

async fn serve(app: Router, auth: TestAuth) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = IdentityLayer::builder().build(auth).unwrap().layer(app);
    tokio::spawn(async move {
        let service = service_fn(move |request: Request| {
            let service = service.clone();
            async move {
                service
                    .oneshot(request)
                    .await
                    .map(|response| response.map(Body::new))
            }
        });
        axum::serve(listener, ServiceExt::<Request>::into_make_service(service))
            .await
            .unwrap();
    });
    address
}

async fn open(address: std::net::SocketAddr, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /events HTTP/1.1\r\nhost: x\r\nauthorization: Test {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut socket, "first\n").await;
    socket
}

async fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains(wanted) {
        let read = timeout(LIMIT, socket.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(buffer.get(..read).unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn i5_suspension_ends_the_tenants_open_stream_and_no_other() {
    let (tenants, auth) = world();
    let address = serve(Router::new().route("/events", get(events)), auth).await;
    let (mut ada, mut gus) = (open(address, "ada").await, open(address, "gus").await);
    tenants.suspend(&id("acme"));
    let mut rest = Vec::new();
    timeout(LIMIT, ada.read_to_end(&mut rest))
        .await
        .unwrap()
        .ok();
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "the end must not look like success"
    );
    let mut byte = [0];
    let still_open = timeout(Duration::from_millis(50), gus.read(&mut byte)).await;
    assert!(still_open.is_err(), "globex' stream must go on");
}

#[tokio::test]
async fn i5_suspension_ends_a_request_that_is_still_arriving() {
    let (tenants, auth) = world();
    let (report, mut reported) = mpsc::channel(1);
    let upload = move |body: Body| async move {
        let mut frames = body.into_data_stream();
        let first = frames.next().await;
        report.send(first.map(|frame| frame.is_ok())).await.unwrap();
        let second = frames.next().await;
        report
            .send(second.map(|frame| frame.is_ok()))
            .await
            .unwrap();
    };
    let address = serve(Router::new().route("/upload", post(upload)), auth).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: x\r\nauthorization: Test ada\r\ncontent-length: 100\r\n\r\npart";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(
        timeout(LIMIT, reported.recv()).await.unwrap().unwrap(),
        Some(true)
    );
    tenants.suspend(&id("acme"));
    assert_eq!(
        timeout(LIMIT, reported.recv()).await.unwrap().unwrap(),
        Some(false)
    );
}

type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(
    auth: &TestAuth,
    grpc: bool,
    cut_in_flight: bool,
    during: impl Fn() + Clone + Send + 'static,
) -> Result<
    Response<impl http_body::Body<Data = Bytes, Error = tenant_context::BoxError>>,
    Infallible,
> {
    let handler = service_fn(
        move |_: http::Request<tenant_context::GuardedBody<Full<Bytes>>>| {
            let during = during.clone();
            async move {
                tokio::task::yield_now().await;
                during();
                tokio::task::yield_now().await;
                let frames: Vec<Result<Frame<Bytes>, Infallible>> = (0..3)
                    .map(|_| Ok(Frame::data(Bytes::from_static(b"x"))))
                    .collect();
                let mut response = Response::new(Frames::new(stream::iter(frames)));
                if grpc {
                    response
                        .headers_mut()
                        .insert("content-type", "application/grpc".parse().unwrap());
                }
                Ok::<_, Infallible>(response)
            }
        },
    );
    let layer = IdentityLayer::builder()
        .cut_in_flight(cut_in_flight)
        .build(auth.clone())
        .unwrap();
    let mut request = http::Request::post("/").header("authorization", "Test ada");
    if grpc {
        request = request.header("content-type", "application/grpc");
    }
    layer
        .layer(handler)
        .oneshot(request.body(Full::default()).unwrap())
        .await
}

#[tokio::test]
async fn i5_a_cut_http_stream_is_an_error_and_a_cut_grpc_stream_a_status() {
    let (tenants, auth) = world();
    let mut body = answer(&auth, false, false, || ())
        .await
        .unwrap()
        .into_body();
    assert!(body.frame().await.unwrap().is_ok());
    tenants.suspend(&id("acme"));
    assert_eq!(
        body.frame().await.unwrap().unwrap_err().to_string(),
        EndReason::Suspended.to_string()
    );
    assert!(body.frame().await.is_none(), "a cut body has ended");

    tenants.resume(&id("acme"));
    let mut body = answer(&auth, true, false, || ()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    tenants.suspend(&id("acme"));
    let trailers = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .ok()
        .unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "7");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn i5_a_stream_does_not_outlive_a_suspension_that_was_lifted_again() {
    let (tenants, auth) = world();
    let mut body = answer(&auth, false, false, || ())
        .await
        .unwrap()
        .into_body();
    tenants.suspend(&id("acme"));
    tenants.resume(&id("acme"));
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn handlers_finish_unless_the_layer_is_told_to_cut_them() {
    let (tenants, auth) = world();
    for (cut, expected) in [(false, 200), (true, 403)] {
        let suspend = {
            let tenants = tenants.clone();
            move || tenants.suspend(&id("acme"))
        };
        let response = answer(&auth, false, cut, suspend).await.unwrap();
        assert_eq!(response.status(), expected, "cut_in_flight({cut})");
        tenants.resume(&id("acme"));
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn i5_a_handler_that_waits_is_woken_to_be_cut_and_does_nothing_more() {
    let (tenants, auth) = world();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let handler = service_fn(
        move |_: http::Request<tenant_context::GuardedBody<Full<Bytes>>>| {
            let polls = Arc::clone(&counted);
            std::future::poll_fn(move |_| {
                polls.fetch_add(1, Ordering::SeqCst);
                Poll::<Result<Response<Full<Bytes>>, Infallible>>::Pending
            })
        },
    );
    let layer = IdentityLayer::builder().cut_in_flight(true);
    let service = layer.build(auth).unwrap().layer(handler);
    let request = http::Request::post("/").header("authorization", "Test ada");
    let mut answering = pin!(service.oneshot(request.body(Full::default()).unwrap()));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    // The tenant is looked up first.
    while polls.load(Ordering::SeqCst) == 0 {
        assert!(answering.as_mut().poll(&mut cx).is_pending());
    }
    let polled = polls.load(Ordering::SeqCst);
    woken.0.store(0, Ordering::SeqCst);
    tenants.suspend(&id("acme"));
    assert!(woken.0.load(Ordering::SeqCst) > 0, "nobody would poll it");
    let Poll::Ready(Ok(response)) = answering.as_mut().poll(&mut cx) else {
        panic!("it still waits");
    };
    assert_eq!(response.status(), 403);
    assert_eq!(polls.load(Ordering::SeqCst), polled);
}

#[tokio::test]
async fn a_whole_answer_is_never_torn() {
    let (tenants, auth) = world();
    let suspending = tenants.clone();
    let handler = service_fn(
        move |_: http::Request<tenant_context::GuardedBody<Full<Bytes>>>| {
            suspending.suspend(&id("acme"));
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"created")))) }
        },
    );
    let request = http::Request::get("/")
        .header("authorization", "Test ada")
        .body(Full::default())
        .unwrap();
    let response = IdentityLayer::builder()
        .build(auth)
        .unwrap()
        .layer(handler)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "created"
    );
}

#[tokio::test]
async fn ended_wakes_at_suspension_revocation_and_expiry() {
    let clock = ManualClock::new();
    let registry = tenant_context::MemoryRegistry::new();
    registry.insert(tenant_context::TenantRecord::new(id("acme")));
    let tenants = CachedRegistry::builder(registry)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();

    let tenant = context(&tenants, "acme", "ada");
    let waiting = tokio::spawn(tenant.ended());
    tokio::task::yield_now().await;
    tenants.suspend(&id("acme"));
    assert_eq!(
        timeout(LIMIT, waiting).await.unwrap().unwrap(),
        EndReason::Suspended
    );

    tenants.resume(&id("acme"));
    let tenant = context(&tenants, "acme", "ada");
    let waiting = tokio::spawn(tenant.ended());
    tokio::task::yield_now().await;
    tenant.revoke();
    assert_eq!(
        timeout(LIMIT, waiting).await.unwrap().unwrap(),
        EndReason::Revoked
    );

    let mut short = claims("acme", "ada");
    short.expires_at = tenant_context::Clock::unix(&clock).saturating_add(Duration::from_secs(60));
    let tenant = tenant_testkit::context_with(&tenants, short);
    let waiting = tokio::spawn(tenant.ended());
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        timeout(LIMIT, waiting).await.unwrap().unwrap(),
        EndReason::Expired
    );
}

#[tokio::test]
async fn a_body_runs_in_its_requests_scope() {
    let (_, auth) = world();
    let handler = service_fn(
        |_: http::Request<tenant_context::GuardedBody<Full<Bytes>>>| async {
            let frames = stream::once(async {
                let tenant = TenantContext::current().unwrap();
                Ok::<_, Infallible>(Frame::data(Bytes::from(tenant.tenant_id().to_string())))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        },
    );
    let request = http::Request::get("/")
        .header("authorization", "Test ada")
        .body(Full::default())
        .unwrap();
    let response = IdentityLayer::builder()
        .build(auth)
        .unwrap()
        .layer(handler)
        .oneshot(request)
        .await
        .unwrap();
    let body = response.into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "acme");
}

/// One that is stuck would otherwise never end; one that is there is not torn.
#[tokio::test]
async fn i5_an_answer_of_known_length_ends_if_it_is_not_there() {
    struct Slow {
        waits: bool,
        there: bool,
    }
    impl http_body::Body for Slow {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let waits = std::mem::take(&mut self.waits);
            if !waits && std::mem::take(&mut self.there) {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"12345")))))
            } else {
                Poll::Pending
            }
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(5)
        }
    }
    // Also one that was waited for before.
    for (there, waits) in [(true, false), (false, false), (true, true)] {
        let (tenants, auth) = world();
        let app = IdentityLayer::builder()
            .build(auth)
            .unwrap()
            .layer(service_fn(move |_: http::Request<_>| async move {
                Ok::<_, Infallible>(Response::new(Slow { waits, there }))
            }));
        let request = http::Request::builder().header("authorization", "Test ada");
        let answer = app
            .oneshot(request.body(Full::<Bytes>::default()).unwrap())
            .await
            .unwrap();
        let mut body = answer.into_body();
        if waits {
            assert!(body.frame().now_or_never().is_none());
        }
        tenants.suspend(&id("acme"));
        let frame = timeout(LIMIT, body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.is_ok(), there);
    }
}
