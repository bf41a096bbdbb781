//! A key's holder rotates it.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::json;
use tenant_context::{Protocol, Rejection, TenantContext, Trail};
use tower_service::Service;

use super::{ApiKeyError, ApiKeys, RotatedApiKey, lifecycle::is_conflict};

/// Lets a key's holder rotate it: `POST` without content, with the key as the credential. Made by
/// [`ApiKeys::rotation_service`]; it stands behind the identity layer.
///
/// The answer, never to be cached, is the only one with the new key:
///
/// ```json
/// {"key": "sk_live_…", "key_id": "key_…", "old_valid_until": 1800000000}
/// ```
///
/// 403 for whoever did not present the key itself, as its own (a token, an agent on its behalf); 409 if it was rotated
/// already. The successor has the key's authority and its end: nobody prolongs a key by rotating it.
#[derive(Clone, Debug)]
pub struct RotateApiKeyService(ApiKeys);

impl ApiKeys {
    /// The handler with which a key's holder rotates it, with 7 days of grace.
    ///
    /// ```
    /// # fn app(keys: tenant_auth::ApiKeys) -> axum::Router {
    /// axum::Router::new().route_service("/api-key/rotate", keys.rotation_service())
    /// # }
    /// ```
    pub fn rotation_service(&self) -> RotateApiKeyService {
        RotateApiKeyService(self.clone())
    }

    async fn rotate_own(
        &self,
        tenant: Result<TenantContext, Rejection>,
        trail: Trail,
    ) -> Result<RotatedApiKey, ApiKeyError> {
        let refused = ApiKeyError::Refused;
        let tenant = tenant.map_err(refused)?;
        tenant.check().map_err(refused)?;
        // What an issuer speaks for is a token, also one that a key was presented beside.
        let own = tenant.issuer().is_none() && tenant.actors().is_empty();
        let id = tenant.credential().filter(|_| own);
        let Some(id) = id.cloned() else {
            let rejection = Rejection::insufficient_scope(None::<&str>);
            return Err(refused(
                tenant.deny(rejection.with_reason("api_key_rotation")),
            ));
        };
        trail.action("api_key.rotate").resource("api_key", &id);
        self.rotate(tenant.tenant_id(), &id).await
    }
}

fn answer(rotated: &RotatedApiKey) -> Response<String> {
    let body = json!({
        "key": rotated.secret.expose(),
        "key_id": rotated.key_id.as_str(),
        "old_valid_until": rotated.old_valid_until.as_secs(),
    });
    let mut response = Response::new(body.to_string());
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}

fn plain(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

impl<B> Service<Request<B>> for RotateApiKeyService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if *request.method() != Method::POST {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, allow);
            return std::future::ready(Ok(response)).boxed();
        }
        let protocol = Protocol::of(request.headers());
        let trail = Trail::of(request.extensions());
        let tenant = TenantContext::required(request.extensions()).cloned();
        let keys = self.0.clone();
        async move {
            Ok(match keys.rotate_own(tenant, trail).await {
                Ok(rotated) => answer(&rotated),
                Err(error) if is_conflict(&error) => plain(StatusCode::CONFLICT),
                Err(error) => Rejection::from(error)
                    .to_response(protocol)
                    .map(|()| String::new()),
            })
        }
        .boxed()
    }
}
