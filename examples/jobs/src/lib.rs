//! Background jobs of several tenants through one queue, `apalis` on SQLite, and one worker.
//!
//! A job travels as a sealed envelope; the queue is not trusted with whose it is. The worker opens each one and works in the scope
//! of its tenant, as that tenant is then. How many jobs a tenant may submit is limited where they are submitted, and what came of
//! a job is given to its own tenant alone.

mod results;
mod worker;

use std::{path::Path, sync::Arc, time::Duration};

use apalis::prelude::{BackendExt, TaskSink, WorkerBuilder};
use apalis_sqlite::{SqlitePool, SqliteStorage};
use http::Request;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenant_auth::{
    Authenticated, Issuer, NewToken, TokenMinter,
    jobs::{JobEnvelope, JobId, Jobs},
};
use tenant_context::{
    BoxError, CachedRegistry, MemoryRegistry, Rejection, RequestHead, SystemClock, TenantContext,
    TenantId, TenantRecord, TokioTimer,
};
use tenant_ratelimit::{Limits, Quota};
use tokio::sync::Notify;

pub use self::results::Results;

/// What the queue carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Missing in messages of who does not know better.
    pub envelope: Option<JobEnvelope>,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// Jobs that each tenant submitted.
    pub submitted: Vec<(String, u64)>,
    /// What was refused where it was submitted: who, and why.
    pub refused: Vec<(String, String)>,
    /// What the worker did, in order: for whom, and what.
    pub done: Vec<(String, String)>,
    /// How often the worker took a message, and how often a tenant was left over from before.
    pub taken: u64,
    /// See `taken`.
    pub left_over: u64,
    /// What was never opened: why, and whose it was if the signature fits.
    pub dead: Vec<(String, Option<String>)>,
    /// Deliveries that were put off because the tenant was suspended.
    pub postponed: u64,
    /// What each tenant was told of acme's first result.
    pub read: Vec<(String, Result<String, u16>)>,
    /// Results that each tenant has.
    pub kept: Vec<(String, i64)>,
}

/// What the service and its worker share.
#[derive(Clone)]
struct Service {
    queue: SqliteStorage<Message>,
    jobs: Jobs,
    limits: Limits,
    results: Results,
    tenants: CachedRegistry,
    report: Arc<Mutex<Report>>,
    progress: Arc<Notify>,
}

impl Service {
    /// `POST /reports`: within the tenant's budget, sealed with the one scope that the job needs.
    async fn submit(&self, tenant: &TenantContext, month: &str) -> Result<Option<JobId>, BoxError> {
        let name = tenant.tenant_id().to_string();
        let endpoint = self.limits.endpoint("submit")?;
        let sealed = match self.limits.check(tenant, endpoint, 1) {
            Ok(_) => self
                .jobs
                .prepare(tenant)
                .scopes(["reports:write"])
                .seal_json(month)
                .map_err(Rejection::from),
            Err(denied) => Err(denied.rejection()),
        };
        match sealed {
            Ok(envelope) => {
                let id = envelope.id();
                let message = Message {
                    envelope: Some(envelope),
                };
                self.queue.clone().push(message).await?;
                let mut report = self.report.lock();
                match report
                    .submitted
                    .iter_mut()
                    .find(|(known, _)| *known == name)
                {
                    Some((_, count)) => *count = count.saturating_add(1),
                    None => report.submitted.push((name, 1)),
                }
                Ok(id)
            }
            Err(rejection) => {
                let why = rejection.reason().to_owned();
                self.report.lock().refused.push((name, why));
                Ok(None)
            }
        }
    }

    async fn until(&self, done: impl Fn(&Report) -> bool) -> Result<(), BoxError> {
        let waiting = async {
            loop {
                let progress = self.progress.notified();
                if done(&self.report.lock()) {
                    return;
                }
                progress.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .map_err(|_| format!("the worker is stuck: {:?}", self.report.lock()).into())
    }
}

/// Somebody of a tenant, through the door that requests come through.
struct People {
    minter: TokenMinter,
    door: Authenticated,
}

impl People {
    async fn of(&self, tenant: &str) -> Result<TenantContext, BoxError> {
        let token = NewToken::new("https://id.example.com", "api", tenant, "ada")
            .scopes(["reports:*", "billing:read"]);
        let token = self.minter.mint(&token, &SystemClock::new())?;
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let (head, ()) = request.body(())?.into_parts();
        let admitted = TenantContext::admit(&self.door, &RequestHead::new(&head));
        Ok(admitted.wait().await?)
    }
}

/// Plays it on this database.
///
/// # Errors
///
/// What the parts say. A refusal is no error.
pub async fn run(database: &Path) -> Result<Report, BoxError> {
    let pool = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", database.display())).await?;
    SqliteStorage::setup(&pool).await?;
    let mut queue = SqliteStorage::<Message>::new(&pool);

    let registry = MemoryRegistry::new();
    for tenant in ["acme", "globex", "initech"] {
        registry.insert(TenantRecord::new(TenantId::parse(tenant)?));
    }
    let tenants = CachedRegistry::builder(registry)
        .timer(TokioTimer::new())
        .build()?;
    let minter = TokenMinter::eddsa_generate("users")?;
    let people = People {
        door: tenant_auth::layer(tenants.clone())
            .jwt(
                Issuer::new("https://id.example.com")
                    .audience("api")
                    .key(minter.verifying_key()),
            )
            .authenticate()?,
        minter,
    };
    let report: Arc<Mutex<Report>> = Arc::default();
    let letters = Arc::clone(&report);
    let service = Service {
        queue: queue.clone(),
        // A service that verifies tokens also gives its `.revocations(..)`, `.issuers(..)` and `.api_keys(..)`: then a job ends
        // with what sealed it.
        jobs: Jobs::builder(tenants.clone())
            .queue("reports")
            .sign_with(TokenMinter::eddsa_generate("2026-01")?)
            .on_dead_letter(move |letter| {
                let whose = letter.tenant.map(ToString::to_string);
                letters.lock().dead.push((letter.reason.to_string(), whose));
            })
            .build()?,
        // Of one tenant's submissions so many in a minute; another tenant's are counted apart.
        limits: tenant_ratelimit::layer()
            .operation("submit", Quota::per_minute(4))
            .build()?
            .limits()
            .clone(),
        results: Results::open(&pool).await?,
        tenants: tenants.clone(),
        report,
        progress: Arc::default(),
    };

    let (acme, globex, initech) = (
        people.of("acme").await?,
        people.of("globex").await?,
        people.of("initech").await?,
    );
    let mut first = None;
    for month in [
        "2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06",
    ] {
        let id = service.submit(&acme, month).await?;
        first = first.or(id);
    }
    service.submit(&globex, "2026-01").await?;
    // What no service of ours has sealed, or not like this.
    queue.push(Message { envelope: None }).await?;
    let genuine = service.jobs.prepare(&globex).seal_json("2026-02")?;
    let other = service.jobs.prepare(&globex).seal_json("2026-03")?;
    let (sealed, _) = genuine.as_str().rsplit_once('.').ok_or("no payload")?;
    let (_, payload) = other.as_str().rsplit_once('.').ok_or("no payload")?;
    let altered = format!("{sealed}.{payload}");
    queue
        .push(Message {
            envelope: Some(JobEnvelope::new(altered)),
        })
        .await?;
    let stranger = Jobs::builder(tenants.clone())
        .queue("reports")
        .sign_with(TokenMinter::eddsa_generate("2026-01")?)
        .on_dead_letter(|_| ())
        .build()?;
    queue
        .push(Message {
            envelope: Some(stranger.prepare(&acme).seal_json("everything")?),
        })
        .await?;
    // A tenant that is suspended: its job waits, and it submits no other.
    service.submit(&initech, "2026-01").await?;
    tenants.suspend(initech.tenant_id());
    service.submit(&initech, "2026-02").await?;

    let worker = WorkerBuilder::new("reports-1")
        // By itself it looks for what has become due with its heartbeat, each 30 s.
        .backend(queue.poll_with_interval(Duration::from_millis(250)))
        .data(service.clone())
        .build(worker::work);
    let story = async {
        service
            .until(|report| {
                report.done.len() == 5 && report.dead.len() == 3 && report.postponed > 0
            })
            .await?;
        service.tenants.resume(initech.tenant_id());
        service.until(|report| report.done.len() == 6).await
    };
    tokio::select! {
        ended = worker.run() => ended?,
        told = story => told?,
    }

    let initech = people.of("initech").await?;
    for tenant in [&acme, &globex] {
        let id = first.ok_or("acme submitted nothing")?;
        let read = service.results.read(tenant, &id.to_string()).await;
        let read = read.map_err(|rejection| rejection.status().as_u16());
        let name = tenant.tenant_id().to_string();
        service.report.lock().read.push((name, read));
    }
    for tenant in [&acme, &globex, &initech] {
        let kept = service.results.count(tenant).await?;
        let name = tenant.tenant_id().to_string();
        service.report.lock().kept.push((name, kept));
    }
    let mut report = service.report.lock();
    Ok(std::mem::take(&mut *report))
}
