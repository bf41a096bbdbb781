//! `Cache-Status` (RFC 9211), from prepared values. The key is never shown.

use http::{HeaderName, HeaderValue};

use crate::plan::Forward;

pub(crate) const NAME: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const HIT: HeaderValue = HeaderValue::from_static("tenant-cache; hit");

/// What became of a request that went to the handler. `stored` says that its response is being stored: it
/// will be if it comes to its end.
pub(crate) const fn forwarded(why: Forward, stored: bool) -> HeaderValue {
    HeaderValue::from_static(match (why, stored) {
        (Forward::Bypass, _) => "tenant-cache; fwd=bypass",
        (Forward::Miss, false) => "tenant-cache; fwd=miss",
        (Forward::Miss, true) => "tenant-cache; fwd=miss; stored",
        (Forward::Stale, false) => "tenant-cache; fwd=stale",
        (Forward::Stale, true) => "tenant-cache; fwd=stale; stored",
        (Forward::Request, false) => "tenant-cache; fwd=request",
        (Forward::Request, true) => "tenant-cache; fwd=request; stored",
    })
}
