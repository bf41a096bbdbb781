//! What is public is declared; everything else needs a credential, whenever it was added.

use std::{future::IntoFuture, net::Ipv4Addr};

use tenant_context::BoxError;
use tokio::net::TcpListener;
use tonic::{Code, Response, Status};

use super::{BOTH, HTTP, Row, Rows, Tour, both, shows};
use crate::{
    client::within,
    grpc::proto::{HealthRequest, PingReply, PingRequest},
    http,
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();

    let health = client.get("/health").send().await?;
    let health_rpc = within(client.health().check(client.anonymous(HealthRequest {})?)).await?;
    let tried = "/health | Health/Check: declared; no token";
    rows.push(Row::new(
        BOTH,
        tried,
        "",
        "200 | 0 OK",
        both(&health, &health_rpc),
    ));
    let forged = cast.forged.first().map(|(_, token)| token.as_str());
    let health = client
        .get("/health")
        .bearer(forged.unwrap_or_default())
        .send()
        .await?;
    let tried = "/health with a bad token";
    rows.push(Row::new(
        HTTP,
        tried,
        shows::FAIL_CLOSED,
        "401",
        health.status.as_str(),
    ));

    let without = client.get("/undeclared").send().await?;
    let with = client.get("/undeclared").bearer(&cast.ada).send().await?;
    rows.push(Row::new(
        HTTP,
        "/undeclared, a route that nobody declared",
        shows::FAIL_CLOSED,
        "401, with a token 200",
        format!("{}, with a token {}", without.code(), with.code()),
    ));
    let without = client.get("/late").send().await?;
    let with = client.get("/late").bearer(&cast.ada).send().await?;
    let without_rpc = within(client.late().ping(client.anonymous(PingRequest {})?)).await?;
    let with_rpc = within(client.late().ping(client.rpc(&cast.ada, PingRequest {})?)).await?;
    let code = |reply: &Result<Response<PingReply>, Status>| {
        reply.as_ref().err().map_or(Code::Ok, Status::code) as i32
    };
    rows.push(Row::new(
        BOTH,
        "/late | Late/Ping: the last one, undeclared",
        shows::FAIL_CLOSED,
        "401 | 16, with a token 200 | 0",
        format!(
            "{} | {}, with a token {} | {}",
            without.code(),
            code(&without_rpc),
            with.code(),
            code(&with_rpc)
        ),
    ));
    let nowhere = client.get("/nowhere").send().await?;
    let tried = "/nowhere, which does not exist";
    rows.push(Row::new(
        HTTP,
        tried,
        shows::FAIL_CLOSED,
        "401",
        nowhere.status.as_str(),
    ));
    rows.push(without_a_stack(tour).await?);
    Ok(rows)
}

/// The same routes, by mistake without a stack: no layer makes a proof, so no handler runs.
async fn without_a_stack(tour: &Tour<'_>) -> Result<Row, BoxError> {
    let store = &tour.service.store;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let before = store.calls();
    let answer = tokio::select! {
        answer = tour.client.elsewhere(address, "/invoices", &tour.cast.ada) => answer?,
        ended = axum::serve(listener, http::routes(store.clone())).into_future() => {
            ended?;
            return Err("the server ended".into());
        }
    };
    let asked = if store.calls() == before {
        "not asked"
    } else {
        "ASKED"
    };
    Ok(Row::new(
        HTTP,
        "the same routes, by mistake without a stack",
        shows::FAIL_CLOSED,
        "500, store not asked",
        format!("{}, store {asked}", answer.code()),
    ))
}
