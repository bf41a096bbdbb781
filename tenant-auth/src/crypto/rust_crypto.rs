//! `RustCrypto`, through `jsonwebtoken`. Its verifiers can be shared by no two threads, so one is made
//! for each signature, which costs little beside the signature itself.

use jsonwebtoken::{
    Algorithm as Jose, DecodingKey,
    crypto::{CryptoProvider, rust_crypto::DEFAULT_PROVIDER},
};

use super::{KeyMaterial, jose};
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

#[allow(
    clippy::unnecessary_wraps,
    reason = "one signature for all backends, and one of them has no provider"
)]
pub(crate) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    Ok(&DEFAULT_PROVIDER)
}
