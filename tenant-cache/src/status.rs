//! `Cache-Status` (RFC 9211), from prepared values. The key is never shown.

use http::{HeaderName, HeaderValue};

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
    MISS = "tenant-cache; fwd=miss",
    MISS_STORED = "tenant-cache; fwd=miss; stored",
    STALE = "tenant-cache; fwd=stale",
    STALE_STORED = "tenant-cache; fwd=stale; stored",
    REQUEST = "tenant-cache; fwd=request",
    REQUEST_STORED = "tenant-cache; fwd=request; stored",
}

/// What became of a request that went to the handler. `stored` says that its response is being stored: it
/// will be if it comes to its end.
pub(crate) const fn forwarded(why: Forward, stored: bool) -> HeaderValue {
    match (why, stored) {
        (Forward::Bypass, _) => BYPASS,
        (Forward::Miss, false) => MISS,
        (Forward::Miss, true) => MISS_STORED,
        (Forward::Stale, false) => STALE,
        (Forward::Stale, true) => STALE_STORED,
        (Forward::Request, false) => REQUEST,
        (Forward::Request, true) => REQUEST_STORED,
    }
}
