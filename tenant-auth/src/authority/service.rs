//! The service of both layers.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tenant_context::{
    Challenge, Protocol, PublicRoute, RefusalBody, Rejection, TenantContext, Trail,
};
use tower_service::Service;

use super::RequireFuture;

/// What is required, and of whom.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) needed: Needed,
    pub(super) except_public: bool,
    pub(super) challenge: Option<Arc<Challenge>>,
}

#[derive(Clone, Debug)]
pub(super) enum Needed {
    Scopes(Vec<Box<str>>),
    AnyRole(Vec<Box<str>>),
}

impl Rule {
    pub(super) fn new(needed: Needed) -> Arc<Self> {
        Arc::new(Self {
            needed,
            except_public: false,
            challenge: None,
        })
    }

    fn decide<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let extensions = request.extensions();
        let Some(tenant) = TenantContext::of(extensions) else {
            return match (extensions.get::<PublicRoute>(), self.except_public) {
                (Some(_), true) => Ok(()),
                (Some(_), false) => Err(Rejection::credential_missing()),
                (None, _) => TenantContext::required(extensions).map(|_| ()),
            };
        };
        match &self.needed {
            Needed::Scopes(scopes) => tenant.require_all(scopes.iter().map(AsRef::as_ref)),
            Needed::AnyRole(roles) => tenant.require_any_role(roles.iter().map(AsRef::as_ref)),
        }
    }
}

/// Requires scopes or a role, then calls the inner service; or refuses. See
/// [`RequireScope`](crate::RequireScope) and [`RequireRole`](crate::RequireRole).
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    rule: Arc<Rule>,
}

impl<S> Require<S> {
    pub(super) const fn new(inner: S, rule: Arc<Rule>) -> Self {
        Self { inner, rule }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Require<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<RefusalBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Err(mut rejection) = self.rule.decide(&request) else {
            return RequireFuture::calling(self.inner.call(request));
        };
        // What the inner service reserved for this request goes back: a clone has reserved nothing.
        self.inner = self.inner.clone();
        if let Some(challenge) = &self.rule.challenge {
            rejection = rejection.with_challenge(Arc::clone(challenge));
        }
        let rejection = Trail::of(request.extensions()).deny(rejection);
        RequireFuture::refused(&rejection, Protocol::of(request.headers()))
    }
}
