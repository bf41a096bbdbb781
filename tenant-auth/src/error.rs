//! What is wrong with a key, a set of keys, or a token to be minted.

use std::{borrow::Cow, error::Error, fmt};

use tenant_context::ConfigError;

/// A key that cannot be used. The message says what was found, what was expected and what to do; it
/// never repeats the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    kind: KeyErrorKind,
    message: Cow<'static, str>,
}

/// What kind of fault a [`KeyError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// The bytes are no key, or no key of the stated type.
    Format,
    /// The key is too short to be safe.
    Weak,
    /// A type, curve or algorithm that is not accepted.
    Unsupported,
    /// The crate was built without `aws_lc_rs` and without `rust_crypto`.
    NoBackend,
    /// The operating system gave no randomness.
    Randomness,
    /// The token could not be signed or encoded.
    Signing,
    /// The token would have more bytes, or more scopes or roles, than verifiers take: give it fewer scopes.
    TooLong,
}

impl KeyError {
    pub(crate) fn new(kind: KeyErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn format(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(KeyErrorKind::Format, message)
    }

    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(KeyErrorKind::Unsupported, message)
    }

    pub(crate) const fn randomness() -> Self {
        Self {
            kind: KeyErrorKind::Randomness,
            message: Cow::Borrowed("the operating system gave no randomness"),
        }
    }

    /// What kind of fault it is.
    pub const fn kind(&self) -> KeyErrorKind {
        self.kind
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for KeyError {}

impl From<KeyError> for ConfigError {
    fn from(error: KeyError) -> Self {
        Self::new(error.message)
    }
}
