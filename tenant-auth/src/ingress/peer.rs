//! Who the peer of a connection is, by its verified certificate.

use tenant_context::ConfigError;

/// The identity of a connection's peer, which the *server* read from a client certificate that it
/// verified, and put into the extensions of each of that connection's requests.
///
/// A SPIFFE id (`spiffe://mesh.example/ns/edge/sa/gateway`, the one URI among the certificate's subject
/// alternative names), or another name. Ids are compared byte for byte.
///
/// ```
/// use tenant_auth::PeerIdentity;
///
/// # fn accepted(mut request: http::Request<()>) -> Result<(), tenant_auth::ConfigError> {
/// request.extensions_mut().insert(PeerIdentity::parse("spiffe://mesh.example/ns/edge/sa/gateway")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity(Box<str>);

impl PeerIdentity {
    /// The most bytes of an identity (SPIFFE-ID §2.3).
    pub const MAX_LEN: usize = 2048;

    /// Reads an identity: a SPIFFE id if it begins with `spiffe:`, else a name.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is empty, longer than [`MAX_LEN`](Self::MAX_LEN), not visible ASCII, or a
    /// SPIFFE id that the standard does not allow.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if !(1..=Self::MAX_LEN).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(ConfigError::new(
                "a peer's identity has 1 to 2048 bytes of visible ASCII",
            ));
        }
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let claims_spiffe = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe"));
        if claims_spiffe && !is_spiffe(text) {
            return Err(ConfigError::new(format!(
                "{text:?} is no SPIFFE id; write `spiffe://TRUST-DOMAIN/PATH`, the trust domain in lower case, \
                 without port, user, query and empty or dotted segments"
            )));
        }
        Ok(Self(text.into()))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain, if this is a SPIFFE id.
    pub fn trust_domain(&self) -> Option<&str> {
        let rest = self.0.strip_prefix("spiffe://")?;
        rest.split('/').next()
    }
}

/// SPIFFE-ID §2: `spiffe://` trust domain, path.
fn is_spiffe(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let (domain, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let in_domain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let in_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && (path.is_empty() || path.split('/').skip(1).all(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_are_those_of_the_standard() {
        for text in [
            "spiffe://mesh.example/ns/edge/sa/gateway",
            "spiffe://mesh_1-a.example",
            "spiffe://mesh/A.b_c-9",
        ] {
            assert!(PeerIdentity::parse(text).is_ok(), "{text}");
        }
        for text in [
            "spiffe:",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://mesh/a",
            "spiffe://Mesh/a",
            "spiffe://mesh:80/a",
            "spiffe://u@mesh/a",
            "spiffe://mesh/",
            "spiffe://mesh/a/",
            "spiffe://mesh//a",
            "spiffe://mesh/a/../b",
            "spiffe://mesh/./a",
            "spiffe://mesh/a?b",
            "spiffe://mesh/a#b",
            "spiffe://mesh/%61",
            "spiffe://mesh/a b",
            "spiffe:mesh/a",
            "",
            "gate way",
            "gätway",
        ] {
            assert!(PeerIdentity::parse(text).is_err(), "{text}");
        }
        assert!(PeerIdentity::parse(&"a".repeat(2049)).is_err());
        let id = PeerIdentity::parse("spiffe://mesh.example/ns/edge").unwrap();
        assert_eq!(id.trust_domain(), Some("mesh.example"));
        let name = PeerIdentity::parse("gateway.internal").unwrap();
        assert_eq!(
            (name.trust_domain(), name.as_str()),
            (None, "gateway.internal")
        );
    }
}
