//! The service of the layer.

use std::task::{Context, Poll};

use http::{Request, Response};
use tenant_context::{Protocol, RefusalBody, Trail};
use tower_service::Service;

use crate::{Denied, Headers, Limits, ResponseFuture, headers::Told};

/// Charges a request to its budgets, then calls the inner service; or refuses. See
/// [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limits: Limits,
    headers: Headers,
}

impl<S> RateLimit<S> {
    pub(crate) const fn new(inner: S, limits: Limits, headers: Headers) -> Self {
        Self {
            inner,
            limits,
            headers,
        }
    }

    /// Charges the request; what to write on its response, if anything.
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Told>, Denied> {
        match self.headers {
            Headers::Always if Protocol::of(request.headers()) == Protocol::Http => self
                .limits
                .admit(request, |bound| bound.and_then(Told::new)),
            Headers::OnRefusal | Headers::Always => self.limits.admit(request, |_| None),
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<RefusalBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.admit(&request) {
            Ok(told) => ResponseFuture::calling(self.inner.call(request), told),
            Err(denied) => {
                // What the inner service reserved for this request goes back: a clone has reserved nothing.
                self.inner = self.inner.clone();
                let rejection = Trail::of(request.extensions()).deny(denied.rejection());
                ResponseFuture::refused(&rejection, Protocol::of(request.headers()))
            }
        }
    }
}
