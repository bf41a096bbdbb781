//! The connection's peer, as the server says it.

use std::net::{IpAddr, SocketAddr};

use http::Extensions;

/// The address at the other end of the connection, for servers that no feature of this crate knows: put
/// it into the extensions of every request of that connection.
///
/// ```
/// # fn accepted(mut request: http::Request<()>, peer: std::net::SocketAddr) {
/// request.extensions_mut().insert(tenant_context::PeerAddress::new(peer));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(SocketAddr);

impl PeerAddress {
    /// The peer of a connection.
    pub const fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The peer of a request's connection, if the server says it.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions
            .get()
            .copied()
            .or_else(|| axum(extensions))
            .or_else(|| tonic(extensions))
    }

    /// The address, unmapped: `::ffff:192.0.2.1` is `192.0.2.1`.
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.0.port()
    }
}

#[cfg(feature = "axum")]
fn axum(extensions: &Extensions) -> Option<PeerAddress> {
    let info: &axum::extract::ConnectInfo<SocketAddr> = extensions.get()?;
    Some(PeerAddress(info.0))
}

#[cfg(not(feature = "axum"))]
const fn axum(_: &Extensions) -> Option<PeerAddress> {
    None
}

#[cfg(feature = "tonic")]
fn tonic(extensions: &Extensions) -> Option<PeerAddress> {
    let info: &tonic::transport::server::TcpConnectInfo = extensions.get()?;
    info.remote_addr().map(PeerAddress)
}

#[cfg(not(feature = "tonic"))]
const fn tonic(_: &Extensions) -> Option<PeerAddress> {
    None
}
