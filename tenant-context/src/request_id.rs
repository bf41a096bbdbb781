//! `x-request-id`: validated or made, echoed and recorded.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// `x-request-id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 1 to 64 bytes of `[A-Za-z0-9._-]`, from the client if it sent a valid one, else
/// made: 32 hexadecimal digits that tell nothing of how many requests there were.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Made(u64),
    Given(Arc<str>),
}

/// The keyed hash of a count: whoever sees ids learns nothing of the counts, which all tenants share.
fn scattered(count: u64) -> [u64; 2] {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [RandomState::new(), RandomState::new()])
        .each_ref()
        .map(|key| key.hash_one(count))
}

impl RequestId {
    /// The most bytes of an id.
    pub const MAX_LEN: usize = 64;

    /// A new id. No allocation.
    pub fn make() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Repr::Made(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id the client sent, if there is exactly one and it is valid; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(one), None) => Self::parse(one.as_bytes()).unwrap_or_else(Self::make),
            _ => Self::make(),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let valid = (1..=Self::MAX_LEN).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let text = std::str::from_utf8(bytes).ok().filter(|_| valid)?;
        Some(Self(Repr::Given(text.into())))
    }

    pub(crate) fn header_value(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Made(count) => {
                let [high, low] = scattered(*count);
                write!(f, "{high:016x}{low:016x}")
            }
            Repr::Given(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn with(values: &[&[u8]]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_valid_id_is_kept_and_any_other_replaced() {
        assert_eq!(with(&[b"abc-123_X.y"]).to_string(), "abc-123_X.y");
        assert_eq!(with(&[&[b'a'; 64]]).to_string(), "a".repeat(64));
        for bad in [
            &b""[..],
            &[b'a'; 65],
            b"a b",
            b"a\"b",
            b"\xff",
            "ä".as_bytes(),
        ] {
            assert_ne!(with(&[bad]).to_string().as_bytes(), bad);
        }
        assert_ne!(with(&[b"one", b"two"]).to_string(), "one");
    }

    #[test]
    fn made_ids_are_valid_and_differ() {
        let made: HashSet<String> = (0..1000).map(|_| RequestId::make().to_string()).collect();
        assert_eq!(made.len(), 1000);
        let shared = |(one, other): (&str, &str)| {
            one.bytes()
                .zip(other.bytes())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let (one, other) = (RequestId::make().to_string(), RequestId::make().to_string());
        assert!(
            shared((&one, &other)) < 16,
            "{one} {other}: no common beginning"
        );
        assert!(
            made.iter()
                .all(|id| RequestId::parse(id.as_bytes()).is_some())
        );
    }
}
