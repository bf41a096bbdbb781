//! The published keys, served.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::TokenIssuer;

/// Answers with an issuer's key set: `application/jwk-set+json` (RFC 7517 §8.5), to be cached as long as a new
/// key is published ahead. Made by [`TokenIssuer::jwks_service`].
#[derive(Clone, Debug)]
pub struct JwksService(TokenIssuer);

impl JwksService {
    pub(super) const fn new(issuer: TokenIssuer) -> Self {
        Self(issuer)
    }

    fn answer(&self, method: &Method) -> Response<String> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        let mut response = Response::new(self.0.jwks());
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/jwk-set+json"),
        );
        let age = self.0.max_age().as_secs();
        if let Ok(value) = HeaderValue::try_from(format!("public, max-age={age}")) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        response
    }
}

impl<B> Service<Request<B>> for JwksService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}
