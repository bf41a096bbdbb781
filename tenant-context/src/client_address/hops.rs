//! Which hops are believed, and the walk over what they say.

use std::{net::IpAddr, ops::ControlFlow};

use http::{HeaderMap, HeaderName, header};

use super::{ClientAddress, Found, Network, forwarded, node::Node};
use crate::ConfigError;

/// The header that *your* proxies write. The other one is not read: it is passed on as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HopHeader {
    /// `X-Forwarded-For: client, hop, hop`.
    XForwardedFor,
    /// `Forwarded: for=client, for=hop` (RFC 7239).
    Forwarded,
}

/// The proxies whose word on a client's address counts.
///
/// Each appends the address it was called from at the right, so the entries of all lines together are walked
/// from the right, and the walk ends at the first that nobody trusted has written. What stands further
/// left is the client's own text and is not looked at.
///
/// ```
/// use tenant_context::{ClientAddressLayer, HopHeader, TrustedHops};
///
/// // Proxies somewhere in these networks:
/// let hops = TrustedHops::networks(HopHeader::XForwardedFor, ["10.0.0.0/8", "fd00::/8"])?;
/// // Or exactly two of them, from wherever, and no other way to the service:
/// let hops = TrustedHops::count(HopHeader::Forwarded, 2)?;
/// let layer = ClientAddressLayer::new(hops);
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustedHops {
    header: HopHeader,
    trust: Trust,
}

#[derive(Clone, Debug)]
enum Trust {
    Networks(Box<[Network]>),
    Count(usize),
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl TrustedHops {
    /// The most hops that are walked; a request that has more from trusted hops is malformed.
    pub const MAX_HOPS: usize = 32;

    /// Trusts every hop within these networks. A request whose peer is not in them is a client's own,
    /// whatever headers it has. If all hops are within them, the client is the leftmost.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a network cannot be read, or there is none.
    pub fn networks<N: AsRef<str>>(
        header: HopHeader,
        networks: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        let networks = networks.into_iter().map(|text| text.as_ref().parse());
        let networks = networks.collect::<Result<Box<[Network]>, _>>()?;
        if networks.is_empty() {
            return Err(ConfigError::new(
                "trusted hops: no network; name those that your proxies are in, or leave the layer out, so that the peer is the client",
            ));
        }
        Ok(Self {
            header,
            trust: Trust::Networks(networks),
        })
    }

    /// Trusts so many hops, the peer included, wherever they are: 1 for one proxy in front. Nobody may
    /// reach the service past them: who does names any address as its own.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for 0 and for more than [`MAX_HOPS`](Self::MAX_HOPS).
    pub fn count(header: HopHeader, hops: usize) -> Result<Self, ConfigError> {
        if !(1..=Self::MAX_HOPS).contains(&hops) {
            return Err(ConfigError::new(format!(
                "trusted hops: a count of {hops}; name 1 to {} proxies, or leave the layer out, so that the peer is the client",
                Self::MAX_HOPS
            )));
        }
        Ok(Self {
            header,
            trust: Trust::Count(hops),
        })
    }

    /// The client of a request that came from `peer`. No allocation, except for `Forwarded` with quoted
    /// values; the bytes that are read are bounded.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.map(|peer| peer.to_canonical());
        let mut walk = Walk {
            trust: &self.trust,
            client: ClientAddress::direct(peer),
            walked: 0,
        };
        if walk.believes_peer() {
            let name = match self.header {
                HopHeader::XForwardedFor => X_FORWARDED_FOR,
                HopHeader::Forwarded => header::FORWARDED,
            };
            let mut lines = headers.get_all(name).iter().rev();
            let end = match self.header {
                HopHeader::XForwardedFor => lines
                    .flat_map(|line| x_forwarded_for(line.as_bytes()))
                    .try_for_each(|node| walk.step(node)),
                HopHeader::Forwarded => lines.try_for_each(|line| {
                    forwarded::nodes_from_right(line.as_bytes())
                        .try_for_each(|node| walk.step(node))
                }),
            };
            if end.is_continue() {
                walk.exhausted();
            }
        }
        walk.client
    }
}

/// A line's entries from right to left; empty ones count for nothing (RFC 9110 §5.6.1.2).
fn x_forwarded_for(line: &[u8]) -> impl Iterator<Item = Node> {
    line.rsplit(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .map(Node::parse)
}

struct Walk<'a> {
    trust: &'a Trust,
    /// As far as is known.
    client: ClientAddress,
    walked: usize,
}

impl Walk<'_> {
    fn believes_peer(&self) -> bool {
        match self.trust {
            Trust::Count(_) => true,
            Trust::Networks(networks) => {
                self.client.peer.is_some_and(|peer| within(networks, peer))
            }
        }
    }

    /// Takes the next entry from the right: all before it were written by trusted hops.
    fn step(&mut self, node: Node) -> ControlFlow<()> {
        self.walked = self.walked.saturating_add(1);
        if self.walked > TrustedHops::MAX_HOPS {
            return self.ends(Found::Malformed);
        }
        match (node, self.trust) {
            (Node::Garbage, _) => self.ends(Found::Malformed),
            (Node::Hidden, Trust::Count(hops)) if self.walked < *hops => ControlFlow::Continue(()),
            (Node::Hidden, _) => self.ends(Found::Hidden),
            (Node::Address(address), trust) => {
                self.client.furthest = Some(address);
                let trusted = match trust {
                    Trust::Count(hops) => self.walked < *hops,
                    Trust::Networks(networks) => within(networks, address),
                };
                if trusted {
                    ControlFlow::Continue(())
                } else {
                    self.ends(Found::Client)
                }
            }
        }
    }

    fn ends(&mut self, found: Found) -> ControlFlow<()> {
        self.client.found = found;
        ControlFlow::Break(())
    }

    /// No more entries, and the last one was trusted.
    fn exhausted(&mut self) {
        if let Trust::Count(_) = self.trust {
            // Fewer hops than there are: who called the first of them is not known.
            self.client.found = Found::Hidden;
        }
    }
}

fn within(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
