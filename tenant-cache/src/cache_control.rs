//! `Cache-Control`, read strictly (RFC 9111 §5.2): what does not parse is not guessed at.

use http::{HeaderMap, header};

/// A field that does not follow its grammar, or contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Seconds beyond this are taken for it (RFC 9111 §1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// What `max-stale` without an argument stands for.
const ANY: &[u8] = b"2147483648";

/// The directives of a request that this cache acts on (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: Option<u64>,
    /// Without an argument any staleness will do.
    pub(crate) max_stale: Option<u64>,
}

/// The directives of a response that this cache acts on (RFC 9111 §5.2.2).
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one directive of the standard, present or not"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    /// Also when it names fields: validation of single fields is not done.
    pub(crate) no_cache: bool,
    /// Also when it names fields.
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    /// It makes nothing storable that `no-store` forbids.
    pub(crate) must_understand: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) s_maxage: Option<u64>,
    /// RFC 5861 §4.
    pub(crate) stale_if_error: Option<u64>,
}

impl RequestDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut found = Self::default();
        read(headers, |name, value| {
            if is(name, "no-store") {
                found.no_store = true;
            } else if is(name, "no-cache") {
                found.no_cache = true;
            } else if is(name, "only-if-cached") {
                found.only_if_cached = true;
            } else if is(name, "max-age") {
                once(&mut found.max_age, value)?;
            } else if is(name, "min-fresh") {
                once(&mut found.min_fresh, value)?;
            } else if is(name, "max-stale") {
                once(&mut found.max_stale, Some(value.unwrap_or(ANY)))?;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl ResponseDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut found = Self::default();
        read(headers, |name, value| {
            if is(name, "no-store") {
                found.no_store = true;
            } else if is(name, "no-cache") {
                found.no_cache = true;
            } else if is(name, "private") {
                found.private = true;
            } else if is(name, "public") {
                found.public = true;
            } else if is(name, "must-revalidate") {
                found.must_revalidate = true;
            } else if is(name, "must-understand") {
                found.must_understand = true;
            } else if is(name, "max-age") {
                once(&mut found.max_age, value)?;
            } else if is(name, "proxy-revalidate") {
                found.proxy_revalidate = true;
            } else if is(name, "s-maxage") {
                once(&mut found.s_maxage, value)?;
            } else if is(name, "stale-if-error") {
                once(&mut found.stale_if_error, value)?;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn is(name: &[u8], directive: &str) -> bool {
    name.eq_ignore_ascii_case(directive.as_bytes())
}

/// A directive that comes twice must say the same twice (RFC 9111 §4.2.1).
fn once(place: &mut Option<u64>, value: Option<&[u8]>) -> Result<(), Malformed> {
    let seconds = delta_seconds(value.ok_or(Malformed)?)?;
    match place.replace(seconds) {
        Some(before) if before != seconds => Err(Malformed),
        _ => Ok(()),
    }
}

/// RFC 9111 §1.2.2: digits only, saturating.
pub(crate) fn delta_seconds(text: &[u8]) -> Result<u64, Malformed> {
    if text.is_empty() {
        return Err(Malformed);
    }
    text.iter().try_fold(0_u64, |seconds, byte| match byte {
        b'0'..=b'9' => Ok(seconds
            .saturating_mul(10)
            .saturating_add(u64::from(byte.wrapping_sub(b'0')))
            .min(MAX_SECONDS)),
        _ => Err(Malformed),
    })
}

/// Calls `take` with each directive's name and argument (without quotes) of all lines.
fn read(
    headers: &HeaderMap,
    mut take: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for line in headers.get_all(header::CACHE_CONTROL) {
        let mut rest = line.as_bytes();
        loop {
            rest = skip(rest, |byte| matches!(byte, b' ' | b'\t' | b','));
            if rest.is_empty() {
                break;
            }
            let (name, after) = split(rest, is_token);
            if name.is_empty() {
                return Err(Malformed);
            }
            let (value, after) = match after.split_first() {
                Some((b'=', after)) => {
                    argument(after).map(|(value, after)| (Some(value), after))?
                }
                _ => (None, after),
            };
            take(name, value)?;
            rest = skip(after, |byte| matches!(byte, b' ' | b'\t'));
            if !matches!(rest.first(), None | Some(b',')) {
                return Err(Malformed);
            }
        }
    }
    Ok(())
}

/// `token / quoted-string` (RFC 9110 §5.6.2, §5.6.4).
fn argument(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let Some((b'"', quoted)) = text.split_first() else {
        let (token, rest) = split(text, is_token);
        return if token.is_empty() {
            Err(Malformed)
        } else {
            Ok((token, rest))
        };
    };
    let mut escaped = false;
    for (at, byte) in quoted.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (inside, rest) = quoted.split_at_checked(at).ok_or(Malformed)?;
                return Ok((inside, rest.split_first().map_or(rest, |(_, rest)| rest)));
            }
            _ => {}
        }
    }
    Err(Malformed)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn split(text: &[u8], matches: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !matches(*byte))
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

fn skip(text: &[u8], matches: impl Fn(u8) -> bool) -> &[u8] {
    split(text, matches).1
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn response(lines: &[&str]) -> Result<ResponseDirectives, Malformed> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        ResponseDirectives::of(&headers)
    }

    fn max_age(seconds: u64) -> ResponseDirectives {
        ResponseDirectives {
            max_age: Some(seconds),
            ..ResponseDirectives::default()
        }
    }

    #[test]
    fn directives_are_read_in_every_form_of_the_grammar() {
        for (lines, expected) in [
            (&["max-age=60"][..], max_age(60)),
            (&["Max-Age=60"], max_age(60)),
            (&["max-age=\"60\""], max_age(60)),
            (&[" , ,max-age=60,\t, "], max_age(60)),
            (&["foo=bar, max-age=60"], max_age(60)),
            (&["foo=\"a, no-store\", max-age=60"], max_age(60)),
            (&["foo=\"\\\", no-store\", max-age=60"], max_age(60)),
            (&["foo", "max-age=60"], max_age(60)),
            (&["max-age=60, max-age=60"], max_age(60)),
            (&["max-age=007"], max_age(7)),
            (&["max-age=99999999999999999999999999"], max_age(1 << 31)),
            (&[], ResponseDirectives::default()),
            (&[""], ResponseDirectives::default()),
        ] {
            assert_eq!(response(lines), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn i7_what_does_not_parse_is_not_guessed_at() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=\"60",
            "max-age=-1",
            "max-age=1.5",
            "max-age=60s",
            "max-age= 60",
            "max-age =60",
            "max-age=60 private",
            "max-age=60;private",
            "max-age=60, max-age=61",
            "=60",
            "max-age=\"6\\0\"",
            "max-age=60, \"no-store\"",
            "no\u{e4}store",
        ] {
            assert_eq!(response(&[line]), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn restrictions_hold_with_any_argument() {
        for line in ["no-store=x", "NO-STORE", "no-store=\"\""] {
            assert!(response(&[line]).unwrap().no_store, "{line}");
        }
        assert!(response(&["private=\"x-field\""]).unwrap().private);
        assert!(response(&["no-cache=\"set-cookie\""]).unwrap().no_cache);
    }

    proptest! {
        #[test]
        fn i7_any_bytes_are_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, value)]);
                let (request, response) = (RequestDirectives::of(&headers), ResponseDirectives::of(&headers));
                if let (Ok(request), Ok(response)) = (request, response) {
                    prop_assert_eq!(request.no_store, response.no_store);
                }
            }
        }

        #[test]
        fn i7_no_store_survives_whatever_stands_beside_it(
            before in "[a-z0-9=\", -]{0,20}", after in "[a-z0-9=\", -]{0,20}",
        ) {
            prop_assume!(!before.contains('"'));
            let line = format!("{before},no-store,{after}");
            if let Ok(found) = response(&[&line]) {
                prop_assert!(found.no_store, "{}", line);
            }
        }
    }
}
