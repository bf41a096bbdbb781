//! The service of the identity layer.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    Authenticate, ClientAddress, GuardedBody, Lookup, Protocol, PublicRoute, RefusalBody,
    Rejection, RequestHead, TenantContext, Trail, WatchedBody,
    context::Watch,
    future::ResponseFuture,
    layer::{Inspected, Settings, Shared},
};

/// Admits a request, then calls the inner service with the proof in its extensions. See
/// [`IdentityLayer`](crate::IdentityLayer).
pub struct IdentityService<S, A> {
    inner: S,
    shared: Arc<Shared<A>>,
}

impl<S, A> IdentityService<S, A> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<A>>) -> Self {
        Self { inner, shared }
    }
}

/// Compares the internal headers and puts the proof where handler, layers and audit find it. On a public
/// route there is nothing to watch.
pub(crate) fn admit<B>(
    request: &mut Request<B>,
    decision: Result<TenantContext, Rejection>,
    internal: &[(HeaderName, HeaderValue)],
    settings: &Settings,
) -> Result<Option<Watch>, Rejection> {
    let trail = Trail::of(request.extensions());
    let verified = match decision {
        Ok(tenant) => {
            trail.with(|facts| facts.identity = Some(Arc::clone(tenant.identity())));
            settings.compare(&tenant, internal).map(|()| Some(tenant))
        }
        Err(rejection)
            if rejection.kind() == crate::RejectionKind::CredentialMissing
                && settings.public.allows(
                    request.method(),
                    request.uri().path(),
                    request.extensions(),
                ) =>
        {
            Ok(None)
        }
        Err(rejection) => {
            tracing::debug!(reason = rejection.reason(), "the request is refused");
            trail.with(|facts| facts.identity = rejection.identity().cloned());
            Err(rejection)
        }
    };
    match verified {
        Ok(None) => {
            request.extensions_mut().insert(PublicRoute::declared());
            Ok(None)
        }
        Ok(Some(tenant)) => {
            settings.forward(request.headers_mut());
            request.extensions_mut().insert(tenant.clone());
            let watch = Watch::new(tenant, trail);
            Ok(Some(watch.until_expiry(settings.cut_at_expiry.as_ref())))
        }
        Err(rejection) => Err(rejection.with_default_challenge(&settings.challenge)),
    }
}

pub(crate) fn guard<B>(request: Request<B>, watch: Option<&mut Watch>) -> Request<GuardedBody<B>>
where
    B: Body,
{
    request.map(|body| {
        // Without content there is nothing to cut.
        let watch = watch
            .filter(|_| !body.is_end_stream())
            .and_then(Watch::of_upload);
        GuardedBody::new(body, watch)
    })
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for IdentityService<S, A>
where
    S: Service<Request<GuardedBody<ReqBody>>, Response = Response<ResBody>> + Clone,
    A: Authenticate,
    ReqBody: Body,
{
    type Response = Response<RefusalBody<WatchedBody<ResBody>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, A, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let settings = &self.shared.settings;
        let extensions = request.extensions_mut();
        extensions.remove::<TenantContext>();
        extensions.remove::<PublicRoute>();
        let Inspected { protocol, internal } = settings.inspect(request.headers_mut());
        if request.headers().len() > settings.max_headers {
            let rejection = Rejection::malformed("too_many_headers")
                .with_default_challenge(&settings.challenge);
            return self.refuse(&rejection, protocol);
        }
        if ClientAddress::malformed_in(request.extensions()) {
            let rejection = Rejection::malformed("forwarded_malformed")
                .with_default_challenge(&settings.challenge);
            return self.refuse(&rejection, Protocol::of(request.headers()));
        }
        // gRPC is POST, and tonic does not look: under another method, budgets and caches inside would take
        // the call for another.
        if protocol == Protocol::Grpc && *request.method() != Method::POST {
            let rejection =
                Rejection::malformed("grpc_method").with_default_challenge(&settings.challenge);
            return self.refuse(&rejection, protocol);
        }
        let head = RequestHead::of(&request, &internal);
        match TenantContext::admit(&self.shared.authenticate, &head) {
            Lookup::Ready(decision) => match admit(&mut request, decision, &internal, settings) {
                Ok(watch) => self.pass(request, watch, protocol),
                Err(rejection) => self.refuse(&rejection, protocol),
            },
            Lookup::Pending(deciding) => {
                let fresh = self.inner.clone();
                let ready = mem::replace(&mut self.inner, fresh);
                ResponseFuture::deciding(
                    deciding,
                    ready,
                    request,
                    internal,
                    Arc::clone(&self.shared),
                )
            }
        }
    }
}

impl<S, A> IdentityService<S, A> {
    fn pass<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        mut watch: Option<Watch>,
        protocol: Protocol,
    ) -> ResponseFuture<S, A, ReqBody>
    where
        S: Service<Request<GuardedBody<ReqBody>>, Response = Response<ResBody>>,
        ReqBody: Body,
    {
        let cut = self.shared.settings.cut_in_flight;
        let request = guard(request, watch.as_mut());
        ResponseFuture::calling(&mut self.inner, request, watch, protocol, cut)
    }

    fn refuse<ReqBody, ResBody>(
        &mut self,
        rejection: &Rejection,
        protocol: Protocol,
    ) -> ResponseFuture<S, A, ReqBody>
    where
        S: Service<Request<GuardedBody<ReqBody>>, Response = Response<ResBody>> + Clone,
    {
        // What the inner service reserved for this request goes back: a clone has reserved nothing.
        self.inner = self.inner.clone();
        ResponseFuture::refused(rejection, protocol)
    }
}

impl<S: Clone, A> Clone for IdentityService<S, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for IdentityService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
