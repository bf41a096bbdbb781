//! Two tenants with the same code, the same store and different data.

use axum::http::StatusCode;
use serde_json::json;
use tenant_context::BoxError;
use tonic::{Response, Status};
use uuid::{Uuid, Version};

use super::{BOTH, HTTP, Row, Rows, Tour, both, shows};
use crate::{
    client::{Answer, same, within},
    grpc::proto::{CreateRequest, GetRequest, Invoice, ListRequest, UpdateRequest},
    store,
};

/// The ids of four invoices, of each tenant one that was made over HTTP and one over gRPC.
struct Made {
    acme: [String; 2],
    globex: [String; 2],
}

const CENTS: u64 = 12_000;
const CENTS_RPC: u64 = 7_000;

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let made = create(tour).await?;
    let [acme, acme_rpc] = &made.acme;
    tour.invoice.get_or_init(|| acme.clone());
    let random =
        |id: &String| Uuid::parse_str(id).is_ok_and(|id| id.get_version() == Some(Version::Random));
    let all_random = made.acme.iter().chain(&made.globex).all(random);
    let mut rows = vec![Row::new(
        BOTH,
        "POST | Create, as acme and as globex",
        "",
        "201 | 0 OK, ids are UUIDv4",
        format!(
            "201 | 0 OK, ids are {}UUIDv4",
            if all_random { "" } else { "NOT " }
        ),
    )];

    let own = get(tour, acme).await?;
    let own_rpc = get_rpc(tour, &tour.cast.ada, acme_rpc).await?;
    let customer = own_rpc.as_ref().map(|own| own.get_ref().customer.as_str());
    rows.push(Row::new(
        BOTH,
        "GET | Get its own invoice",
        shows::PROOF,
        "200 | 0 OK: Ada's shop | Ada's mill",
        format!(
            "{}: {} | {}",
            both(&own, &own_rpc),
            own.text("/customer"),
            customer.unwrap_or_default()
        ),
    ));
    rows.push(foreign(tour, &made).await?);
    rows.push(lists(tour, &made).await?);
    rows.extend(changes(tour, &made).await?);
    Ok(rows)
}

async fn create(tour: &Tour<'_>) -> Result<Made, BoxError> {
    let (client, cast) = (tour.client, tour.cast);
    let post = async |token: &str, customer: &str| {
        let new = json!({ "customer": customer, "cents": CENTS });
        let answer = client.post("/invoices", &new).bearer(token).send().await?;
        if answer.status == StatusCode::CREATED {
            Ok(answer.text("/id"))
        } else {
            let refused = format!("POST /invoices was answered with {}", answer.status);
            Err(BoxError::from(refused))
        }
    };
    let create = async |token: &str, customer: &str| {
        let new = CreateRequest {
            customer: customer.into(),
            cents: CENTS_RPC,
        };
        let reply = within(client.invoices().create(client.rpc(token, new)?)).await??;
        Ok::<_, BoxError>(reply.into_inner().id)
    };
    Ok(Made {
        acme: [
            post(&cast.ada, "Ada's shop").await?,
            create(&cast.ada, "Ada's mill").await?,
        ],
        globex: [
            post(&cast.grace, "Grace's bar").await?,
            create(&cast.grace, "Grace's inn").await?,
        ],
    })
}

const SAME: &str = "404 | 5 NOT_FOUND, bytes as a missing one";

/// Answers for another tenant's invoice, and whether they are those for none.
fn one_404<T, U>(
    [answer, none]: [&Answer; 2],
    reply: &Result<T, Status>,
    none_rpc: &Result<U, Status>,
) -> String {
    let same = answer.same_as(none) && same(reply, none_rpc);
    let not = if same { "" } else { "NOT " };
    format!("{}, {not}bytes as a missing one", both(answer, reply))
}

/// Another tenant's invoice and one that does not exist.
async fn foreign(tour: &Tour<'_>, made: &Made) -> Result<Row, BoxError> {
    let [globex, globex_rpc] = &made.globex;
    let missing = Uuid::new_v4().to_string();
    let (answer, none) = (get(tour, globex).await?, get(tour, &missing).await?);
    let ada = &tour.cast.ada;
    let reply = get_rpc(tour, ada, globex_rpc).await?;
    let none_rpc = get_rpc(tour, ada, &missing).await?;
    let came_back = one_404([&answer, &none], &reply, &none_rpc);
    let tried = "GET | Get an invoice of globex as acme";
    Ok(Row::new(BOTH, tried, shows::ONE_404, SAME, came_back))
}

async fn lists(tour: &Tour<'_>, made: &Made) -> Result<Row, BoxError> {
    let (client, cast) = (tour.client, tour.cast);
    let list = async |token: &str| -> Result<[Vec<String>; 2], BoxError> {
        let answer = client.get("/invoices").bearer(token).send().await?;
        let http: Vec<store::Invoice> = serde_json::from_slice(&answer.body)?;
        let reply = within(client.invoices().list(client.rpc(token, ListRequest {})?)).await??;
        let grpc = reply.into_inner().invoices;
        Ok([
            http.into_iter().map(|one| one.id.to_string()).collect(),
            grpc.into_iter().map(|one| one.id).collect(),
        ])
    };
    let own = |seen: [Vec<String>; 2], made: &[String; 2]| {
        let mut made = made.to_vec();
        made.sort();
        seen.into_iter().all(|mut seen| {
            seen.sort();
            seen == made
        })
    };
    let acme = own(list(&cast.ada).await?, &made.acme);
    let globex = own(list(&cast.grace).await?, &made.globex);
    Ok(Row::new(
        BOTH,
        "GET | List, as acme and as globex",
        shows::NO_BARE_IDS,
        "each its own two, no other",
        match (acme, globex) {
            (true, true) => "each its own two, no other",
            (false, _) => "acme: NOT its own two",
            (true, false) => "globex: NOT its own two",
        },
    ))
}

async fn changes(tour: &Tour<'_>, made: &Made) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let patch = async |id: &str, cents: u64| {
        let call = client.patch(&format!("/invoices/{id}"), &json!({ "cents": cents }));
        call.bearer(&cast.ada).send().await
    };
    let update = async |id: &str, cents: u64| {
        let id = id.to_owned();
        let request = client.rpc(&cast.ada, UpdateRequest { id, cents })?;
        within(client.invoices().update(request)).await
    };
    let cents = async |token: &str, id: &str| {
        let invoice = get_rpc(tour, token, id).await??;
        Ok::<_, BoxError>(invoice.get_ref().cents)
    };

    let [globex, globex_rpc] = &made.globex;
    let missing = Uuid::new_v4().to_string();
    let (answer, none) = (patch(globex, 1).await?, patch(&missing, 1).await?);
    let (reply, none_rpc) = (update(globex_rpc, 1).await?, update(&missing, 1).await?);
    let came_back = one_404([&answer, &none], &reply, &none_rpc);
    let tried = "PATCH | Update an invoice of globex as acme";
    let refused = Row::new(BOTH, tried, shows::ONE_404, SAME, came_back);

    let after = (
        cents(&cast.grace, globex).await?,
        cents(&cast.grace, globex_rpc).await?,
    );
    let unchanged = Row::new(
        BOTH,
        "these two afterwards, read by globex",
        shows::ONE_404,
        format!("{CENTS} | {CENTS_RPC}, as before"),
        format!("{} | {}, as before", after.0, after.1),
    );

    let [acme, _] = &made.acme;
    let answer = patch(acme, 9_900).await?;
    let own = Row::new(
        HTTP,
        "PATCH its own invoice, read over gRPC",
        "",
        "200, 9900",
        format!("{}, {}", answer.code(), cents(&cast.ada, acme).await?),
    );
    Ok(vec![refused, unchanged, own])
}

async fn get(tour: &Tour<'_>, id: &str) -> Result<Answer, BoxError> {
    let call = tour.client.get(&format!("/invoices/{id}"));
    call.bearer(&tour.cast.ada).send().await
}

async fn get_rpc(
    tour: &Tour<'_>,
    token: &str,
    id: &str,
) -> Result<Result<Response<Invoice>, Status>, BoxError> {
    let request = tour.client.rpc(token, GetRequest { id: id.into() })?;
    within(tour.client.invoices().get(request)).await
}
