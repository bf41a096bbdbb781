//! Why a credential was refused: for the audit, never for the client.

use std::{error::Error, fmt};

use tenant_context::Rejection;

/// The precise reason for the audit. The crate's documentation lists them.
pub(crate) type Reason = &'static str;

/// A claim whose absence or type refuses a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) missing: Reason,
    /// Of another JSON type than the standard says.
    pub(crate) wrong_type: Reason,
    /// Of the right type, but no value that we accept.
    pub(crate) invalid: Reason,
}

macro_rules! claims {
    ($($name:ident = $text:literal),* $(,)?) => {$(
        pub(crate) const $name: Claim = Claim {
            missing: concat!("claim_missing:", $text),
            wrong_type: concat!("claim_type:", $text),
            invalid: concat!("claim_invalid:", $text),
        };
    )*};
}

impl Claim {
    claims! {
        ISS = "iss",
        AUD = "aud",
        EXP = "exp",
        NBF = "nbf",
        IAT = "iat",
        SUB = "sub",
        JTI = "jti",
        SID = "sid",
        TENANT = "tenant",
        KIND = "principal_kind",
        ACT = "act",
        CHAIN = "tenant_chain",
        SCOPE = "scope",
        ROLES = "roles",
        ORG_ID = "org_id",
        RESOURCE_PREFIX = "resource_prefix",
    }
}

/// Why a request cannot be read as one that presents a credential: the source of the rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A credential header that stands more than once.
    Repeated,
    /// An API key in two headers.
    TwoMethods,
    /// `Authorization` without a scheme, or without a credential after it.
    Syntax,
    /// Bytes that are no visible ASCII within a credential.
    Bytes,
    /// A token in the query string.
    Query,
    /// Two credentials of one tenant that name two principals.
    TwoPrincipals,
}

impl Malformed {
    pub(crate) fn rejection(self) -> Rejection {
        Rejection::malformed("credential_malformed").with_source(self)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "a credential header stands more than once",
            Self::TwoMethods => "an API key is presented in two headers",
            Self::Syntax => "the authorization header has no scheme or no credential",
            Self::Bytes => "the credential has bytes that are no visible ASCII",
            Self::Query => "a token stands in the query string",
            Self::TwoPrincipals => "the token and the API key name two principals",
        })
    }
}

impl Error for Malformed {}
