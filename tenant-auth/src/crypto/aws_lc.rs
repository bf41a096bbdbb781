//! AWS-LC: each key is parsed once, when it is configured. (`jsonwebtoken`'s verifiers can be shared
//! by no two threads, and parse their key anew at each use.)

use aws_lc_rs::{
    hmac,
    signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents},
};
use jsonwebtoken::crypto::CryptoProvider;

use super::KeyMaterial;
use crate::{KeyError, algorithm::Algorithm};

pub(crate) enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Verifier {
    pub(crate) fn new(algorithm: Algorithm, key: &KeyMaterial) -> Result<Self, KeyError> {
        key.check(algorithm)?;
        let parsed = match key {
            KeyMaterial::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                return Ok(Self::Secret(Box::new(key)));
            }
            KeyMaterial::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa(algorithm))
            }
            KeyMaterial::Ec(point) if algorithm == Algorithm::Es384 => {
                ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
            }
            KeyMaterial::Ec(point) => {
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
            }
            KeyMaterial::Ed25519(key) => ParsedPublicKey::new(&signature::ED25519, key),
        };
        parsed
            .map(Self::Public)
            .map_err(|_| KeyError::format(format!("these bytes are no public key for {algorithm}")))
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

const fn rsa(algorithm: Algorithm) -> &'static RsaParameters {
    match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        // `KeyMaterial::check` lets only the RSA algorithms come here.
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "one signature for all backends, and one of them has no provider"
)]
pub(crate) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    Ok(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER)
}
