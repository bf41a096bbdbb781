//! The form of an API key: `<prefix>_<env>_<random><checksum>`.
//!
//! Prefix and environment are letters and digits, so the two separators are the first two `_` and a
//! key is taken apart in one way only. The random part has 43 characters of base62 (256 bits), the
//! checksum is the CRC-32 of all before it in base62, padded with zeros to 6 characters. It rejects
//! typing errors without a look-up, and lets scanners for leaked secrets be sure; it is no protection.

use std::fmt;

use tenant_context::ConfigError;

use crate::{KeyError, reason::Reason};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const MAX_WORD_LEN: usize = 16;

/// What the keys of one service begin with: `sk_live_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    lead: Box<str>,
}

impl Format {
    pub(crate) fn new(prefix: &str, env: &str) -> Result<Self, ConfigError> {
        for (what, word) in [("prefix", prefix), ("environment", env)] {
            let letters = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if word.is_empty() || word.len() > MAX_WORD_LEN || !letters {
                return Err(ConfigError::new(format!(
                    "API keys: the {what} {word:?} must be 1 to {MAX_WORD_LEN} letters and digits, such as `sk` and `live`"
                )));
            }
        }
        Ok(Self {
            lead: format!("{prefix}_{env}_").into(),
        })
    }

    /// What every key begins with.
    pub(crate) fn lead(&self) -> &str {
        &self.lead
    }

    /// What secret scanners look for, in the syntax that they share.
    pub(crate) fn pattern(&self) -> String {
        // Letters, digits and `_` only: there is nothing to escape.
        format!(r"\b{}[0-9A-Za-z]{{49}}\b", self.lead)
    }

    /// Whether a credential is meant to be one of these keys.
    pub(crate) fn claims(&self, credential: &[u8]) -> bool {
        credential.starts_with(self.lead.as_bytes())
    }

    /// The text of a key with fresh random bits.
    pub(crate) fn generate(&self) -> Result<String, KeyError> {
        let mut key = String::with_capacity(
            self.lead
                .len()
                .saturating_add(RANDOM_LEN)
                .saturating_add(CHECKSUM_LEN),
        );
        key.push_str(&self.lead);
        key.push_str(&random(RANDOM_LEN)?);
        let checksum = checksum(key.as_bytes());
        key.extend(checksum.iter().map(|byte| char::from(*byte)));
        Ok(key)
    }

    /// Whether these bytes have the form of a key, checksum included.
    pub(crate) fn check(&self, key: &[u8]) -> Result<(), Reason> {
        let random = key
            .strip_prefix(self.lead.as_bytes())
            .ok_or("api_key_format")?;
        if random.len() != RANDOM_LEN.saturating_add(CHECKSUM_LEN)
            || !random.iter().all(u8::is_ascii_alphanumeric)
        {
            return Err("api_key_format");
        }
        let (body, presented) = key
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or("api_key_format")?;
        if *presented == checksum(body) {
            Ok(())
        } else {
            Err("api_key_checksum")
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.lead)
    }
}

/// Uniform characters of base62, from the operating system's randomness.
pub(crate) fn random(length: usize) -> Result<String, KeyError> {
    random_by(length, || {
        // What the kernel gives from one block of its generator: 64 bytes take two more.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| KeyError::randomness())?;
        Ok(bytes)
    })
}

/// Uniform characters of base62, from uniform bytes.
pub(crate) fn random_by(
    length: usize,
    mut draw: impl FnMut() -> Result<[u8; 32], KeyError>,
) -> Result<String, KeyError> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let missing = length.saturating_sub(text.len());
        // 248 is the largest multiple of 62 in a byte: what is above would favour some characters.
        for byte in draw()?.into_iter().filter(|byte| *byte < 248).take(missing) {
            text.push(digit(u32::from(byte)));
        }
    }
    Ok(text)
}

fn digit(value: u32) -> char {
    let index = usize::try_from(value % 62).unwrap_or_default();
    BASE62.get(index).copied().map_or('0', char::from)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(body);
    let mut text = [b'0'; CHECKSUM_LEN];
    for place in text.iter_mut().rev() {
        *place = u8::try_from(digit(rest)).unwrap_or(b'0');
        rest /= 62;
    }
    text
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "tests"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn format() -> Format {
        Format::new("sk", "live").unwrap()
    }

    #[test]
    fn a_generated_key_has_the_stated_form() {
        let key = format().generate().unwrap();
        assert!(key.starts_with("sk_live_"));
        assert_eq!(key.len(), "sk_live_".len() + 43 + 6);
        assert_eq!(format().check(key.as_bytes()), Ok(()));
    }

    #[test]
    fn the_checksum_is_crc32_in_base62_padded_with_zeros() {
        // CRC-32 of "123456789" is 0xCBF43926 (the check value of its catalogue entry).
        let mut value: u64 = 0;
        for byte in checksum(b"123456789") {
            value = value * 62 + BASE62.iter().position(|digit| *digit == byte).unwrap() as u64;
        }
        assert_eq!(value, 0xCBF4_3926);
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = format().generate().unwrap();
        for at in "sk_live_".len()..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(format().check(&changed), Err("api_key_checksum"), "at {at}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let key = format().generate().unwrap();
        // Of another length, with the checksum that belongs to it.
        for random in [0, RANDOM_LEN - 1, RANDOM_LEN + 1, 1000] {
            let mut other = format!("sk_live_{}", "a".repeat(random)).into_bytes();
            other.extend(checksum(&other));
            assert_eq!(format().check(&other), Err("api_key_format"), "{random}");
        }
        for other in [
            String::new(),
            "sk_live_".to_owned(),
            key[..key.len() - 1].to_owned(),
            format!("{key}0"),
            format!(" {key}"),
            key.to_uppercase(),
            key.replace("live", "test"),
            key.replacen('_', "-", 1),
            format!("sk_live_{}", "ä".repeat(24)),
        ] {
            assert!(format().check(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn prefix_and_environment_are_letters_and_digits() {
        for (prefix, env) in [
            ("", "live"),
            ("sk", ""),
            ("s_k", "live"),
            ("sk", "li_ve"),
            ("sk", "ä"),
        ] {
            assert!(Format::new(prefix, env).is_err());
        }
        assert!(Format::new(&"a".repeat(17), "live").is_err());
    }

    #[test]
    fn random_text_repeats_nothing_and_uses_all_characters() {
        let texts: HashSet<String> = (0..1000).map(|_| random(43).unwrap()).collect();
        assert_eq!(texts.len(), 1000);
        let used: HashSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(used.len(), 62);
    }

    proptest! {
        #[test]
        fn i11_two_formats_never_share_a_key(
            a in "[a-z0-9]{1,4}", b in "[a-z0-9]{1,4}", c in "[a-z0-9]{1,4}", d in "[a-z0-9]{1,4}"
        ) {
            let (one, other) = (Format::new(&a, &b).unwrap(), Format::new(&c, &d).unwrap());
            let key = one.generate().unwrap();
            prop_assert_eq!(other.check(key.as_bytes()).is_ok(), one == other);
        }

        #[test]
        fn no_bytes_panic(key in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(format().check(&key).is_err());
        }
    }
}
