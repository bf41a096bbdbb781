//! Two tenants with the same code, the same store and different data.

use serde_json::json;
use tenant_context::BoxError;
use uuid::{Uuid, Version};

use super::{GRPC, HTTP, Row, Rows, Tour, shows};
use crate::{
    client::{Answer, code, same, within},
    grpc::proto::{CreateRequest, GetRequest, Invoice, ListRequest, UpdateRequest},
    store,
};

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();

    let new = |customer: &str| json!({ "customer": customer, "cents": 12_000 });
    let made = [
        client.post("/invoices", &new("Ada's shop")).bearer(&cast.ada).send().await?,
        client.post("/invoices", &new("Grace's bar")).bearer(&cast.grace).send().await?,
    ];
    let [acmes, globexes] = made.each_ref().map(|answer| answer.text("/id"));
    tour.invoice.get_or_init(|| acmes.clone());
    rows.push(Row::new(
        HTTP,
        "POST /invoices, as acme and as globex",
        "",
        "201 and 201, ids are UUIDv4",
        format!("{} and {}, {}", made[0].code(), made[1].code(), ids(&[&acmes, &globexes])),
    ));

    let create = |customer: &str| CreateRequest {
        customer: customer.into(),
        cents: 7_000,
    };
    let made = [
        within(client.invoices().create(client.rpc(&cast.ada, create("Ada's mill"))?)).await?,
        within(client.invoices().create(client.rpc(&cast.grace, create("Grace's inn"))?)).await?,
    ];
    let [acmes_rpc, globexes_rpc] = made.each_ref().map(id_of);
    rows.push(Row::new(
        GRPC,
        "Create, as acme and as globex",
        "",
        "0 OK and 0 OK, ids are UUIDv4",
        format!("{} and {}, {}", code(&made[0]), code(&made[1]), ids(&[&acmes_rpc, &globexes_rpc])),
    ));

    let own = client.get(&format!("/invoices/{acmes}")).bearer(&cast.ada).send().await?;
    rows.push(Row::new(
        HTTP,
        "GET /invoices/{id}, its own",
        shows::PROOF,
        "200, Ada's shop",
        format!("{}, {}", own.code(), own.text("/customer")),
    ));
    let get = |id: &str| GetRequest { id: id.into() };
    let own = within(client.invoices().get(client.rpc(&cast.ada, get(&acmes_rpc))?)).await?;
    let customer = own.as_ref().map(|own| own.get_ref().customer.clone());
    rows.push(Row::new(
        GRPC,
        "Get, its own",
        shows::PROOF,
        "0 OK, Ada's mill",
        format!("{}, {}", code(&own), customer.unwrap_or_default()),
    ));

    let missing = Uuid::new_v4().to_string();
    let read = async |id: &str| client.get(&format!("/invoices/{id}")).bearer(&cast.ada).send().await;
    let (foreign, none) = (read(&globexes).await?, read(&missing).await?);
    rows.push(Row::new(
        HTTP,
        "GET /invoices/{id}, globex', as acme",
        shows::ONE_404,
        "404, same bytes as a missing one",
        format!("{}, {}", foreign.code(), sameness(foreign.same_as(&none))),
    ));
    let read = async |id: &str| within(client.invoices().get(client.rpc(&cast.ada, get(id))?)).await;
    let (foreign, none) = (read(&globexes_rpc).await?, read(&missing).await?);
    rows.push(Row::new(
        GRPC,
        "Get, globex', as acme",
        shows::ONE_404,
        "5 NOT_FOUND, same bytes as a missing one",
        format!("{}, {}", code(&foreign), sameness(same(&foreign, &none))),
    ));

    let list = async |token: &str| -> Result<Vec<String>, BoxError> {
        let answer = client.get("/invoices").bearer(token).send().await?;
        let list: Vec<store::Invoice> = serde_json::from_slice(&answer.body)?;
        Ok(list.iter().map(|one| one.id.to_string()).collect())
    };
    let (acme, globex) = (list(&cast.ada).await?, list(&cast.grace).await?);
    let both = [[&acmes, &acmes_rpc], [&globexes, &globexes_rpc]];
    let expected = "each its own two, no other";
    rows.push(Row::new(
        HTTP,
        "GET /invoices, as acme and as globex",
        shows::NO_BARE_IDS,
        expected,
        lists(&[acme, globex], &both),
    ));
    let list = async |token: &str| -> Result<Vec<String>, BoxError> {
        let reply = within(client.invoices().list(client.rpc(token, ListRequest {})?)).await??;
        Ok(reply.into_inner().invoices.into_iter().map(|one| one.id).collect())
    };
    let (acme, globex) = (list(&cast.ada).await?, list(&cast.grace).await?);
    rows.push(Row::new(
        GRPC,
        "List, as acme and as globex",
        shows::NO_BARE_IDS,
        expected,
        lists(&[acme, globex], &both),
    ));

    let change = json!({ "cents": 1 });
    let foreign = client.patch(&format!("/invoices/{globexes}"), &change);
    let foreign = foreign.bearer(&cast.ada).send().await?;
    let none = client.patch(&format!("/invoices/{missing}"), &change);
    let none = none.bearer(&cast.ada).send().await?;
    let after = client.get(&format!("/invoices/{globexes}")).bearer(&cast.grace).send().await?;
    rows.push(Row::new(
        HTTP,
        "PATCH /invoices/{id}, globex', as acme",
        shows::ONE_404,
        "404, same bytes; value still 12000",
        format!(
            "{}, {} bytes; value still {}",
            foreign.code(),
            if foreign.same_as(&none) { "same" } else { "other" },
            cents(&after),
        ),
    ));
    let update = |id: &str| UpdateRequest {
        id: id.into(),
        cents: 1,
    };
    let foreign = client.rpc(&cast.ada, update(&globexes_rpc))?;
    let foreign = within(client.invoices().update(foreign)).await?;
    let after = within(client.invoices().get(client.rpc(&cast.grace, get(&globexes_rpc))?)).await??;
    rows.push(Row::new(
        GRPC,
        "Update, globex', as acme",
        shows::ONE_404,
        "5 NOT_FOUND; value still 7000",
        format!("{}; value still {}", code(&foreign), after.get_ref().cents),
    ));

    let change = json!({ "cents": 9_900 });
    let own = client.patch(&format!("/invoices/{acmes}"), &change).bearer(&cast.ada).send().await?;
    let seen = within(client.invoices().get(client.rpc(&cast.ada, get(&acmes))?)).await??;
    rows.push(Row::new(
        HTTP,
        "PATCH /invoices/{id}, its own; Get over gRPC",
        "",
        "200; 9900 over gRPC",
        format!("{}; {} over gRPC", own.code(), seen.get_ref().cents),
    ));
    Ok(rows)
}

fn ids(ids: &[&str]) -> &'static str {
    let random = |id: &&str| {
        Uuid::parse_str(id).is_ok_and(|id| id.get_version() == Some(Version::Random))
    };
    if ids.iter().all(random) { "ids are UUIDv4" } else { "ids are NOT UUIDv4" }
}

fn id_of(reply: &Result<tonic::Response<Invoice>, tonic::Status>) -> String {
    let id = reply.as_ref().map(|reply| reply.get_ref().id.clone());
    id.unwrap_or_default()
}

fn cents(answer: &Answer) -> u64 {
    let invoice = serde_json::from_slice::<store::Invoice>(&answer.body);
    invoice.map_or(0, |invoice| invoice.cents)
}

fn sameness(same: bool) -> &'static str {
    if same { "same bytes as a missing one" } else { "NOT the bytes of a missing one" }
}

fn lists(seen: &[Vec<String>; 2], own: &[[&String; 2]; 2]) -> String {
    let right = seen.iter().zip(own).all(|(seen, own)| {
        seen.len() == own.len() && own.iter().all(|id| seen.contains(id))
    });
    if right {
        "each its own two, no other".into()
    } else {
        format!("{} and {} invoices, not their own", seen[0].len(), seen[1].len())
    }
}
