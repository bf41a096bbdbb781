//! The signature algorithms that are accepted: an allow-list (RFC 8725 §3.1).

use std::fmt;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1), for [`Issuer::algorithms`](crate::Issuer::algorithms).
/// There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256: whoever verifies can sign.
    Hs256,
    /// RSA with PKCS #1 v1.5 padding and SHA-256.
    Rs256,
    /// RSA with PKCS #1 v1.5 padding and SHA-384.
    Rs384,
    /// RSA with PKCS #1 v1.5 padding and SHA-512.
    Rs512,
    /// RSA with PSS padding and SHA-256.
    Ps256,
    /// RSA with PSS padding and SHA-384.
    Ps384,
    /// RSA with PSS padding and SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519, under its names `EdDSA` (RFC 8037) and `Ed25519` (RFC 9864).
    EdDsa,
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Algorithms(u16);

impl Algorithms {
    pub(crate) const ALL: Self = Self(u16::MAX);

    pub(crate) fn only(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let bits = algorithms.into_iter().map(Algorithm::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    pub(crate) const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Algorithm {
    /// Case-sensitive. `Ed25519` is the fully specified name of `EdDSA` with that curve (RFC 9864).
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn bit(self) -> u16 {
        1_u16.rotate_left(self as u32)
    }

    pub(crate) const fn is_rsa(self) -> bool {
        matches!(
            self,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512
        )
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: [Algorithm; 10] = [
        Algorithm::Hs256,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    #[test]
    fn a_name_is_one_algorithm_in_one_spelling() {
        for algorithm in EACH {
            let name = algorithm.name();
            assert_eq!(Algorithm::from_name(name), Some(algorithm));
            for other in [name.to_lowercase(), format!("{name} "), format!(" {name}")] {
                assert_eq!(Algorithm::from_name(&other), None, "{other:?}");
            }
        }
        for unknown in [
            "none", "None", "", "HS384", "HS512", "ES512", "ES256K", "EDDSA", "ed25519",
        ] {
            assert_eq!(Algorithm::from_name(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        for one in EACH {
            let set = Algorithms::only([one]);
            assert!(
                EACH.iter()
                    .all(|other| set.contains(*other) == (one == *other))
            );
            assert!(Algorithms::ALL.contains(one) && !Algorithms::only([]).contains(one));
        }
        assert!(Algorithms::only([]).is_empty());
    }
}
