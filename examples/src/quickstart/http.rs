//! The HTTP API, written as for one customer: handlers take the proof, never a tenant id.

use std::convert::Infallible;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tenant_context::{ForTenant, Rejection, TenantContext, Trail};
use uuid::Uuid;

use crate::store::{Invoice, READ, Store, Totals};

/// All routes. None says who may call it: that is the stack's, around the finished router.
pub(crate) fn routes(store: Store) -> Router {
    Router::new()
        .route("/health", get(async || "ok"))
        .route("/whoami", get(whoami))
        .route("/invoices", post(create).get(list))
        .route("/invoices/{id}", get(read).patch(update))
        .route("/totals", get(totals))
        .route("/reports", post(report))
        .route("/events", get(events))
        .route(
            "/undeclared",
            get(async || "served to whoever proves who they are"),
        )
        .with_state(store)
}

#[derive(Deserialize)]
struct NewInvoice {
    customer: String,
    cents: u64,
}

#[derive(Deserialize)]
struct Change {
    cents: u64,
}

#[derive(Serialize)]
struct WhoAmI<'a> {
    tenant: &'a str,
    plan: &'a str,
    principal: Who<'a>,
    actor: Who<'a>,
}

#[derive(Serialize)]
struct Who<'a> {
    kind: &'a str,
    id: &'a str,
}

impl<'a> From<&'a tenant_context::Principal> for Who<'a> {
    fn from(principal: &'a tenant_context::Principal) -> Self {
        Self {
            kind: principal.kind().as_str(),
            id: principal.id().as_str(),
        }
    }
}

async fn create(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
    Json(new): Json<NewInvoice>,
) -> Result<impl IntoResponse, Rejection> {
    trail.action("invoice.create");
    let invoice = store.create(&tenant, new.customer, new.cents)?;
    trail.resource("invoice", invoice.id);
    let location = format!("/invoices/{}", invoice.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(invoice),
    ))
}

async fn list(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
) -> Result<Json<Vec<Invoice>>, Rejection> {
    trail.action("invoice.list");
    store.list(&tenant).map(Json)
}

async fn read(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
    Path(id): Path<Uuid>,
) -> Result<Json<Invoice>, Rejection> {
    trail.action("invoice.read").resource("invoice", id);
    tenant.require(READ)?;
    store.find(id).for_tenant(&tenant).map(Json) // 404 for anyone else's, as for a missing one
}

async fn update(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
    Path(id): Path<Uuid>,
    Json(change): Json<Change>,
) -> Result<Json<Invoice>, Rejection> {
    trail.action("invoice.update").resource("invoice", id);
    store.update(&tenant, id, change.cents).map(Json)
}

/// May be served from the caller's own partition of the cache for a minute.
async fn totals(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
) -> Result<impl IntoResponse, Rejection> {
    trail.action("totals.read");
    let totals = store.totals(&tenant)?;
    Ok(([(header::CACHE_CONTROL, "max-age=60")], Json(totals)))
}

/// Expensive: the stack gives this endpoint a budget of its own.
async fn report(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
) -> Result<Json<Totals>, Rejection> {
    trail.action("report.run");
    store.totals(&tenant).map(Json)
}

/// On whose behalf the request is made, and who makes it.
async fn whoami(tenant: TenantContext, trail: Trail) -> impl IntoResponse {
    trail.action("whoami");
    let plan = tenant.tenant().plan();
    let who = WhoAmI {
        tenant: tenant.tenant_id().as_str(),
        plan: &plan,
        principal: tenant.principal().into(),
        actor: tenant.actor().into(),
    };
    Json(who).into_response()
}

/// Every change of the caller's invoices. It has no end, and no check for one: when the tenant is
/// suspended, the stack cuts it.
async fn events(
    State(store): State<Store>,
    tenant: TenantContext,
    trail: Trail,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Rejection> {
    trail.action("events.watch");
    let open = stream::iter([Event::default().event("open").data("")]);
    let changes = store.changes(&tenant)?.map(|invoice| {
        Event::default()
            .event("invoice")
            .json_data(invoice)
            .unwrap_or_else(|_| Event::default().event("unprintable"))
    });
    Ok(Sse::new(open.chain(changes).map(Ok)).keep_alive(KeepAlive::default()))
}
