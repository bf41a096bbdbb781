//! What is public is declared; everything else needs a credential, whenever it was added.

use std::{future::IntoFuture, net::Ipv4Addr};

use tenant_context::BoxError;
use tokio::net::TcpListener;

use super::{GRPC, HTTP, Row, Rows, Tour, shows};
use crate::{
    client::{code, within},
    grpc::proto::{HealthRequest, PingRequest},
    http,
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();

    let health = client.get("/health").send().await?;
    rows.push(Row::new(HTTP, "GET /health, declared; no token", "", 200, health.code()));
    let health = within(client.health().check(client.anonymous(HealthRequest {})?)).await?;
    rows.push(Row::new(GRPC, "Health/Check, declared; no token", "", "0 OK", code(&health)));
    let forged = cast.forged.first().map(|(_, token)| token.as_str());
    let health = client.get("/health").bearer(forged.unwrap_or_default()).send().await?;
    let tried = "GET /health with a bad token";
    rows.push(Row::new(HTTP, tried, shows::FAIL_CLOSED, 401, health.code()));

    let expected = "401; with a token 200";
    for (path, tried) in [
        ("/undeclared", "GET /undeclared, which nobody declared"),
        ("/late", "GET /late, added after the stack was built"),
    ] {
        let without = client.get(path).send().await?;
        let with = client.get(path).bearer(&cast.ada).send().await?;
        let came_back = format!("{}; with a token {}", without.code(), with.code());
        rows.push(Row::new(HTTP, tried, shows::FAIL_CLOSED, expected, came_back));
    }
    let without = within(client.late().ping(client.anonymous(PingRequest {})?)).await?;
    let with = within(client.late().ping(client.rpc(&cast.ada, PingRequest {})?)).await?;
    rows.push(Row::new(
        GRPC,
        "Late/Ping, added after the stack",
        shows::FAIL_CLOSED,
        "16 UNAUTHENTICATED; with a token 0 OK",
        format!("{}; with a token {}", code(&without), code(&with)),
    ));
    let nowhere = client.get("/nowhere").send().await?;
    let tried = "GET /nowhere, which does not exist";
    rows.push(Row::new(HTTP, tried, shows::FAIL_CLOSED, 401, nowhere.code()));

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
    let asked = if store.calls() == before { "not asked" } else { "ASKED" };
    Ok(Row::new(
        HTTP,
        "GET /invoices of the routes without a stack",
        shows::FAIL_CLOSED,
        "500, store not asked",
        format!("{}, store {asked}", answer.code()),
    ))
}
