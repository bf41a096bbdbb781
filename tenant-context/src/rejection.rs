//! Refusals: what was decided, what the client may know, and what the audit must know.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use smallvec::SmallVec;

use crate::{
    Challenge, Identity,
    answer::Answer,
    challenge,
    render::{Protocol, grpc},
};

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No credential: 401.
    CredentialMissing,
    /// The request cannot be read as one: two credentials, a repeated header, bytes that are no text: 400.
    Malformed,
    /// A credential that does not verify, for whatever reason, unknown tenants included: 401.
    CredentialInvalid,
    /// Signals name different tenants: 403.
    TenantMismatch,
    /// The tenant is suspended: 403.
    TenantSuspended,
    /// A scope or role is missing: 403.
    InsufficientScope,
    /// No such resource, or another tenant's: 404.
    NotFound,
    /// A budget is spent: 429.
    QuotaExceeded,
    /// Shed for overload: 503.
    Overloaded,
    /// A store that the decision needs is down: 503.
    StoreUnavailable,
    /// No verified context where one is required: 500.
    ContextMissing,
}

/// One budget that was exceeded, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The policy's name: `tenant`, `agent`.
    pub policy: Cow<'static, str>,
    /// One sentence on what is limited.
    pub description: Cow<'static, str>,
}

impl Violation {
    /// A violation of `policy`.
    pub fn new(
        policy: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            policy: policy.into(),
            description: description.into(),
        }
    }
}

/// A refusal.
///
/// A rejecting layer answers with [`to_response`](Self::to_response): status and headers, no body,
/// the rejection itself among the response's extensions, where [`RenderLayer`](crate::RenderLayer)
/// finds it and adds the body. Handlers return it as an error (feature `axum`: `IntoResponse`;
/// feature `tonic`: `Status::from`).
///
/// What the client may know and what the audit must know are kept apart: [`reason`](Self::reason)
/// and [`source`](Error::source) never reach a client.
///
/// An application's own error carries it like any other:
///
/// ```
/// use tenant_context::Rejection;
///
/// enum AppError { Refused(Rejection), Database(std::io::Error) }
///
/// impl From<Rejection> for AppError {
///     fn from(rejection: Rejection) -> Self { Self::Refused(rejection) }
/// }
/// ```
#[derive(Clone)]
#[must_use = "a rejection refuses nothing until it is returned"]
pub struct Rejection(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: RejectionKind,
    reason: Cow<'static, str>,
    challenge: Option<Arc<Challenge>>,
    required_scopes: Vec<Box<str>>,
    retry_after: Option<Duration>,
    violations: SmallVec<[Violation; 1]>,
    headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    identity: Option<Arc<Identity>>,
}

impl Rejection {
    fn new(kind: RejectionKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::waiting(kind, reason, None)
    }

    fn waiting(
        kind: RejectionKind,
        reason: impl Into<Cow<'static, str>>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            reason: reason.into(),
            challenge: None,
            required_scopes: Vec::new(),
            retry_after,
            violations: SmallVec::new(),
            headers: SmallVec::new(),
            source: None,
            identity: None,
        }))
    }

    /// The parts, to be changed: a copy only if the rejection has clones.
    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// No credential was presented: 401.
    pub fn credential_missing() -> Self {
        Self::new(RejectionKind::CredentialMissing, "credential_missing")
    }

    /// The request cannot be read as one: 400. The reason goes to the audit only.
    pub fn malformed(reason: &'static str) -> Self {
        Self::new(RejectionKind::Malformed, reason)
    }

    /// The credential does not verify: 401, one answer whatever the reason, which goes to the audit
    /// only (`signature`, `expired`, `tenant_unknown`).
    pub fn credential_invalid(reason: &'static str) -> Self {
        Self::new(RejectionKind::CredentialInvalid, reason)
    }

    /// Two signals name different tenants: 403.
    pub fn tenant_mismatch() -> Self {
        Self::new(RejectionKind::TenantMismatch, "tenant_mismatch")
    }

    /// The tenant is suspended: 403.
    pub fn tenant_suspended() -> Self {
        Self::new(RejectionKind::TenantSuspended, "tenant_suspended")
    }

    /// The credential lacks a scope: 403, naming all scopes that are needed.
    pub fn insufficient_scope<S: Into<Box<str>>>(required: impl IntoIterator<Item = S>) -> Self {
        let mut rejection = Self::new(RejectionKind::InsufficientScope, "scope");
        rejection.edit().required_scopes = required.into_iter().map(Into::into).collect();
        rejection
    }

    /// There is no such resource: 404.
    pub fn not_found() -> Self {
        Self::new(RejectionKind::NotFound, "not_found")
    }

    /// The resource is another tenant's: the same 404 as [`not_found`](Self::not_found), told apart in
    /// the audit only.
    pub fn cross_tenant() -> Self {
        Self::new(RejectionKind::NotFound, "cross_tenant")
    }

    /// A budget is spent: 429. `dimension` names the binding one; `retry_after` is the true wait.
    pub fn quota_exceeded(dimension: &str, retry_after: Option<Duration>) -> Self {
        let reason = rate_limited(dimension);
        Self::waiting(RejectionKind::QuotaExceeded, reason, retry_after)
    }

    /// Shed for overload: 503.
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::waiting(RejectionKind::Overloaded, "overload", Some(retry_after))
    }

    /// A store that the decision needs is down, and the policy is closed: 503.
    pub fn store_unavailable() -> Self {
        let second = Some(Duration::from_secs(1));
        Self::waiting(RejectionKind::StoreUnavailable, "store_unavailable", second)
    }

    /// No verified context where one is required: 500. The layers are in the wrong order.
    pub fn context_missing() -> Self {
        Self::new(RejectionKind::ContextMissing, "context_missing")
    }

    /// Says how to ask for a credential.
    pub fn with_challenge(mut self, challenge: Arc<Challenge>) -> Self {
        self.edit().challenge = Some(challenge);
        self
    }

    pub(crate) fn with_default_challenge(mut self, challenge: &Arc<Challenge>) -> Self {
        if self.0.challenge.is_none() {
            self.edit().challenge = Some(Arc::clone(challenge));
        }
        self
    }

    /// Names another reason for the audit.
    pub fn with_reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.edit().reason = reason.into();
        self
    }

    /// Adds a budget that was exceeded.
    pub fn with_violation(self, violation: Violation) -> Self {
        self.with_violations([violation])
    }

    /// Adds budgets that were exceeded.
    pub fn with_violations(mut self, violations: impl IntoIterator<Item = Violation>) -> Self {
        self.edit().violations.extend(violations);
        self
    }

    /// Adds a header to the HTTP answer.
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.with_headers([(name, value)])
    }

    /// Adds headers to the HTTP answer.
    pub fn with_headers(
        mut self,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        self.edit().headers.extend(headers);
        self
    }

    /// Keeps the error that led here, for logs.
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.edit().source = Some(Arc::new(source));
        self
    }

    /// Names whose verified credential was refused, for the audit: the record goes to its tenant's
    /// chain.
    pub fn with_identity(mut self, identity: Arc<Identity>) -> Self {
        self.edit().identity = Some(identity);
        self
    }

    /// Whose verified credential was refused (a suspended tenant's), for the audit.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.0.identity.as_ref()
    }

    /// The kind.
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// The precise reason, for the audit: never shown to a client.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// How long to wait before another try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The budgets that were exceeded.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    pub(crate) fn required_scopes(&self) -> &[Box<str>] {
        &self.0.required_scopes
    }

    pub(crate) fn answer(&self) -> Answer {
        Answer::of(self.0.kind)
    }

    /// `Retry-After` in whole seconds: rounded up and never 0, so that waiting so long is enough.
    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        self.0.retry_after.map(|wait| {
            let partial = u64::from(wait.subsec_nanos() > 0);
            wait.as_secs().saturating_add(partial).max(1)
        })
    }

    fn challenges(&self) -> Vec<String> {
        if challenge::error_code(self.0.kind).is_none() {
            return Vec::new();
        }
        let default = Challenge::default();
        let challenge = self.0.challenge.as_deref().unwrap_or(&default);
        challenge.lines(self.0.kind, &self.0.required_scopes)
    }

    /// Status and headers of the answer. What else stands among the headers stays.
    pub(crate) fn write_head(
        &self,
        protocol: Protocol,
        status: &mut StatusCode,
        headers: &mut HeaderMap,
    ) {
        if protocol == Protocol::Grpc {
            *status = StatusCode::OK;
            return grpc::trailers_only(self, headers);
        }
        *status = self.status();
        for (at, (name, value)) in self.0.headers.iter().enumerate() {
            let before = self.0.headers.get(..at).unwrap_or_default();
            if before.iter().all(|(known, _)| known != name) {
                headers.insert(name.clone(), value.clone());
            } else {
                headers.append(name.clone(), value.clone());
            }
        }
        let lines = self.challenges();
        if !lines.is_empty() {
            headers.remove(header::WWW_AUTHENTICATE);
        }
        for line in lines {
            if let Ok(value) = HeaderValue::try_from(line) {
                headers.append(header::WWW_AUTHENTICATE, value);
            }
        }
        if let Some(secs) = self.retry_after_secs() {
            // One allocation, where `HeaderValue::from(u64)` makes two.
            if let Ok(value) = HeaderValue::try_from(secs.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }

    /// The answer's status and headers, without a body: complete for gRPC (a trailers-only answer),
    /// and for HTTP what a stack without [`RenderLayer`](crate::RenderLayer) sends.
    pub fn to_response(&self, protocol: Protocol) -> Response<()> {
        self.clone().head(protocol, Extensions::new())
    }

    /// The same, for a request that goes no further: in its protocol, and in the memory of its extensions, which are dropped. Of
    /// a flood each refusal then allocates less.
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tenant_context::Rejection;
    ///
    /// let request = Request::get("/invoices").body(())?;
    /// let response = Rejection::not_found().respond_to(request);
    /// assert_eq!(response.status(), StatusCode::NOT_FOUND);
    /// # Ok::<(), http::Error>(())
    /// ```
    pub fn respond_to<B>(self, request: Request<B>) -> Response<()> {
        let protocol = Protocol::of(request.headers());
        let (head, _body) = request.into_parts();
        let mut extensions = head.extensions;
        // Nothing of the request is in the answer.
        extensions.clear();
        self.head(protocol, extensions)
    }

    fn head(self, protocol: Protocol, mut extensions: Extensions) -> Response<()> {
        let mut response = Response::new(());
        let mut status = StatusCode::OK;
        self.write_head(protocol, &mut status, response.headers_mut());
        *response.status_mut() = status;
        extensions.insert(self);
        *response.extensions_mut() = extensions;
        response
    }
}

/// The reason of a spent budget. Those that most services have are not made anew for each refusal of a flood.
fn rate_limited(dimension: &str) -> Cow<'static, str> {
    match dimension {
        "global" => "rate_limited:global".into(),
        "tenant" => "rate_limited:tenant".into(),
        "agent" => "rate_limited:agent".into(),
        "endpoint" => "rate_limited:endpoint".into(),
        _ => ["rate_limited:", dimension].concat().into(),
    }
}

impl fmt::Display for Rejection {
    /// What a client may know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().detail)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.0.kind)
            .field("reason", &self.0.reason)
            .field("retry_after", &self.0.retry_after)
            .finish_non_exhaustive()
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|error| error as &(dyn Error + 'static))
    }
}
