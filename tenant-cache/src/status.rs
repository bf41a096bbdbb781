//! `Cache-Status` (RFC 9211), from prepared values. The key is never shown.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::plan::Forward;

pub(crate) const NAME: HeaderName = HeaderName::from_static("cache-status");

/// Where [`hit`]'s goes.
pub(crate) const HIT: HeaderValue = HeaderValue::from_static("tenant-cache; hit");

macro_rules! prepared {
    ($($name:ident = $value:literal),* $(,)?) => {
        $(const $name: HeaderValue = HeaderValue::from_static($value);)*
    };
}

prepared! {
    BYPASS = "tenant-cache; fwd=bypass",
    MISS = "tenant-cache; fwd=uri-miss",
    MISS_STORED = "tenant-cache; fwd=uri-miss; stored",
    VARY = "tenant-cache; fwd=vary-miss",
    VARY_STORED = "tenant-cache; fwd=vary-miss; stored",
    STALE = "tenant-cache; fwd=stale",
    STALE_STORED = "tenant-cache; fwd=stale; stored",
    REQUEST = "tenant-cache; fwd=request",
    REQUEST_STORED = "tenant-cache; fwd=request; stored",
}

pub(crate) const VALIDATED: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=stale; fwd-status=304; stored");
pub(crate) const VALIDATED_ON_REQUEST: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=request; fwd-status=304; stored");
/// The same, of what may not be stored any more.
pub(crate) const HELD: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=stale; fwd-status=304");
pub(crate) const HELD_ON_REQUEST: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=request; fwd-status=304");
pub(crate) const MISMATCHED: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=stale; fwd-status=304; detail=mismatch");
pub(crate) const MISMATCHED_ON_REQUEST: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=request; fwd-status=304; detail=mismatch");
pub(crate) const IN_PLACE_OF_ERROR: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=stale; detail=stale-if-error");
pub(crate) const NOT_STORED: HeaderValue =
    HeaderValue::from_static("tenant-cache; detail=only-if-cached");

/// A hit, with the seconds that are left of its freshness: less than none, of what is served stale (RFC 9211 §2.6).
pub(crate) fn hit(lifetime: Duration, age: Duration) -> HeaderValue {
    const PREFIX: &str = "tenant-cache; hit; ttl=";
    let (lifetime, age) = (lifetime.as_secs(), age.as_secs());
    let sign = if age > lifetime { "-" } else { "" };
    let mut text = String::with_capacity(PREFIX.len().saturating_add(11));
    // A string takes whatever is written.
    write!(text, "{PREFIX}{sign}{}", lifetime.abs_diff(age)).ok();
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HIT)
}

/// What became of a request that went to the handler. `stored` says that its response is being stored: it
/// will be if it comes to its end.
pub(crate) const fn forwarded(why: Forward, stored: bool) -> HeaderValue {
    match (why, stored) {
        (Forward::Bypass, _) => BYPASS,
        (Forward::Miss, false) => MISS,
        (Forward::Miss, true) => MISS_STORED,
        (Forward::Vary, false) => VARY,
        (Forward::Vary, true) => VARY_STORED,
        (Forward::Stale, false) => STALE,
        (Forward::Stale, true) => STALE_STORED,
        (Forward::Request, false) => REQUEST,
        (Forward::Request, true) => REQUEST_STORED,
    }
}

/// Puts a value in the place of the last, which was prepared for a hit.
pub(crate) fn replace(headers: &mut HeaderMap, value: HeaderValue) {
    if headers.get_all(NAME).iter().nth(1).is_none() {
        headers.insert(NAME, value);
        return;
    }
    let mut all: Vec<HeaderValue> = headers.get_all(NAME).iter().cloned().collect();
    all.pop();
    headers.remove(NAME);
    for earlier in all {
        headers.append(NAME, earlier);
    }
    headers.append(NAME, value);
}
