//! Good credentials, bad ones, and who acts for whom.

use axum::http::HeaderName;
use tenant_context::BoxError;
use tonic::{Response, Status};

use super::{BOTH, HTTP, Row, Rows, Tour, both, shows};
use crate::{
    client::{Answer, within},
    grpc::proto::{ListRequest, WhoAmIReply, WhoAmIRequest},
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let mut rows = refused(tour).await?;
    rows.extend(signals(tour).await?);
    rows.extend(actors(tour).await?);
    Ok(rows)
}

/// No credential, and every kind of bad one.
async fn refused(tour: &Tour<'_>) -> Rows {
    const UNAUTHENTICATED: &str = "401 | 16 UNAUTHENTICATED";
    let client = tour.client;
    let mut rows = Vec::new();
    let answer = client.get("/whoami").send().await?;
    let reply = who_am_i(tour, client.anonymous(WhoAmIRequest {})?).await?;
    let came_back = both(&answer, &reply);
    rows.push(Row::new(
        BOTH,
        "no token",
        shows::PROOF,
        UNAUTHENTICATED,
        came_back,
    ));

    let mut answers: Vec<Answer> = Vec::new();
    for (what, token) in &tour.cast.forged {
        let answer = client.get("/whoami").bearer(token).send().await?;
        let reply = who_am_i(tour, client.rpc(token, WhoAmIRequest {})?).await?;
        let came_back = both(&answer, &reply);
        rows.push(Row::new(
            BOTH,
            *what,
            shows::PROOF,
            UNAUTHENTICATED,
            came_back,
        ));
        answers.push(answer);
    }
    let same = answers
        .windows(2)
        .all(|two| matches!(two, [one, other] if one.same_as(other)));
    rows.push(Row::new(
        HTTP,
        "what these five tell of what was wrong",
        shows::NO_SECRET,
        "nothing: the same bytes each time",
        if same {
            "nothing: the same bytes each time"
        } else {
            "something: their bytes differ"
        },
    ));
    let in_query = format!("/whoami?access_token={}", tour.cast.ada);
    let in_query = client.get(&in_query).send().await?;
    let tried = "a good token, but in the query string";
    let came_back = in_query.status.as_str();
    rows.push(Row::new(HTTP, tried, shows::NO_SECRET, "400", came_back));
    Ok(rows)
}

/// A header that names a tenant, beside a good token.
async fn signals(tour: &Tour<'_>) -> Rows {
    let (client, store, ada) = (tour.client, &tour.service.store, &tour.cast.ada);
    let mut rows = Vec::new();
    for (tenant, expected) in [
        ("globex", "403 | 7 PERMISSION_DENIED, store not asked"),
        ("acme", "200 | 0 OK, store asked"),
    ] {
        let before = store.calls();
        let call = client.get("/invoices").bearer(ada);
        let call = call.header(HeaderName::from_static("x-tenant-id"), tenant);
        let answer = call.send().await?;
        let mut request = client.rpc(ada, ListRequest {})?;
        request
            .metadata_mut()
            .insert("x-tenant-id", tenant.parse()?);
        let reply = within(client.invoices().list(request)).await?;
        let not = if store.calls() == before { "not " } else { "" };
        rows.push(Row::new(
            BOTH,
            format!("acme's token and X-Tenant-ID: {tenant}"),
            shows::SIGNALS_AGREE,
            expected,
            format!("{}, store {not}asked", both(&answer, &reply)),
        ));
    }
    Ok(rows)
}

/// A person, an agent that acts for her, and a service.
async fn actors(tour: &Tour<'_>) -> Rows {
    const API_KEY: &str = "x-api-key";
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();
    for (tried, token, who) in [
        ("a person's token", &cast.ada, "human ada"),
        (
            "her agent's token",
            &cast.bot,
            "agent ledger-bot for human ada",
        ),
    ] {
        let answer = client.get("/whoami").bearer(token).send().await?;
        let reply = who_am_i(tour, client.rpc(token, WhoAmIRequest {})?).await?;
        rows.push(told(tried, who, &answer, &reply));
    }
    let key = cast.robot.expose();
    let answer = client
        .get("/whoami")
        .header(HeaderName::from_static(API_KEY), key);
    let answer = answer.send().await?;
    let mut request = client.anonymous(WhoAmIRequest {})?;
    request.metadata_mut().insert(API_KEY, key.parse()?);
    let reply = who_am_i(tour, request).await?;
    rows.push(told(
        "an API key of a service",
        "service robot",
        &answer,
        &reply,
    ));
    Ok(rows)
}

/// What both protocols say of who is asking.
fn told(
    tried: &str,
    who: &str,
    answer: &Answer,
    reply: &Result<Response<WhoAmIReply>, Status>,
) -> Row {
    let who_is = |principal: &str, actor: &str| {
        if principal == actor {
            actor.to_owned()
        } else {
            format!("{actor} for {principal}")
        }
    };
    let role = |role: &str| {
        let part = |part: &str| answer.text(&format!("/{role}/{part}"));
        format!("{} {}", part("kind"), part("id"))
    };
    let http = who_is(&role("principal"), &role("actor"));
    let grpc = reply.as_ref().map(Response::get_ref);
    let grpc = grpc.map_or_else(|_| String::new(), |who| who_is(&who.principal, &who.actor));
    let came_back = if http == grpc {
        http
    } else {
        format!("{http} | {grpc}")
    };
    Row::new(
        BOTH,
        tried,
        shows::PROOF,
        format!("200 | 0 OK, {who}"),
        format!("{}, {came_back}", both(answer, reply)),
    )
}

async fn who_am_i(
    tour: &Tour<'_>,
    request: tonic::Request<WhoAmIRequest>,
) -> Result<Result<Response<WhoAmIReply>, Status>, BoxError> {
    within(tour.client.invoices().who_am_i(request)).await
}
