//! The decision of the limiter: without a service around it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::Request;
use tenant_context::{
    Authenticate, CachedRegistry, Claims, Identity, Lookup, MemoryRegistry, Principal, PrincipalId,
    Protocol, Rejection, RequestHead, Resolver, TenantContext, TenantId, TenantRecord, UnixTime,
};
use tenant_ratelimit::{Endpoint, Limits, Quota, RateLimitLayer};

use super::{Definition, Shared, raw};
use crate::{
    Result, allocations,
    drive::Tally,
    row::{Operation, Row, Work},
};

/// Resolves the claims that stand in the extensions: identities without a credential.
struct Door(Resolver);

impl Authenticate for Door {
    fn authenticate(
        &self,
        head: &RequestHead<'_>,
    ) -> Lookup<std::result::Result<Arc<Identity>, Rejection>> {
        match head.extensions().get::<Claims>() {
            Some(claims) => self.0.resolve(claims.clone()),
            None => Lookup::Ready(Err(Rejection::credential_missing())),
        }
    }
}

/// Tenants, and a limiter with four budgets that never refuse.
pub(super) struct World {
    door: Door,
    layer: RateLimitLayer,
}

const ROUTE: &str = "GET /invoices/{id}";
const HOUR: Duration = Duration::from_secs(3600);
/// It takes ten seconds to come back.
pub(super) const SPENT: u64 = 10_000_000_000;
const ENOUGH: Quota = Quota::per_second(1_000_000_000);

fn tenant(n: usize) -> Result<TenantId> {
    Ok(TenantId::parse(format!("tenant-{n}"))?)
}

impl World {
    pub(super) fn new(tenants: usize) -> Result<Self> {
        Self::with(tenants, ENOUGH)
    }

    /// Two tenants, of which one may spend [`SPENT`] with each of ten million agents.
    pub(super) fn for_a_flood() -> Result<Self> {
        Self::with(2, ENOUGH.burst(100_000_000_000_000_000))
    }

    fn with(tenants: usize, quota: Quota) -> Result<Self> {
        Self::with_tenants_at(tenants, quota, quota)
    }

    fn with_tenants_at(tenants: usize, quota: Quota, each: Quota) -> Result<Self> {
        let registry = MemoryRegistry::new();
        for n in 0..tenants {
            registry.insert(TenantRecord::new(tenant(n)?).plan("pro"));
        }
        let registry = CachedRegistry::builder(registry)
            .capacity(tenants.saturating_mul(2).max(1_000))
            .ttl(HOUR)
            .max_stale(HOUR)
            .build()?;
        let layer = tenant_ratelimit::layer()
            .global(quota)
            .tenant(each)
            .agent(quota)
            .endpoint(ROUTE, quota)
            .max_tenants(tenants.saturating_mul(2).max(1_000))
            .max_keys(10_000_000)
            .max_keys_per_tenant(2_000_000)
            .build()?;
        Ok(Self {
            door: Door(Resolver::new(registry)),
            layer,
        })
    }

    /// A context in which an agent acts for somebody.
    pub(super) fn context(&self, of: usize, agent: usize) -> Result<TenantContext> {
        let ada = Principal::human(PrincipalId::parse("ada")?);
        let agent = Principal::agent(PrincipalId::parse(format!("agent-{agent}"))?);
        let claims = Claims::new(tenant(of)?, ada, UnixTime::MAX).actor(agent);
        let mut request = Request::new(());
        request.extensions_mut().insert(claims);
        let (head, ()) = request.into_parts();
        match TenantContext::admit(&self.door, &RequestHead::new(&head)) {
            Lookup::Ready(context) => Ok(context?),
            pending => {
                let mut pending = std::pin::pin!(pending.wait());
                let waker = std::task::Waker::noop();
                match pending
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(waker))
                {
                    std::task::Poll::Ready(context) => Ok(context?),
                    std::task::Poll::Pending => Err("a registry in memory waits".into()),
                }
            }
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.layer.limits().clone()
    }
}

fn decides(limits: &Limits, context: &TenantContext, endpoint: Endpoint) -> bool {
    limits.check(context, endpoint, 1).is_ok()
}

pub(super) fn warm(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let world = World::new(1)?;
    let (limits, context) = (world.limits(), world.context(0, 0)?);
    let endpoint = limits.endpoint(ROUTE)?;
    Ok(definition.row(Operation::new(move || decides(&limits, &context, endpoint))))
}

/// An identity whose tenant's budget is spent, and comes back within the hour; and an endpoint to ask for.
fn spent() -> Result<(Limits, TenantContext, Endpoint)> {
    let world = World::with_tenants_at(1, ENOUGH, Quota::per(1, HOUR))?;
    let (limits, context) = (world.limits(), world.context(0, 0)?);
    let endpoint = limits.endpoint(ROUTE)?;
    limits.check(&context, endpoint, 1)?;
    Ok((limits, context, endpoint))
}

pub(super) fn refused(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (limits, context, endpoint) = spent()?;
    Ok(definition.row(Operation::new(move || {
        !decides(&limits, &context, endpoint)
    })))
}

pub(super) fn refused_headers(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let (limits, context, endpoint) = spent()?;
    Ok(definition.row(Operation::new(move || {
        match limits.check(&context, endpoint, 1) {
            Ok(_) => false,
            Err(denied) => {
                let response = denied.rejection().to_response(Protocol::Http);
                response.headers().len() == 4
            }
        }
    })))
}

/// A million made-up agents of one tenant, whose cells nobody may forget for ten seconds each; measured is another tenant.
pub(super) fn after_flood(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let world = World::for_a_flood()?;
    let limits = world.limits();
    for agent in 0..MILLION {
        limits.check(&world.context(1, agent)?, None, SPENT)?;
    }
    Ok(definition.row(Operation::new(neighbour(&world)?)))
}

/// The decision of a tenant that makes nothing up.
pub(super) fn neighbour(world: &World) -> Result<impl FnMut() -> bool + 'static> {
    let (limits, context) = (world.limits(), world.context(0, 0)?);
    let endpoint = limits.endpoint(ROUTE)?;
    Ok(move || decides(&limits, &context, endpoint))
}

/// Identities that the limiter has not seen yet, of a tenant and an agent that it knows: they are made before
/// the time is taken.
struct Cold {
    world: World,
    limits: Limits,
    endpoint: Endpoint,
    contexts: Vec<TenantContext>,
    tally: Tally,
}

impl Work for Cold {
    fn prepare(&mut self, operations: usize) {
        self.contexts.clear();
        let made = (0..operations).map_while(|_| self.world.context(0, 0).ok());
        self.contexts.extend(made);
    }

    fn run(&mut self) {
        for context in &self.contexts {
            let admitted = decides(&self.limits, context, self.endpoint);
            self.tally.refused = self.tally.refused.saturating_add(u64::from(!admitted));
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        256
    }
}

pub(super) fn cold(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let world = World::new(1)?;
    let limits = world.limits();
    let endpoint = limits.endpoint(ROUTE)?;
    Ok(definition.row(Cold {
        world,
        limits,
        endpoint,
        contexts: Vec::new(),
        tally: Tally::default(),
    }))
}

/// A million in a release build; where nothing is measured, enough to show that it runs.
const MILLION: usize = if cfg!(debug_assertions) {
    1_000
} else {
    1_000_000
};

type Step = Box<dyn FnMut() -> bool>;

/// Decisions, and reads of identities alone, for one identity of each of so many tenants, in an order without a
/// pattern.
pub(super) fn among_and_touch(tenants: usize) -> Result<[Step; 2]> {
    let world = World::new(tenants)?;
    let limits = world.limits();
    let endpoint = limits.endpoint(ROUTE)?;
    let contexts = (0..tenants).map(|n| world.context(n, 0));
    let contexts: Arc<[TenantContext]> = contexts.collect::<Result<_>>()?;
    for context in &*contexts {
        limits.check(context, endpoint, 1)?;
    }
    // A stride that visits all of them.
    let next = |at: usize, of: usize| at.wrapping_add(618_033).checked_rem(of).unwrap_or(0);
    let (mut at, all) = (0_usize, Arc::clone(&contexts));
    let decision = move || {
        at = next(at, all.len());
        all.get(at)
            .is_some_and(|context| decides(&limits, context, endpoint))
    };
    let mut at = 0_usize;
    let touch = move || {
        at = next(at, contexts.len());
        contexts
            .get(at)
            .is_some_and(|context| context.check().is_ok())
    };
    Ok([Box::new(decision), Box::new(touch)])
}

pub(super) fn warm_1m(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let [decision, _] = among_and_touch(MILLION)?;
    Ok(definition.row(Operation::new(decision)))
}

/// Operations of two threads at once: each does half of them.
struct Two<F> {
    mine: F,
    theirs: Arc<Other>,
    thread: Option<JoinHandle<()>>,
    half: u64,
    failed: u64,
}

#[derive(Default)]
struct Other {
    wanted: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    ready: AtomicBool,
    stop: AtomicBool,
}

impl<F: FnMut() -> bool + Send + 'static> Two<F> {
    fn new(mine: F, mut their: F) -> Self {
        let theirs = Arc::new(Other::default());
        let other = Arc::clone(&theirs);
        let thread = std::thread::spawn(move || {
            let mut done = 0;
            while !other.stop.load(Ordering::Relaxed) {
                if other.wanted.load(Ordering::Acquire) == done {
                    // It waits on its toes only while the row is measured: it would cost all others a core.
                    if other.ready.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    } else {
                        std::thread::park();
                    }
                    continue;
                }
                let wanted = other.wanted.load(Ordering::Acquire);
                let mut failed = 0_u64;
                for _ in done..wanted {
                    failed = failed.wrapping_add(u64::from(!their()));
                }
                done = wanted;
                other.failed.fetch_add(failed, Ordering::Relaxed);
                other.done.store(done, Ordering::Release);
            }
        });
        Self {
            mine,
            theirs,
            thread: Some(thread),
            half: 0,
            failed: 0,
        }
    }
}

impl<F: FnMut() -> bool> Work for Two<F> {
    fn prepare(&mut self, operations: usize) {
        self.half = u64::try_from(operations / 2).unwrap_or(0).max(1);
        self.theirs.ready.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn run(&mut self) {
        let wanted = self.theirs.wanted.fetch_add(self.half, Ordering::Release);
        for _ in 0..self.half {
            self.failed = self.failed.wrapping_add(u64::from(!(self.mine)()));
        }
        let wanted = wanted.wrapping_add(self.half);
        while self.theirs.done.load(Ordering::Acquire) != wanted {
            std::hint::spin_loop();
        }
    }

    fn settle(&mut self) {
        self.theirs.ready.store(false, Ordering::Release);
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let theirs = self.theirs.failed.load(Ordering::Relaxed);
        tally.refused = self.failed.saturating_add(theirs);
        tally
    }

    fn largest_batch(&self) -> usize {
        100_000
    }
}

impl<F> Drop for Two<F> {
    fn drop(&mut self) {
        self.theirs.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ended = thread.join();
        }
    }
}

fn two(definition: &'static Definition, tenants: [usize; 2]) -> Result<Row> {
    let world = World::new(2)?;
    let limits = world.limits();
    let endpoint = limits.endpoint(ROUTE)?;
    let [mine, theirs] = tenants.map(|of| {
        let (limits, context) = (limits.clone(), world.context(of, of));
        context.map(|context| move || decides(&limits, &context, endpoint))
    });
    Ok(definition.row(Two::new(mine?, theirs?)))
}

pub(super) fn two_same(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    two(definition, [0, 0])
}

pub(super) fn two_other(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    two(definition, [0, 1])
}

fn raw_two(definition: &'static Definition, shared: usize) -> Row {
    let [mine, theirs] = raw::cells(shared);
    definition.row(Two::new(mine, theirs))
}

#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn raw_same(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    Ok(raw_two(definition, 4))
}

#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn raw_other(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    Ok(raw_two(definition, 1))
}

/// A row that is no time: its bytes are what a million agents' cells keep alive, for each.
pub(super) fn bytes_per_key(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    static LIVE: OnceLock<f64> = OnceLock::new();
    let live = if let Some(live) = LIVE.get() {
        *live
    } else {
        let live = measure_bytes()?;
        *LIVE.get_or_init(|| live)
    };
    Ok(definition.row(Operation::new(|| true).with_bytes(live)))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn measure_bytes() -> Result<f64> {
    // Slow to come back: a cell that is whole again would be forgotten for the next.
    let world = World::with(1, Quota::per_minute(1).burst(2_000_000))?;
    let limits = world.limits();
    let mut wrong = None;
    let live = allocations::live(|| {
        for agent in 0..MILLION {
            // The identity is dropped again: what stays is the cell.
            let admitted = world
                .context(0, agent)
                .map(|context| limits.check(&context, None, 1));
            if !matches!(admitted, Ok(Ok(_))) {
                wrong = Some(agent);
            }
        }
    });
    match wrong {
        None if limits.keys() == MILLION => Ok(live as f64 / MILLION as f64),
        _ => Err("not every agent has a cell of its own".into()),
    }
}
