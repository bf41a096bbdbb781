//! Whether a response may be stored (RFC 9111 §3).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use tenant_context::{Protocol, UnixTime};

use super::{
    Freshness, Heuristic,
    conditions::keeps_validator,
    freshness::{guessed_lifetime, initial_age, stated_lifetime},
};
use crate::cache_control::ResponseDirectives;

/// A response that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storable {
    pub(crate) freshness: Freshness,
    /// How old it was when it came (§4.2.3).
    pub(crate) age: Duration,
    pub(crate) vary: Vec<HeaderName>,
    /// Whether only requests that carry `Authorization` may be answered with it (§3.5).
    pub(crate) authorized_only: bool,
}

/// What is known beside the response itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// It would be served to every identity of the tenant.
    pub(crate) shared: bool,
    /// Its request carried `Authorization`.
    pub(crate) authorized: bool,
    /// And `Cookie`.
    pub(crate) cookie: bool,
    /// How long the handler took.
    pub(crate) delay: Duration,
    /// The wall clock.
    pub(crate) now: UnixTime,
    pub(crate) heuristic: Option<Heuristic>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No freshness was stated, or it is over, and there is nothing to validate it with.
    NotFresh,
    Status,
    NoStore,
    Private,
    /// A route shared within the tenant, whose response does not say that it may be.
    NotShared,
    SetCookie,
    VaryAny,
    /// It varies by a field that carries a secret.
    VaryCredential,
    Grpc,
    Malformed,
}

/// The most field names of a `Vary`.
const MAX_VARY: usize = 16;

/// Whether a response like this one is worth remembering a request for. Most that are never stored fail here, cheaply.
pub(crate) fn promises(headers: &HeaderMap, heuristic: bool) -> bool {
    let states = headers.contains_key(header::CACHE_CONTROL)
        || headers.contains_key(header::EXPIRES)
        || (heuristic && headers.contains_key(header::LAST_MODIFIED));
    states && ResponseDirectives::of(headers).is_ok_and(|says| !says.no_store && !says.private)
}

/// Whether a response to a GET may be stored.
pub(crate) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    around: &Circumstances,
) -> Result<Storable, Refusal> {
    let says = ResponseDirectives::of(headers).map_err(|_| Refusal::Malformed)?;
    if says.no_store {
        return Err(Refusal::NoStore);
    }
    if says.private {
        return Err(Refusal::Private);
    }
    // §3.5: every request here was authenticated, whatever field carried its credential.
    let allowed = says.public || says.must_revalidate || says.s_maxage.is_some();
    // What a cookie may have had a part in is shared only if the response says so in so many words.
    if around.shared && !(says.public || allowed && !around.cookie) {
        return Err(Refusal::NotShared);
    }
    if !storable(status) || says.must_understand && !understood(status) {
        return Err(Refusal::Status);
    }
    if headers.contains_key(header::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if Protocol::of(headers) == Protocol::Grpc {
        return Err(Refusal::Grpc);
    }
    let lifetime = stated_lifetime(headers, &says, around.now)
        .or_else(|| guessed_lifetime(status, headers, &says, around.now, around.heuristic?));
    let age = initial_age(headers, around.delay, around.now);
    let fresh = lifetime.is_some_and(|lifetime| age < lifetime) && !says.no_cache;
    // What is not fresh is of use only if the handler can be asked whether it still holds, and said something of caches at all.
    let validated = (lifetime.is_some() || says.no_cache) && keeps_validator(headers);
    let grace = says.stale_if_error.unwrap_or(0);
    let covers = lifetime.is_some() && grace > 0 && !says.no_cache;
    if !(fresh || validated || covers) {
        return Err(Refusal::NotFresh);
    }
    Ok(Storable {
        freshness: Freshness {
            lifetime: lifetime.unwrap_or(Duration::ZERO),
            no_cache: says.no_cache,
            must_revalidate: says.must_revalidate
                || says.proxy_revalidate
                || says.s_maxage.is_some(),
            stale_if_error: Duration::from_secs(grace),
        },
        age,
        vary: vary(headers)?,
        authorized_only: around.authorized && !allowed,
    })
}

/// The final statuses that say something about the resource (RFC 9111 §3), all of them with explicit freshness. Not a 206, which is
/// not combined, nor a 304; not what answers one credential, one precondition or one connection; a 429 never (RFC 6585 §4).
fn storable(status: StatusCode) -> bool {
    let status = status.as_u16();
    (200..600).contains(&status)
        && !matches!(
            status,
            206 | 304
                | 401
                | 403
                | 407
                | 408
                | 412
                | 413
                | 416
                | 417
                | 421
                | 425
                | 426
                | 428
                | 429
                | 431
                | 511
        )
}

/// The statuses whose meaning for caches is known (RFC 9111 §5.2.2.3), of those that are stored.
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205
            | 300..=303
            | 307
            | 308
            | 400
            | 404
            | 405
            | 406
            | 409
            | 410
            | 411
            | 414
            | 415
            | 422
            | 500..=505
    )
}

/// RFC 5861 §4: what counts as an error that a stale response may stand in for.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether an answer to a method that is not safe forgets what is stored: all but a 4xx, which changed nothing (§4.4 asks for
/// 2xx and 3xx; after a 5xx nobody knows).
pub(crate) fn forgets(method: &Method, content: bool, status: StatusCode) -> bool {
    (!method.is_safe() || content) && !status.is_client_error()
}

/// §4.1. A field that carries a credential is never kept to compare with.
fn vary(headers: &HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    let mut names = Vec::new();
    for line in headers.get_all(header::VARY) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name == b"*" {
                return Err(Refusal::VaryAny);
            }
            if name.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(name).map_err(|_| Refusal::Malformed)?;
            if [
                header::AUTHORIZATION,
                header::COOKIE,
                header::PROXY_AUTHORIZATION,
            ]
            .contains(&name)
            {
                return Err(Refusal::VaryCredential);
            }
            if !names.contains(&name) {
                if names.len() >= MAX_VARY {
                    return Err(Refusal::Malformed);
                }
                names.push(name);
            }
        }
    }
    Ok(names)
}
