//! Identifiers, parsed once. A parsed id grants nothing: whatever touches tenant data takes a
//! [`TenantContext`](crate::TenantContext).

use std::{borrow::Borrow, error::Error, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a string is not an identifier. It never repeats the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError {
    what: &'static str,
    kind: IdErrorKind,
}

/// What was wrong with the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdErrorKind {
    /// No bytes.
    Empty,
    /// More bytes than the given bound.
    TooLong {
        /// The most bytes that are accepted.
        max: usize,
    },
    /// A byte outside the alphabet, at this offset.
    Alphabet {
        /// Where the first such byte stands.
        at: usize,
    },
}

impl IdError {
    /// What was wrong with the string.
    pub const fn kind(&self) -> IdErrorKind {
        self.kind
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        match self.kind {
            IdErrorKind::Empty => write!(f, "a {what} is empty"),
            IdErrorKind::TooLong { max } => write!(f, "a {what} is longer than {max} bytes"),
            IdErrorKind::Alphabet { at } => {
                write!(f, "a {what} has a byte outside its alphabet at offset {at}")
            }
        }
    }
}

impl Error for IdError {}

fn check(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: fn(u8) -> bool,
) -> Result<(), IdError> {
    let kind = if text.is_empty() {
        IdErrorKind::Empty
    } else if text.len() > max {
        IdErrorKind::TooLong { max }
    } else if let Some(at) = text.bytes().position(|byte| !allowed(byte)) {
        IdErrorKind::Alphabet { at }
    } else {
        return Ok(());
    };
    Err(IdError { what, kind })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes an id of this kind has.
            pub const MAX_LEN: usize = $max;

            /// Parses an id.
            ///
            /// # Errors
            ///
            /// [`IdError`] if the text is empty, too long, or has a byte outside the alphabet.
            pub fn parse(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check($what, text, $max, $allowed)?;
                Ok(Self(text.into()))
            }

            /// Whether [`parse`](Self::parse) takes this text. Nothing is allocated.
            pub fn is_valid(text: &str) -> bool {
                check($what, text, $max, $allowed).is_ok()
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

id! {
    /// A tenant's id: 1 to 64 bytes of `[A-Za-z0-9._-]`, case-sensitive.
    ///
    /// ```
    /// use tenant_context::TenantId;
    ///
    /// let acme = TenantId::parse("acme")?;
    /// assert_ne!(acme, TenantId::parse("Acme")?);          // two tenants
    /// assert!(TenantId::parse("tenant:acme").is_err());    // no separators, so no key tricks
    /// # Ok::<(), tenant_context::IdError>(())
    /// ```
    TenantId, "tenant id", 64, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

id! {
    /// Who acts within a tenant: 1 to 255 bytes of printable ASCII without the space, so that
    /// subjects such as `auth0|5f7c…`, an e-mail address or a SPIFFE id fit.
    PrincipalId, "principal id", 255, |byte| byte.is_ascii_graphic()
}

id! {
    /// Names the credential that was presented, not its secret: a token's `jti`, an API key's id.
    /// 1 to 255 bytes of printable ASCII without the space.
    CredentialId, "credential id", 255, |byte| byte.is_ascii_graphic()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tenant_ids_have_both_bounds() {
        assert_eq!(TenantId::parse("").unwrap_err().kind(), IdErrorKind::Empty);
        assert!(TenantId::parse("a".repeat(64)).is_ok());
        assert_eq!(
            TenantId::parse("a".repeat(65)).unwrap_err().kind(),
            IdErrorKind::TooLong { max: 64 }
        );
        assert_eq!(
            TenantId::parse("a:b").unwrap_err().kind(),
            IdErrorKind::Alphabet { at: 1 }
        );
        for hostile in ["a b", "a/b", "a\n", "a\0", "ä", "a%00", "a:b", "*"] {
            assert!(TenantId::parse(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn principals_take_the_subjects_of_the_field() {
        for real in [
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "ada@acme.example",
            "spiffe://acme.example/ns/a/sa/b",
        ] {
            assert!(PrincipalId::parse(real).is_ok(), "{real}");
        }
        assert!(PrincipalId::parse("a".repeat(255)).is_ok());
        assert!(PrincipalId::parse("a".repeat(256)).is_err());
        assert!(PrincipalId::parse("a b").is_err());
    }

    #[test]
    fn an_error_never_repeats_the_input() {
        let error = TenantId::parse("canary secret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn parsing_keeps_every_byte(text in "[A-Za-z0-9._-]{1,64}") {
            let id = TenantId::parse(&text).unwrap();
            prop_assert_eq!(id.as_str(), text);
        }

        #[test]
        fn whatever_parses_is_inside_the_alphabet(text in any::<String>()) {
            if let Ok(id) = TenantId::parse(&text) {
                prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            }
        }
    }
}
