//! What a request asks of a cache.

use http::HeaderMap;

use crate::cache_control::RequestDirectives;

/// How a GET or HEAD is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The cache has no part in it.
    Bypass,
    LookUp(Asked),
}

/// What a request accepts of a stored response (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: u64,
    pub(crate) max_stale: u64,
    /// Nothing is served that was not just validated.
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    /// It carries `If-None-Match` or `If-Modified-Since`.
    pub(crate) conditional: bool,
}

/// Whether the handler is not to be asked, whatever else the request says (§5.2.1.7).
pub(crate) fn is_only_if_cached(headers: &HeaderMap) -> bool {
    RequestDirectives::of(headers).is_ok_and(|says| says.only_if_cached)
}

/// Reads a GET's or HEAD's fields, in one pass over their names.
///
/// Range requests and preconditions other than a cache's own are the handler's (RFC 9110 §13, §14), and so is what asks for
/// another protocol or carries content. What does not parse goes to the handler, too.
pub(crate) fn request(headers: &HeaderMap) -> Use {
    let (mut control, mut pragma, mut conditional) = (false, false, false);
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
            "if-none-match" | "if-modified-since" => conditional = true,
            "range"
            | "if-match"
            | "if-unmodified-since"
            | "if-range"
            | "upgrade"
            | "transfer-encoding" => return Use::Bypass,
            _ => {}
        }
    }
    let mut asked = Asked {
        conditional,
        ..Asked::default()
    };
    if control {
        let Ok(says) = RequestDirectives::of(headers) else {
            return Use::Bypass;
        };
        if says.no_store {
            return Use::Bypass;
        }
        asked.max_age = says.max_age;
        asked.min_fresh = says.min_fresh.unwrap_or(0);
        asked.max_stale = says.max_stale.unwrap_or(0);
        // Reloading says either; a response of this very second would do for the letter of `max-age=0`.
        asked.no_cache = says.no_cache || says.max_age == Some(0);
        asked.only_if_cached = says.only_if_cached;
    } else if pragma {
        // §5.4: `Pragma` counts only without `Cache-Control`; any value is taken for `no-cache`.
        asked.no_cache = true;
    }
    Use::LookUp(asked)
}
