//! A block of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

use crate::ConfigError;

/// A block of addresses in CIDR notation (RFC 4632, RFC 4291 §2.3): `10.0.0.0/8`, `2001:db8::/32`, or one
/// address.
///
/// A v4-mapped address counts as the IPv4 address, on both sides.
///
/// ```
/// use tenant_context::Network;
///
/// let office: Network = "192.0.2.0/24".parse()?;
/// assert!(office.contains("::ffff:192.0.2.7".parse()?));
/// assert!("192.0.2.7/24".parse::<Network>().is_err());        // 192.0.2.0/24, or 192.0.2.7?
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether all of the other block is in this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl FromStr for Network {
    type Err = ConfigError;

    /// Reads `address/prefix`, or an address alone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is neither, or bits beyond the prefix are set.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // `ipnet` reads an address with leading zeros, the standard library refuses it.
        let parsed = match text.split_once('/') {
            Some((address, prefix)) => block(address, prefix),
            None => text.parse::<IpAddr>().ok().map(IpNet::from),
        };
        let network = parsed.ok_or_else(|| {
            ConfigError::new(format!(
                "{text:?} is no network; write `10.0.0.0/8`, `2001:db8::/32` or one address"
            ))
        })?;
        if network.addr() != network.network() {
            return Err(ConfigError::new(format!(
                "the network {text:?} has bits beyond its prefix; write `{}`",
                network.trunc()
            )));
        }
        Ok(Self(unmapped(network)))
    }
}

fn block(address: &str, prefix: &str) -> Option<IpNet> {
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(network: IpNet) -> IpNet {
    let v4 = match network.addr().to_canonical() {
        IpAddr::V4(address) if network.addr().is_ipv6() => network
            .prefix_len()
            .checked_sub(96)
            .and_then(|prefix| Ipv4Net::new(address, prefix).ok()),
        _ => None,
    };
    v4.map_or(network, IpNet::V4)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn mapped_addresses_and_blocks_are_ipv4() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(contains("::ffff:10.0.0.0/104", "10.0.0.1"));
        assert!(contains("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(
            !contains("::/0", "10.0.0.1"),
            "an IPv6 block has no IPv4 clients"
        );
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(!contains("10.0.0.0/8", "::10.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_sentence() {
        for (text, says) in [
            ("10.0.0.1/8", "write `10.0.0.0/8`"),
            ("10.0.0.0/33", "is no network"),
            ("010.0.0.0/8", "is no network"),
            ("10.0.0.0/", "is no network"),
            ("10.0.0.0/+8", "is no network"),
            ("", "is no network"),
            ("fe80::1%eth0", "is no network"),
            ("example.com", "is no network"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
