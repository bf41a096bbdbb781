//! The layer, its service and its future.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use parking_lot::Mutex;
use pin_project::pin_project;
use tenant_context::{
    ConfigError, InstanceId, Rejection, RequestId, TRACEPARENT, TenantContext, TraceParent, Trail,
    UnixTime, X_REQUEST_ID,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{ServiceTokens, token};
use crate::token_issuer::{NO_SCOPE, is_scope};

/// What is taken off every request: credentials, and the tenant in the words of the network.
const NEVER_PASSED_ON: [HeaderName; 17] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("txn-token"),
    HeaderName::from_static("dpop"),
    HeaderName::from_static("x-tenant-id"),
    HeaderName::from_static("x-tenant"),
    HeaderName::from_static("x-organization-id"),
    HeaderName::from_static("x-org-id"),
    HeaderName::from_static("organization-id"),
    HeaderName::from_static("x-forwarded-access-token"),
    HeaderName::from_static("x-forwarded-authorization"),
    HeaderName::from_static("x-auth-request-access-token"),
    HeaderName::from_static("cf-access-jwt-assertion"),
    HeaderName::from_static("x-goog-iap-jwt-assertion"),
    HeaderName::from_static("x-user-id"),
];

/// A token is not used within this time of its end: it has to arrive.
const MARGIN: Duration = Duration::from_secs(30);

/// Gives calls to one service their token. See the [module's documentation](super).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct PropagateLayer {
    tokens: ServiceTokens,
    audience: Arc<str>,
    scopes: Arc<[String]>,
    never: Arc<[HeaderName]>,
    instance: InstanceId,
}

impl PropagateLayer {
    /// For calls to this audience, without a scope until [`scopes`](Self::scopes).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the audience is empty.
    pub fn new(tokens: ServiceTokens, audience: &str) -> Result<Self, ConfigError> {
        if audience.is_empty() {
            return Err(ConfigError::new(
                "PropagateLayer: the audience is empty; name the service that is called, as its issuer configuration does",
            ));
        }
        Ok(Self {
            tokens,
            audience: audience.into(),
            scopes: Arc::default(),
            never: Arc::new(NEVER_PASSED_ON),
            instance: InstanceId::new(),
        })
    }

    /// What the token allows: what the operation at hand needs. A call whose context does not allow all of
    /// it is refused.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a text is no scope, such as two in one text.
    pub fn scopes<T: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(ConfigError::new(format!(
                "PropagateLayer: {scope:?} is no scope: {NO_SCOPE}; name each by itself"
            )));
        }
        self.instance = InstanceId::new();
        Ok(self)
    }

    /// Also takes this header off whatever the caller sends: one that names a tenant or a user inside your network, or carries a
    /// credential, under a name of your own. Name those of
    /// [`internal_header`](tenant_context::IdentityLayerBuilder::internal_header).
    pub fn never_send(mut self, name: HeaderName) -> Self {
        self.never = self.never.iter().cloned().chain([name]).collect();
        self
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Propagate<S> {
        Propagate {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`PropagateLayer`].
#[derive(Clone, Debug)]
pub struct Propagate<S> {
    inner: S,
    layer: PropagateLayer,
}

/// The last token of one identity for one layer: kept with the identity, so that no other finds it, and
/// gone with it.
struct Kept(Mutex<(HeaderValue, UnixTime)>);

impl PropagateLayer {
    fn dress(
        &self,
        headers: &mut HeaderMap,
        extensions: &http::Extensions,
    ) -> Result<(), Rejection> {
        let context = match TenantContext::of(extensions) {
            Some(tenant) => tenant.clone(),
            None => TenantContext::current()?,
        };
        context.check()?;
        for name in self.never.iter() {
            headers.remove(name);
        }
        headers.insert(header::AUTHORIZATION, self.token(&context)?);
        let (id, inbound) = Trail::current()
            .with(|facts| (facts.request_id.clone(), facts.trace().copied()))
            .unwrap_or_default();
        trace(headers, inbound)?;
        let id = id.unwrap_or_else(|| RequestId::of(headers));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(X_REQUEST_ID, id);
        }
        Ok(())
    }

    fn token(&self, tenant: &TenantContext) -> Result<HeaderValue, Rejection> {
        let now = self.tokens.now();
        let good = |end: UnixTime| now.saturating_add(MARGIN) < end;
        let kept = tenant.attachments().get::<Kept>(self.instance, 0);
        if let Some(kept) = kept {
            token::require(tenant, &self.scopes)?;
            let kept = kept.0.lock();
            if good(kept.1) {
                return Ok(kept.0.clone());
            }
        }
        let minted = self.tokens.mint(tenant, &self.audience, &self.scopes)?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", minted.token))
            .map_err(|error| Rejection::store_unavailable().with_source(error))?;
        value.set_sensitive(true);
        if let Some(kept) = kept {
            *kept.0.lock() = (value.clone(), minted.expires_at);
        } else {
            let kept = Kept(Mutex::new((value.clone(), minted.expires_at)));
            tenant
                .attachments()
                .attach(self.instance, 0, Arc::new(kept));
        }
        Ok(value)
    }
}

/// Keeps a `traceparent` that the caller has set; else the inbound request's trace goes on with a span of this call's
/// own, or one begins (W3C Trace Context §3.2).
fn trace(headers: &mut HeaderMap, inbound: Option<TraceParent>) -> Result<(), Rejection> {
    if TraceParent::of(headers).is_some() {
        return Ok(());
    }
    let mut span = [0; 8];
    getrandom::fill(&mut span).map_err(|_| Rejection::store_unavailable())?;
    let parent = if let Some(inbound) = inbound {
        inbound.child(span)
    } else {
        let mut trace = [0; 16];
        getrandom::fill(&mut trace).map_err(|_| Rejection::store_unavailable())?;
        TraceParent::begin(trace, span)
    };
    headers.remove(TRACEPARENT);
    if let Ok(value) = HeaderValue::try_from(parent.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
    Ok(())
}

impl<S, B> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = PropagateError<S::Error>;
    type Future = PropagateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(PropagateError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.layer.dress(&mut head.headers, &head.extensions) {
            Ok(()) => {
                // The proof stays in this process.
                head.extensions.remove::<TenantContext>();
                PropagateFuture(State::Calling(
                    self.inner.call(Request::from_parts(head, body)),
                ))
            }
            Err(rejection) => {
                // What the inner service reserved goes back: a clone has reserved nothing.
                self.inner = self.inner.clone();
                PropagateFuture(State::Refused(Some(rejection)))
            }
        }
    }
}

/// The response future of [`Propagate`].
#[pin_project]
#[derive(Debug)]
pub struct PropagateFuture<F>(#[pin] State<F>);

#[pin_project(project = Projected)]
#[derive(Debug)]
enum State<F> {
    Calling(#[pin] F),
    Refused(Option<Rejection>),
}

impl<F, R, E> Future for PropagateFuture<F>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, PropagateError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            Projected::Calling(call) => call.poll(cx).map_err(PropagateError::Inner),
            Projected::Refused(rejection) => {
                let rejection = rejection.take().unwrap_or_else(Rejection::context_missing);
                Poll::Ready(Err(PropagateError::Refused(rejection)))
            }
        }
    }
}

/// Why a call was not made, or failed.
///
/// A generated gRPC client returns a `tonic::Status` in its place, with this error as its [`source`](Error::source). Its
/// code is `Unknown`, whatever was refused. The rejection is found so, and a gRPC handler answers with
/// `Status::from(rejection.clone())`:
///
/// ```
/// use std::error::Error;
/// use tenant_auth::Rejection;
///
/// /// `failed`: the status. `None`: the call was made, and failed.
/// fn refused<'a>(failed: &'a (dyn Error + 'static)) -> Option<&'a Rejection> {
///     std::iter::successors(Some(failed), |&error| error.source()).find_map(|error| error.downcast_ref())
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PropagateError<E> {
    /// Nothing was sent: no context, an ended one, or one that does not allow what was asked for. An HTTP
    /// handler answers with it; over gRPC it arrives within a status, as said [above](PropagateError).
    Refused(Rejection),
    /// The client's own error.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for PropagateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(rejection) => write!(f, "nothing was sent: {rejection}"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for PropagateError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Inner(error) => Some(error),
        }
    }
}
