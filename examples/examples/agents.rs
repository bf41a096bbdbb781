//! Agents that act for a person: authority that only shrinks, and an audit trail that names the whole chain.
//!
//! Ada's token goes to an orchestrator, which exchanges it for one of its own and hires two sub-agents: a reader that may read
//! invoices, and a writer that may write reports. The reader then goes wild: it tries to widen what it has, to cross into another
//! tenant, and to outlive the one that hired it. Each attempt is refused, and recorded with everybody in the chain. In the end Ada
//! signs out, and all that was derived from her token ends with it.
//!
//! Every token is presented to the one service below, through the whole stack.
//!
//! ```sh
//! cargo run -p tenant-examples --example agents
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "an application spawns what the crates hand it"
)]

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{Method, Request, header},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenant_audit::MemorySink;
use tenant_auth::{
    AccessToken, Authenticated, Delegation, RequireScope, Revocation, Revocations, SigningKey,
    TokenIssuer,
};
use tenant_context::{
    BoxError, CachedRegistry, MemoryRegistry, Principal, PrincipalId, Rejection, RequestHead,
    TenantContext, TenantId, TenantRecord, TenantScoped, TenantStack, TokioTimer, Trail,
};
use tower::{Layer, ServiceExt, util::MapResponse};

// The service.

#[derive(Clone)]
struct Service {
    issuer: TokenIssuer,
    door: Authenticated,
    revocations: Revocations,
}

#[derive(Deserialize, Serialize)]
struct Hire {
    agent: String,
    scopes: Vec<String>,
    minutes: u64,
    purpose: String,
    /// A token of the agent's own, if it has one: proof of who it is.
    proof: Option<String>,
}

impl Service {
    /// Who presents this token, through the door that requests come through.
    async fn prove(&self, token: &str) -> Result<TenantContext, Rejection> {
        let malformed = |_| Rejection::malformed("agent_proof");
        let request = Request::builder().header(header::AUTHORIZATION, format!("Bearer {token}"));
        let (head, ()) = request.body(()).map_err(malformed)?.into_parts();
        TenantContext::admit(&self.door, &RequestHead::new(&head))
            .wait()
            .await
    }
}

/// `POST /delegate`: a narrower token, for an agent that acts on. A token is derived from a verified request, never from a token.
async fn delegate(
    State(service): State<Service>,
    tenant: TenantContext,
    trail: Trail,
    Json(hire): Json<Hire>,
) -> Result<Json<Value>, Rejection> {
    trail.action("agent.hire").resource("agent", &hire.agent);
    let malformed = |_| Rejection::malformed("agent_name");
    let agent = Principal::agent(PrincipalId::parse(&hire.agent).map_err(malformed)?);
    let delegation = match &hire.proof {
        Some(token) => Delegation::to_verified(&service.prove(token).await?),
        None => Delegation::to(agent),
    };
    let minted = service.issuer.delegate(
        &tenant,
        delegation
            .scopes(hire.scopes)
            .ttl(Duration::from_secs(hire.minutes.saturating_mul(60)))
            .purpose(hire.purpose),
    )?;
    Ok(Json(json!({ "token": minted.expose() })))
}

/// `GET /invoices/{id}`: another tenant's and a missing one are one answer.
async fn read(
    tenant: TenantContext,
    trail: Trail,
    Path(id): Path<String>,
) -> Result<String, Rejection> {
    trail.action("invoice.read").resource("invoice", &id);
    let (owner, cents) = match &*id {
        "a-17" => ("acme", "42.00"),
        "g-4" => ("globex", "7.00"),
        _ => return Err(Rejection::not_found()),
    };
    let owner = TenantId::parse(owner).map_err(|_| Rejection::not_found())?;
    let invoice = TenantScoped::new(owner, cents.to_owned());
    invoice.for_tenant(&tenant)
}

/// `POST /sign-out`: this token, and all that were derived from it.
async fn sign_out(
    State(service): State<Service>,
    tenant: TenantContext,
) -> Result<&'static str, Rejection> {
    if let Some(token) = tenant.credential() {
        let revocation = Revocation::token(tenant.tenant_id().clone(), token.clone());
        let published = service.revocations.revoke(revocation).await;
        published.map_err(|_| Rejection::store_unavailable())?;
    }
    Ok("signed out")
}

fn routes(service: Service) -> Router {
    let write = RequireScope::new("invoices:write");
    Router::new()
        .route("/delegate", post(delegate))
        .route(
            "/invoices/{id}",
            get(read).route_layer(RequireScope::new("invoices:read")),
        )
        .route("/invoices", post(async || "written").route_layer(write))
        .route(
            "/reports",
            post(async || "reported").route_layer(RequireScope::new("reports:write")),
        )
        .route("/sign-out", post(sign_out))
        .with_state(service)
}

// The story.

/// One attempt: who tried what, and what came back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Step {
    /// Who.
    pub who: &'static str,
    /// What was tried.
    pub tries: &'static str,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub body: String,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// In the order in which it happened.
    pub steps: Vec<Step>,
    /// What the audit has kept of it, one record for each step.
    pub records: Vec<Value>,
}

struct Story {
    app: Router,
    steps: Vec<Step>,
}

impl Story {
    async fn send(
        &mut self,
        (who, tries): (&'static str, &'static str),
        token: &str,
        request: (Method, &str),
        body: Value,
        headers: &[(&'static str, &str)],
    ) -> Result<String, BoxError> {
        let mut builder = Request::builder()
            .method(request.0)
            .uri(request.1)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(Body::from(body.to_string()))?;
        let response = self.app.clone().oneshot(request).await?;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 100_000).await?;
        let body = String::from_utf8(body.to_vec())?;
        self.steps.push(Step {
            who,
            tries,
            status,
            body: body.clone(),
        });
        Ok(body)
    }

    async fn hire(
        &mut self,
        step: (&'static str, &'static str),
        token: &str,
        order: (&str, &[&str], u64),
    ) -> Result<String, BoxError> {
        self.hire_proven(step, token, order, None).await
    }

    async fn hire_proven(
        &mut self,
        step: (&'static str, &'static str),
        token: &str,
        (agent, scopes, minutes): (&str, &[&str], u64),
        proof: Option<&str>,
    ) -> Result<String, BoxError> {
        let hire = Hire {
            agent: agent.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            minutes,
            purpose: "March's invoices".to_owned(),
            proof: proof.map(ToOwned::to_owned),
        };
        let hire = serde_json::to_value(hire)?;
        let answer = self.send(step, token, (Method::POST, "/delegate"), hire, &[]);
        let answer: Value = serde_json::from_str(&answer.await?)?;
        let token = answer.get("token").and_then(Value::as_str);
        Ok(token.unwrap_or_default().to_owned())
    }

    async fn get(
        &mut self,
        step: (&'static str, &'static str),
        token: &str,
        path: &str,
    ) -> Result<(), BoxError> {
        self.send(step, token, (Method::GET, path), Value::Null, &[])
            .await
            .map(drop)
    }

    async fn post(
        &mut self,
        step: (&'static str, &'static str),
        token: &str,
        path: &str,
    ) -> Result<(), BoxError> {
        self.send(step, token, (Method::POST, path), Value::Null, &[])
            .await
            .map(drop)
    }
}

/// Plays it.
///
/// # Errors
///
/// What the parts say. A refusal is no error: it is a step.
#[allow(clippy::too_many_lines, reason = "a story, in its order")]
pub async fn run() -> Result<Report, BoxError> {
    let registry = MemoryRegistry::new();
    let (acme, globex) = (TenantId::parse("acme")?, TenantId::parse("globex")?);
    for tenant in [&acme, &globex] {
        registry.insert(TenantRecord::new(tenant.clone()));
    }
    let tenants = CachedRegistry::builder(registry).build()?;
    let issuer = TokenIssuer::builder("https://id.example.com", "invoices")
        .key(SigningKey::eddsa_generate("2026-01")?)
        .max_depth(3)
        .build()?;
    let revocations = Revocations::builder(&tenants).build()?;
    let identity = tenant_auth::layer(tenants.clone())
        .jwt(issuer.as_issuer())
        .revocations(revocations.clone())
        .build()?;
    let sink = MemorySink::new();
    let (audit, worker) = tenant_audit::layer(sink.clone())
        .timer(TokioTimer::new())
        .build()?;
    let records = audit.handle();
    let worker = tokio::spawn(worker);
    // Who proves itself here is asked about in the same way: a revoked actor is none.
    let door = tenant_auth::layer(tenants.clone())
        .jwt(issuer.as_issuer())
        .revocations(revocations.clone())
        .authenticate()?;
    let service = Service {
        issuer: issuer.clone(),
        door,
        revocations,
    };
    let app = TenantStack::new()
        .audit(audit)
        .identity(identity)
        .layer(routes(service));
    let app = MapResponse::new(app, |answer: axum::http::Response<_>| answer.map(Body::new));
    let mut story = Story {
        app: Router::new().fallback_service(app),
        steps: Vec::new(),
    };

    // Signed in: Ada at acme, for 15 minutes.
    let ada = AccessToken::new(acme, Principal::human(PrincipalId::parse("ada")?));
    let ada = issuer.access_token(&ada.scopes(["invoices:*", "reports:write"]))?;
    let ada = ada.expose();

    let orchestrator = story
        .hire(
            ("ada", "hands over to an orchestrator, for 10 minutes"),
            ada,
            ("orchestrator", &["invoices:read", "reports:write"], 10),
        )
        .await?;
    let reader = story
        .hire(
            ("orchestrator", "hires a reader, for 5 minutes"),
            &orchestrator,
            ("reader", &["invoices:read"], 5),
        )
        .await?;
    let writer = story
        .hire(
            ("orchestrator", "hires a writer, for 5 minutes"),
            &orchestrator,
            ("writer", &["reports:write"], 5),
        )
        .await?;
    story
        .get(("reader", "reads an invoice"), &reader, "/invoices/a-17")
        .await?;
    story
        .post(("writer", "writes a report"), &writer, "/reports")
        .await?;

    // The reader goes wild. It widens:
    story
        .post(("reader", "writes an invoice"), &reader, "/invoices")
        .await?;
    story
        .hire(
            ("reader", "delegates more than it has"),
            &reader,
            ("helper", &["invoices:*"], 1),
        )
        .await?;
    story
        .hire(
            ("reader", "delegates what its sibling has"),
            &reader,
            ("helper", &["reports:write"], 1),
        )
        .await?;
    // It crosses tenants:
    story
        .get(
            ("reader", "reads globex's invoice"),
            &reader,
            "/invoices/g-4",
        )
        .await?;
    story
        .send(
            ("reader", "says that it is globex"),
            &reader,
            (Method::GET, "/invoices/g-4"),
            Value::Null,
            &[("x-tenant-id", "globex")],
        )
        .await?;
    let stranger = AccessToken::new(globex, Principal::agent(PrincipalId::parse("stranger")?));
    let stranger = issuer.access_token(&stranger.scopes(["invoices:read"]))?;
    story
        .hire_proven(
            ("reader", "delegates to globex's agent"),
            &reader,
            ("stranger", &["invoices:read"], 1),
            Some(stranger.expose()),
        )
        .await?;
    // It outlives its parent:
    story
        .hire(
            ("reader", "delegates for longer than it lives"),
            &reader,
            ("helper", &["invoices:read"], 10),
        )
        .await?;
    // A chain has a bound:
    let helper = story
        .hire(
            ("reader", "delegates what it has, for a minute"),
            &reader,
            ("helper", &["invoices:read"], 1),
        )
        .await?;
    story
        .hire(
            ("helper", "delegates once more"),
            &helper,
            ("helper-of-helper", &["invoices:read"], 1),
        )
        .await?;
    story
        .get(("helper", "reads an invoice"), &helper, "/invoices/a-17")
        .await?;

    // All that was derived from Ada's token ends with it.
    story.post(("ada", "signs out"), ada, "/sign-out").await?;
    for (who, token, path) in [
        ("reader", &reader, "/invoices/a-17"),
        ("helper", &helper, "/invoices/a-17"),
    ] {
        story
            .get((who, "reads an invoice after that"), token, path)
            .await?;
    }
    story
        .post(
            ("writer", "writes a report after that"),
            &writer,
            "/reports",
        )
        .await?;

    records.flush().await?;
    worker.abort();
    let mut records = sink.records();
    records.retain(|record| record["schema"] == "tenant-audit/1" && record["path"].is_string());
    Ok(Report {
        steps: story.steps,
        records,
    })
}

/// `acme: ada > orchestrator > reader  invoice.read  denied (scope)`.
#[allow(dead_code, reason = "what `main` prints")]
fn line(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let reason = record["reason"].as_str();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!(
        "{}: {:<44} {:<22} {}{reason}",
        text("tenant_id"),
        chain(record).join(" > "),
        text("action"),
        text("outcome"),
    )
}

/// Everybody in a record's chain, the person first.
pub fn chain(record: &Value) -> Vec<String> {
    let name = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let first = name(&record["on_behalf_of"]).or_else(|| name(&record["actor_id"]));
    let actors = record["actors"].as_array();
    let actors = actors.into_iter().flatten().rev();
    let actors = actors.filter_map(|actor| name(&actor["id"]));
    first.into_iter().chain(actors).collect()
}

#[allow(dead_code, reason = "a test runs the rest")]
#[allow(clippy::print_stdout, reason = "it is what this is for")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let report = run().await?;
    println!("{:<14}{:<48}answer", "who", "tries");
    for step in &report.steps {
        println!("{:<14}{:<48}{}", step.who, step.tries, step.status);
    }
    println!("\nthe audit trail:");
    for record in &report.records {
        println!("{}", line(record));
    }
    Ok(())
}
