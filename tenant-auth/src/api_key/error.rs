//! Why a key was not issued, found or changed.

use std::{error::Error, fmt};

use tenant_context::{BoxError, ConfigError, Rejection};

use crate::KeyError;

/// Why a key was not issued, found or changed. In a handler `?` turns it into the [`Rejection`] to answer with.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The key's description is above a bound, ends before it begins, or has a grace that is too long.
    Invalid(ConfigError),
    /// The tenant has no such key.
    Unknown,
    /// The key has ended already.
    Ended,
    /// The key was rotated already: there is one successor.
    Rotated,
    /// The context may not give such a key.
    Refused(Rejection),
    /// The operating system gave no randomness.
    Key(KeyError),
    /// The store failed, or somebody else kept changing the key.
    Unavailable(BoxError),
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Unknown => f.write_str("the tenant has no such API key"),
            Self::Ended => f.write_str("the API key has ended"),
            Self::Rotated => f.write_str("the API key was rotated already"),
            Self::Refused(rejection) => rejection.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Unavailable(_) => f.write_str("the store of API keys failed"),
        }
    }
}

impl Error for ApiKeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::Refused(rejection) => Some(rejection),
            Self::Key(error) => Some(error),
            Self::Unavailable(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<KeyError> for ApiKeyError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<ApiKeyError> for Rejection {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Refused(rejection) => rejection,
            // Another tenant's key and none are one answer.
            ApiKeyError::Unknown => Self::not_found().with_reason("api_key_unknown"),
            ApiKeyError::Invalid(_) => Self::malformed("api_key_invalid").with_source(error),
            ApiKeyError::Ended => Self::malformed("api_key_ended"),
            ApiKeyError::Rotated => Self::malformed("api_key_rotated"),
            ApiKeyError::Key(_) | ApiKeyError::Unavailable(_) => {
                Self::store_unavailable().with_source(error)
            }
        }
    }
}

pub(super) fn unavailable(error: impl Into<BoxError>) -> ApiKeyError {
    ApiKeyError::Unavailable(error.into())
}
