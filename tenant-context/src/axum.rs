//! Extractors and responses for axum (feature `axum`).

use std::convert::Infallible;

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{Protocol, PublicRoute, Rejection, TenantContext, TenantId, Trail};

/// The verified context. Without an identity layer around the handler the answer is 500, and the log
/// says what to add.
///
/// ```
/// use axum::{Router, routing::get};
/// use tenant_context::TenantContext;
///
/// async fn whoami(tenant: TenantContext) -> String {
///     tenant.tenant_id().to_string()
/// }
///
/// let app: Router = Router::new().route("/whoami", get(whoami));
/// ```
impl<S: Send + Sync> FromRequestParts<S> for TenantContext {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Self::required(&parts.extensions).cloned()
    }
}

/// The context, or `None` for a request without a credential that the identity layer let pass because its route is
/// declared public. Without an identity layer the answer is 500: nobody is taken for anonymous by mistake.
impl<S: Send + Sync> OptionalFromRequestParts<S> for TenantContext {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        match Self::of(&parts.extensions) {
            Some(tenant) => Ok(Some(tenant.clone())),
            None if PublicRoute::of(&parts.extensions) => Ok(None),
            None => Self::required(&parts.extensions).cloned().map(Some),
        }
    }
}

/// The request's trail; a detached one without an audit layer.
impl<S: Send + Sync> FromRequestParts<S> for Trail {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// No state has this: an id is taken from no request, or a handler would work without the proof.
#[diagnostic::on_unimplemented(
    message = "a handler takes `TenantContext`, the proof, not a bare `TenantId`",
    label = "an id grants nothing and is taken from no request",
    note = "write `tenant: TenantContext`; `tenant.tenant_id()` is its id"
)]
#[allow(
    unnameable_types,
    reason = "nobody implements it: it only carries the message"
)]
pub trait TakesBareIds {}

/// Never applies: it is here for the compiler's message, which says to take [`TenantContext`].
impl<S: TakesBareIds + Send + Sync> FromRequestParts<S> for TenantId {
    type Rejection = Rejection;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Err(Rejection::context_missing())
    }
}

/// Status and headers; [`RenderLayer`](crate::RenderLayer) adds the body.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.to_response(Protocol::Http).map(|()| Body::empty())
    }
}
