//! How a document is fetched: a trait, so that any HTTP client will do.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

/// Fetches documents: metadata and key sets. [`HttpFetcher`](crate::HttpFetcher) is one (feature `jwks`).
///
/// The caller has checked the URL, gives up after its time-out by dropping the future, and looks at
/// the length and the content of what comes. What an implementation owes:
///
/// - **Redirects are not followed.** One that is followed takes the keys from where nobody said.
/// - The server's certificate is verified.
/// - It stops reading after `max_len` bytes and answers with an error.
pub trait Fetch: Send + Sync + 'static {
    /// Gets the document at `url`, of at most `max_len` bytes.
    fn fetch(&self, url: &str, max_len: usize) -> BoxFuture<'static, Result<Fetched, FetchError>>;
}

/// A document, and how long it may be used.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub(crate) body: Vec<u8>,
    pub(crate) max_age: Option<Duration>,
}

impl Fetched {
    /// A document that does not say how long it may be used.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            max_age: None,
        }
    }

    /// How long it may be used: `max-age` of its `Cache-Control` (RFC 9111 §5.2.2.1).
    #[must_use]
    pub const fn max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }
}

/// Why there is no document.
#[derive(Clone, Debug)]
pub struct FetchError {
    status: Option<u16>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    message: String,
}

impl FetchError {
    /// The server answered with another status than 200.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            source: None,
            message: format!("the server answered with status {status}"),
        }
    }

    /// There was no answer, or none that can be used.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            status: None,
            message: source.to_string(),
            source: Some(Arc::new(source)),
        }
    }

    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self {
            status: None,
            source: None,
            message: message.into(),
        }
    }

    /// There is no such document: another place may have it.
    pub(crate) fn is_absent(&self) -> bool {
        self.status
            .is_some_and(|status| (400..500).contains(&status))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
