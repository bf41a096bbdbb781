//! `orders`: the service that calls. A user's request becomes calls to `billing`.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, Response, header},
    routing::post,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tenant_audit::MemorySink;
use tenant_auth::{
    Issuer, NewToken, TokenMinter,
    propagate::{Propagate, PropagateError, PropagateLayer, ServiceTokens},
};
use tenant_context::{
    BoxError, CachedRegistry, MemoryRegistry, Rejection, RequestIdLayer, SystemClock, TenantId,
    TenantRecord, TenantStack, TokioTimer,
};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tower::{Layer, ServiceExt, make::Shared, util::MapResponse};

use crate::{
    Addresses, BILLING, ORDERS, client,
    proto::{ChargeRequest, charges_client::ChargesClient},
};

const USERS: &str = "https://id.example.com";

/// The clients of `billing`, built once. No call names a tenant: the layer takes the context that it is called in.
#[derive(Clone)]
struct Billing {
    at: Addresses,
    http: Propagate<client::Http>,
    grpc: Propagate<Channel>,
}

impl Billing {
    fn new(at: Addresses, minter: &TokenMinter) -> Result<Self, BoxError> {
        let tokens = ServiceTokens::new(ORDERS, "orders", minter.clone())?;
        let layer = PropagateLayer::new(tokens, BILLING)?.scopes(["charges:write"])?;
        Ok(Self {
            at,
            http: layer.layer(client::http()),
            grpc: layer.layer(client::grpc(at)?),
        })
    }
}

/// `POST /orders`: charged twice, for the sake of the example.
async fn order(State(billing): State<Billing>) -> Result<String, Rejection> {
    let failed = |error: BoxError| Rejection::store_unavailable().with_source(Failed(error));
    let request = client::charge(billing.at, HeaderMap::new()).map_err(failed)?;
    let answer = match billing.http.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(PropagateError::Refused(rejection)) => return Err(rejection),
        Err(error) => return Err(failed(error.to_string().into())),
    };
    let over_http = client::json(answer.into_body()).await.map_err(failed)?;
    let reply = ChargesClient::new(billing.grpc.clone())
        .charge(ChargeRequest { cents: 1200 })
        .await
        .map_err(|status| failed(status.into()))?
        .into_inner();
    let text = |name: &str| {
        over_http
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let line = |way: &str, tenant: &str, whom: &str, actors: &str, id: &str| {
        format!("{way}: billing charges {tenant} for {whom}, asked by {actors}, in request {id}\n")
    };
    Ok(line(
        "HTTP",
        &text("tenant"),
        &text("on_behalf_of"),
        &text("actors"),
        &text("request_id"),
    ) + &line(
        "gRPC",
        &reply.tenant,
        &reply.on_behalf_of,
        &reply.actors,
        &reply.request_id,
    ))
}

/// What the call failed with.
#[derive(Debug)]
struct Failed(BoxError);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

/// A user's token, as the identity provider would have minted it.
pub(crate) fn users_token(users: &TokenMinter) -> Result<String, BoxError> {
    let ada =
        NewToken::new(USERS, "orders", "acme", "ada").scopes(["orders:write", "charges:write"]);
    Ok(users.mint(&ada, &SystemClock::new())?)
}

/// Serves, sends ada's request, and says what billing answered.
pub(crate) async fn place(
    billing: Addresses,
    minter: &TokenMinter,
) -> Result<Vec<String>, BoxError> {
    let users = TokenMinter::eddsa_generate("users")?;
    let registry = MemoryRegistry::new();
    registry.insert(TenantRecord::new(TenantId::parse("acme")?));
    let identity = tenant_auth::layer(CachedRegistry::builder(registry).build()?)
        .jwt(
            Issuer::new(USERS)
                .audience("orders")
                .key(users.verifying_key()),
        )
        .build()?;
    let routes = Router::new()
        .route("/orders", post(order))
        .with_state(Billing::new(billing, minter)?);
    // What a request's calls are told of its id is in its record.
    let (audit, worker) = tenant_audit::layer(MemorySink::new())
        .timer(TokioTimer::new())
        .build()?;
    let worker = tokio::spawn(worker);
    let stack = TenantStack::new()
        .request_id(RequestIdLayer::new())
        .audit(audit)
        .identity(identity);
    let app = MapResponse::new(stack.layer(routes), |answer: Response<_>| {
        answer.map(Body::new)
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let uri = format!("http://{}/orders", listener.local_addr()?);
    let server = tokio::spawn(async { axum::serve(listener, Shared::new(app)).await });

    let request = Request::post(uri)
        .header(
            header::AUTHORIZATION,
            format!("Bearer {}", users_token(&users)?),
        )
        .body(Full::<Bytes>::default())?;
    let answer = client::http().request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    server.abort();
    worker.abort();
    if !status.is_success() {
        return Err(format!("orders answered {status}").into());
    }
    let text = String::from_utf8(body.to_vec())?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}
