//! The cache in front of a registry: how long it believes, whom it asks how often, and what it does
//! when the registry fails, hangs, panics, lies or goes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod bounds;
mod failure;
mod flight;
mod freshness;
mod suspension;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tenant_context::{
    Authenticate, CachedRegistry, CachedRegistryBuilder, LookupError, LookupErrorKind,
    MemoryRegistry, Rejection, RejectionKind, RequestHead, TenantContext, TenantId, TenantRecord,
    TenantState, TenantStatus,
};
use tenant_testkit::{
    ManualClock, TestAuth, claims,
    stores::{Answer, ScriptedRegistry},
};

const TTL: Duration = Duration::from_secs(5);
const NEGATIVE_TTL: Duration = Duration::from_secs(3);
const MAX_STALE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_nanos(1);

type Found = Result<Arc<TenantState>, LookupError>;

struct House {
    clock: ManualClock,
    registry: ScriptedRegistry,
    tenants: CachedRegistry,
}

fn house(answers: impl IntoIterator<Item = Answer<Option<TenantRecord>>>) -> House {
    house_with(answers, |builder| builder)
}

fn house_with(
    answers: impl IntoIterator<Item = Answer<Option<TenantRecord>>>,
    configure: impl FnOnce(CachedRegistryBuilder) -> CachedRegistryBuilder,
) -> House {
    let clock = ManualClock::new();
    let registry = ScriptedRegistry::new(answers);
    let builder = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .ttl(TTL)
        .negative_ttl(NEGATIVE_TTL)
        .max_stale(MAX_STALE)
        .retry_after(RETRY_AFTER);
    House {
        clock,
        registry,
        tenants: configure(builder).build().unwrap(),
    }
}

impl House {
    fn begin(&self, id: &str) -> BoxFuture<'static, Found> {
        self.tenants
            .get(&TenantId::parse(id).unwrap())
            .wait()
            .boxed()
    }

    fn get(&self, id: &str) -> Found {
        self.begin(id).now_or_never().expect("the look-up waits")
    }

    fn acme(&self) -> Found {
        self.get("acme")
    }

    fn status(&self) -> TenantStatus {
        self.acme().unwrap().status()
    }
}

fn id(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn acme(version: u64) -> TenantRecord {
    TenantRecord::new(id("acme")).version(version)
}

fn suspended(version: u64) -> TenantRecord {
    acme(version).status(TenantStatus::Suspended)
}

#[track_caller]
fn kind(found: Found) -> LookupErrorKind {
    found.expect_err("it was found").kind()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::<Count>::default();
    (Arc::clone(&count), count.into())
}

fn admit(auth: &impl Authenticate) -> Result<TenantContext, Rejection> {
    let request = http::Request::builder().header("authorization", "Test ada");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let admitted = TenantContext::admit(auth, &RequestHead::new(&head));
    admitted.wait().now_or_never().expect("the look-up waits")
}
