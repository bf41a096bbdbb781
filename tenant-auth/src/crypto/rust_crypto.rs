//! `RustCrypto`, through `jsonwebtoken`. Its verifiers can be shared by no two threads, so one is made
//! for each signature, which costs little beside the signature itself.

use jsonwebtoken::{
    Algorithm as Jose, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, rust_crypto::DEFAULT_PROVIDER},
};

use super::{KeyMaterial, does_not_sign};
use crate::{KeyError, algorithm::Algorithm};

pub(crate) struct Verifier {
    algorithm: Jose,
    key: DecodingKey,
}

impl Verifier {
    pub(crate) fn new(algorithm: Algorithm, key: &KeyMaterial) -> Result<Self, KeyError> {
        key.check(algorithm)?;
        let key = match key {
            KeyMaterial::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            KeyMaterial::Ec(point) => DecodingKey::from_ec_der(point),
            KeyMaterial::Ed25519(key) => DecodingKey::from_ed_der(key),
            KeyMaterial::Secret(secret) => DecodingKey::from_secret(secret),
        };
        let verifier = Self {
            algorithm: jose(algorithm),
            key,
        };
        match (DEFAULT_PROVIDER.verifier_factory)(&verifier.algorithm, &verifier.key) {
            Ok(_) => Ok(verifier),
            Err(_) => Err(KeyError::format(format!(
                "these bytes are no public key for {algorithm}"
            ))),
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, &self.key)
            .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

/// A private key. It is parsed anew for each signature, as above.
pub(crate) struct Signer {
    algorithm: Jose,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm, key: EncodingKey) -> Result<Self, KeyError> {
        let signer = Self {
            algorithm: jose(algorithm),
            key,
        };
        match (DEFAULT_PROVIDER.signer_factory)(&signer.algorithm, &signer.key) {
            Ok(_) => Ok(signer),
            Err(_) => Err(KeyError::format(format!(
                "these bytes are no private key for {algorithm}"
            ))),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm, &self.key)
            .map_err(|_| does_not_sign())?;
        signer.try_sign(message).map_err(|_| does_not_sign())
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "one signature for all backends, and one of them has no provider"
)]
pub(crate) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    Ok(&DEFAULT_PROVIDER)
}

const fn jose(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Jose;
    match algorithm {
        Algorithm::Hs256 => Jose::HS256,
        Algorithm::Rs256 => Jose::RS256,
        Algorithm::Rs384 => Jose::RS384,
        Algorithm::Rs512 => Jose::RS512,
        Algorithm::Ps256 => Jose::PS256,
        Algorithm::Ps384 => Jose::PS384,
        Algorithm::Ps512 => Jose::PS512,
        Algorithm::Es256 => Jose::ES256,
        Algorithm::Es384 => Jose::ES384,
        Algorithm::EdDsa => Jose::EdDSA,
    }
}
