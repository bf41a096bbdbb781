//! No backend: every key is refused when it is configured, with a sentence that says what to enable.

use jsonwebtoken::{EncodingKey, crypto::CryptoProvider};

use super::KeyMaterial;
use crate::{KeyError, KeyErrorKind, algorithm::Algorithm};

pub(crate) enum Verifier {}

fn no_backend() -> KeyError {
    KeyError::new(
        KeyErrorKind::NoBackend,
        "tenant-auth was built without a backend for signatures; enable its feature `aws_lc_rs` or `rust_crypto`",
    )
}

impl Verifier {
    pub(crate) fn new(algorithm: Algorithm, key: &KeyMaterial) -> Result<Self, KeyError> {
        key.check(algorithm)?;
        Err(no_backend())
    }

    pub(crate) fn verifies(&self, _: &[u8], _: &[u8]) -> bool {
        match *self {}
    }
}

pub(crate) enum Signer {}

impl Signer {
    pub(crate) fn new(_: Algorithm, _: EncodingKey) -> Result<Self, KeyError> {
        Err(no_backend())
    }

    pub(crate) fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        match *self {}
    }
}

pub(crate) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    Err(no_backend())
}
