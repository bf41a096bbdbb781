//! Clients of `billing`.

use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tenant_context::BoxError;
use tonic::transport::Channel;

use crate::Addresses;

/// Over HTTP.
pub(crate) type Http = legacy::Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http() -> Http {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn grpc(billing: Addresses) -> Result<Channel, BoxError> {
    Ok(Channel::from_shared(format!("http://{}", billing.grpc))?.connect_lazy())
}

/// `POST /charges/{cents}`.
pub(crate) fn charge(
    billing: Addresses,
    headers: HeaderMap,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let uri = format!("http://{}/charges/1200", billing.http);
    let mut request = Request::post(uri).body(Full::default())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A response's content.
pub(crate) async fn json(body: hyper::body::Incoming) -> Result<Value, BoxError> {
    let bytes = body.collect().await?.to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}
