//! What RFC 9111 allows, decided without clock or I/O: how a request may be answered, and whether a
//! response may be stored.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode, header};
use tenant_context::{Protocol, UnixTime};

use crate::cache_control::{RequestDirectives, ResponseDirectives, delta_seconds};

/// How a GET or HEAD is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The cache has no part in it.
    Bypass,
    /// The handler answers, and its answer may be stored.
    Fetch {
        only_if_cached: bool,
    },
    LookUp(Limits),
}

impl Use {
    /// Any fresh response will do.
    pub(crate) const ANY: Self = Self::LookUp(Limits {
        max_age: None,
        min_fresh: 0,
        only_if_cached: false,
    });
}

/// What a request accepts of a stored response (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: u64,
    pub(crate) only_if_cached: bool,
}

impl Limits {
    /// Whether a response of this age, fresh for `lifetime` in all, will do (RFC 9111 §4.2,
    /// §5.2.1.1, §5.2.1.3).
    pub(crate) fn accept(self, age: Duration, lifetime: Duration) -> bool {
        let left = lifetime.saturating_sub(age);
        !left.is_zero()
            && left >= Duration::from_secs(self.min_fresh)
            && self
                .max_age
                .is_none_or(|most| age <= Duration::from_secs(most))
    }
}

/// Reads a GET's or HEAD's fields, in one pass over their names.
///
/// Conditional and range requests are the handler's (RFC 9110 §13, §14), and so is what asks for
/// another protocol or carries content.
pub(crate) fn request(headers: &HeaderMap) -> Use {
    let (mut control, mut pragma) = (false, false);
    for name in headers.keys() {
        let name = name.as_str();
        // Most fields of a request are told apart by their first letter.
        if !matches!(
            name.as_bytes().first(),
            Some(b'c' | b'p' | b'r' | b'i' | b'u' | b't')
        ) {
            continue;
        }
        match name {
            "cache-control" => control = true,
            "pragma" => pragma = true,
            "range"
            | "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "if-range"
            | "upgrade"
            | "transfer-encoding" => {
                return Use::Bypass;
            }
            _ => {}
        }
    }
    if !control {
        // RFC 9111 §5.4: `Pragma` counts only without `Cache-Control`; any value is taken for `no-cache`.
        return if pragma {
            Use::Fetch {
                only_if_cached: false,
            }
        } else {
            Use::LookUp(Limits::default())
        };
    }
    let Ok(asked) = RequestDirectives::of(headers) else {
        return Use::Bypass;
    };
    if asked.no_store {
        Use::Bypass
    } else if asked.no_cache || asked.max_age == Some(0) {
        Use::Fetch {
            only_if_cached: asked.only_if_cached,
        }
    } else {
        Use::LookUp(Limits {
            max_age: asked.max_age,
            min_fresh: asked.min_fresh.unwrap_or(0),
            only_if_cached: asked.only_if_cached,
        })
    }
}

/// A response that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storable {
    /// How long it is fresh from its making on (RFC 9111 §4.2.1).
    pub(crate) lifetime: Duration,
    /// How old it was when it came (RFC 9111 §4.2.3).
    pub(crate) age: Duration,
    pub(crate) vary: Vec<HeaderName>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No freshness was stated, or it is over.
    NotFresh,
    Status,
    NoStore,
    NoCache,
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

/// Whether a response says for how long it is fresh. Most that are never stored fail here, cheaply.
pub(crate) fn states_freshness(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CACHE_CONTROL) || headers.contains_key(header::EXPIRES)
}

/// Whether a response like this one is worth remembering a request for.
pub(crate) fn promises(headers: &HeaderMap) -> bool {
    states_freshness(headers)
        && ResponseDirectives::of(headers)
            .is_ok_and(|says| !says.no_store && !says.no_cache && !says.private)
}

/// Whether a response to a GET may be stored (RFC 9111 §3). `delay` is how long the handler took, `now`
/// the wall clock; `shared` says that the response would be served to every identity of the tenant.
pub(crate) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    shared: bool,
    delay: Duration,
    now: UnixTime,
) -> Result<Storable, Refusal> {
    let says = ResponseDirectives::of(headers).map_err(|_| Refusal::Malformed)?;
    if says.no_store {
        return Err(Refusal::NoStore);
    }
    if says.private {
        return Err(Refusal::Private);
    }
    // Stored, it would have to be validated at each use (§5.2.2.4), which a handler does not do.
    if says.no_cache {
        return Err(Refusal::NoCache);
    }
    // §3.5: every request here was authenticated, whatever field carried its credential.
    if shared && !(says.public || says.must_revalidate || says.s_maxage.is_some()) {
        return Err(Refusal::NotShared);
    }
    if !cacheable(status) {
        return Err(Refusal::Status);
    }
    if headers.contains_key(header::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if Protocol::of(headers) == Protocol::Grpc {
        return Err(Refusal::Grpc);
    }
    let (age, lifetime) = (age(headers, delay, now)?, lifetime(headers, says, now)?);
    if age >= lifetime {
        return Err(Refusal::NotFresh);
    }
    Ok(Storable {
        lifetime,
        age,
        vary: vary(headers)?,
    })
}

/// The final statuses that are understood and complete in themselves (RFC 9111 §3, RFC 9110 §15.1);
/// all of them need explicit freshness here. A 206 is not combined, a 304 not used, a 429 never stored
/// (RFC 6585 §4).
fn cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// §4.2.1: `s-maxage`, else `max-age`, else `Expires`. Never a heuristic (§4.2.2).
fn lifetime(
    headers: &HeaderMap,
    says: ResponseDirectives,
    now: UnixTime,
) -> Result<Duration, Refusal> {
    if let Some(seconds) = says.s_maxage.or(says.max_age) {
        return Ok(Duration::from_secs(seconds));
    }
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let expires = match (lines.next(), lines.next()) {
        (Some(line), None) => date(line.as_bytes()),
        _ => None,
    };
    // §5.3: what is no date, `0` above all, has expired.
    let expires = expires.ok_or(Refusal::NotFresh)?;
    Ok(expires.saturating_since(dated(headers).unwrap_or(now)))
}

/// §4.2.3: the larger of what `Date` and what `Age` tell, the handler's time added.
fn age(headers: &HeaderMap, delay: Duration, now: UnixTime) -> Result<Duration, Refusal> {
    let apparent = dated(headers).map_or(Duration::ZERO, |date| now.saturating_since(date));
    let mut lines = headers.get_all(header::AGE).iter();
    let stated = match (lines.next(), lines.next()) {
        (None, _) => Duration::ZERO,
        (Some(line), None) => {
            Duration::from_secs(delta_seconds(line.as_bytes()).map_err(|_| Refusal::Malformed)?)
        }
        _ => return Err(Refusal::Malformed),
    };
    Ok(apparent.max(stated.saturating_add(delay)))
}

fn dated(headers: &HeaderMap) -> Option<UnixTime> {
    date(headers.get(header::DATE)?.as_bytes())
}

fn date(text: &[u8]) -> Option<UnixTime> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::default().saturating_add(since))
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

#[cfg(test)]
mod tests;
