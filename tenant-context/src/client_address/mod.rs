//! The client's address: computed once, by hops that are trusted, and read by every layer alike.

mod forwarded;
mod hops;
mod layer;
mod network;
mod node;
mod peer;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::Extensions;

pub use self::{
    hops::{HopHeader, TrustedHops},
    layer::{ClientAddressLayer, ClientAddressService},
    network::Network,
    peer::PeerAddress,
};

/// Where a request comes from.
///
/// [`ClientAddressLayer`], outside of all other layers, finds it behind the proxies it is told to
/// trust. Without that layer the client is the connection's peer, and no header is believed.
///
/// The peer is what the server says it is: [`PeerAddress`] in the request's extensions, axum's
/// `ConnectInfo<SocketAddr>` (feature `axum`) or tonic's `TcpConnectInfo` (feature `tonic`).
///
/// Addresses are unmapped: `::ffff:192.0.2.1` is `192.0.2.1`.
///
/// ```
/// use tenant_context::{ClientAddress, PeerAddress};
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(PeerAddress::new(([192, 0, 2, 1], 4711).into()));
/// let client = ClientAddress::of(request.extensions());
/// assert_eq!(client.ip().map(|ip| ip.to_string()).as_deref(), Some("192.0.2.1"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    peer: Option<IpAddr>,
    /// The furthest address that somebody trusted vouches for.
    furthest: Option<IpAddr>,
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// `furthest` is the client.
    Client,
    /// A trusted hop does not say who was before it, or there is no peer.
    Hidden,
    /// A trusted hop passes on what is no address.
    Malformed,
}

impl ClientAddress {
    /// The address that the layer found, else the peer. No allocation.
    pub fn of(extensions: &Extensions) -> Self {
        match extensions.get::<Self>() {
            Some(found) => *found,
            None => Self::direct(PeerAddress::of(extensions).map(|peer| peer.ip())),
        }
    }

    /// The client's address, unmapped. `None` if the peer is not known, a trusted hop hides the client
    /// (`unknown`, `_obfuscated`), or what it passes on is no address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.furthest.filter(|_| self.found == Found::Client)
    }

    /// What counts as one client: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.
    /// A client whose address is not known counts as the furthest address that a trusted hop vouches for.
    pub fn key(&self) -> ClientKey {
        ClientKey(match self.furthest {
            Some(IpAddr::V4(ip)) => Key::V4(ip.to_bits()),
            Some(IpAddr::V6(ip)) => Key::V6(ip.to_bits() >> 64),
            None => Key::Unknown,
        })
    }

    /// The connection's peer, unmapped: the last hop, or the client itself.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Whether a trusted hop passed on what is no address. The identity layer refuses such a request
    /// with 400.
    pub fn is_malformed(&self) -> bool {
        self.found == Found::Malformed
    }

    /// Whether the layer found a malformed one: one look, where there is nothing else to know.
    pub(crate) fn malformed_in(extensions: &Extensions) -> bool {
        extensions.get().is_some_and(Self::is_malformed)
    }

    fn direct(peer: Option<IpAddr>) -> Self {
        let found = if peer.is_some() {
            Found::Client
        } else {
            Found::Hidden
        };
        Self {
            peer,
            furthest: peer,
            found,
        }
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.found, self.furthest) {
            (Found::Client, Some(ip)) => write!(f, "ClientAddress({ip})"),
            (found, Some(ip)) => write!(f, "ClientAddress({found:?} behind {ip})"),
            (found, None) => write!(f, "ClientAddress({found:?})"),
        }
    }
}

/// What one client is counted by: see [`ClientAddress::key`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(Key);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4(u32),
    /// The upper 64 bits.
    V6(u128),
    Unknown,
}

impl ClientKey {
    /// Whether there is no address at all behind this key: all such clients share it.
    pub fn is_unknown(&self) -> bool {
        self.0 == Key::Unknown
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::V4(bits) => write!(f, "{}", std::net::Ipv4Addr::from_bits(bits)),
            Key::V6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(bits << 64)),
            Key::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({self})")
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn key(ip: &str) -> ClientKey {
        ClientAddress::direct(ip.parse().ok()).key()
    }

    #[test]
    fn ipv6_rotation_within_a_64_is_one_client() {
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_ne!(key("0.0.0.1"), key("::1"));
        assert_eq!(key("2001:db8:1:2:3::4").to_string(), "2001:db8:1:2::/64");
        assert_eq!(key("192.0.2.1").to_string(), "192.0.2.1");
        assert!(key("").is_unknown() && !key("::").is_unknown());
    }

    #[test]
    fn without_a_layer_the_peer_is_the_client() {
        let mut extensions = Extensions::new();
        assert_eq!(ClientAddress::of(&extensions).ip(), None);
        let peer = "[::ffff:192.0.2.1]:80".parse().unwrap();
        extensions.insert(PeerAddress::new(peer));
        let client = ClientAddress::of(&extensions);
        let unmapped: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(
            (client.ip(), client.peer()),
            (Some(unmapped), Some(unmapped))
        );
        assert!(!client.is_malformed());
    }
}
