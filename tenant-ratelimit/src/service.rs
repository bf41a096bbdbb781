//! The service of the layer.

use std::task::{Context, Poll};

use http::{Request, Response};
use tenant_context::{Protocol, Trail};
use tower_service::Service;

use crate::{Denied, Headers, LimitedBody, Limits, ResponseFuture, future::After, layer::Shape};

/// Charges a request to its budgets, then calls the inner service; or refuses. See
/// [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limits: Limits,
    shape: Shape,
}

impl<S> RateLimit<S> {
    pub(crate) const fn new(inner: S, limits: Limits, shape: Shape) -> Self {
        Self {
            inner,
            limits,
            shape,
        }
    }

    /// Charges the request; what is to be done when it is answered, if anything.
    #[inline]
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Box<After>>, Denied> {
        let tells = self.shape.headers == Headers::Always
            && Protocol::of(request.headers()) == Protocol::Http;
        let admitted = self.limits.admit(request, self.shape.holds, tells)?;
        if admitted.told.is_none() && admitted.hold.is_none() {
            return Ok(None);
        }
        Ok(Some(Box::new(After {
            told: admitted.told,
            hold: admitted.hold,
            settle: self.shape.settle.clone(),
        })))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<LimitedBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.admit(&request) {
            Ok(after) => ResponseFuture::calling(self.inner.call(request), after),
            Err(denied) => {
                // What the inner service reserved for this request goes back: a clone has reserved nothing.
                self.inner = self.inner.clone();
                let mut rejection = denied.rejection();
                if let Some(trail) = request.extensions().get::<Trail>() {
                    rejection = trail.deny(rejection);
                }
                ResponseFuture::refused(rejection.respond_to(request))
            }
        }
    }
}
