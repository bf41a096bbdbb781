//! What a request has cost, by its response.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};

/// Where the layer reads what a request has cost, in units: the tokens of a language model, the rows of an
/// export.
///
/// What was charged when the request came in is an estimate then ([`endpoint_cost`], [`cost`]). It stays charged
/// if the response does not say, or is broken off before it does.
///
/// ```
/// use tenant_ratelimit::{Quota, Settle};
///
/// let limits = tenant_ratelimit::layer()
///     .tenant(Quota::per_minute(100_000))                     // tokens
///     .endpoint_cost("POST /v1/complete", 2_000)              // the estimate
///     .settle(Settle::header(http::HeaderName::from_static("x-tokens-used")))
///     .build()?;
/// # Ok::<(), tenant_ratelimit::ConfigError>(())
/// ```
///
/// [`endpoint_cost`]: crate::RateLimitLayerBuilder::endpoint_cost
/// [`cost`]: crate::RateLimitLayerBuilder::cost
#[derive(Clone, Debug)]
pub struct Settle(Source);

type Count = dyn Fn(&[u8]) -> u64 + Send + Sync;

#[derive(Clone)]
enum Source {
    Header(HeaderName),
    Trailer(HeaderName),
    Body(Arc<Count>),
}

impl Settle {
    /// By a header of the response: a whole number.
    pub const fn header(name: HeaderName) -> Self {
        Self(Source::Header(name))
    }

    /// By a trailer of the response: a whole number.
    pub const fn trailer(name: HeaderName) -> Self {
        Self(Source::Trailer(name))
    }

    /// By the response's body: `count` is given each part of it, and what it returns is added up. A part is
    /// what the application sent at once; it is settled when the body has ended.
    ///
    /// ```
    /// # use tenant_ratelimit::Settle;
    /// // A line for each row of an export.
    /// let rows = Settle::body(|part| part.iter().filter(|byte| **byte == b'\n').count() as u64);
    /// ```
    pub fn body(count: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        Self(Source::Body(Arc::new(count)))
    }

    pub(crate) fn of_header(&self, headers: &HeaderMap) -> Option<u64> {
        match &self.0 {
            Source::Header(name) => number(headers, name),
            Source::Trailer(_) | Source::Body(_) => None,
        }
    }

    pub(crate) fn of_trailer(&self, trailers: &HeaderMap) -> Option<u64> {
        match &self.0 {
            Source::Trailer(name) => number(trailers, name),
            Source::Header(_) | Source::Body(_) => None,
        }
    }

    pub(crate) fn of_part(&self, part: &[u8]) -> u64 {
        match &self.0 {
            Source::Body(count) => count(part),
            Source::Header(_) | Source::Trailer(_) => 0,
        }
    }

    pub(crate) const fn counts(&self) -> bool {
        matches!(self.0, Source::Body(_))
    }
}

/// A whole number, once. Anything else says nothing.
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Trailer(name) => f.debug_tuple("Trailer").field(name).finish(),
            Self::Body(_) => f.write_str("Body"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_number_says_nothing() {
        const NAME: HeaderName = HeaderName::from_static("x-cost");
        for (values, read) in [
            (&["17"][..], Some(17)),
            (&["0"], Some(0)),
            (&["18446744073709551615"], Some(u64::MAX)),
            (&["18446744073709551616"], None),
            (&["17", "17"], None),
            (&["+17"], None),
            (&["-1"], None),
            (&["1.5"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(NAME, value.parse().unwrap());
            }
            assert_eq!(number(&headers, &NAME), read, "{values:?}");
        }
    }
}
