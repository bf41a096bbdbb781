//! The service of the audit layer.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use tenant_context::{Protocol, Rejection, TenantContext, Trail};
use tower_service::Service;

use crate::{
    AuditBody, ResponseFuture,
    open::Open,
    queue::{Door, Entrance, Unplaced},
};

/// Reserves a place for the record, then calls the inner service. See
/// [`AuditLayer`](crate::AuditLayer).
pub struct AuditService<S> {
    inner: S,
    door: Arc<Door>,
}

impl<S> AuditService<S> {
    pub(crate) const fn new(inner: S, door: Arc<Door>) -> Self {
        Self { inner, door }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AuditService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<AuditBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if is_misplaced(request.extensions()) {
            self.inner = self.inner.clone();
            let rejection = Rejection::context_missing();
            return ResponseFuture::misplaced(&rejection, Protocol::of(request.headers()));
        }
        let arrival = self.door.clock.monotonic();
        match self.door.enter() {
            Entrance::Open(place) => {
                let open = Open::begin(place, &mut request, arrival);
                ResponseFuture::calling(&mut self.inner, request, open)
            }
            Entrance::Wait(waiting) => {
                let unplaced = Unplaced::new(&self.door);
                let fresh = self.inner.clone();
                let ready = mem::replace(&mut self.inner, fresh);
                ResponseFuture::waiting(waiting, unplaced, ready, request, arrival)
            }
            Entrance::Closed(error) => {
                self.door.queue.count_refused(&error);
                // What the inner service reserved for this request goes back: a clone has reserved
                // nothing.
                self.inner = self.inner.clone();
                ResponseFuture::refused(error, Protocol::of(request.headers()))
            }
        }
    }
}

/// Whether another audit layer, or the identity layer, stands outside of this one: then requests would be
/// recorded twice, or refusals not at all.
fn is_misplaced(extensions: &Extensions) -> bool {
    if extensions.is_empty() {
        return false;
    }
    let nested = extensions.get::<Trail>().is_some_and(Trail::is_open);
    let misplaced = nested || TenantContext::of(extensions).is_some();
    if misplaced {
        tracing::error!(
            nested,
            "the audit layer stands inside of another one, or of identity: it has to be the outermost, and once; use `TenantStack`"
        );
    }
    misplaced
}

impl<S: Clone> Clone for AuditService<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            door: Arc::clone(&self.door),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for AuditService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
