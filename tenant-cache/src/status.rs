//! `Cache-Status` (RFC 9211), from prepared values. The key is never shown.

use std::time::Duration;

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

const HIT_TTL: &[u8] = b"tenant-cache; hit; ttl=";

/// The longest of [`hit`]'s values and the longest age.
const LONGEST: usize = HIT_TTL.len() + 1 + 20 + 20;

/// A hit, with the seconds that are left of its freshness: less than none, of what is served stale (RFC 9211 §2.6); and its
/// age. Both are one allocation.
pub(crate) fn hit(lifetime: Duration, age: Duration) -> (HeaderValue, HeaderValue) {
    let (lifetime, age) = (lifetime.as_secs(), age.as_secs());
    // From the end on: the length of a number is known when it is written.
    let mut text = [0; LONGEST];
    let at = before(&mut text, LONGEST, age);
    let mut begin = before(&mut text, at, lifetime.abs_diff(age));
    let sign: &[u8] = if age > lifetime { b"-" } else { b"" };
    for part in [sign, HIT_TTL] {
        let end = begin;
        begin = end.saturating_sub(part.len());
        if let Some(place) = text.get_mut(begin..end) {
            place.copy_from_slice(part);
        }
    }
    let both = Bytes::from_owner(text);
    let status = HeaderValue::from_maybe_shared(both.slice(begin..at)).unwrap_or(HIT);
    let age = HeaderValue::from_maybe_shared(both.slice(at..)).unwrap_or_else(|_| age.into());
    (status, age)
}

/// Writes a number in front of what stands from `end` on, and says where it begins.
fn before(text: &mut [u8; LONGEST], mut end: usize, mut number: u64) -> usize {
    loop {
        end = end.saturating_sub(1);
        let digit = u8::try_from(number % 10).unwrap_or_default();
        if let Some(place) = text.get_mut(end) {
            *place = b'0' | digit;
        }
        number /= 10;
        if number == 0 {
            return end;
        }
    }
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
