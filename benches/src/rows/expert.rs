//! What an expert assembles today from well-known crates, in one `axum::middleware::from_fn`:
//! `jsonwebtoken::decode`, four `governor` limiters, a `tracing` line as JSON to a non-blocking appender.
//!
//! It is written as well as we can: no key is copied, one extension is inserted, the limiters are asked in the
//! cheapest order. It does less than the layers: no tenant is looked up, so none can be suspended; a
//! refused request has spent the budgets in front of the one that refused; the log can lose lines.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::Response,
};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{StatusCode, header::AUTHORIZATION};
use jsonwebtoken::{DecodingKey, Validation};
use serde::Deserialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};

use super::{Definition, Shared, noop};
use crate::{
    Result,
    request::{Requests, TEMPLATE},
    row::{Calls, Operation, Row},
    token::{AUDIENCE, Algorithm, ISSUER, Key, TENANT},
};

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    tenant_id: String,
    scope: String,
    roles: Vec<String>,
    act: Option<Actor>,
}

#[derive(Debug, Deserialize)]
struct Actor {
    sub: String,
}

/// What the handler finds in its extensions.
#[derive(Debug)]
struct Caller {
    /// The tenant and the acting principal: the key of the agent's budget.
    key: (String, String),
    principal: String,
    #[allow(dead_code, reason = "kept for handlers, which check them")]
    scope: String,
    #[allow(dead_code, reason = "kept for handlers, which check them")]
    roles: Vec<String>,
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        let agent = claims.act.map_or_else(|| claims.sub.clone(), |act| act.sub);
        Self {
            key: (claims.tenant_id, agent),
            principal: claims.sub,
            scope: claims.scope,
            roles: claims.roles,
        }
    }
}

/// The four budgets.
struct Limits {
    all: DefaultDirectRateLimiter,
    tenants: DefaultKeyedRateLimiter<String>,
    agents: DefaultKeyedRateLimiter<(String, String)>,
    endpoints: HashMap<&'static str, DefaultKeyedRateLimiter<String>>,
}

impl Limits {
    fn new() -> Self {
        // A cell each nanosecond: governor counts in whole nanoseconds.
        let quota = Quota::per_second(NonZeroU32::MIN.saturating_add(999_999_999));
        Self {
            all: RateLimiter::direct(quota),
            tenants: RateLimiter::keyed(quota),
            agents: RateLimiter::keyed(quota),
            endpoints: HashMap::from([(TEMPLATE, RateLimiter::keyed(quota))]),
        }
    }

    #[inline]
    fn admit(&self, key: &(String, String), endpoint: &str) -> bool {
        self.tenants.check_key(&key.0).is_ok()
            && self.agents.check_key(key).is_ok()
            && self
                .endpoints
                .get(endpoint)
                .is_none_or(|limiter| limiter.check_key(&key.0).is_ok())
            && self.all.check().is_ok()
    }
}

struct Expert {
    key: DecodingKey,
    validation: Validation,
    limits: Limits,
}

impl Expert {
    fn new(key: &Key) -> Self {
        let (algorithm, key) = match key.algorithm() {
            Algorithm::Hs256 => (
                jsonwebtoken::Algorithm::HS256,
                DecodingKey::from_secret(key.verifying_bytes()),
            ),
            Algorithm::EdDsa => (
                jsonwebtoken::Algorithm::EdDSA,
                DecodingKey::from_ed_der(key.verifying_bytes()),
            ),
            Algorithm::Rs256 => (
                jsonwebtoken::Algorithm::RS256,
                DecodingKey::from_rsa_der(key.verifying_bytes()),
            ),
            Algorithm::Es256 => (
                jsonwebtoken::Algorithm::ES256,
                DecodingKey::from_ec_der(key.verifying_bytes()),
            ),
        };
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        Self {
            key,
            validation,
            limits: Limits::new(),
        }
    }

    fn verify(&self, request: &Request) -> Option<Caller> {
        let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let token = value.strip_prefix("Bearer ")?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?;
        Some(decoded.claims.into())
    }
}

async fn check(
    State(expert): State<Arc<Expert>>,
    endpoint: MatchedPath,
    mut request: Request,
    next: Next,
) -> std::result::Result<Response, StatusCode> {
    #[allow(
        clippy::disallowed_methods,
        reason = "as the expert would: there is no clock to take"
    )]
    let start = Instant::now();
    let caller = expert
        .verify(&request)
        .map(Arc::new)
        .ok_or(StatusCode::UNAUTHORIZED)?;
    if !expert.limits.admit(&caller.key, endpoint.as_str()) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    request.extensions_mut().insert(Arc::clone(&caller));
    let method = request.method().clone();
    let response = next.run(request).await;
    tracing::info!(
        tenant = caller.key.0,
        principal = caller.principal,
        agent = caller.key.1,
        %method,
        path = endpoint.as_str(),
        status = response.status().as_u16(),
        micros = start.elapsed().as_micros(),
        "request"
    );
    Ok(response)
}

/// The log of the whole process: JSON lines, through a non-blocking appender, to a file.
struct Log {
    written: Arc<AtomicU64>,
    expected: AtomicU64,
    lost: ErrorCounter,
    // The appender writes as long as this lives, the file as long as its directory.
    _worker: WorkerGuard,
    _directory: tempfile::TempDir,
}

struct Lines {
    file: File,
    written: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.write_all(line)?;
        self.written.fetch_add(1, Ordering::Release);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Log {
    fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let written = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            file: File::create(directory.path().join("requests.jsonl"))?,
            written: Arc::clone(&written),
        };
        let (appender, worker) = NonBlocking::new(lines);
        let lost = appender.error_counter();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(appender)
            .finish();
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(Self {
            written,
            expected: AtomicU64::new(0),
            lost,
            _worker: worker,
            _directory: directory,
        })
    }

    fn of_process() -> Result<&'static Self> {
        static LOG: OnceLock<Log> = OnceLock::new();
        if let Some(log) = LOG.get() {
            return Ok(log);
        }
        let log = Self::open()?;
        Ok(LOG.get_or_init(|| log))
    }

    /// Waits until the appender has written these further lines or lost them.
    fn settle(&self, lines: usize) {
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        let expected = self
            .expected
            .fetch_add(lines, Ordering::Relaxed)
            .saturating_add(lines);
        let lost = |log: &Self| u64::try_from(log.lost.dropped_lines()).unwrap_or(u64::MAX);
        while self
            .written
            .load(Ordering::Acquire)
            .saturating_add(lost(self))
            < expected
        {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

fn expert(
    definition: &'static Definition,
    shared: &Arc<Shared>,
    algorithm: Algorithm,
) -> Result<Row> {
    let log = Log::of_process()?;
    // Refused if it stands already: another feature of jsonwebtoken may have brought a second provider.
    let _standing = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let expert = Arc::new(Expert::new(shared.tokens.key(algorithm)?));
    let service = noop::router().layer(middleware::from_fn_with_state(expert, check));
    let requests = Requests::bearing(&shared.tokens.token(algorithm)?)?;
    Ok(definition.row(Calls::new(service, requests).settling(|lines| log.settle(lines))))
}

pub(super) fn hs256(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    expert(definition, shared, Algorithm::Hs256)
}

pub(super) fn eddsa(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    expert(definition, shared, Algorithm::EdDsa)
}

/// The expert's four limiters alone, with their keys at hand.
#[allow(clippy::unnecessary_wraps, reason = "all rows are made alike")]
pub(super) fn governor_4(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let limits = Limits::new();
    let key = (TENANT.to_owned(), "invoice-agent-7".to_owned());
    Ok(definition.row(Operation::new(move || limits.admit(&key, TEMPLATE))))
}
