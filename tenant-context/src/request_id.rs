//! `x-request-id`: validated or made, echoed and recorded.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// `x-request-id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 1 to 64 bytes of `[A-Za-z0-9._-]`, from the client if it sent a valid one, else
/// made from a random prefix of this process and a counter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Made(u64),
    Given(Arc<str>),
}

fn process_prefix() -> u64 {
    static PREFIX: OnceLock<u64> = OnceLock::new();
    // An id is no secret: without a random prefix ids of two processes may be equal, no more.
    *PREFIX.get_or_init(|| getrandom::u64().unwrap_or_else(|_| std::process::id().into()))
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
            Repr::Made(count) => write!(f, "{:016x}-{count:x}", process_prefix()),
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
        assert!(
            made.iter()
                .all(|id| RequestId::parse(id.as_bytes()).is_some())
        );
    }
}
