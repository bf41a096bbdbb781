//! A suspension holds for the next request and for streams that are open, and for nobody else.

use serde_json::json;
use tenant_context::{BoxError, TenantId};
use tonic::{Status, Streaming};

use super::{BOTH, HTTP, Row, Rows, Tour, both, shows};
use crate::{
    client::{Answer, Events, next, reason, within},
    grpc::proto::{WatchReply, WatchRequest, WhoAmIRequest},
};

const SUSPENDED: &str = "403 tenant-suspended | 7 TENANT_SUSPENDED";

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast, tenants) = (tour.client, tour.cast, &tour.service.tenants);
    let acme = TenantId::parse("acme")?;
    let mut rows = Vec::new();

    let (answer, reply) = whoami(tour, &cast.ivan).await?;
    let tried = "a good token of initech, suspended";
    rows.push(Row::new(
        BOTH,
        tried,
        shows::AT_ONCE,
        SUSPENDED,
        refusals(&answer, &reply),
    ));

    let mut acme_http = events(tour, &cast.ada).await?;
    let mut acme_grpc = watch(tour, &cast.ada).await?;
    let mut globex_http = events(tour, &cast.grace).await?;
    let mut globex_grpc = watch(tour, &cast.grace).await?;

    tenants.suspend(&acme);

    let (answer, reply) = whoami(tour, &cast.ada).await?;
    let tried = "acme suspended: its next request";
    rows.push(Row::new(
        BOTH,
        tried,
        shows::AT_ONCE,
        SUSPENDED,
        refusals(&answer, &reply),
    ));
    let robot = client
        .get("/whoami")
        .bearer(cast.robot.expose())
        .send()
        .await?;
    let tried = "acme suspended: its API key";
    let expected = "403 tenant-suspended";
    rows.push(Row::new(
        HTTP,
        tried,
        shows::AT_ONCE,
        expected,
        problem(&robot),
    ));
    rows.push(Row::new(
        BOTH,
        "acme suspended: its open streams",
        shows::AT_ONCE,
        "connection cut | 7 TENANT_SUSPENDED",
        format!("{} | {}", acme_http.end().await, end(&mut acme_grpc).await),
    ));

    let new = json!({ "customer": "Grace's ferry", "cents": 500 });
    let made = client
        .post("/invoices", &new)
        .bearer(&cast.grace)
        .send()
        .await?;
    let seen = globex_http
        .next()
        .await?
        .unwrap_or_default()
        .contains("Grace's ferry");
    let changed = next(&mut globex_grpc)
        .await?
        .and_then(|reply| reply.changed);
    let seen_rpc = changed.is_some_and(|invoice| invoice.customer == "Grace's ferry");
    let news = |seen: bool| if seen { "news" } else { "NOTHING" };
    rows.push(Row::new(
        BOTH,
        "globex meanwhile: a POST, its open streams",
        shows::AT_ONCE,
        "201, on its streams news | news",
        format!(
            "{}, on its streams {} | {}",
            made.code(),
            news(seen),
            news(seen_rpc)
        ),
    ));

    tenants.resume(&acme);
    let (answer, reply) = whoami(tour, &cast.ada).await?;
    let tried = "acme resumed: its next request";
    rows.push(Row::new(
        BOTH,
        tried,
        "",
        "200 | 0 OK",
        both(&answer, &reply),
    ));
    Ok(rows)
}

async fn whoami(tour: &Tour<'_>, token: &str) -> Result<(Answer, Result<(), Status>), BoxError> {
    let answer = tour.client.get("/whoami").bearer(token).send().await?;
    let request = tour.client.rpc(token, WhoAmIRequest {})?;
    let reply = within(tour.client.invoices().who_am_i(request)).await?;
    Ok((answer, reply.map(drop)))
}

/// An open HTTP stream, which has begun.
async fn events(tour: &Tour<'_>, token: &str) -> Result<Events, BoxError> {
    let mut events = tour.client.get("/events").bearer(token).stream().await?;
    events
        .next()
        .await?
        .ok_or("the stream ended before it began")?;
    Ok(events)
}

/// An open gRPC stream, which has begun.
async fn watch(tour: &Tour<'_>, token: &str) -> Result<Streaming<WatchReply>, BoxError> {
    let request = tour.client.rpc(token, WatchRequest {})?;
    let mut replies = within(tour.client.invoices().watch(request))
        .await??
        .into_inner();
    next(&mut replies)
        .await?
        .ok_or("the stream ended before it began")?;
    Ok(replies)
}

/// How an open gRPC stream ends: whatever still arrives before is passed over.
async fn end(replies: &mut Streaming<WatchReply>) -> String {
    let ended = within(async {
        loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break "ended as if complete".to_owned(),
                Err(status) => break refusal(&status),
            }
        }
    });
    ended.await.unwrap_or_else(|_| "still open".into())
}

fn problem(answer: &Answer) -> String {
    format!("{} {}", answer.code(), answer.problem())
}

fn refusal(status: &Status) -> String {
    format!("{} {}", i32::from(status.code()), reason(status))
}

fn refusals(answer: &Answer, reply: &Result<(), Status>) -> String {
    let refusal = reply.as_ref().err().map_or_else(|| "0 OK".into(), refusal);
    format!("{} | {refusal}", problem(answer))
}
