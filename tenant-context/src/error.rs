//! What a builder says when it cannot build.

use std::{borrow::Cow, error::Error, fmt};

/// A configuration that would be wrong or unsafe. The message says what was found, what was
/// expected and what to do. All builders of the tenant crates return it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Cow<'static, str>);

impl ConfigError {
    /// An error with this message: a sentence that says what to do.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}
