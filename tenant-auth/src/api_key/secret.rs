//! A key's text.

use std::fmt;

use super::format::Format;

/// The text of an API key, which is shown once: the store keeps a keyed hash of it only.
///
/// Printed, in whatever way, it is `sk_live_…redacted`; [`expose`](Self::expose) gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret {
    text: String,
    lead: Box<str>,
}

impl ApiKeySecret {
    pub(super) fn new(text: String, format: &Format) -> Self {
        Self {
            text,
            lead: format.lead().into(),
        }
    }

    /// The text, to be given to the key's owner.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…redacted", self.lead)
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
