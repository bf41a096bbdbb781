//! A caching proxy in front of one origin: the response cache alone, for suites that test HTTP caches.
//!
//! ```sh
//! cargo run --release -p tenant-examples --example cache-proxy -- --origin http://127.0.0.1:8000 --port 8001
//! ```
//!
//! Tenancy is fixed to one tenant and one caller: every request is admitted, whatever credential it carries. All methods
//! and fields go on unchanged, apart from what belongs to one connection.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode, Uri, header, uri::PathAndQuery},
};
use clap::Parser;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tenant_cache::TenantCache;
use tenant_context::{
    Authenticate, BoxError, CachedRegistry, Claims, Clock, Identity, IdentityLayer, Lookup,
    MemoryRegistry, Principal, PrincipalId, Rejection, RequestHead, Resolver, SystemClock,
    TenantId, TenantRecord, TenantStack,
};
use tokio::net::TcpListener;
use tower::{Layer, make::Shared, util::MapResponse};

#[derive(Parser)]
struct Arguments {
    /// Where requests go: scheme and authority.
    #[arg(long)]
    origin: Uri,
    /// Where the proxy listens, on loopback.
    #[arg(long)]
    port: u16,
}

/// Admits everybody as the same caller. The registry stays with it: whom nobody can look up any more is refused.
struct Everybody(
    Arc<Identity>,
    #[allow(dead_code, reason = "it is there to live as long")] CachedRegistry,
);

impl Authenticate for Everybody {
    fn authenticate(&self, _: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
        Lookup::Ready(Ok(Arc::clone(&self.0)))
    }
}

async fn everybody() -> Result<Everybody, BoxError> {
    let id = TenantId::parse("everybody")?;
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(id.clone()));
    let tenants = CachedRegistry::builder(registry).build()?;
    let resolver = Resolver::new(tenants.clone());
    let year = Duration::from_secs(365 * 86_400);
    let expires_at = SystemClock::new().unix().saturating_add(year);
    let principal = Principal::service(PrincipalId::parse("cache-proxy")?);
    let claims = Claims::new(id, principal, expires_at);
    Ok(Everybody(resolver.resolve(claims).wait().await?, tenants))
}

type Origin = Client<HttpConnector, Body>;

/// RFC 9110 §7.6.1: what belongs to one connection.
fn take_off_connection_fields(headers: &mut HeaderMap) {
    let listed: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

async fn forward(client: Origin, origin: Uri, request: Request<Body>) -> Response<Body> {
    ask(client, origin, request).await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

async fn ask(
    client: Origin,
    origin: Uri,
    mut request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    let mut parts = origin.into_parts();
    let path = request.uri().path_and_query();
    parts.path_and_query = Some(path.map_or(PathAndQuery::from_static("/"), Clone::clone));
    *request.uri_mut() = Uri::from_parts(parts)?;
    take_off_connection_fields(request.headers_mut());
    let mut response = client.request(request).await?.map(Body::new);
    take_off_connection_fields(response.headers_mut());
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Arguments { origin, port } = Arguments::parse();
    let client: Origin = Client::builder(TokioExecutor::new()).build_http();
    let identity = IdentityLayer::builder()
        .forward_credentials(true)
        .build(everybody().await?)?;
    let cache = tenant_cache::layer(TenantCache::builder().build()?)
        .heuristic(10, Duration::from_secs(86_400))
        .explain(true)
        .build()?;
    let stack = TenantStack::new().identity(identity).cache(cache);
    let proxy =
        Router::new().fallback(move |request| forward(client.clone(), origin.clone(), request));
    let service = MapResponse::new(stack.layer(proxy), |answer: Response<_>| {
        answer.map(Body::new)
    });
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Shared::new(service)).await?;
    Ok(())
}
