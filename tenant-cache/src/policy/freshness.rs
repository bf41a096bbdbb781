//! For how long a response is fresh, and whether that will do (RFC 9111 §4.2).

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tenant_context::UnixTime;

use super::{Asked, dated};
use crate::cache_control::{ResponseDirectives, delta_seconds};

/// Freshness that is guessed where none is stated (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heuristic {
    /// Of the time between `Last-Modified` and `Date`.
    pub(crate) percent: u32,
    pub(crate) most: Duration,
}

/// What decides whether a stored response may be served as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long it is fresh from its making on (§4.2.1).
    pub(crate) lifetime: Duration,
    /// Whether each use has to be validated (§5.2.2.4).
    pub(crate) no_cache: bool,
    /// Whether it is never served stale (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub(crate) must_revalidate: bool,
    /// How long after its freshness it may be served in place of an error (RFC 5861 §4).
    pub(crate) stale_if_error: Duration,
}

/// What is done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It is served.
    Serve,
    /// It is validated first.
    Validate,
}

impl Freshness {
    /// Whether a response of this age will do for a request.
    pub(crate) fn reuse(self, asked: Asked, age: Duration) -> Reuse {
        if self.no_cache || asked.no_cache {
            return Reuse::Validate;
        }
        if asked
            .max_age
            .is_some_and(|most| age > Duration::from_secs(most))
        {
            return Reuse::Validate;
        }
        let left = self.lifetime.saturating_sub(age);
        let fresh = !left.is_zero() && left >= Duration::from_secs(asked.min_fresh);
        // §5.2.1.2: the request says by how much; the response may forbid it. With `min-fresh` both cannot hold.
        let stale = asked.max_stale > 0
            && asked.min_fresh == 0
            && !self.must_revalidate
            && age.saturating_sub(self.lifetime) <= Duration::from_secs(asked.max_stale);
        if fresh || stale {
            Reuse::Serve
        } else {
            Reuse::Validate
        }
    }

    /// Whether a response of this age may stand in for an error.
    pub(crate) fn covers_error(self, age: Duration) -> bool {
        !self.must_revalidate
            && !self.no_cache
            && age.saturating_sub(self.lifetime) < self.stale_if_error
    }

    /// How long after its freshness it may be of use without being validated.
    pub(crate) fn grace(self) -> Duration {
        if self.must_revalidate || self.no_cache {
            Duration::ZERO
        } else {
            self.stale_if_error
        }
    }
}

/// §4.2.1: `s-maxage`, else `max-age`, else `Expires`. `None`: nothing is stated.
pub(super) fn stated_lifetime(
    headers: &HeaderMap,
    says: &ResponseDirectives,
    now: UnixTime,
) -> Option<Duration> {
    if let Some(seconds) = says.s_maxage.or(says.max_age) {
        return Some(Duration::from_secs(seconds));
    }
    if !headers.contains_key(header::EXPIRES) {
        return None;
    }
    // §5.3: what is no date, `0` above all, has expired; so have two of them.
    let expires = dated(headers, &header::EXPIRES);
    Some(expires.map_or(Duration::ZERO, |expires| {
        expires.saturating_since(dated(headers, &header::DATE).unwrap_or(now))
    }))
}

/// §4.2.2: a share of the time since the last change, for a status that allows it or a response that says `public`.
pub(super) fn guessed_lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    says: &ResponseDirectives,
    now: UnixTime,
    heuristic: Heuristic,
) -> Option<Duration> {
    let allowed = says.public
        || matches!(
            status.as_u16(),
            200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
        );
    if !allowed {
        return None;
    }
    let modified = dated(headers, &header::LAST_MODIFIED)?;
    let date = dated(headers, &header::DATE).unwrap_or(now);
    let since = date.saturating_since(modified);
    let share = since.checked_div(100)?.saturating_mul(heuristic.percent);
    Some(share.min(heuristic.most))
}

/// §4.2.3: the larger of what `Date` and what `Age` tell, the handler's time added.
pub(super) fn initial_age(headers: &HeaderMap, delay: Duration, now: UnixTime) -> Duration {
    let date = dated(headers, &header::DATE);
    let apparent = date.map_or(Duration::ZERO, |date| now.saturating_since(date));
    // §5.1: of a list the first member counts; what is no number is ignored.
    let stated = headers
        .get(header::AGE)
        .and_then(|line| line.as_bytes().split(|byte| *byte == b',').next())
        .and_then(|first| delta_seconds(first.trim_ascii()).ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    apparent.max(stated.saturating_add(delay))
}
