//! `Cache-Status` (RFC 9211), from prepared values. The key is never shown.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::plan::Forward;

pub(crate) const NAME: HeaderName = HeaderName::from_static("cache-status");
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
    HeaderValue::from_static("tenant-cache; hit; fwd=stale; detail=stale-if-error");
pub(crate) const NOT_STORED: HeaderValue =
    HeaderValue::from_static("tenant-cache; fwd=miss; fwd-status=504; detail=only-if-cached");

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
    let mut all: Vec<HeaderValue> = headers.get_all(NAME).iter().cloned().collect();
    all.pop();
    headers.remove(NAME);
    for earlier in all {
        headers.append(NAME, earlier);
    }
    headers.append(NAME, value);
}
