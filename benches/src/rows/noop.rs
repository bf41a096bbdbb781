//! What stands inside of the measured layers: as little as possible.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

use super::{Definition, Shared};
use crate::{
    Result,
    request::{Requests, TEMPLATE},
    row::{Calls, Row},
    token::Algorithm,
};

/// Answers 200 with two bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"ok")))))
    }
}

/// A router whose one handler answers the same.
pub(super) fn router() -> Router {
    Router::new().route(TEMPLATE, get(async || Response::new(Body::from("ok"))))
}

pub(super) fn noop(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    Ok(definition.row(Calls::new(Noop, requests)))
}

pub(super) fn in_router(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    Ok(definition.row(Calls::new(router(), requests)))
}

/// A request that comes to a machine at rest: the measuring thread has slept before each one.
pub(super) fn rested(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let requests = Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)?;
    let sleep = |_| std::thread::sleep(Duration::from_millis(5));
    let calls = Calls::new(Noop, requests).settling(sleep);
    Ok(definition.row(calls.one_by_one()))
}
