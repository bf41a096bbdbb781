//! `billing`: the service that is called. It trusts the tokens of `orders` that are made out to it, and nobody else's.

use std::io::Write;

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Response},
    routing::post,
};
use serde_json::{Value, json};
use tenant_auth::{Issuer, KeySet, RequireScope};
use tenant_context::{
    BoxError, CachedRegistry, MemoryRegistry, TenantContext, TenantId, TenantRecord, TenantStack,
    TenantStatus, X_REQUEST_ID,
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{
    Request, Status,
    transport::{Server, server::TcpIncoming},
};
use tower::{Layer, make::Shared, util::MapResponse};

use crate::{
    BILLING, ORDERS,
    proto::{
        ChargeReply, ChargeRequest,
        charges_server::{Charges, ChargesServer},
    },
};

/// What a charge needs.
const SCOPE: &str = "charges:write";

/// Reads the keys of `orders` from the standard input, says where it listens, and serves until the input ends.
#[allow(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) async fn serve() -> Result<(), BoxError> {
    let mut keys = String::new();
    std::io::stdin().read_line(&mut keys)?;
    let (parent, gone) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Until the parent ends, and its pipe with it.
        drop(std::io::stdin().read_line(&mut String::new()));
        drop(parent);
    });

    let registry = MemoryRegistry::new();
    for tenant in ["acme", "globex"] {
        registry.insert(TenantRecord::new(TenantId::parse(tenant)?));
    }
    let suspended = TenantRecord::new(TenantId::parse("initech")?).status(TenantStatus::Suspended);
    registry.insert(suspended);
    let identity = tenant_auth::layer(CachedRegistry::builder(registry).build()?)
        .jwt(
            Issuer::new(ORDERS)
                .audience(BILLING)
                .key_set(KeySet::from_json(&keys)?),
        )
        .build()?;
    let stack = TenantStack::new().identity(identity);

    let charge = post(over_http).route_layer(RequireScope::new(SCOPE));
    let routes = Router::<()>::new().route("/charges/{cents}", charge);
    let app = MapResponse::new(stack.clone().layer(routes), |answer: Response<_>| {
        answer.map(Body::new)
    });
    let grpc = Server::builder()
        .layer(stack)
        .add_service(ChargesServer::new(Api));

    let http_listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let grpc_listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (http_at, grpc_at) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
    println!("{http_at} {grpc_at}");
    std::io::stdout().flush()?;
    tokio::select! {
        served = axum::serve(http_listener, Shared::new(app)) => Ok(served?),
        served = grpc.serve_with_incoming(TcpIncoming::from(grpc_listener)) => Ok(served?),
        _parent_is_gone = gone => Ok(()),
    }
}

fn actors(tenant: &TenantContext) -> String {
    let actors = tenant.actors().iter().map(|actor| actor.id().as_str());
    actors.collect::<Vec<_>>().join(" < ")
}

async fn over_http(
    tenant: TenantContext,
    Path(_cents): Path<u64>,
    headers: HeaderMap,
) -> Json<Value> {
    let id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    Json(json!({
        "tenant": tenant.tenant_id().as_str(),
        "on_behalf_of": tenant.principal().id().as_str(),
        "actors": actors(&tenant),
        "request_id": id,
    }))
}

struct Api;

#[tonic::async_trait]
impl Charges for Api {
    async fn charge(
        &self,
        request: Request<ChargeRequest>,
    ) -> Result<tonic::Response<ChargeReply>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        tenant.require(SCOPE)?;
        let id = request.metadata().get(X_REQUEST_ID.as_str());
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        Ok(tonic::Response::new(ChargeReply {
            tenant: tenant.tenant_id().to_string(),
            on_behalf_of: tenant.principal().id().to_string(),
            actors: actors(tenant),
            request_id: id.to_owned(),
        }))
    }
}
