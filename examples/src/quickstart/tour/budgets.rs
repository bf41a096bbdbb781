//! Budgets of an endpoint, of an agent and of a plan: each ends alone.

use serde_json::json;
use tenant_context::BoxError;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{BOTH, GRPC, HTTP, Row, Rows, Tour, both, shows};
use crate::{
    client::{Answer, within},
    grpc::proto::{ReportRequest, WhoAmIRequest},
    stack::{AGENT, FREE, REPORTS},
};

/// More requests than any budget of the tour allows.
const MANY: u64 = 1_000;
/// More refusals than the free plan has requests.
const REFUSALS: u64 = 2 * FREE.requests();

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let mut rows = endpoint(tour).await?;
    rows.extend(agent(tour).await?);
    rows.extend(denials(tour).await?);
    rows.extend(plan(tour).await?);
    Ok(rows)
}

async fn endpoint(tour: &Tour<'_>) -> Rows {
    let (ada, mut rows) = (&tour.cast.ada, Vec::new());
    let (admitted, refused) = until_refused(async || report(tour, ada).await).await?;
    let tried = format!("POST /reports, {} a minute", REPORTS.requests());
    rows.push(
        spent(tried, "endpoint", admitted, &refused)
            .holds(admitted == REPORTS.requests() && is_429(&refused, "endpoint")),
    );
    let goes_on = whoami(tour, ada).await?;
    rows.push(Row::new(
        HTTP,
        "another endpoint, meanwhile",
        shows::ALL_OR_NONE,
        "200",
        goes_on.status.as_str(),
    ));

    let (admitted, status) = until_refused_rpc(async || {
        let request = tour.client.rpc(ada, ReportRequest {})?;
        Ok(within(tour.client.invoices().report(request))
            .await?
            .map(drop))
    })
    .await?;
    let tried = format!("Report, {} a minute", REPORTS.requests());
    rows.push(
        spent_rpc(tried, "endpoint", admitted, &status)
            .holds(admitted == REPORTS.requests() && is_8(&status, "endpoint")),
    );
    Ok(rows)
}

async fn agent(tour: &Tour<'_>) -> Rows {
    let (cast, mut rows) = (tour.cast, Vec::new());
    let (admitted, refused) = until_refused(async || whoami(tour, &cast.bot).await).await?;
    let tried = format!("an agent, {} a minute", AGENT.requests());
    rows.push(spent(tried, "agent", admitted, &refused).holds(is_429(&refused, "agent")));
    let (admitted, status) = until_refused_rpc(async || whoami_rpc(tour, &cast.bot).await).await?;
    rows.push(
        spent_rpc(
            "the same agent: one budget".into(),
            "agent",
            admitted,
            &status,
        )
        .holds(admitted <= SLACK && is_8(&status, "agent")),
    );
    let ada = (
        whoami(tour, &cast.ada).await?,
        whoami_rpc(tour, &cast.ada).await?,
    );
    let came_back = both(&ada.0, &ada.1);
    rows.push(Row::new(
        BOTH,
        "its human, meanwhile",
        shows::ALL_OR_NONE,
        "200 | 0 OK",
        came_back,
    ));
    Ok(rows)
}

/// What one budget refuses costs no other budget anything.
async fn denials(tour: &Tour<'_>) -> Rows {
    let grace = &tour.cast.grace;
    until_refused(async || report(tour, grace).await).await?;
    let mut refused = 0_u64;
    for _ in 0..REFUSALS {
        if is_429(&report(tour, grace).await?, "endpoint") {
            refused = refused.saturating_add(1);
        }
    }
    let after = whoami(tour, grace).await?;
    let row = Row::new(
        HTTP,
        format!(
            "{REFUSALS} more reports, of {} a minute in all",
            FREE.requests()
        ),
        shows::ALL_OR_NONE,
        format!("{REFUSALS} x 429 endpoint, another GET 200"),
        format!("{refused} x 429 endpoint, another GET {}", after.code()),
    );
    Ok(vec![row])
}

async fn plan(tour: &Tour<'_>) -> Rows {
    let (cast, mut rows) = (tour.cast, Vec::new());
    let (admitted, refused) = until_refused(async || whoami(tour, &cast.grace).await).await?;
    let tried = format!("globex' free plan, {} a minute", FREE.requests());
    rows.push(spent(tried, "tenant", admitted, &refused).holds(is_429(&refused, "tenant")));
    let (admitted, status) =
        until_refused_rpc(async || whoami_rpc(tour, &cast.grace).await).await?;
    rows.push(
        spent_rpc(
            "globex' free plan: one budget".into(),
            "tenant",
            admitted,
            &status,
        )
        .holds(admitted <= SLACK && is_8(&status, "tenant")),
    );
    let ada = (
        whoami(tour, &cast.ada).await?,
        whoami_rpc(tour, &cast.ada).await?,
    );
    let came_back = both(&ada.0, &ada.1);
    rows.push(Row::new(
        BOTH,
        "acme, meanwhile",
        shows::ALL_OR_NONE,
        "200 | 0 OK",
        came_back,
    ));
    Ok(rows)
}

/// What a spent budget may have got back by the time the other protocol is asked.
const SLACK: u64 = 3;

async fn whoami(tour: &Tour<'_>, token: &str) -> Result<Answer, BoxError> {
    tour.client.get("/whoami").bearer(token).send().await
}

async fn whoami_rpc(tour: &Tour<'_>, token: &str) -> Result<Result<(), Status>, BoxError> {
    let request = tour.client.rpc(token, WhoAmIRequest {})?;
    Ok(within(tour.client.invoices().who_am_i(request))
        .await?
        .map(drop))
}

async fn report(tour: &Tour<'_>, token: &str) -> Result<Answer, BoxError> {
    tour.client
        .post("/reports", &json!({}))
        .bearer(token)
        .send()
        .await
}

/// How often it is answered with 200, and the first other answer.
async fn until_refused(
    ask: impl AsyncFn() -> Result<Answer, BoxError>,
) -> Result<(u64, Answer), BoxError> {
    for admitted in 0..MANY {
        let answer = ask().await?;
        if answer.code() != 200 {
            return Ok((admitted, answer));
        }
    }
    Err(format!("{MANY} requests were admitted, none refused").into())
}

/// How often it is answered with OK, and the first other status.
async fn until_refused_rpc(
    ask: impl AsyncFn() -> Result<Result<(), Status>, BoxError>,
) -> Result<(u64, Status), BoxError> {
    for admitted in 0..MANY {
        if let Err(status) = ask().await? {
            return Ok((admitted, status));
        }
    }
    Err(format!("{MANY} requests were admitted, none refused").into())
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or(0)
}

fn policy(answer: &Answer) -> String {
    answer.text("/violated-policies/0")
}

fn is_429(answer: &Answer, dimension: &str) -> bool {
    answer.code() == 429 && policy(answer) == dimension && retry_after(answer) >= 1
}

fn retry_info(status: &Status) -> f64 {
    let info = status.get_details_retry_info();
    let delay = info.and_then(|info| info.retry_delay);
    delay.map_or(0.0, |delay| delay.as_secs_f64())
}

fn subject(status: &Status) -> String {
    let failure = status.get_details_quota_failure();
    let first = failure.and_then(|failure| failure.violations.into_iter().next());
    first.map(|violation| violation.subject).unwrap_or_default()
}

fn is_8(status: &Status, dimension: &str) -> bool {
    status.code() == Code::ResourceExhausted
        && subject(status) == dimension
        && retry_info(status) > 0.0
}

fn spent(tried: String, dimension: &str, admitted: u64, refused: &Answer) -> Row {
    Row::new(
        HTTP,
        tried,
        shows::ALL_OR_NONE,
        format!("200s, then 429 {dimension}, Retry-After of at least 1"),
        format!(
            "{admitted} x 200, then {} {}, Retry-After {}",
            refused.code(),
            policy(refused),
            retry_after(refused)
        ),
    )
}

fn spent_rpc(tried: String, dimension: &str, admitted: u64, status: &Status) -> Row {
    Row::new(
        GRPC,
        tried,
        shows::ALL_OR_NONE,
        format!("0s, then 8 {dimension}, RetryInfo above 0"),
        format!(
            "{admitted} x 0, then {} {}, RetryInfo {:.1} s",
            i32::from(status.code()),
            subject(status),
            retry_info(status)
        ),
    )
}
