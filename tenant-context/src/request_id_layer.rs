//! The layer that gives every request its id.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{RequestId, request_id::X_REQUEST_ID};

/// Validates the client's `x-request-id` or makes one, hands it to handlers and audit in the request's
/// header and extensions, and echoes it on the response.
///
/// Costs a header on each response; without it the audit still numbers its records.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequestIdLayer;

impl RequestIdLayer {
    /// The layer.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> RequestIdService<S> {
        RequestIdService { inner }
    }
}

/// The service of [`RequestIdLayer`].
#[derive(Clone, Debug)]
pub struct RequestIdService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for RequestIdService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RequestIdFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = RequestId::of(request.headers());
        // One valid value, whatever the client sent.
        match id.header_value() {
            Some(value) => request.headers_mut().insert(X_REQUEST_ID, value),
            None => request.headers_mut().remove(X_REQUEST_ID),
        };
        request.extensions_mut().insert(id.clone());
        RequestIdFuture {
            inner: self.inner.call(request),
            id,
        }
    }
}

/// The response future of [`RequestIdService`].
#[pin_project]
#[derive(Debug)]
pub struct RequestIdFuture<F> {
    #[pin]
    inner: F,
    id: RequestId,
}

impl<F, R, E> Future for RequestIdFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(value) = this.id.header_value() {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        Poll::Ready(Ok(response))
    }
}
