//! A gateway that is trusted, and requests from it and from others.

use http::{HeaderName, HeaderValue, Request};
use tenant_auth::Ingress;
use tenant_context::PeerAddress;

use crate::edge::GATEWAY;

pub const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
pub const SPIFFE: &str = "spiffe://mesh.example/ns/edge/sa/gateway";

pub fn gateway() -> Ingress {
    Ingress::header(TENANT)
        .from_networks([GATEWAY])
        .from_peer(SPIFFE)
}

pub fn from(peer: &str) -> Request<()> {
    let mut request = Request::new(());
    let peer = PeerAddress::new(format!("{peer}:4711").parse().unwrap());
    request.extensions_mut().insert(peer);
    request
}

pub fn header(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    request.headers_mut().append(name, value);
    request
}
