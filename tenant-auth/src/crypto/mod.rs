//! Signatures, by the backend that the features choose. What a backend is given has been checked:
//! lengths, curves and sizes are decided here, once for all of them.

#[cfg(feature = "aws_lc_rs")]
#[path = "aws_lc.rs"]
mod backend;
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
#[path = "rust_crypto.rs"]
mod backend;
#[cfg(not(any(feature = "aws_lc_rs", feature = "rust_crypto")))]
#[path = "none.rs"]
mod backend;

use sha2::{Digest, Sha256};

pub(crate) use self::backend::{Signer, Verifier, provider};
use crate::{KeyError, KeyErrorKind, algorithm::Algorithm};

/// The fewest bits of an RSA modulus (RFC 7518 §3.3).
pub(crate) const MIN_RSA_BITS: usize = 2048;
/// The most bits of an RSA modulus: verifying gets slower with the square.
pub(crate) const MAX_RSA_BITS: usize = 8192;
/// The fewest bytes of an HMAC secret: the hash's length (RFC 7518 §3.2).
pub(crate) const MIN_SECRET_LEN: usize = 32;
/// The longest signature: RSA of [`MAX_RSA_BITS`].
pub(crate) const MAX_SIGNATURE_LEN: usize = MAX_RSA_BITS / 8;

/// A public key, or for HMAC the secret, in the form in which all backends take it.
pub(crate) enum KeyMaterial {
    /// Big-endian, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point: 0x04, x, y.
    Ec(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

impl KeyMaterial {
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Self {
        let stripped = |bytes: &[u8]| {
            bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect()
        };
        Self::Rsa {
            n: stripped(n),
            e: stripped(e),
        }
    }

    /// A digest of the key, each part with its length. What is secret about a key is long and random, so
    /// its digest tells nothing; all the same it is not shown.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let parts: [&[u8]; 3] = match self {
            Self::Rsa { n, e } => [b"rsa", n, e],
            Self::Ec(point) => [b"ec", point, b""],
            Self::Ed25519(key) => [b"ed25519", key, b""],
            Self::Secret(secret) => [b"secret", secret, b""],
        };
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// Whether this is a key that `algorithm` may be used with.
    pub(crate) fn check(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        match (self, algorithm) {
            (Self::Rsa { n, e }, algorithm) if algorithm.is_rsa() => check_rsa(n, e),
            (Self::Ec(point), Algorithm::Es256) => check_point(point, 65, "P-256"),
            (Self::Ec(point), Algorithm::Es384) => check_point(point, 97, "P-384"),
            (Self::Ed25519(key), Algorithm::EdDsa) if key.len() == 32 => Ok(()),
            (Self::Ed25519(key), Algorithm::EdDsa) => Err(KeyError::format(format!(
                "an Ed25519 public key has 32 bytes, not {}",
                key.len()
            ))),
            (Self::Secret(secret), Algorithm::Hs256) if secret.len() >= MIN_SECRET_LEN => Ok(()),
            (Self::Secret(secret), Algorithm::Hs256) => Err(KeyError::new(
                KeyErrorKind::Weak,
                format!(
                    "the HS256 secret has {} bytes; use at least {MIN_SECRET_LEN} random bytes (RFC 7518 §3.2)",
                    secret.len()
                ),
            )),
            (_, algorithm) => Err(KeyError::unsupported(format!(
                "this type of key is not used with {algorithm}"
            ))),
        }
    }
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), KeyError> {
    let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = n.len().saturating_mul(8).saturating_sub(leading);
    if bits < MIN_RSA_BITS {
        return Err(KeyError::new(
            KeyErrorKind::Weak,
            format!("the RSA key has {bits} bits; use at least {MIN_RSA_BITS} (RFC 7518 §3.3)"),
        ));
    }
    if bits > MAX_RSA_BITS {
        return Err(KeyError::unsupported(format!(
            "the RSA key has {bits} bits; at most {MAX_RSA_BITS} are accepted"
        )));
    }
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(n) || !odd(e) || e == [1] || e.len() > 4 {
        return Err(KeyError::format("these are no RSA modulus and exponent"));
    }
    Ok(())
}

fn check_point(point: &[u8], length: usize, curve: &str) -> Result<(), KeyError> {
    if point.len() == length && point.first() == Some(&4) {
        Ok(())
    } else {
        Err(KeyError::format(format!(
            "this is no uncompressed point of {curve}"
        )))
    }
}

pub(crate) fn does_not_sign() -> KeyError {
    KeyError::new(KeyErrorKind::Signing, "the key does not sign")
}
