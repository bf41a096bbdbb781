//! Tokens of an identity provider that is found by discovery, and whose keys are rotated under load.
//!
//! The provider is a small one of its own: `OpenID` Connect's metadata, a key set and a token endpoint, on
//! another JOSE library (`jwt-compact`) than the one behind `tenant-auth`. The service trusts it by its name alone.
//! While clients send requests over real sockets, the provider makes a new key again and again and signs with it
//! at once; the oldest one is withdrawn. No valid request is refused.
//!
//! ```sh
//! cargo run -p tenant-examples --example oidc
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "an application spawns what the crates hand it"
)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode, header},
    routing::{get, post},
};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jwt_compact::{
    Algorithm, AlgorithmExt, Claims, Header,
    alg::{Ed25519, SigningKey},
    jwk::JsonWebKey,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tenant_auth::{HttpFetcher, Issuer, KeyRefresher, TenantRecord};
use tenant_context::{
    BoxError, CachedRegistry, Clock, MemoryRegistry, Monotonic, SystemClock, TenantContext,
    TenantId, TenantStack, TokioTimer, UnixTime,
};
use tokio::net::TcpListener;
use tower::{Layer, make::Shared, util::MapResponse};

/// Requests answered between two rotations.
const BETWEEN: usize = 250;
const ROTATIONS: usize = 6;
const CLIENTS: usize = 8;
/// How many keys are published: the one that signs, and those that have signed lately.
const PUBLISHED: usize = 4;
const REFETCH_INTERVAL: Duration = Duration::from_secs(10);

// The provider.

struct Key {
    kid: String,
    signing: <Ed25519 as Algorithm>::SigningKey,
    public: Value,
}

impl Key {
    fn generate(number: usize) -> Result<Self, BoxError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let signing = <Ed25519 as Algorithm>::SigningKey::from_slice(&secret)?;
        let kid = format!("key-{number}");
        let mut public = serde_json::to_value(JsonWebKey::from(&signing).to_verifying_key())?;
        if let Some(members) = public.as_object_mut() {
            members.insert("kid".into(), kid.as_str().into());
            members.insert("use".into(), "sig".into());
            members.insert("alg".into(), "EdDSA".into());
        }
        Ok(Self {
            kid,
            signing,
            public,
        })
    }
}

struct Provider {
    issuer: String,
    /// The newest first.
    keys: Mutex<VecDeque<Arc<Key>>>,
    made: AtomicUsize,
    fetched: AtomicUsize,
}

impl Provider {
    /// A new key signs from now on; the oldest is withdrawn. The service's clock goes on by the interval at which
    /// it looks for unknown keys, in the same moment: nobody sees the one without the other.
    fn rotate(&self, clock: &Turned) -> Result<(), BoxError> {
        let key = Key::generate(self.made.fetch_add(1, Ordering::Relaxed))?;
        let mut keys = self.keys.lock();
        clock.on(REFETCH_INTERVAL);
        keys.push_front(Arc::new(key));
        keys.truncate(PUBLISHED);
        drop(keys);
        Ok(())
    }

    fn token(&self, tenant: &str, subject: &str) -> Result<String, BoxError> {
        let key = self.keys.lock().front().cloned().ok_or("no key")?;
        let now = SystemClock::new().unix().as_secs();
        let claims = Claims::new(json!({
            "iss": self.issuer, "aud": "api", "sub": subject, "tenant_id": tenant,
            "iat": now, "exp": now.saturating_add(300), "scope": "invoices:read",
        }));
        let header = Header::empty()
            .with_key_id(key.kid.as_str())
            .with_token_type("at+jwt");
        Ok(Ed25519.token(&header, &claims, &key.signing)?)
    }
}

async fn metadata(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/keys"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    provider.fetched.fetch_add(1, Ordering::Relaxed);
    let keys = provider.keys.lock();
    Json(json!({"keys": keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>()}))
}

/// Any client of any tenant is given a token: who it is, it says itself (RFC 6749 §4.4, without a secret).
async fn token(
    State(provider): State<Arc<Provider>>,
    form: String,
) -> Result<Json<Value>, StatusCode> {
    let field = |name: &str| {
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let (Some("client_credentials"), Some(client), Some(tenant)) =
        (field("grant_type"), field("client_id"), field("tenant"))
    else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let token = provider
        .token(tenant, client)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(
        json!({"access_token": token, "token_type": "Bearer", "expires_in": 300}),
    ))
}

// The service.

/// The system's clocks, the monotonic one turned on by hand: a rotation a second would be more than the service
/// looks for, and nobody wants to wait.
#[derive(Clone, Debug, Default)]
struct Turned(Arc<AtomicU64>);

impl Turned {
    fn on(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn monotonic(&self) -> Monotonic {
        let turned = Duration::from_nanos(self.0.load(Ordering::SeqCst));
        SystemClock::new().monotonic().saturating_add(turned)
    }

    fn unix(&self) -> UnixTime {
        SystemClock::new().unix()
    }
}

async fn whoami(tenant: TenantContext) -> String {
    format!("{}@{}", tenant.principal().id(), tenant.tenant_id())
}

async fn service(issuer: &str, clock: Turned) -> Result<SocketAddr, BoxError> {
    let registry = MemoryRegistry::new();
    for tenant in ["acme", "globex"] {
        registry.insert(TenantRecord::new(TenantId::parse(tenant)?));
    }
    let tenants = CachedRegistry::builder(registry)
        .clock(clock.clone())
        .timer(TokioTimer::new())
        .build()?;
    let (keys, worker) = KeyRefresher::builder(HttpFetcher::new()?)
        .clock(clock)
        .timer(TokioTimer::new())
        .refetch_interval(REFETCH_INTERVAL)
        .allow_http_on_loopback()
        .build()?;
    tokio::spawn(worker);
    let identity = tenant_auth::layer(tenants)
        .jwt(
            Issuer::new(issuer)
                .audience("api")
                .typ("at+jwt")
                .keys(keys.discover()),
        )
        .build()?;
    let app = Router::<()>::new().route("/whoami", get(whoami));
    let app = TenantStack::new().identity(identity).layer(app);
    let app = MapResponse::new(app, |answer: Response<_>| answer.map(Body::new));
    listen(|listener| async move { axum::serve(listener, Shared::new(app)).await }).await
}

async fn listen<F>(serve: impl FnOnce(TcpListener) -> F) -> Result<SocketAddr, BoxError>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    Ok(address)
}

// The clients.

type Http = Client<HttpConnector, String>;

async fn answer(http: &Http, request: Request<String>) -> Result<(StatusCode, String), BoxError> {
    let answer = http.request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

async fn log_in(http: &Http, issuer: &str, tenant: &str, client: &str) -> Result<String, BoxError> {
    let form = format!("grant_type=client_credentials&client_id={client}&tenant={tenant}");
    let request = Request::post(format!("{issuer}/token"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form)?;
    let (_, body) = answer(http, request).await?;
    let body: Value = serde_json::from_str(&body)?;
    let token = body.get("access_token").and_then(Value::as_str);
    Ok(token.ok_or("no token")?.to_owned())
}

async fn ask(
    http: &Http,
    service: SocketAddr,
    token: &str,
) -> Result<(StatusCode, String), BoxError> {
    let request = Request::get(format!("http://{service}/whoami"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(String::new())?;
    answer(http, request).await
}

/// What came of it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Requests that were answered as they should be.
    pub answered: usize,
    /// What other answers there were.
    pub failed: Vec<String>,
    /// How often the keys were rotated.
    pub rotations: usize,
    /// How often the service fetched them.
    pub fetched: usize,
    /// What a token was answered whose key is withdrawn.
    pub withdrawn: Option<StatusCode>,
}

/// Rotates the keys under load.
///
/// # Errors
///
/// What the parts say.
pub async fn run() -> Result<Report, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let provider = Arc::new(Provider {
        issuer: issuer.clone(),
        keys: Mutex::default(),
        made: AtomicUsize::new(0),
        fetched: AtomicUsize::new(0),
    });
    let clock = Turned::default();
    provider.rotate(&clock)?;
    let app = Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/keys", get(keys))
        .route("/token", post(token))
        .with_state(Arc::clone(&provider));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let service = service(&issuer, clock.clone()).await?;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let report = Arc::new(Mutex::new(Report::default()));
    let first = log_in(&http, &issuer, "acme", "first").await?;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (http, issuer, report) = (http.clone(), issuer.clone(), Arc::clone(&report));
            tokio::spawn(async move {
                let tenant = if number % 2 == 0 { "acme" } else { "globex" };
                let client = format!("client-{number}");
                let due = format!("{client}@{tenant}");
                while report.lock().rotations < ROTATIONS {
                    let token = log_in(&http, &issuer, tenant, &client).await?;
                    for _ in 0..10 {
                        let (status, body) = ask(&http, service, &token).await?;
                        let mut report = report.lock();
                        if status == StatusCode::OK && body == due {
                            report.answered = report.answered.saturating_add(1);
                        } else {
                            report.failed.push(format!("{client}: {status} {body}"));
                        }
                    }
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    let rotate = async {
        loop {
            tokio::task::yield_now().await;
            let (done, rotations) = {
                let report = report.lock();
                (
                    report.answered.saturating_add(report.failed.len()),
                    report.rotations,
                )
            };
            if rotations == ROTATIONS {
                return Ok::<_, BoxError>(());
            }
            if done >= BETWEEN.saturating_mul(rotations.saturating_add(1)) {
                provider.rotate(&clock)?;
                report.lock().rotations = rotations.saturating_add(1);
            }
        }
    };
    rotate.await?;
    for client in clients {
        client.await??;
    }
    // The newest key is fetched at the latest now, and the first one is gone from the set.
    let token = log_in(&http, &issuer, "acme", "last").await?;
    let (last, _) = ask(&http, service, &token).await?;
    let (withdrawn, _) = ask(&http, service, &first).await?;
    let mut report = std::mem::take(&mut *report.lock());
    if last != StatusCode::OK {
        report.failed.push(format!("last: {last}"));
    }
    report.withdrawn = Some(withdrawn);
    report.fetched = provider.fetched.load(Ordering::Relaxed);
    Ok(report)
}

#[tokio::main]
#[allow(
    dead_code,
    clippy::print_stdout,
    reason = "an example; its test runs `run`"
)]
async fn main() -> Result<(), BoxError> {
    let report = run().await?;
    println!("requests answered          {}", report.answered);
    println!("valid requests refused     {}", report.failed.len());
    println!("rotations                  {}", report.rotations);
    println!("fetches of the key set     {}", report.fetched);
    println!("token of a withdrawn key   {:?}", report.withdrawn);
    if report.failed.is_empty() && report.withdrawn == Some(StatusCode::UNAUTHORIZED) {
        Ok(())
    } else {
        Err(format!("not as it should be: {:?}", report.failed).into())
    }
}
