//! AWS-LC: each key is parsed once, when it is configured. (`jsonwebtoken`'s verifiers can be shared
//! by no two threads, and parse their key anew at each use.)

use aws_lc_rs::{
    hmac, rand,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RsaKeyPair, RsaParameters,
        RsaPublicKeyComponents,
    },
};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::CryptoProvider;

use super::{KeyMaterial, does_not_sign};
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

/// A private key, parsed once.
pub(crate) enum Signer {
    Ed25519(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Secret(Box<hmac::Key>),
}

impl Signer {
    #[allow(
        clippy::needless_pass_by_value,
        reason = "one signature for all backends"
    )]
    pub(crate) fn new(algorithm: Algorithm, key: EncodingKey) -> Result<Self, KeyError> {
        let der = key.as_bytes();
        let signer = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519),
            Algorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der)
                    .map(Self::Ec)
            }
            Algorithm::Rs256 => RsaKeyPair::from_der(der)
                .or_else(|_| RsaKeyPair::from_pkcs8(der))
                .map(|key| Self::Rsa(Box::new(key))),
            Algorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, der);
                return Ok(Self::Secret(Box::new(key)));
            }
            _ => {
                return Err(KeyError::unsupported(format!(
                    "nothing is signed with {algorithm}"
                )));
            }
        };
        signer.map_err(|_| {
            KeyError::format(format!("these bytes are no private key for {algorithm}"))
        })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::Ec(key) => {
                let signature = key.sign(&random, message).map_err(|_| does_not_sign())?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    message,
                    &mut signature,
                )
                .map_err(|_| does_not_sign())?;
                Ok(signature)
            }
            Self::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
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
