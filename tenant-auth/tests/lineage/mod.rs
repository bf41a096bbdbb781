//! Credentials, and what is derived from them: several issuers, API keys, delegated tokens, service tokens, jobs.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use http::{Request, Response};
use parking_lot::Mutex;
use tenant_auth::{
    AccessToken, ApiKeys, Authenticated, CachedRegistry, CredentialId, Delegation, Issuer, Issuers,
    NewApiKey, NewToken, Operators, Principal, PrincipalId, Rejection, Revocation, Revocations,
    SigningKey, TenantContext, TenantId, TenantRecord, TokenIssuer, TokenMinter,
    jobs::{DeadReason, JobEnvelope, Jobs, OpenError},
    propagate::{Propagate, PropagateLayer, ServiceTokens},
};
use tenant_context::{BoxError, RequestHead, TenantRegistry};
use tenant_testkit::{Gate, ManualClock};
use tower::{Layer, Service, ServiceExt};

use crate::common::{bearer, both, in_header, new_key};

pub const ISSUER: &str = "https://id.example.com";
pub const TEMPLATE: &str = "https://tpl.example.com/{tenant}/v2";
const OWN: &str = "https://own.example.com";
const ORDERS: &str = "https://orders.internal";
pub const ADA: &str = "ada";

pub fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn id(text: &str) -> CredentialId {
    CredentialId::parse(text).unwrap()
}

pub fn principal(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

pub struct World {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub issuers: Issuers,
    pub keys: ApiKeys,
    pub revocations: Revocations,
    pub auth: Authenticated,
    /// Whose tokens are derived by delegation.
    pub own: TokenIssuer,
    minters: [TokenMinter; 2],
    wire: Wire,
    client: Propagate<Wire>,
    jobs: Jobs,
}

/// How a credential is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Delegated,
    Service,
    Job,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Delegated, Self::Service, Self::Job];
}

#[derive(Clone, Debug)]
pub enum Derived {
    Token(String),
    Job(JobEnvelope),
}

/// What is presented to a service or a worker.
#[derive(Clone, Debug)]
pub enum Presented {
    Derived(Derived),
    /// An API key, alone or beside a token.
    Key(Option<String>, String),
}

pub type Deciding = Pin<Box<dyn Future<Output = Result<TenantContext, String>>>>;

fn reason(error: OpenError) -> String {
    match error {
        OpenError::Dead(DeadReason::Revoked) => "revoked".to_owned(),
        OpenError::Dead(DeadReason::Refused) => "issuer".to_owned(),
        OpenError::Unavailable(rejection) => rejection.reason().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Knows every tenant, after the gate has let the look-up pass.
struct Slow(Gate);

impl TenantRegistry for Slow {
    async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
        self.0.pass().await;
        Ok(Some(TenantRecord::new(id.clone())))
    }
}

/// Keeps the tokens of what is sent.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Option<String>>>);

impl Service<Request<()>> for Wire {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let value = request.headers()["authorization"].to_str().unwrap();
        let token = value.strip_prefix("Bearer ").unwrap().to_owned();
        *self.0.lock() = Some(token);
        std::future::ready(Ok(Response::new(())))
    }
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let tenants = tenant_testkit::tenants(&["acme", "globex", "staff"], &clock);
        Self::of(clock, tenants)
    }

    /// One whose tenants are looked up anew every few seconds, as slowly as the gate says.
    pub fn slow() -> (Self, Gate) {
        let (clock, gate) = (ManualClock::new(), Gate::closed());
        gate.open();
        let tenants = CachedRegistry::builder(Slow(gate.clone()))
            .clock(clock.clone())
            .ttl(Duration::from_secs(10))
            .max_stale(Duration::from_secs(10))
            .build()
            .unwrap();
        (Self::of(clock, tenants), gate)
    }

    fn of(clock: ManualClock, tenants: CachedRegistry) -> Self {
        let minters = ["main", "templates"].map(|kid| TokenMinter::eddsa_generate(kid).unwrap());
        let services = TokenMinter::hs256("orders", [8; 32]).unwrap();
        let keys = ApiKeys::builder("sk", "live", [7; 32])
            .clock(clock.clone())
            .build()
            .unwrap();
        let staff = TenantId::parse("staff").unwrap();
        let own = TokenIssuer::builder(OWN, "api")
            .key(SigningKey::eddsa_generate("own").unwrap())
            .operators(Operators::of(staff).scopes(["*:read"]))
            .clock(clock.clone())
            .build()
            .unwrap();
        let revocations = Revocations::builder(&tenants).build().unwrap();
        let issuers = Issuers::new();
        let orders = Issuer::new(ORDERS)
            .audience("api")
            .key(services.verifying_key());
        let other = Issuer::new("https://other.example.com")
            .audience("api")
            .key(services.verifying_key());
        for issuer in [own.as_issuer(), orders, other] {
            issuers.add(issuer).unwrap();
        }
        let auth = tenant_auth::layer(tenants.clone())
            .issuers(issuers.clone())
            .api_keys(keys.clone())
            .revocations(revocations.clone())
            .authenticate()
            .unwrap();
        let tokens = ServiceTokens::new(ORDERS, "orders", services)
            .unwrap()
            .clock(clock.clone());
        let wire = Wire::default();
        let client = PropagateLayer::new(tokens, "api")
            .unwrap()
            .scopes(["invoices:write"])
            .unwrap()
            .layer(wire.clone());
        let jobs = Jobs::builder(tenants.clone())
            .queue("reports")
            .sign_with(TokenMinter::hs256("jobs", [9; 32]).unwrap())
            .revocations(revocations.clone())
            .issuers(issuers.clone())
            .api_keys(keys.clone())
            .on_dead_letter(|_| ())
            .build()
            .unwrap();
        let world = Self {
            clock,
            tenants,
            issuers,
            keys,
            revocations,
            auth,
            own,
            minters,
            wire,
            client,
            jobs,
        };
        for name in [ISSUER, TEMPLATE] {
            world.issuers.add(world.issuer_of(name)).unwrap();
        }
        world
    }

    pub fn issuer_of(&self, name: &str) -> Issuer {
        if name == TEMPLATE {
            Issuer::template(name)
                .audience("api")
                .key(self.minters[1].verifying_key())
        } else {
            Issuer::new(name)
                .audience("api")
                .key(self.minters[0].verifying_key())
        }
    }

    pub fn admit(&self, request: Request<()>) -> Result<TenantContext, Rejection> {
        let (head, ()) = request.into_parts();
        TenantContext::admit(&self.auth, &RequestHead::new(&head))
            .wait()
            .now_or_never()
            .expect("the registry answers at once")
    }

    fn ada(&self, issuer: &str, minter: usize) -> String {
        let new = NewToken::new(issuer, "api", "acme", ADA)
            .scopes(["invoices:*"])
            .claim("sid", "session-1");
        self.minters[minter].mint(&new, &self.clock).unwrap()
    }

    /// A fresh credential: a token, one of a template's issuer, an API key, or a token and a key.
    pub fn root(&self, kind: usize) -> Presented {
        let of_template = || self.ada(&TEMPLATE.replace("{tenant}", "acme"), 1);
        let key = || {
            let key = new_key("acme", ADA).scopes(["invoices:*"]);
            let issued = self.keys.issue(key).now_or_never().unwrap();
            issued.unwrap().0.expose().to_owned()
        };
        match kind {
            0 => Presented::Derived(Derived::Token(self.ada(ISSUER, 0))),
            1 => Presented::Derived(Derived::Token(of_template())),
            2 => Presented::Key(None, key()),
            _ => Presented::Key(Some(self.ada(ISSUER, 0)), key()),
        }
    }

    fn rooted(&self, kind: usize) -> TenantContext {
        let begun = self.begin(&self.root(kind));
        begun.now_or_never().unwrap().unwrap()
    }

    pub fn token(&self) -> TenantContext {
        self.rooted(0)
    }

    pub fn of_template(&self) -> TenantContext {
        self.rooted(1)
    }

    pub fn api_key(&self) -> TenantContext {
        self.rooted(2)
    }

    pub fn token_and_key(&self) -> TenantContext {
        self.rooted(3)
    }

    pub fn staff(&self) -> TenantContext {
        let staff = TenantId::parse("staff").unwrap();
        let olga = Principal::human(principal("olga"));
        let token = AccessToken::new(staff, olga)
            .roles(["admin"])
            .session("shift-1");
        let token = self.own.access_token(&token).unwrap();
        self.admit(bearer(token.expose())).unwrap()
    }

    /// The same person, with an API key.
    pub fn staff_with_a_key(&self) -> TenantContext {
        let key = NewApiKey::new(
            TenantId::parse("staff").unwrap(),
            Principal::human(principal("olga")),
        )
        .scopes(["*"])
        .roles(["admin"]);
        let issued = self.keys.issue(key).now_or_never().unwrap();
        let text = issued.unwrap().0.expose().to_owned();
        let begun = self.begin(&Presented::Key(None, text));
        begun.now_or_never().unwrap().unwrap()
    }

    /// A token whose parent is of an issuer that was never trusted here.
    pub fn delegated_elsewhere(&self) -> Derived {
        let mut parent = tenant_testkit::claims("acme", ADA)
            .scopes(["invoices:*"])
            .credential(id("elsewhere"));
        parent.issuer = Some("https://elsewhere.example.com".into());
        parent.issued_at = Some(ManualClock::START);
        let parent = tenant_testkit::context_with(&self.tenants, parent);
        self.derive(Kind::Delegated, &parent)
    }

    pub fn derive(&self, kind: Kind, from: &TenantContext) -> Derived {
        self.try_derive(kind, from).expect("it is derived")
    }

    /// `None` if there is no authority left.
    pub fn try_derive(&self, kind: Kind, from: &TenantContext) -> Option<Derived> {
        match kind {
            Kind::Delegated => {
                let bot = Principal::agent(principal("bot"));
                let delegation = Delegation::to(bot).scopes(["invoices:write"]);
                let token = self.own.delegate(from, delegation).ok()?;
                Some(Derived::Token(token.expose().to_owned()))
            }
            Kind::Service => {
                let sent = from.scope(self.client.clone().oneshot(Request::new(())));
                sent.now_or_never().unwrap().ok()?;
                Some(Derived::Token(self.wire.0.lock().take().unwrap()))
            }
            Kind::Job => Some(Derived::Job(self.jobs.seal(from, b"work").ok()?)),
        }
    }

    /// The context, or why it is refused.
    pub fn present(&self, derived: &Derived) -> Result<TenantContext, String> {
        let presented = Presented::Derived(derived.clone());
        self.begin(&presented)
            .now_or_never()
            .expect("the registry answers at once")
    }

    /// Presents a credential: a request, or a job that is delivered.
    pub fn begin(&self, presented: &Presented) -> Deciding {
        let request = match presented {
            Presented::Derived(Derived::Job(envelope)) => {
                let (jobs, envelope) = (self.jobs.clone(), envelope.clone());
                return Box::pin(async move {
                    // Dropped undone, it may be delivered again.
                    let opened = jobs.open(Some(&envelope)).await;
                    opened.map(|job| job.context().clone()).map_err(reason)
                });
            }
            Presented::Derived(Derived::Token(token)) => bearer(token),
            Presented::Key(None, key) => in_header(key),
            Presented::Key(Some(token), key) => both(token, key),
        };
        let auth = self.auth.clone();
        let (head, ()) = request.into_parts();
        Box::pin(async move {
            let admitted = TenantContext::admit(&auth, &RequestHead::new(&head));
            let refused = |rejection: Rejection| rejection.reason().to_owned();
            admitted.wait().await.map_err(refused)
        })
    }

    /// In effect when it returns.
    pub fn revoke(&self, revocation: Revocation) {
        drop(self.revocations.revoke(revocation));
    }
}
