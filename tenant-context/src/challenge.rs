//! How credentials are asked for (RFC 6750 §3, RFC 9728 §5.1).

use std::fmt::Write;

use http::Uri;

use crate::{ConfigError, RejectionKind, answer::INVALID_TOKEN};

/// How credentials are asked for (`WWW-Authenticate`).
///
/// ```
/// use tenant_context::Challenge;
///
/// let challenge = Challenge::bearer("api")?
///     .resource_metadata("https://api.example.com/.well-known/oauth-protected-resource")?
///     .scope(["invoices:read"])?;
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: Box<str>,
    bearer: bool,
    api_key: bool,
    resource_metadata: Option<Box<str>>,
    scope: Option<Box<str>>,
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
        if !realm.bytes().all(is_quotable) {
            return Err(ConfigError::new(
                "the realm must be printable ASCII without quotes and backslashes",
            ));
        }
        Ok(Self {
            realm: realm.into(),
            bearer,
            api_key,
            resource_metadata: None,
            scope: None,
        })
    }

    /// Says that API keys are accepted as well.
    #[must_use]
    pub fn and_api_key(mut self) -> Self {
        self.api_key = true;
        self
    }

    /// Names the protected resource's metadata (RFC 9728 §5.1), where clients learn which
    /// authorization servers issue tokens for it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is no absolute `https` URL without a fragment. `http` is allowed for
    /// `localhost`, `127.0.0.1` and `[::1]`.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Result<Self, ConfigError> {
        let url = url.into();
        let parsed: Option<Uri> = url.parse().ok();
        let secure = parsed.as_ref().is_some_and(|uri| {
            let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
            uri.scheme_str() == Some("https") || (local && uri.scheme_str() == Some("http"))
        });
        if !secure || url.contains('#') || !url.bytes().all(|b| b != b' ' && is_quotable(b)) {
            return Err(ConfigError::new(format!(
                "the resource metadata's URL {url:?} is no absolute https URL without a fragment; \
                 write `https://HOST/.well-known/oauth-protected-resource`"
            )));
        }
        self.resource_metadata = Some(url.into());
        Ok(self)
    }

    /// Names the scopes that a client should ask its authorization server for (RFC 6750 §3).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one of them is no scope token: printable ASCII without space, `"` and `\`.
    pub fn scope<S: AsRef<str>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let mut joined = String::new();
        for scope in scopes {
            let scope = scope.as_ref();
            if !is_scope_token(scope) {
                return Err(ConfigError::new(format!(
                    "the challenge's scope {scope:?} must be printable ASCII without spaces, quotes and backslashes"
                )));
            }
            push_scope(&mut joined, scope);
        }
        self.scope = (!joined.is_empty()).then(|| joined.into());
        Ok(self)
    }

    /// The header's lines for a refusal of this kind. `required` are the scopes that a 403 names.
    pub(crate) fn lines(&self, kind: RejectionKind, required: &[Box<str>]) -> Vec<String> {
        let Some(error) = error_code(kind) else {
            return Vec::new();
        };
        let asks = matches!(
            kind,
            RejectionKind::CredentialMissing | RejectionKind::CredentialInvalid
        );
        let mut lines = Vec::with_capacity(2);
        if self.bearer || kind == RejectionKind::InsufficientScope {
            let mut line = format!(r#"Bearer realm="{}""#, self.realm);
            attribute(&mut line, "error", error);
            if kind == RejectionKind::CredentialInvalid {
                attribute(&mut line, "error_description", INVALID_TOKEN);
            }
            if kind == RejectionKind::InsufficientScope {
                // They come from the application's code: one that is no token would end the quotation.
                let mut scope = String::new();
                for required in required.iter().filter(|scope| is_scope_token(scope)) {
                    push_scope(&mut scope, required);
                }
                attribute(&mut line, "scope", &scope);
            } else if asks {
                attribute(
                    &mut line,
                    "scope",
                    self.scope.as_deref().unwrap_or_default(),
                );
            }
            let metadata = self.resource_metadata.as_deref().unwrap_or_default();
            attribute(&mut line, "resource_metadata", metadata);
            lines.push(line);
        }
        if self.api_key && asks {
            lines.push(format!(r#"ApiKey realm="{}""#, self.realm));
        }
        lines
    }
}

impl Default for Challenge {
    fn default() -> Self {
        Self {
            realm: "api".into(),
            bearer: true,
            api_key: false,
            resource_metadata: None,
            scope: None,
        }
    }
}

/// What a challenge says is wrong (RFC 6750 §3.1); without a credential there is no code. `None` for what no
/// other credential would change.
pub(crate) const fn error_code(kind: RejectionKind) -> Option<&'static str> {
    match kind {
        RejectionKind::CredentialMissing => Some(""),
        RejectionKind::Malformed => Some("invalid_request"),
        RejectionKind::CredentialInvalid => Some("invalid_token"),
        RejectionKind::InsufficientScope => Some("insufficient_scope"),
        _ => None,
    }
}

/// Adds `, name="value"`, unless the value is empty.
fn attribute(line: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        // Writing to a `String` does not fail.
        let _ = write!(line, r#", {name}="{value}""#);
    }
}

fn push_scope(joined: &mut String, scope: &str) {
    if !joined.is_empty() {
        joined.push(' ');
    }
    joined.push_str(scope);
}

/// May stand in a quoted string as it is.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// `scope-token` (RFC 6749 §3.3).
fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte != b' ' && is_quotable(byte))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const METADATA: &str = "https://api.example.com/.well-known/oauth-protected-resource";

    #[test]
    fn the_lines_are_those_of_the_standards() {
        use RejectionKind::{
            CredentialInvalid, CredentialMissing, InsufficientScope, Malformed, NotFound,
        };
        let plain = Challenge::bearer("api").unwrap();
        let both = plain.clone().and_api_key();
        let full = plain.clone().resource_metadata(METADATA).unwrap();
        let full = full.scope(["read", "write"]).unwrap();
        let keys = Challenge::api_key("api").unwrap();
        let required: Vec<Box<str>> = vec!["a:read".into(), r#"b", error="x"#.into(), "c".into()];
        for (challenge, kind, lines) in [
            (&plain, CredentialMissing, vec![r#"Bearer realm="api""#.to_owned()]),
            (&plain, Malformed, vec![r#"Bearer realm="api", error="invalid_request""#.to_owned()]),
            (
                &both,
                CredentialInvalid,
                vec![
                    r#"Bearer realm="api", error="invalid_token", error_description="The credential is not valid.""#.to_owned(),
                    r#"ApiKey realm="api""#.to_owned(),
                ],
            ),
            (&keys, CredentialInvalid, vec![r#"ApiKey realm="api""#.to_owned()]),
            (&keys, Malformed, vec![]),
            (
                &full,
                CredentialMissing,
                vec![format!(r#"Bearer realm="api", scope="read write", resource_metadata="{METADATA}""#)],
            ),
            (
                &full,
                InsufficientScope,
                vec![format!(
                    r#"Bearer realm="api", error="insufficient_scope", scope="a:read c", resource_metadata="{METADATA}""#
                )],
            ),
            (&full, NotFound, vec![]),
        ] {
            assert_eq!(challenge.lines(kind, &required), lines, "{kind:?}");
        }
    }

    #[test]
    fn what_would_not_be_a_challenge_is_refused() {
        assert!(Challenge::bearer("a\"b").is_err());
        assert!(Challenge::bearer("a\nb").is_err());
        let challenge = Challenge::default();
        for url in [
            "",
            "/.well-known/oauth-protected-resource",
            "http://api.example.com/x",
            "https://api.example.com/x#y",
            "https://api.example.com/\"x",
            "ftp://api.example.com",
        ] {
            assert!(challenge.clone().resource_metadata(url).is_err(), "{url}");
        }
        assert!(
            challenge
                .clone()
                .resource_metadata("http://[::1]:8080/x")
                .is_ok()
        );
        for scope in ["", "a b", "a\"b", "a\\b", "ä"] {
            assert!(challenge.clone().scope([scope]).is_err(), "{scope}");
        }
    }
}
