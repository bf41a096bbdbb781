//! A suspension holds for the next request and for streams that are open, and for nobody else.

use axum::http::HeaderName;
use serde_json::json;
use tenant_context::{BoxError, TenantId};
use tonic::Streaming;

use super::{GRPC, HTTP, Row, Rows, Tour, shows};
use crate::{
    client::{Answer, Events, code, next, reason, within},
    grpc::proto::{WatchReply, WatchRequest, WhoAmIRequest},
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast, tenants) = (tour.client, tour.cast, &tour.service.tenants);
    let acme = TenantId::parse("acme")?;
    let mut rows = Vec::new();

    let ivan = client.get("/whoami").bearer(&cast.ivan).send().await?;
    let tried = "a good token of initech, suspended";
    let suspended = "403 tenant-suspended";
    rows.push(Row::new(HTTP, tried, shows::AT_ONCE, suspended, problem(&ivan)));
    let ivan = within(client.invoices().who_am_i(client.rpc(&cast.ivan, WhoAmIRequest {})?)).await?;
    let suspended_rpc = "7 PERMISSION_DENIED TENANT_SUSPENDED";
    rows.push(Row::new(GRPC, tried, shows::AT_ONCE, suspended_rpc, refusal(&ivan)));

    let mut acme_http = events(tour, &cast.ada).await?;
    let mut acme_grpc = watch(tour, &cast.ada).await?;
    let mut globex_http = events(tour, &cast.grace).await?;
    let mut globex_grpc = watch(tour, &cast.grace).await?;

    tenants.suspend(&acme);

    let ada = client.get("/whoami").bearer(&cast.ada).send().await?;
    let robot = client.get("/whoami").header(HeaderName::from_static("x-api-key"), cast.robot.expose());
    let robot = robot.send().await?;
    let tried = "acme suspended: next request, token and key";
    rows.push(Row::new(
        HTTP,
        tried,
        shows::AT_ONCE,
        "403 tenant-suspended, for both",
        if problem(&ada) == problem(&robot) {
            format!("{}, for both", problem(&ada))
        } else {
            format!("{} and {}", problem(&ada), problem(&robot))
        },
    ));
    let ada = within(client.invoices().who_am_i(client.rpc(&cast.ada, WhoAmIRequest {})?)).await?;
    let tried = "acme suspended: next request";
    rows.push(Row::new(GRPC, tried, shows::AT_ONCE, suspended_rpc, refusal(&ada)));

    let tried = "acme suspended: its open stream";
    let cut = "connection cut";
    rows.push(Row::new(HTTP, tried, shows::AT_ONCE, cut, acme_http.end().await));
    let end = within(async {
        loop {
            match acme_grpc.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break "ended as if complete".to_owned(),
                Err(status) => break refusal::<()>(&Err(status)),
            }
        }
    });
    let end = end.await.unwrap_or_else(|_| "still open".into());
    rows.push(Row::new(GRPC, tried, shows::AT_ONCE, suspended_rpc, end));

    let new = json!({ "customer": "Grace's ferry", "cents": 500 });
    let made = client.post("/invoices", &new).bearer(&cast.grace).send().await?;
    let seen = globex_http.next().await?.unwrap_or_default();
    let tried = "globex goes on: a request, its open stream";
    let news = |seen: bool| if seen { "the news on its stream" } else { "NO news on its stream" };
    rows.push(Row::new(
        HTTP,
        tried,
        "",
        "201, the news on its stream",
        format!("{}, {}", made.code(), news(seen.contains("Grace's ferry"))),
    ));
    let seen = next(&mut globex_grpc).await?.and_then(|reply| reply.changed);
    let grace = within(client.invoices().who_am_i(client.rpc(&cast.grace, WhoAmIRequest {})?)).await?;
    let seen = seen.is_some_and(|invoice| invoice.customer == "Grace's ferry");
    rows.push(Row::new(
        GRPC,
        tried,
        "",
        "0 OK, the news on its stream",
        format!("{}, {}", code(&grace), news(seen)),
    ));

    tenants.resume(&acme);
    let ada = client.get("/whoami").bearer(&cast.ada).send().await?;
    rows.push(Row::new(HTTP, "acme resumed: next request", "", 200, ada.code()));
    let ada = within(client.invoices().who_am_i(client.rpc(&cast.ada, WhoAmIRequest {})?)).await?;
    rows.push(Row::new(GRPC, "acme resumed: next request", "", "0 OK", code(&ada)));
    Ok(rows)
}

/// An open HTTP stream, which has begun.
async fn events(tour: &Tour<'_>, token: &str) -> Result<Events, BoxError> {
    let mut events = tour.client.get("/events").bearer(token).stream().await?;
    events.next().await?.ok_or("the stream ended before it began")?;
    Ok(events)
}

/// An open gRPC stream, which has begun.
async fn watch(tour: &Tour<'_>, token: &str) -> Result<Streaming<WatchReply>, BoxError> {
    let request = tour.client.rpc(token, WatchRequest {})?;
    let mut replies = within(tour.client.invoices().watch(request)).await??.into_inner();
    next(&mut replies).await?.ok_or("the stream ended before it began")?;
    Ok(replies)
}

fn problem(answer: &Answer) -> String {
    format!("{} {}", answer.code(), answer.problem())
}

fn refusal<T>(reply: &Result<T, tonic::Status>) -> String {
    let reason = reply.as_ref().err().map(reason).unwrap_or_default();
    format!("{} {reason}", code(reply))
}
