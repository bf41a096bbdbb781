//! How credentials are asked for.

use crate::ConfigError;

/// How credentials are asked for (`WWW-Authenticate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub(crate) realm: Box<str>,
    pub(crate) bearer: bool,
    pub(crate) api_key: bool,
    pub(crate) resource_metadata: Option<Box<str>>,
}

impl Challenge {
    /// Asks for a bearer token (RFC 6750 §3).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the realm is not plain printable ASCII without `"` and `\`.
    pub fn bearer(realm: impl Into<String>) -> Result<Self, ConfigError> {
        Self::new(realm.into(), true, false)
    }

    /// Asks for an API key only.
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer).
    pub fn api_key(realm: impl Into<String>) -> Result<Self, ConfigError> {
        Self::new(realm.into(), false, true)
    }

    fn new(realm: String, bearer: bool, api_key: bool) -> Result<Self, ConfigError> {
        quotable("the realm", &realm)?;
        Ok(Self {
            realm: realm.into(),
            bearer,
            api_key,
            resource_metadata: None,
        })
    }

    /// Says that API keys are accepted as well.
    #[must_use]
    pub fn and_api_key(mut self) -> Self {
        self.api_key = true;
        self
    }

    /// Names the protected resource's metadata (RFC 9728 §5.1).
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer).
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Result<Self, ConfigError> {
        let url = url.into();
        quotable("the metadata's URL", &url)?;
        self.resource_metadata = Some(url.into());
        Ok(self)
    }
}

impl Default for Challenge {
    fn default() -> Self {
        Self {
            realm: "api".into(),
            bearer: true,
            api_key: false,
            resource_metadata: None,
        }
    }
}

fn quotable(what: &str, text: &str) -> Result<(), ConfigError> {
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        Ok(())
    } else {
        Err(ConfigError::new(format!(
            "{what} must be printable ASCII without quotes and backslashes"
        )))
    }
}
