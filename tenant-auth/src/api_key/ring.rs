//! The server's secrets that API keys are hashed with.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tenant_context::ConfigError;

/// A key's hash.
pub(super) type KeyHash = [u8; 32];

/// Which of the server's secrets it was, without telling the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretTag([u8; 8]);

impl fmt::Display for SecretTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The newest secret first. New keys are hashed with it; the older ones still verify.
pub(super) struct Secrets(Vec<(SecretTag, Hmac<Sha256>)>);

/// The fewest bytes of a secret: the hash's length.
pub(super) const MIN_LEN: usize = 32;
/// The most secrets at a time: each costs a hash for every key that is presented for the first time.
pub(super) const MAX: usize = 4;

impl Secrets {
    pub(super) fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self(vec![tagged(secret)?]))
    }

    pub(super) fn push(&mut self, secret: &[u8]) -> Result<(), ConfigError> {
        if self.0.len() >= MAX {
            return Err(ConfigError::new(format!(
                "API keys: {MAX} secrets are in use; retire the old ones before another rotation"
            )));
        }
        self.0.insert(0, tagged(secret)?);
        Ok(())
    }

    /// Keeps the newest alone.
    pub(super) fn retire(&mut self) {
        self.0.truncate(1);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The newest secret's tag.
    pub(super) fn tag(&self) -> SecretTag {
        self.0.first().map_or(SecretTag([0; 8]), |(tag, _)| *tag)
    }

    /// The key's hash under the newest secret.
    pub(super) fn newest(&self, key: &[u8]) -> (SecretTag, KeyHash) {
        let newest = self.all(key).next();
        newest.unwrap_or((SecretTag([0; 8]), KeyHash::default()))
    }

    /// The key's hashes under all secrets, the newest first.
    pub(super) fn all(&self, key: &[u8]) -> impl Iterator<Item = (SecretTag, KeyHash)> {
        self.0.iter().map(|(tag, hasher)| (*tag, hash(hasher, key)))
    }
}

/// The tag is a hash of a text that is no key.
fn tagged(secret: &[u8]) -> Result<(SecretTag, Hmac<Sha256>), ConfigError> {
    let hasher = hasher(secret)?;
    let hash = hash(&hasher, b"tenant-auth: the tag of this secret");
    let tag = hash.first_chunk().copied().unwrap_or_default();
    Ok((SecretTag(tag), hasher))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_32_bytes_at_least_also_the_next_one() {
        assert!(Secrets::new(&[7; MIN_LEN - 1]).is_err());
        let mut secrets = Secrets::new(&[7; MIN_LEN]).unwrap();
        let error = secrets.push(&[8; MIN_LEN - 1]).unwrap_err();
        assert!(error.to_string().contains("has 31 bytes"), "{error}");
        assert_eq!(secrets.len(), 1);
    }
}
