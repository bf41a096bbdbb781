//! What a client is told of each kind of refusal, in both protocols.

use http::StatusCode;

use crate::RejectionKind;

/// The parts of an answer that both renderings share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) problem_type: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: &'static str,
    pub(crate) code: u8,
    pub(crate) info: &'static str,
}

const UNAUTHENTICATED: u8 = 16;
const PERMISSION_DENIED: u8 = 7;
const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;
const INTERNAL: u8 = 13;

/// One text for every cause: it does not say which check failed.
pub(crate) const INVALID_TOKEN: &str = "The credential is not valid.";

impl Answer {
    pub(crate) const fn of(kind: RejectionKind) -> Self {
        const BLANK: &str = "about:blank";
        let (status, problem_type, title, detail, code, info) = match kind {
            RejectionKind::CredentialMissing => (
                StatusCode::UNAUTHORIZED,
                BLANK,
                "Unauthorized",
                "This resource needs a credential.",
                UNAUTHENTICATED,
                "CREDENTIAL_MISSING",
            ),
            RejectionKind::Malformed => (
                StatusCode::BAD_REQUEST,
                BLANK,
                "Bad Request",
                "The request is malformed.",
                UNAUTHENTICATED,
                "REQUEST_MALFORMED",
            ),
            RejectionKind::CredentialInvalid => (
                StatusCode::UNAUTHORIZED,
                BLANK,
                "Unauthorized",
                INVALID_TOKEN,
                UNAUTHENTICATED,
                "CREDENTIAL_INVALID",
            ),
            RejectionKind::TenantMismatch => (
                StatusCode::FORBIDDEN,
                BLANK,
                "Forbidden",
                "The request names another tenant than its credential.",
                PERMISSION_DENIED,
                "TENANT_MISMATCH",
            ),
            RejectionKind::TenantSuspended => (
                StatusCode::FORBIDDEN,
                "tag:tenant-context,2026:tenant-suspended",
                "Tenant suspended",
                "This tenant is suspended.",
                PERMISSION_DENIED,
                "TENANT_SUSPENDED",
            ),
            RejectionKind::InsufficientScope => (
                StatusCode::FORBIDDEN,
                BLANK,
                "Forbidden",
                "The credential does not allow this.",
                PERMISSION_DENIED,
                "INSUFFICIENT_SCOPE",
            ),
            RejectionKind::NotFound => (
                StatusCode::NOT_FOUND,
                BLANK,
                "Not Found",
                "There is no such resource.",
                NOT_FOUND,
                "NOT_FOUND",
            ),
            RejectionKind::QuotaExceeded => (
                StatusCode::TOO_MANY_REQUESTS,
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Quota exceeded",
                "A request quota is spent.",
                RESOURCE_EXHAUSTED,
                "QUOTA_EXCEEDED",
            ),
            RejectionKind::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Temporarily reduced capacity",
                "The service is overloaded.",
                UNAVAILABLE,
                "OVERLOADED",
            ),
            RejectionKind::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Temporarily reduced capacity",
                "The service cannot decide right now.",
                UNAVAILABLE,
                "STORE_UNAVAILABLE",
            ),
            RejectionKind::ContextMissing => (
                StatusCode::INTERNAL_SERVER_ERROR,
                BLANK,
                "Internal Server Error",
                "The service is misconfigured.",
                INTERNAL,
                "INTERNAL",
            ),
        };
        Self {
            status,
            problem_type,
            title,
            detail,
            code,
            info,
        }
    }
}
