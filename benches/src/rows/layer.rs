//! Each layer alone over a service that does nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{TryFutureExt as _, future::MapOk};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, RETRY_AFTER},
};
use http_body_util::Full;
use parking_lot::Mutex;
use tenant_context::TenantContext;
use tenant_ratelimit::{Headers, Quota};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Definition, Shared,
    noop::Noop,
    stack::{self, ENOUGH},
};
use crate::{
    Result,
    drive::{self, Tally},
    request::{RequestBody, Requests},
    row::{Calls, Row},
    token::Algorithm,
};

const HOUR: Duration = Duration::from_secs(3600);

fn requests(shared: &Shared) -> Result<Requests> {
    Requests::bearing(&shared.tokens.token(Algorithm::EdDsa)?)
}

/// Keeps the context that the identity layer put into a request.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Option<TenantContext>>>);

impl<B> Service<Request<B>> for Keep {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        *self.0.lock() = TenantContext::of(request.extensions()).cloned();
        ready(Ok(Response::default()))
    }
}

/// A context, by the one door there is.
pub(super) fn context(shared: &Shared) -> Result<TenantContext> {
    let kept = Keep::default();
    let mut door = stack::identity(shared, Algorithm::EdDsa, 1)?.layer(kept.clone());
    drive::answer(&mut door, requests(shared)?.make(), &mut Tally::default());
    let context = kept.0.lock().take();
    Ok(context.ok_or("the identity layer did not admit the token")?)
}

/// A service whose requests carry a context already.
pub(super) fn inside<S, R>(
    definition: &'static Definition,
    shared: &Shared,
    service: S,
) -> Result<Row>
where
    S: Service<Request<RequestBody>, Response = Response<R>> + 'static,
    R: http_body::Body + 'static,
{
    let context = context(shared)?;
    let dress = move |request: &mut Request<RequestBody>| {
        request.extensions_mut().insert(context.clone());
    };
    Ok(definition.row(Calls::dressed(service, requests(shared)?, dress)))
}

pub(super) fn noop(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    inside(definition, shared, Noop)
}

pub(super) fn identity(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let service = stack::identity(shared, Algorithm::EdDsa, 100_000)?.layer(Noop);
    Ok(definition.row(Calls::new(service, requests(shared)?)))
}

pub(super) fn limits(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    inside(definition, shared, stack::limits()?.layer(Noop))
}

pub(super) fn limits_headers(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let limits = stack::limits_with(ENOUGH, |builder| builder.headers(Headers::Always))?;
    inside(definition, shared, limits.layer(Noop))
}

/// Answers two bytes under such a head.
#[derive(Clone, Copy, Debug)]
struct Telling(fn(&mut HeaderMap));

impl<B> Service<Request<B>> for Telling {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(request);
        let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
        (self.0)(response.headers_mut());
        ready(Ok(response))
    }
}

/// What a refusal's head has beside the limiter's own two headers.
fn as_refused(headers: &mut HeaderMap) {
    // As a rejection writes it: one allocation.
    if let Ok(wait) = HeaderValue::try_from(black_box(HOUR).as_secs().to_string()) {
        headers.insert(RETRY_AFTER, wait);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// It may be kept for an hour.
fn as_fresh(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
}

pub(super) fn limits_four_headers(
    definition: &'static Definition,
    shared: &Arc<Shared>,
) -> Result<Row> {
    let limits = stack::limits_with(ENOUGH, |builder| builder.headers(Headers::Always))?;
    inside(definition, shared, limits.layer(Telling(as_refused)))
}

/// A layer that refuses, of which every refusal counts as done, and nothing else.
#[derive(Clone, Debug)]
struct Refusing<S>(S);

impl<S, B, R> Service<Request<B>> for Refusing<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<R>) -> Response<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request).map_ok(|mut response| {
            let refused = response.status() == StatusCode::TOO_MANY_REQUESTS
                && response.headers().contains_key(RETRY_AFTER);
            *response.status_mut() = if refused {
                StatusCode::OK
            } else {
                StatusCode::EXPECTATION_FAILED
            };
            response
        })
    }
}

pub(super) fn limits_refused(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let limits = stack::limits_with(Quota::per(1, HOUR), |builder| builder)?;
    limits.limits().check(&context(shared)?, None, 1)?;
    inside(definition, shared, Refusing(limits.layer(Noop)))
}

pub(super) fn cache(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    inside(definition, shared, stack::cache()?.layer(Noop))
}

pub(super) fn cache_hit(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    inside(definition, shared, stack::cache()?.layer(Telling(as_fresh)))
}

pub(super) fn audit(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let (audit, settle) = stack::audit(shared)?;
    let calls = Calls::new(audit.layer(Noop), requests(shared)?);
    Ok(definition.row(calls.settling(settle)))
}

pub(super) fn audit_wakes(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let (audit, settle) = stack::audit(shared)?;
    let calls = Calls::new(audit.layer(Noop), requests(shared)?);
    Ok(definition.row(calls.settling(settle).one_by_one()))
}

#[cfg(test)]
mod tests {
    use tenant_ratelimit::RateLimitLayerBuilder;

    use super::*;
    use crate::{request::TEMPLATE, row::Work};

    #[test]
    fn the_request_falls_under_each_of_the_four_budgets() {
        const ONE: Quota = Quota::per_minute(1);
        let budgets: [fn(RateLimitLayerBuilder) -> RateLimitLayerBuilder; 4] = [
            |limits| limits.global(ONE),
            |limits| limits.tenant(ONE),
            |limits| limits.agent(ONE),
            |limits| limits.endpoint(format!("GET {TEMPLATE}"), ONE),
        ];
        let shared = Shared::new();
        let context = context(&shared).unwrap();
        for budget in budgets {
            let service = budget(tenant_ratelimit::layer())
                .build()
                .unwrap()
                .layer(Noop);
            let context = context.clone();
            let mut calls = Calls::dressed(service, requests(&shared).unwrap(), move |request| {
                request.extensions_mut().insert(context.clone());
            });
            calls.prepare(2);
            calls.run();
            assert_eq!(calls.tally().refused, 1);
            assert_eq!(calls.tally().status, Some(StatusCode::TOO_MANY_REQUESTS));
        }
    }
}
