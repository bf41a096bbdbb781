//! Good credentials, bad ones, and who acts for whom.

use axum::http::HeaderName;
use tonic::metadata::MetadataValue;

use super::{GRPC, HTTP, Row, Rows, Tour, shows};
use crate::{
    client::{Answer, code, within},
    grpc::proto::{ListRequest, WhoAmIRequest},
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let mut rows = refused(tour).await?;
    rows.extend(signals(tour).await?);
    rows.extend(actors(tour).await?);
    Ok(rows)
}

/// No credential, and every kind of bad one.
async fn refused(tour: &Tour<'_>) -> Rows {
    let client = tour.client;
    let mut rows = Vec::new();
    let none = client.get("/whoami").send().await?;
    rows.push(Row::new(HTTP, "no token", shows::PROOF, 401, none.code()));
    let none = within(client.invoices().who_am_i(client.anonymous(WhoAmIRequest {})?)).await?;
    rows.push(Row::new(GRPC, "no token", shows::PROOF, "16 UNAUTHENTICATED", code(&none)));

    let mut answers: Vec<Answer> = Vec::new();
    for (what, token) in &tour.cast.forged {
        let answer = client.get("/whoami").bearer(token).send().await?;
        let reply = client.rpc(token, WhoAmIRequest {})?;
        let reply = within(client.invoices().who_am_i(reply)).await?;
        rows.push(Row::new(HTTP, *what, shows::PROOF, 401, answer.code()));
        rows.push(Row::new(GRPC, *what, shows::PROOF, "16 UNAUTHENTICATED", code(&reply)));
        answers.push(answer);
    }
    let same = answers.windows(2).all(|two| matches!(two, [one, other] if one.same_as(other)));
    rows.push(Row::new(
        HTTP,
        "what these answers tell of what was wrong",
        shows::NO_SECRET,
        "nothing: same bytes each time",
        if same { "nothing: same bytes each time" } else { "something: the bytes differ" },
    ));
    Ok(rows)
}

/// A header that names a tenant, beside a good token.
async fn signals(tour: &Tour<'_>) -> Rows {
    let (client, store) = (tour.client, &tour.service.store);
    let mut rows = Vec::new();
    let asked = |before: u64| {
        if store.calls() == before { "store not asked" } else { "store ASKED" }
    };
    let named = async |tenant: &str| {
        let call = client.get("/invoices").bearer(&tour.cast.ada);
        call.header(HeaderName::from_static("x-tenant-id"), tenant).send().await
    };
    let before = store.calls();
    let answer = named("globex").await?;
    rows.push(Row::new(
        HTTP,
        "acme's token and X-Tenant-ID: globex",
        shows::SIGNALS_AGREE,
        "403, store not asked",
        format!("{}, {}", answer.code(), asked(before)),
    ));
    let before = store.calls();
    let mut request = client.rpc(&tour.cast.ada, ListRequest {})?;
    let globex = MetadataValue::from_static("globex");
    request.metadata_mut().insert("x-tenant-id", globex);
    let reply = within(client.invoices().list(request)).await?;
    rows.push(Row::new(
        GRPC,
        "acme's token and x-tenant-id: globex",
        shows::SIGNALS_AGREE,
        "7 PERMISSION_DENIED, store not asked",
        format!("{}, {}", code(&reply), asked(before)),
    ));
    let answer = named("acme").await?;
    let tried = "acme's token and X-Tenant-ID: acme";
    rows.push(Row::new(HTTP, tried, shows::SIGNALS_AGREE, 200, answer.code()));
    Ok(rows)
}

/// A person, an agent that acts for her, and a service.
async fn actors(tour: &Tour<'_>) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();
    let http = async |tried: &str, expected: &str, answer: Answer| {
        let who = |role: &str| {
            format!(
                "{} {}",
                answer.text(&format!("/{role}/kind")),
                answer.text(&format!("/{role}/id"))
            )
        };
        let who = told(&who("principal"), &who("actor"));
        Row::new(HTTP, tried, shows::PROOF, expected, format!("{}, {who}", answer.code()))
    };
    let ada = client.get("/whoami").bearer(&cast.ada).send().await?;
    rows.push(http("GET /whoami, a person's token", "200, human ada", ada).await);
    let bot = client.get("/whoami").bearer(&cast.bot).send().await?;
    let expected = "200, agent ledger-bot for human ada";
    rows.push(http("GET /whoami, her agent's token", expected, bot).await);
    let key = HeaderName::from_static("x-api-key");
    let robot = client.get("/whoami").header(key, cast.robot.expose()).send().await?;
    rows.push(http("GET /whoami, an API key", "200, service robot", robot).await);

    let grpc = async |tried: &str, expected: &str, request| {
        let reply = within(client.invoices().who_am_i(request)).await?;
        let who = match &reply {
            Ok(reply) => told(&reply.get_ref().principal, &reply.get_ref().actor),
            Err(_) => String::new(),
        };
        let came_back = format!("{}, {who}", code(&reply));
        Ok::<_, tenant_context::BoxError>(Row::new(GRPC, tried, shows::PROOF, expected, came_back))
    };
    let bot = client.rpc(&cast.bot, WhoAmIRequest {})?;
    let expected = "0 OK, agent ledger-bot for human ada";
    rows.push(grpc("WhoAmI, her agent's token", expected, bot).await?);
    let mut robot = client.anonymous(WhoAmIRequest {})?;
    robot.metadata_mut().insert("x-api-key", cast.robot.expose().parse()?);
    rows.push(grpc("WhoAmI, an API key", "0 OK, service robot", robot).await?);
    Ok(rows)
}

fn told(principal: &str, actor: &str) -> String {
    if principal == actor { actor.to_owned() } else { format!("{actor} for {principal}") }
}
