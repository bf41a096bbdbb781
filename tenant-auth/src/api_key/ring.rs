//! The server's secrets that API keys are hashed with.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tenant_context::ConfigError;

/// A key's hash.
pub(super) type KeyHash = [u8; 32];

/// The newest secret first. New keys are hashed with it; the older ones still verify.
pub(super) struct Secrets(Vec<Hmac<Sha256>>);

/// The fewest bytes of a secret: the hash's length.
pub(super) const MIN_LEN: usize = 32;
/// The most secrets at a time: each costs a hash for every key that is presented for the first time.
pub(super) const MAX: usize = 4;

impl Secrets {
    pub(super) fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self(vec![hasher(secret)?]))
    }

    pub(super) fn push(&mut self, secret: &[u8]) -> Result<(), ConfigError> {
        if self.0.len() >= MAX {
            return Err(ConfigError::new(format!(
                "API keys: {MAX} secrets are in use; retire the old ones before another rotation"
            )));
        }
        self.0.insert(0, hasher(secret)?);
        Ok(())
    }

    /// Keeps the newest alone.
    pub(super) fn retire(&mut self) {
        self.0.truncate(1);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key's hash under the newest secret.
    pub(super) fn newest(&self, key: &[u8]) -> KeyHash {
        self.0
            .first()
            .map(|hasher| hash(hasher, key))
            .unwrap_or_default()
    }

    /// The key's hashes under all secrets, the newest first.
    pub(super) fn all(&self, key: &[u8]) -> impl Iterator<Item = KeyHash> {
        self.0.iter().map(|hasher| hash(hasher, key))
    }
}

fn hasher(secret: &[u8]) -> Result<Hmac<Sha256>, ConfigError> {
    if secret.len() < MIN_LEN {
        return Err(ConfigError::new(format!(
            "API keys: the HMAC secret has {} bytes; use at least {MIN_LEN} random bytes",
            secret.len()
        )));
    }
    Hmac::new_from_slice(secret)
        .map_err(|_| ConfigError::new("API keys: the secret cannot be used"))
}

fn hash(hasher: &Hmac<Sha256>, key: &[u8]) -> KeyHash {
    let mut hasher = hasher.clone();
    hasher.update(key);
    hasher.finalize().into_bytes().into()
}
