//! The form of a refresh token: `rt_` and, in base64url, its session's id, its generation, 32 random
//! bytes, and a tag.
//!
//! The tag is an HMAC under a key of the session, so that a token of any earlier generation is known as
//! one that was issued, though only the last two hashes are kept. Whoever reads the store can forge the
//! tag of an *old* token, which revokes the session and gives nothing away.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::SessionId;

const LEAD: &str = "rt_";
const ID_LEN: usize = 16;
const GENERATION_LEN: usize = 8;
pub(super) const SECRET_LEN: usize = 32;
const TAG_LEN: usize = 16;
const LEN: usize = ID_LEN + GENERATION_LEN + SECRET_LEN + TAG_LEN;

pub(super) type Secret = [u8; SECRET_LEN];

/// A refresh token, to be given to its client and kept nowhere. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(rt_…)")
    }
}

/// A presented token, taken apart. Nothing in it is trusted before [`issued_under`](Self::issued_under).
#[derive(Clone, Copy)]
pub(super) struct Presented {
    pub(super) session: SessionId,
    pub(super) generation: u64,
    pub(super) secret: Secret,
    tag: [u8; TAG_LEN],
}

impl Presented {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(LEAD)?;
        // 72 bytes are 96 characters, without a rest: a token has one encoding.
        if encoded.len() != LEN.div_ceil(3).saturating_mul(4) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (session, rest) = bytes.split_first_chunk::<ID_LEN>()?;
        let (generation, rest) = rest.split_first_chunk::<GENERATION_LEN>()?;
        let (secret, tag) = rest.split_first_chunk::<SECRET_LEN>()?;
        Some(Self {
            session: SessionId::from_bytes(*session),
            generation: u64::from_be_bytes(*generation),
            secret: *secret,
            tag: tag.try_into().ok()?,
        })
    }

    /// Whether the holder of this key issued it.
    pub(super) fn issued_under(&self, key: &Secret) -> bool {
        let tag = tag(key, self.session, self.generation, &self.secret);
        tag.ct_eq(&self.tag).into()
    }
}

pub(super) fn issue(
    key: &Secret,
    session: SessionId,
    generation: u64,
    secret: &Secret,
) -> RefreshToken {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(session.as_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(secret);
    bytes.extend_from_slice(&tag(key, session, generation, secret));
    let mut text = LEAD.to_owned();
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    RefreshToken(text)
}

pub(super) fn hash(secret: &Secret) -> Secret {
    Sha256::digest(secret).into()
}

/// Encrypts a successor's secret under the secret that it replaces, or decrypts it: a one-time pad, since a
/// secret has one successor.
pub(super) fn pad(old: &Secret, session: SessionId, generation: u64, successor: &Secret) -> Secret {
    let pad = keyed(old, b"tenant-refresh successor", session, generation, &[]);
    let mut out = *successor;
    for (byte, key) in out.iter_mut().zip(pad) {
        *byte ^= key;
    }
    out
}

fn tag(key: &Secret, session: SessionId, generation: u64, secret: &Secret) -> [u8; TAG_LEN] {
    let tag = keyed(key, b"tenant-refresh tag", session, generation, secret);
    tag.first_chunk().copied().unwrap_or_default()
}

/// All parts but the last have a fixed length for each label.
fn keyed(key: &Secret, label: &[u8], session: SessionId, generation: u64, more: &[u8]) -> Secret {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; SECRET_LEN];
    };
    mac.update(label);
    mac.update(session.as_bytes());
    mac.update(&generation.to_be_bytes());
    mac.update(more);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Secret = [7; SECRET_LEN];

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_issued_and_any_changed_bit_is_not_ours(
            id in any::<[u8; 16]>(), generation in any::<u64>(), secret in any::<[u8; 32]>(), bit in 0..LEN * 8,
        ) {
            let token = issue(&KEY, SessionId::from_bytes(id), generation, &secret);
            let read = Presented::parse(token.expose()).unwrap();
            prop_assert_eq!((read.session.as_bytes(), read.generation, read.secret), (&id, generation, secret));
            prop_assert!(read.issued_under(&KEY));
            prop_assert!(!read.issued_under(&[8; SECRET_LEN]));
            let mut bytes = URL_SAFE_NO_PAD.decode(token.expose().strip_prefix(LEAD).unwrap()).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Presented::parse(&format!("rt_{}", URL_SAFE_NO_PAD.encode(bytes))).unwrap();
            prop_assert!(!changed.issued_under(&KEY));
        }

        #[test]
        fn a_successor_is_read_with_the_token_it_replaced_alone(old in any::<[u8; 32]>(), new in any::<[u8; 32]>()) {
            let session = SessionId::from_bytes([1; 16]);
            let sealed = pad(&old, session, 3, &new);
            prop_assert_eq!(pad(&old, session, 3, &sealed), new);
            prop_assert_ne!(pad(&old, session, 4, &sealed), new);
            prop_assert_ne!(sealed, new);
        }

        #[test]
        fn no_text_panics(text in ".{0,120}") {
            let _ = Presented::parse(&text).map(|read| read.generation);
            let _ = Presented::parse(&format!("rt_{text}")).map(|read| read.generation);
        }
    }
}
