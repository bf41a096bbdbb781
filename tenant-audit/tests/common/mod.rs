//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod log;
pub mod said;

use std::{
    cell::RefCell,
    convert::Infallible,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tenant_audit::{
    AuditError, AuditHandle, AuditLayer, AuditLayerBuilder, AuditSink, AuditWorker, Batch, ChainId,
    Durability, FileSink, MemorySink, SinkError, WhenFull,
};
use tenant_context::{CachedRegistry, IdentityLayer, TenantId};
use tenant_testkit::{ManualClock, TestAuth, claims, tenants};

pub type Body = Full<Bytes>;

/// An audit layer on a sink in memory and a clock that is turned by hand; the worker runs when the
/// test says so, without a runtime.
pub struct Audit {
    pub layer: AuditLayer,
    pub handle: AuditHandle,
    pub sink: MemorySink,
    pub clock: ManualClock,
    worker: Rc<RefCell<Option<AuditWorker>>>,
}

impl Audit {
    pub fn new() -> Self {
        Self::with(|builder| {
            builder
                .when_full(WhenFull::Refuse)
                .unsafe_methods(Durability::Deferred)
        })
    }

    pub fn with(configure: impl FnOnce(AuditLayerBuilder) -> AuditLayerBuilder) -> Self {
        let sink = MemorySink::new();
        let mut audit = Self::on(sink.clone(), configure);
        audit.sink = sink;
        audit
    }

    pub fn on(
        sink: impl AuditSink,
        configure: impl FnOnce(AuditLayerBuilder) -> AuditLayerBuilder,
    ) -> Self {
        let clock = ManualClock::new();
        let builder = tenant_audit::layer(sink)
            .clock(clock.clone())
            .timer(clock.clone());
        let (layer, worker) = configure(builder).build().unwrap();
        Self {
            handle: layer.handle(),
            layer,
            sink: MemorySink::new(),
            clock,
            worker: Rc::new(RefCell::new(Some(worker))),
        }
    }

    /// Lets the worker do what it can do now.
    pub fn work(&self) -> Option<Result<(), AuditError>> {
        let ended = self.worker.borrow_mut().as_mut()?.now_or_never();
        if ended.is_some() {
            self.stop();
        }
        ended
    }

    /// Drops the worker.
    pub fn stop(&self) {
        self.worker.borrow_mut().take();
    }

    /// A function that does what [`work`](Self::work) does.
    pub fn working(&self) -> impl Fn() + 'static {
        let worker = Rc::clone(&self.worker);
        move || {
            if let Some(worker) = worker.borrow_mut().as_mut() {
                let _pending = worker.now_or_never();
            }
        }
    }

    pub fn records(&self) -> Vec<Value> {
        self.work();
        self.sink.records()
    }

    /// The only record.
    #[track_caller]
    pub fn one(&self) -> Value {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

pub fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::default()).unwrap()
}

pub fn by(token: &str, path: &str) -> Request<Body> {
    let request = Request::get(path).header("authorization", format!("Test {token}"));
    request.body(Body::default()).unwrap()
}

pub async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from("hello")))
}

/// Tenants `acme` and `globex`; the tokens `ada` and `gil` are theirs.
pub fn identity(clock: &ManualClock) -> (IdentityLayer<TestAuth>, CachedRegistry) {
    let tenants = tenants(&["acme", "globex"], clock);
    let auth = TestAuth::new(tenants.clone())
        .accept("ada", claims("acme", "ada"))
        .accept("gil", claims("globex", "gil"));
    let layer = IdentityLayer::builder()
        .public(http::Method::GET, "/health")
        .build(auth)
        .unwrap();
    (layer, tenants)
}

pub fn chain(tenant: &str) -> ChainId {
    ChainId::of_tenant(TenantId::parse(tenant).unwrap())
}

/// Writes to a directory as a service does, and closes it. `write` gets a handle and contexts of any
/// of the tenants.
pub async fn write_to<F: Future<Output = ()>>(
    dir: &std::path::Path,
    clock: &ManualClock,
    write: impl FnOnce(AuditHandle) -> F,
) {
    let sink = FileSink::open(dir).unwrap();
    let (layer, worker) = tenant_audit::layer(sink)
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .unwrap();
    let handle = layer.handle();
    drop(layer);
    let (ended, ()) = tokio::join!(worker, write(handle));
    ended.unwrap();
}

/// A sink that fails or hangs on command.
#[derive(Clone, Default)]
pub struct Unreliable {
    pub inner: MemorySink,
    pub state: Arc<parking_lot::Mutex<Mood>>,
    /// How often it was asked.
    pub asked: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    Fails,
    Hangs,
}

impl Unreliable {
    pub fn mood(&self, mood: Mood) {
        *self.state.lock() = mood;
    }
}

impl AuditSink for Unreliable {
    fn append(
        &mut self,
        batch: Arc<Batch>,
    ) -> futures_util::future::BoxFuture<'_, Result<(), SinkError>> {
        let mood = *self.state.lock();
        self.asked.fetch_add(1, Ordering::Relaxed);
        match mood {
            Mood::Well => self.inner.append(batch),
            Mood::Fails => async { Err(SinkError::new("the disk is full")) }.boxed(),
            Mood::Hangs => std::future::pending().boxed(),
        }
    }
}

pub fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("it waits")
}

/// Sends a request, and reads the answer to its end.
pub fn exchange<S, B>(service: S, request: Request<Body>) -> http::StatusCode
where
    S: tower::Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let response = now(tower::ServiceExt::oneshot(service, request)).unwrap();
    let status = response.status();
    now(http_body_util::BodyExt::collect(response.into_body())).unwrap();
    status
}

/// A record's outcome and reason.
pub fn ended(record: &Value) -> (&str, Option<&str>) {
    (
        record["outcome"].as_str().unwrap(),
        record.get("reason").map(|reason| reason.as_str().unwrap()),
    )
}
