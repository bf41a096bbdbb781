//! The whole stack, and what it is made of.

use std::{fmt, sync::Arc, thread::JoinHandle, time::Duration};

use tempfile::TempDir;
use tenant_audit::{AuditGate, AuditHandle, AuditLayer, FileSink};
use tenant_auth::{AuthLayerBuilder, Authenticated, Issuer, VerifyingKey};
use tenant_cache::{ResponseCacheLayer, TenantCache};
use tenant_context::{
    CachedRegistry, IdentityLayer, MemoryRegistry, RenderLayer, TenantId, TenantRecord,
    TenantStack, TokioTimer, stack::stage,
};
use tenant_ratelimit::{Quota, RateLimitLayer, RateLimitLayerBuilder, TenantState};
use tokio::runtime::Runtime;
use tower_layer::{Identity as NoLayer, Layer, Stack};

use super::{Definition, Shared, noop};
use crate::{
    Result,
    request::{Requests, TEMPLATE},
    row::{Calls, Row},
    token::{AUDIENCE, Algorithm, ISSUER, TENANT, Tokens},
};

/// One audit layer for all rows of a run, its worker on a thread of its own.
pub(crate) struct Recorder {
    layer: Option<(AuditLayer, AuditHandle)>,
    runtime: Runtime,
    worker: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Recorder {
    fn start() -> Result<Self> {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
        };
        let directory = tempfile::tempdir()?;
        let (layer, worker) = tenant_audit::layer(FileSink::open(directory.path())?)
            .timer(TokioTimer::new())
            .build()?;
        let workers = runtime()?;
        let worker = std::thread::Builder::new()
            .name("audit-worker".to_owned())
            .spawn(move || {
                // Requests are refused if it ends early, and the report says so.
                let _ended = workers.block_on(worker);
            })?;
        let handle = layer.handle();
        Ok(Self {
            layer: Some((layer, handle)),
            runtime: runtime()?,
            worker: Some(worker),
            _directory: directory,
        })
    }

    /// The layer, and what waits until all is written.
    fn of(shared: &Arc<Shared>) -> Result<(AuditLayer, impl FnMut(usize) + 'static)> {
        if shared.recorder.get().is_none() {
            let recorder = Self::start()?;
            let _standing = shared.recorder.set(recorder);
        }
        let layer = shared
            .recorder
            .get()
            .and_then(|recorder| recorder.layer.as_ref())
            .map(|(layer, _)| layer.clone())
            .ok_or("the recorder has ended")?;
        let shared = Arc::clone(shared);
        Ok((layer, move |_| {
            if let Some(recorder) = shared.recorder.get()
                && let Some((_, handle)) = &recorder.layer
            {
                // A worker that is gone refuses the next request.
                let _written = recorder.runtime.block_on(handle.flush());
            }
        }))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.layer = None;
        if let Some(worker) = self.worker.take() {
            let _ended = worker.join();
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

pub(super) fn audit(shared: &Arc<Shared>) -> Result<(AuditLayer, impl FnMut(usize) + 'static)> {
    Recorder::of(shared)
}

pub(super) fn tenants() -> Result<CachedRegistry> {
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(TenantId::parse(TENANT)?).plan("pro"));
    // A registry that is asked again in between would be measured too, now and then.
    let long = Duration::from_secs(3600);
    Ok(CachedRegistry::builder(registry)
        .ttl(long)
        .max_stale(long)
        .build()?)
}

pub(super) fn verifying_key(tokens: &Tokens, algorithm: Algorithm) -> Result<VerifyingKey> {
    let key = tokens.key(algorithm)?;
    let verifying = match algorithm {
        Algorithm::Hs256 => VerifyingKey::hs256(key.verifying_bytes()),
        Algorithm::EdDsa => VerifyingKey::eddsa_raw(key.verifying_bytes()),
        Algorithm::Rs256 => VerifyingKey::rs256_pem(key.pem()?),
        Algorithm::Es256 => VerifyingKey::es256_pem(key.pem()?),
    };
    Ok(verifying.kid(algorithm.name()))
}

/// Identity from a token of this algorithm; with a capacity of 0 nothing is remembered.
pub(super) fn identity(
    shared: &Shared,
    algorithm: Algorithm,
    capacity: usize,
) -> Result<IdentityLayer<Authenticated>> {
    Ok(credentials(shared, algorithm, capacity)?.build()?)
}

/// Trust in the tokens of one algorithm, of which so many are remembered.
pub(super) fn credentials(
    shared: &Shared,
    algorithm: Algorithm,
    capacity: usize,
) -> Result<AuthLayerBuilder> {
    let issuer = Issuer::new(ISSUER)
        .audience(AUDIENCE)
        .key(verifying_key(&shared.tokens, algorithm)?);
    Ok(tenant_auth::layer(tenants()?)
        .jwt(issuer)
        .cache_capacity(capacity))
}

/// Four budgets that never refuse.
pub(super) const ENOUGH: Quota = Quota::per_second(1_000_000_000);

pub(super) fn limits() -> Result<RateLimitLayer> {
    limits_with(ENOUGH, |builder| builder)
}

/// Four budgets, of which the tenant's may be another.
pub(super) fn limits_with(
    pro: Quota,
    more: impl FnOnce(RateLimitLayerBuilder) -> RateLimitLayerBuilder,
) -> Result<RateLimitLayer> {
    let builder = tenant_ratelimit::layer()
        .global(ENOUGH)
        .tenant(move |tenant: &TenantState| match &*tenant.plan() {
            "pro" => pro,
            _ => Quota::per_minute(10),
        })
        .agent(ENOUGH)
        .endpoint(format!("GET {TEMPLATE}"), ENOUGH);
    Ok(more(builder).build()?)
}

pub(super) fn cache() -> Result<ResponseCacheLayer> {
    Ok(tenant_cache::layer(TenantCache::builder().build()?).build()?)
}

const WARM: usize = 100_000;
const COLD: usize = 0;

type Whole = TenantStack<
    Stack<
        ResponseCacheLayer,
        Stack<
            RateLimitLayer,
            Stack<IdentityLayer<Authenticated>, Stack<RenderLayer, Stack<AuditLayer, NoLayer>>>,
        >,
    >,
    stage::Cached,
    AuditGate,
>;

/// Audit, render, identity, limits, cache.
fn stack(
    shared: &Shared,
    audit: AuditLayer,
    algorithm: Algorithm,
    capacity: usize,
) -> Result<Whole> {
    Ok(TenantStack::new()
        .audit(audit)
        .identity(identity(shared, algorithm, capacity)?)
        .limits(limits()?)
        .cache(cache()?))
}

fn outside(
    definition: &'static Definition,
    shared: &Arc<Shared>,
    algorithm: Algorithm,
    capacity: usize,
) -> Result<Row> {
    let (audit, settle) = audit(shared)?;
    let service = stack(shared, audit, algorithm, capacity)?.layer(noop::Noop);
    let requests = Requests::bearing(&shared.tokens.token(algorithm)?)?;
    Ok(definition.row(Calls::new(service, requests).settling(settle)))
}

pub(super) fn warm(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    outside(definition, shared, Algorithm::EdDsa, WARM)
}

pub(super) fn cold_hs256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    outside(definition, shared, Algorithm::Hs256, COLD)
}

pub(super) fn cold_rs256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    outside(definition, shared, Algorithm::Rs256, COLD)
}

pub(super) fn cold_es256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    outside(definition, shared, Algorithm::Es256, COLD)
}

pub(super) fn cold_eddsa(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    outside(definition, shared, Algorithm::EdDsa, COLD)
}

pub(super) fn warm_in_router(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let (audit, settle) = audit(shared)?;
    let service = noop::router().layer(stack(shared, audit, Algorithm::EdDsa, WARM)?);
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    Ok(definition.row(Calls::new(service, requests).settling(settle)))
}

pub(super) fn warm_around_router(
    definition: &'static Definition,
    shared: &Arc<Shared>,
) -> Result<Row> {
    let (audit, settle) = audit(shared)?;
    let service = stack(shared, audit, Algorithm::EdDsa, WARM)?.layer(noop::router());
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    Ok(definition.row(Calls::new(service, requests).settling(settle)))
}
