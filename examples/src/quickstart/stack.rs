//! The one stack around both services: who is asking, what they may spend, what is kept and what is
//! recorded. This file is what a service of your own would copy.

use std::{net::SocketAddr, path::PathBuf};

use axum::{
    body::Body,
    http::{Method, Response},
    routing::get,
};
use tenant_audit::{AuditHandle, FileSink};
use tenant_auth::{ApiKeys, Issuer, VerifyingKey};
use tenant_cache::TenantCache;
use tenant_context::{
    BoxError, CachedRegistry, MemoryRegistry, RequestIdLayer, TenantId, TenantRecord, TenantStack,
    TenantState, TenantStatus, TokioTimer,
};
use tenant_ratelimit::Quota;
use tokio::{net::TcpListener, task::JoinSet};
use tonic::transport::{Server, server::TcpIncoming};
use tower::{Layer, make::Shared, util::MapResponse};

use crate::{
    grpc::{
        HealthApi, InvoiceApi, LateApi,
        proto::{
            health_server::HealthServer, invoices_server::InvoicesServer, late_server::LateServer,
        },
    },
    http,
    store::Store,
};

/// Who signs the tokens.
pub(crate) const ISSUER: &str = "https://id.quickstart.example";
/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "invoices";
/// A tenant's requests on the plan `pro`, and on every other.
const PRO: Quota = Quota::per_minute(6_000);
pub(crate) const FREE: Quota = Quota::per_minute(40);
/// An agent's requests, out of its tenant's.
pub(crate) const AGENT: Quota = Quota::per_minute(20);
/// A tenant's reports, over each of the two protocols.
pub(crate) const REPORTS: Quota = Quota::per_minute(5);

/// The tenants. In a service of your own this is a `TenantRegistry` on its database.
pub(crate) fn tenants() -> Result<CachedRegistry, BoxError> {
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(TenantId::parse("acme")?).plan("pro"));
    registry.insert(TenantRecord::new(TenantId::parse("globex")?).plan("free"));
    let initech = TenantRecord::new(TenantId::parse("initech")?).plan("free");
    registry.insert(initech.status(TenantStatus::Suspended));
    Ok(CachedRegistry::builder(registry)
        .timer(TokioTimer::new())
        .build()?)
}

/// What runs, and what the tour needs of it.
pub(crate) struct Service {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) tenants: CachedRegistry,
    pub(crate) store: Store,
    pub(crate) audit: AuditHandle,
    pub(crate) audit_dir: PathBuf,
    /// Both servers and the audit's writer; none ends by itself.
    pub(crate) tasks: JoinSet<Result<(), BoxError>>,
}

/// Starts both services behind one stack.
pub(crate) fn start(
    listeners: (TcpListener, TcpListener),
    key: VerifyingKey,
    api_keys: ApiKeys,
    audit_dir: PathBuf,
) -> Result<Service, BoxError> {
    let tenants = tenants()?;
    let identity = tenant_auth::layer(tenants.clone())
        .jwt(Issuer::new(ISSUER).audience(AUDIENCE).key(key))
        .api_keys(api_keys)
        .public(Method::GET, "/health")
        .public(Method::POST, "/invoices.v1.Health/Check")
        .build()?;
    let limits = tenant_ratelimit::layer()
        .global(Quota::per_minute(100_000))
        .tenant(|tenant: &TenantState| match &*tenant.plan() {
            "pro" => PRO,
            _ => FREE,
        })
        .agent(AGENT)
        .endpoint("POST /reports", REPORTS)
        .endpoint("gRPC /invoices.v1.Invoices/Report", REPORTS)
        .build()?;
    let cache = tenant_cache::layer(TenantCache::builder().build()?).build()?;
    let (audit, worker) = tenant_audit::layer(FileSink::open(&audit_dir)?)
        .timer(TokioTimer::new())
        .build()?;
    let records = audit.handle();

    let stack = TenantStack::new()
        .request_id(RequestIdLayer::new())
        .audit(audit)
        .identity(identity)
        .limits(limits)
        .cache(cache);

    let store = Store::default();
    // axum: the stack goes around the finished router, and what it makes is no router any more: there
    // is no adding a route outside of it.
    let routes = http::routes(store.clone()).route("/late", get(async || "added after the stack"));
    let app = MapResponse::new(stack.clone().layer(routes), |answer: Response<_>| {
        answer.map(Body::new)
    });
    // tonic: the same stack, so the same budgets and one log.
    let grpc = Server::builder()
        .layer(stack)
        .add_service(InvoicesServer::new(InvoiceApi(store.clone())))
        .add_service(HealthServer::new(HealthApi))
        .add_service(LateServer::new(LateApi));

    let (http_listener, grpc_listener) = listeners;
    let (http, grpc_address) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
    let mut tasks = JoinSet::new();
    tasks.spawn(async { Ok(worker.await?) });
    tasks.spawn(async { Ok(axum::serve(http_listener, Shared::new(app)).await?) });
    tasks.spawn(async {
        Ok(grpc
            .serve_with_incoming(TcpIncoming::from(grpc_listener))
            .await?)
    });
    Ok(Service {
        http,
        grpc: grpc_address,
        tenants,
        store,
        audit: records,
        audit_dir,
        tasks,
    })
}
