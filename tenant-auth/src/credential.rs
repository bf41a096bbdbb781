//! Which credentials a request presents. Pure: nothing is verified here.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use tenant_context::RequestHead;

use crate::{ApiKeys, reason::Malformed};

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One presented credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    Token(&'a [u8]),
    ApiKey(&'a [u8]),
}

/// All that a request presents.
#[derive(PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    Nothing,
    One(Credential<'a>),
    /// Both have to verify and to agree.
    Both {
        token: &'a [u8],
        api_key: &'a [u8],
    },
    /// An `Authorization` of a scheme that is not ours: presented, and not verified by anybody.
    Unsupported,
}

impl<'a> Presented<'a> {
    /// Reads a head. `keys` are there if API keys are a way in.
    pub(crate) fn read(head: &RequestHead<'a>, keys: Option<&ApiKeys>) -> Result<Self, Malformed> {
        if head.uri().query().is_some_and(has_token) {
            return Err(Malformed::Query);
        }
        let headers = head.headers();
        let in_header = match keys {
            Some(_) => only(headers, &X_API_KEY)?.map(HeaderValue::as_bytes),
            None => None,
        };
        if in_header == Some(b"") {
            return Err(Malformed::Syntax);
        }
        let Some(authorization) = only(headers, &AUTHORIZATION)? else {
            return Ok(in_header.map_or(Self::Nothing, |key| Self::One(Credential::ApiKey(key))));
        };
        let (scheme, credential) = parse(authorization.as_bytes())?;
        let bearer = scheme.eq_ignore_ascii_case(b"bearer");
        let is_key = keys.is_some_and(|keys| {
            scheme.eq_ignore_ascii_case(b"apikey") || (bearer && keys.claims(credential))
        });
        match (is_key, bearer, in_header) {
            (true, _, None) => Ok(Self::One(Credential::ApiKey(credential))),
            (true, _, Some(_)) => Err(Malformed::TwoMethods),
            (false, true, None) => Ok(Self::One(Credential::Token(credential))),
            (false, true, Some(api_key)) => Ok(Self::Both {
                token: credential,
                api_key,
            }),
            (false, false, _) => Ok(Self::Unsupported),
        }
    }
}

/// The header's one value.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Malformed::Repeated),
    }
}

/// `auth-scheme 1*SP credential` (RFC 9110 §11.4).
fn parse(value: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let at = value
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or(Malformed::Syntax)?;
    let (scheme, rest) = value.split_at(at);
    let credential = rest.trim_ascii_start();
    if scheme.is_empty() || credential.is_empty() {
        return Err(Malformed::Syntax);
    }
    Ok((scheme, credential))
}

/// Whether a credential is visible ASCII. What is cached has been through this.
pub(crate) fn check_bytes(credential: &[u8]) -> Result<(), Malformed> {
    // No way out of the loop: so it becomes one of vectors.
    let visible = |all: bool, byte: &u8| all & byte.is_ascii_graphic();
    if credential.iter().fold(true, visible) {
        Ok(())
    } else {
        Err(Malformed::Bytes)
    }
}

/// RFC 6750 §2.3 allows tokens in the query string and advises against it; we refuse them.
fn has_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        name == "access_token"
    })
}
