//! The layer that finds the client's address.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::{ClientAddress, PeerAddress, TrustedHops};

type Peer = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

/// Finds a request's [`ClientAddress`] behind trusted proxies, once, for all layers inside of it: audit,
/// limits, allowed networks, budgets for failures. It stands outside of all of them
/// ([`TenantStack::client_address`](crate::TenantStack::client_address)).
///
/// One insertion into the request's extensions; a found address that is there already is replaced.
///
/// Without proxies leave it out: the peer is the client.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct ClientAddressLayer {
    shared: Arc<Shared>,
}

struct Shared {
    hops: TrustedHops,
    peer: Option<Peer>,
}

impl ClientAddressLayer {
    /// A layer that believes these hops.
    pub fn new(hops: TrustedHops) -> Self {
        Self {
            shared: Arc::new(Shared { hops, peer: None }),
        }
    }

    /// Takes the peer from an extension that your server sets, instead of those that
    /// [`PeerAddress::of`] knows.
    ///
    /// ```
    /// # use tenant_context::{ClientAddressLayer, HopHeader, TrustedHops};
    /// # #[derive(Clone)] struct Connection { peer: std::net::SocketAddr }
    /// # let hops = TrustedHops::count(HopHeader::XForwardedFor, 1)?;
    /// let layer = ClientAddressLayer::new(hops)
    ///     .peer(|extensions| extensions.get::<Connection>().map(|connection| connection.peer));
    /// # Ok::<(), tenant_context::ConfigError>(())
    /// ```
    pub fn peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                hops: self.shared.hops.clone(),
                peer: Some(Arc::new(peer)),
            }),
        }
    }
}

impl fmt::Debug for ClientAddressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddressLayer")
            .field("hops", &self.shared.hops)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ClientAddressLayer {
    type Service = ClientAddressService<S>;

    fn layer(&self, inner: S) -> ClientAddressService<S> {
        ClientAddressService {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The service of [`ClientAddressLayer`].
#[derive(Clone)]
pub struct ClientAddressService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for ClientAddressService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddressService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for ClientAddressService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let peer = match &self.shared.peer {
            Some(peer) => peer(request.extensions()).map(PeerAddress::new),
            None => PeerAddress::of(request.extensions()),
        };
        let peer = peer.map(|peer| peer.ip());
        let client: ClientAddress = self.shared.hops.client(peer, request.headers());
        request.extensions_mut().insert(client);
        self.inner.call(request)
    }
}
