//! Base64url without padding (RFC 7515 §2), one encoding for each content: the unused bits of the last
//! character are zero.
//!
//! A token is decoded whenever it is not cached, and most of its bytes are base64url. This takes
//! fewer instructions than the `base64` crate's decoder, which it is tested against. (Decoders that name their
//! vectors would be faster still; those that there are take `unsafe`, in front of every attacker.)

/// Four characters, three bytes: one table for each place, its bits where they belong.
static TABLES: [[u32; 256]; 4] = [table(18), table(12), table(6), table(0)];
/// Beyond the 24 bits of four characters.
const INVALID: u32 = 0xff00_0000;

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which looks at the bounds"
)]
const fn table(place: u32) -> [u32; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut table = [INVALID; 256];
    let mut value = 0_u32;
    while (value as usize) < alphabet.len() {
        table[alphabet[value as usize] as usize] = value << place;
        value = value.saturating_add(1);
    }
    table
}

/// The bytes that so many characters decode to.
pub(super) const fn decoded_len(characters: usize) -> usize {
    let (whole, rest) = (characters / 4, characters % 4);
    whole.saturating_mul(3).saturating_add(match rest {
        3 => 2,
        2 => 1,
        _ => 0,
    })
}

/// Decodes into the beginning of `room`, and gives that beginning and the rest of it. `None` if the text
/// is not canonical base64url, or the room too small.
pub(super) fn decode<'r>(text: &[u8], room: &'r mut [u8]) -> Option<(&'r mut [u8], &'r mut [u8])> {
    let (decoded, rest) = room.split_at_mut_checked(decoded_len(text.len()))?;
    // Two times four at a time take two stores of six bytes, where one takes two of three.
    let (eights, text) = text.as_chunks::<8>();
    let (sixes, end) = decoded.split_at_mut_checked(eights.len().saturating_mul(6))?;
    let (sixes, _) = sixes.as_chunks_mut::<6>();
    let mut all = 0;
    for ([a, b, c, d, e, f, g, h], six) in eights.iter().zip(sixes) {
        let (first, second) = (join([*a, *b, *c, *d]), join([*e, *f, *g, *h]));
        all |= first | second;
        let bits = (u64::from(first) << 24) | u64::from(second);
        let [_, _, bytes @ ..] = bits.to_be_bytes();
        *six = bytes;
    }
    let (fours, tail) = text.as_chunks();
    let (threes, last) = end.as_chunks_mut();
    for (four, three) in fours.iter().zip(threes) {
        let bits = join(*four);
        all |= bits;
        let [_, first, second, third] = bits.to_be_bytes();
        *three = [first, second, third];
    }
    let mut four = [b'A'; 4];
    four.get_mut(..tail.len())?.copy_from_slice(tail);
    let bits = join(four);
    all |= bits;
    let [_, bytes @ ..] = bits.to_be_bytes();
    last.copy_from_slice(bytes.get(..last.len())?);
    // What the last characters say beyond the last whole byte: nothing, or the text is another encoding.
    let beyond = bytes.get(last.len()).copied().unwrap_or_default();
    (all & INVALID == 0 && beyond == 0 && tail.len() != 1).then_some((decoded, rest))
}

fn join([a, b, c, d]: [u8; 4]) -> u32 {
    let [first, second, third, fourth] = &TABLES;
    let bits = |table: &[u32; 256], byte: u8| table.get(usize::from(byte)).copied();
    bits(first, a).unwrap_or(INVALID)
        | bits(second, b).unwrap_or(INVALID)
        | bits(third, c).unwrap_or(INVALID)
        | bits(fourth, d).unwrap_or(INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut room = vec![0xff; text.len().saturating_add(1)];
        let (decoded, _) = decode(text, &mut room)?;
        Some(decoded.to_vec())
    }

    #[test]
    fn a_text_has_one_encoding() {
        assert_eq!(decoded(b"-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decoded(b""), Some(Vec::new()));
        for other in [
            "-_9", "-_8=", "+/8", " -_8", "-_8\n", "-_", "-", "A", "AAAAA", "\u{ff}",
        ] {
            assert_eq!(decoded(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn room_that_is_too_small_is_none() {
        assert!(decode(b"AAAA", &mut [0; 2]).is_none());
        let mut room = [0; 4];
        assert_eq!(decode(b"AAAA", &mut room).unwrap().1.len(), 1);
    }

    proptest! {
        #[test]
        fn it_decodes_what_the_base64_crate_encodes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(decoded_len(text.len()), bytes.len());
            prop_assert_eq!(decoded(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn it_refuses_what_the_base64_crate_refuses(text in "[A-Za-z0-9_-]{0,150}", at in 0..150_usize, byte in any::<u8>()) {
            let mut text = text.into_bytes();
            prop_assert_eq!(decoded(&text), URL_SAFE_NO_PAD.decode(&text).ok());
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(decoded(&text), URL_SAFE_NO_PAD.decode(&text).ok());
        }
    }
}
