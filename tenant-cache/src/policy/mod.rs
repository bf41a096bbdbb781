//! What RFC 9111 allows, decided without clock or I/O: how a request may be answered, whether a response may
//! be stored and for how long it is fresh, and what a 304 changes.

mod conditions;
mod freshness;
mod request;
mod storage;

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName};
use tenant_context::UnixTime;

pub(crate) use self::{
    conditions::{is_not_modified, keeps_validator, refreshed, same_representation, validators},
    freshness::{Freshness, Heuristic, Reuse},
    request::{Asked, Use, is_only_if_cached, request},
    storage::{Circumstances, Storable, forgets, is_failure, promises, response},
};

fn date(text: &[u8]) -> Option<UnixTime> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::default().saturating_add(since))
}

/// A date that stands in one line, and is one.
fn dated(headers: &HeaderMap, name: &HeaderName) -> Option<UnixTime> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => date(line.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
use self::storage::Refusal;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
