//! One URL, two tenants, two partitions.

use super::{HTTP, Row, Rows, Tour, shows};
use crate::client::Answer;

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let (client, cast) = (tour.client, tour.cast);
    let mut rows = Vec::new();
    let totals = async |token: &str| client.get("/totals").bearer(token).send().await;

    let first = totals(&cast.ada).await?;
    let again = totals(&cast.ada).await?;
    rows.push(Row::new(
        HTTP,
        "GET /totals, twice, as Ada of acme",
        "",
        "miss, then hit, the same body",
        format!(
            "{}, then {}, {}",
            status(&first),
            status(&again),
            bodies(&first, &again)
        ),
    ));
    let other = totals(&cast.grace).await?;
    rows.push(Row::new(
        HTTP,
        "GET /totals, as globex",
        shows::NO_BARE_IDS,
        "miss, another body",
        format!("{}, {}", status(&other), bodies(&first, &other)),
    ));
    let again = totals(&cast.grace).await?;
    rows.push(Row::new(
        HTTP,
        "GET /totals, as globex again",
        shows::NO_BARE_IDS,
        "hit, its own body",
        format!(
            "{}, {}",
            status(&again),
            if again.body == other.body {
                "its own body"
            } else {
                "NOT its own body"
            }
        ),
    ));
    let agent = totals(&cast.bot).await?;
    rows.push(Row::new(
        HTTP,
        "GET /totals, as her agent",
        "",
        "miss: it may see less than she",
        format!("{}: it may see less than she", status(&agent)),
    ));
    let anonymous = client.get("/totals").send().await?;
    let tried = "GET /totals, warm, without a token";
    rows.push(Row::new(
        HTTP,
        tried,
        shows::PROOF,
        "401",
        anonymous.status.as_str(),
    ));
    Ok(rows)
}

/// `hit` or `miss`, by the field that RFC 9211 defines.
fn status(answer: &Answer) -> String {
    let field = answer.header("cache-status");
    match field {
        _ if field.contains("; hit") => "hit".into(),
        _ if field.contains("fwd=") => "miss".into(),
        _ => format!("({} {field:?})", answer.code()),
    }
}

fn bodies(one: &Answer, other: &Answer) -> &'static str {
    if one.body == other.body {
        "the same body"
    } else {
        "another body"
    }
}
