//! The README's example: the layers around an existing axum app and tonic server, one shared stack.

#![allow(
    clippy::disallowed_methods,
    reason = "an application spawns what the crates hand it"
)]

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{Method, Response},
    routing::get,
};
use tenant_audit::FileSink;
use tenant_auth::{Issuer, KeySet};
use tenant_cache::TenantCache;
use tenant_context::{
    BoxError, CachedRegistry, ForTenant, Rejection, TenantContext, TenantId, TenantRegistry,
    TenantScoped, TenantStack, TenantState, TokioTimer, Trail,
};
use tenant_ratelimit::Quota;
use tonic::{service::Routes, transport::Server};
use tower::{Layer, make::Shared, util::MapResponse};
use uuid::Uuid;

/// A handler takes the proof; data leaves its owner's scope only with it.
async fn read(
    tenant: TenantContext,
    trail: Trail,
    Path(id): Path<Uuid>,
) -> Result<Json<Invoice>, Rejection> {
    trail.action("invoice.read").resource("invoice", id);
    Ok(Json(load(id).await.for_tenant(&tenant)?))
}

#[derive(serde::Serialize)]
struct Invoice {
    id: Uuid,
    cents: u64,
}

/// Your store: what it finds, with its owner.
#[allow(
    clippy::unused_async,
    reason = "a store of yours waits for its database"
)]
async fn load(id: Uuid) -> Option<TenantScoped<Invoice>> {
    let owner = TenantId::parse("acme").ok()?;
    (id == Uuid::nil()).then(|| TenantScoped::new(owner, Invoice { id, cents: 4200 }))
}

/// Your app, your gRPC services, your tenants table, your identity provider's keys.
async fn serve(
    app: Router,
    grpc: Routes,
    db: impl TenantRegistry,
    jwks: &str,
) -> Result<(), BoxError> {
    let tenants = CachedRegistry::builder(db)
        .timer(TokioTimer::new())
        .build()?;
    tokio::spawn(tenants.worker()?);
    let identity = tenant_auth::layer(tenants)
        .jwt(
            Issuer::new("https://id.example.com")
                .audience("api")
                .key_set(KeySet::from_json(jwks)?),
        )
        .public(Method::GET, "/health")
        .build()?;
    let limits = tenant_ratelimit::layer()
        .global(Quota::per_minute(100_000))
        .tenant(|tenant: &TenantState| {
            Quota::per_second(if &*tenant.plan() == "pro" { 100 } else { 5 })
        })
        .agent(Quota::per_second(50).burst(100))
        .endpoint("POST /reports", Quota::per_minute(10))
        .build()?;
    let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
    let (audit, worker) = tenant_audit::layer(FileSink::open("audit")?)
        .timer(TokioTimer::new())
        .build()?;
    let worker = tokio::spawn(worker);

    let stack = TenantStack::new()
        .audit(audit)
        .identity(identity)
        .limits(limits)
        .cache(cache);
    // axum: around the finished router. tonic: the same budgets, the same log.
    let app = MapResponse::new(stack.clone().layer(app), |answer: Response<_>| {
        answer.map(Body::new)
    });
    let http = axum::serve(
        tokio::net::TcpListener::bind("127.0.0.1:8080").await?,
        Shared::new(app),
    );
    let grpc = Server::builder()
        .layer(stack)
        .add_routes(grpc)
        .serve("127.0.0.1:8081".parse()?);
    tokio::try_join!(
        async { Ok::<_, BoxError>(http.await?) },
        async { Ok(grpc.await?) },
        async { Ok(worker.await??) }
    )?;
    Ok(())
}

/// The public key of RFC 8037, appendix A.2: its private half is known to everybody, so nothing is served with it
/// but this example.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"example","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let tenants = tenant_context::MemoryRegistry::new();
    let app = Router::new().route("/invoices/{id}", get(read));
    serve(app, Routes::default(), tenants, JWKS).await
}
