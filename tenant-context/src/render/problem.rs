//! problem+json (RFC 9457).

use bytes::Bytes;
use http::HeaderValue;
use serde::{Serialize, Serializer};

use crate::{Rejection, Violation};

/// A refusal's body, as a renderer makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// The body's media type.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

impl Rendered {
    /// A body of this media type.
    pub fn new(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self {
            content_type,
            body: body.into(),
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(
        rename = "violated-policies",
        skip_serializing_if = "Policies::is_empty"
    )]
    violated_policies: Policies<'a>,
    #[serde(rename = "required-scopes", skip_serializing_if = "<[_]>::is_empty")]
    required_scopes: &'a [Box<str>],
}

/// The names of the policies that were violated.
struct Policies<'a>(&'a [Violation]);

impl Policies<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Policies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|violation| &violation.policy))
    }
}

/// The default rendering. It holds nothing of the request, so that two refusals of one kind are the
/// same bytes.
pub(super) fn problem_json(rejection: &Rejection) -> Rendered {
    let answer = rejection.answer();
    let problem = Problem {
        r#type: answer.problem_type,
        title: answer.title,
        status: answer.status.as_u16(),
        detail: answer.detail,
        violated_policies: Policies(rejection.violations()),
        required_scopes: rejection.required_scopes(),
    };
    let mut body = Vec::with_capacity(256);
    if serde_json::to_writer(&mut body, &problem).is_err() {
        body.clear();
    }
    Rendered::new(HeaderValue::from_static("application/problem+json"), body)
}
