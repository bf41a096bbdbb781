//! How a request ended: the decision alone.

use std::borrow::Cow;

use http::StatusCode;
use tenant_context::{EndReason, Rejection, RejectionKind};

use crate::Outcome;

/// What became of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// The whole answer was handed over.
    Complete,
    /// The client, or whoever reads for it, dropped the body before its end.
    BodyDropped,
    /// The body failed.
    BodyError,
    /// The request was dropped before there was an answer.
    Cancelled,
    /// The handler, or its body, panicked.
    Panicked,
    /// The inner service failed instead of answering.
    ServiceError,
}

impl End {
    /// Back from `as u8`.
    pub(crate) const fn from_u8(end: u8) -> Self {
        const BODY_DROPPED: u8 = End::BodyDropped as u8;
        const BODY_ERROR: u8 = End::BodyError as u8;
        const PANICKED: u8 = End::Panicked as u8;
        const SERVICE_ERROR: u8 = End::ServiceError as u8;
        const COMPLETE: u8 = End::Complete as u8;
        match end {
            COMPLETE => Self::Complete,
            BODY_DROPPED => Self::BodyDropped,
            BODY_ERROR => Self::BodyError,
            PANICKED => Self::Panicked,
            SERVICE_ERROR => Self::ServiceError,
            _ => Self::Cancelled,
        }
    }
}

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) end: End,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<u32>,
    /// The last refusal in the trail.
    pub(crate) rejection: Option<&'a Rejection>,
    /// Whether the answer itself is that refusal.
    pub(crate) refused: bool,
    /// Why the caller's identity has ended, if it has.
    pub(crate) identity: Option<EndReason>,
}

const PERMISSION_DENIED: u32 = 7;
const UNAUTHENTICATED: u32 = 16;

/// Refusals are blocked; errors, cancellations and panics are failures; the rest succeeded. An
/// answer that succeeds in spite of a refusal on its way (one foreign row of many) keeps the reason.
pub(crate) fn decide(ended: &Ended<'_>) -> (Outcome, Option<Cow<'static, str>>) {
    let failed = |reason| (Outcome::Failure, Some(Cow::Borrowed(reason)));
    match ended.end {
        End::Complete => answered(ended),
        End::BodyDropped => failed("body_dropped"),
        // A stream that was cut because its caller may no longer read it is a refusal.
        End::BodyError => ended.identity.map_or_else(|| failed("body_error"), cut),
        End::Cancelled => failed("cancelled"),
        End::Panicked => failed("panic"),
        End::ServiceError => failed("service_error"),
    }
}

fn cut(reason: EndReason) -> (Outcome, Option<Cow<'static, str>>) {
    let reason = reason.rejection().reason().to_owned();
    (Outcome::Blocked, Some(reason.into()))
}

fn answered(ended: &Ended<'_>) -> (Outcome, Option<Cow<'static, str>>) {
    let reason = || {
        ended
            .rejection
            .map(|rejection| Cow::Owned(rejection.reason().to_owned()))
    };
    let error = ended.status.is_some_and(|status| status.as_u16() >= 400)
        || ended.grpc_status.is_some_and(|code| code != 0);
    if !error && !ended.refused {
        return (Outcome::Success, reason());
    }
    match ended.rejection {
        Some(rejection) if blocks(rejection) => (Outcome::Blocked, reason()),
        Some(_) => (Outcome::Failure, reason()),
        None => match (ended.grpc_status, ended.identity) {
            // Over gRPC a stream is cut with a status.
            (Some(PERMISSION_DENIED | UNAUTHENTICATED), Some(reason)) => cut(reason),
            _ => (Outcome::Failure, None),
        },
    }
}

/// A resource that does not exist and a stack in the wrong order are failures; all else was refused.
fn blocks(rejection: &Rejection) -> bool {
    match rejection.kind() {
        RejectionKind::NotFound => rejection.reason() != "not_found",
        RejectionKind::ContextMissing => false,
        _ => true,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const OK: Ended<'_> = Ended {
        end: End::Complete,
        status: Some(StatusCode::OK),
        grpc_status: None,
        rejection: None,
        refused: false,
        identity: None,
    };

    fn of(ended: Ended<'_>) -> (Outcome, Option<String>) {
        let (outcome, reason) = decide(&ended);
        (outcome, reason.map(Cow::into_owned))
    }

    #[test]
    fn statuses_decide_where_nothing_was_refused() {
        assert_eq!(of(OK), (Outcome::Success, None));
        for (status, outcome) in [
            (StatusCode::FOUND, Outcome::Success),
            (StatusCode::NOT_FOUND, Outcome::Failure),
            (StatusCode::INTERNAL_SERVER_ERROR, Outcome::Failure),
        ] {
            assert_eq!(
                of(Ended {
                    status: Some(status),
                    ..OK
                }),
                (outcome, None)
            );
        }
        for (code, outcome) in [(0, Outcome::Success), (13, Outcome::Failure)] {
            assert_eq!(
                of(Ended {
                    grpc_status: Some(code),
                    ..OK
                }),
                (outcome, None)
            );
        }
    }

    #[test]
    fn refusals_are_blocked_and_missing_resources_are_not() {
        for (rejection, outcome, reason) in [
            (
                Rejection::credential_invalid("signature"),
                Outcome::Blocked,
                "signature",
            ),
            (
                Rejection::quota_exceeded("agent", None),
                Outcome::Blocked,
                "rate_limited:agent",
            ),
            (Rejection::cross_tenant(), Outcome::Blocked, "cross_tenant"),
            (
                Rejection::store_unavailable(),
                Outcome::Blocked,
                "store_unavailable",
            ),
            (Rejection::not_found(), Outcome::Failure, "not_found"),
            (
                Rejection::context_missing(),
                Outcome::Failure,
                "context_missing",
            ),
        ] {
            let status = Some(rejection.status());
            let ended = Ended {
                status,
                rejection: Some(&rejection),
                ..OK
            };
            assert_eq!(of(ended), (outcome, Some(reason.to_owned())));
            // Over gRPC the HTTP status is 200.
            let grpc = Ended {
                refused: true,
                ..ended
            };
            assert_eq!(
                of(Ended {
                    status: Some(StatusCode::OK),
                    ..grpc
                }),
                (outcome, Some(reason.to_owned()))
            );
            // The handler answered in spite of it.
            assert_eq!(
                of(Ended {
                    status: Some(StatusCode::OK),
                    ..ended
                }),
                (Outcome::Success, Some(reason.to_owned()))
            );
        }
    }

    #[test]
    fn what_did_not_end_well_says_how() {
        for (end, reason) in [
            (End::BodyDropped, "body_dropped"),
            (End::BodyError, "body_error"),
            (End::Cancelled, "cancelled"),
            (End::Panicked, "panic"),
            (End::ServiceError, "service_error"),
        ] {
            assert_eq!(
                of(Ended { end, ..OK }),
                (Outcome::Failure, Some(reason.to_owned()))
            );
        }
    }

    #[test]
    fn i5_a_cut_stream_is_blocked_with_the_reason_of_the_cut() {
        let suspended = Some(EndReason::Suspended);
        for ended in [
            Ended {
                end: End::BodyError,
                identity: suspended,
                ..OK
            },
            Ended {
                grpc_status: Some(7),
                identity: suspended,
                ..OK
            },
        ] {
            assert_eq!(
                of(ended),
                (Outcome::Blocked, Some("tenant_suspended".to_owned()))
            );
        }
        // An ended identity alone turns no error into a refusal.
        assert_eq!(
            of(Ended {
                grpc_status: Some(13),
                identity: suspended,
                ..OK
            }),
            (Outcome::Failure, None)
        );
    }
}
