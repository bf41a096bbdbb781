//! JSON as programs write it: no white space, no escapes, no control characters, whole numbers, few members.
//!
//! It is a part of JSON that is read in one go, and nearly all tokens are within it. Whatever is outside is not
//! looked at any further: `None`, and `serde_json` reads it from the beginning. So this refuses nothing, and
//! may be as narrow as it likes; what it takes, it must read as `serde_json` does (tested, and fuzzed).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{MAX_DEPTH, Names, Scalar, Tape};

/// The most digits of a number that surely fits.
const DIGITS: usize = 18;

/// Reads one value that makes up all of `text`.
pub(super) fn read<'a>(text: &'a str, tape: &mut Tape<'a>) -> Option<()> {
    // No way out of the loop: so it becomes one of vectors.
    let plain = |all: bool, byte: &u8| all & matches!(*byte, b' '..=b'[' | b']'..=0xff);
    if !text.as_bytes().iter().fold(true, plain) {
        return None;
    }
    let mut reader = Reader {
        all: text,
        rest: text.as_bytes(),
    };
    let mut open = SmallVec::<[Open; MAX_DEPTH]>::new();
    let mut name = "";
    loop {
        // A value begins.
        let scalar = match reader.peek()? {
            b'"' => {
                reader.take()?;
                Scalar::Text(Cow::Borrowed(reader.text()?))
            }
            b'{' => Scalar::Object,
            b'[' => Scalar::List,
            b'0'..=b'9' => Scalar::Number(reader.number()?.into()),
            _ => reader.word()?,
        };
        let close = match scalar {
            Scalar::Object => Some(b'}'),
            Scalar::List => Some(b']'),
            _ => None,
        };
        let at = tape.push(Cow::Borrowed(name), scalar);
        if let Some(close) = close {
            if open.len() == MAX_DEPTH {
                return None;
            }
            reader.take()?;
            if reader.peek()? != close {
                let mut inner = Open::new(at, close);
                name = inner.name(&mut reader, tape)?;
                open.push(inner);
                continue;
            }
            reader.take()?;
        }
        // It has ended, and what it is the last of.
        loop {
            let Some(outer) = open.last_mut() else {
                return reader.rest.is_empty().then_some(());
            };
            match reader.take()? {
                b',' => {
                    name = outer.name(&mut reader, tape)?;
                    break;
                }
                end if end == outer.close => {
                    tape.close(outer.at);
                    open.pop();
                }
                _ => return None,
            }
        }
    }
}

/// An object or a list that has not ended.
struct Open {
    at: usize,
    /// What it ends with.
    close: u8,
    names: Names,
}

impl Open {
    fn new(at: usize, close: u8) -> Self {
        Self {
            at,
            close,
            names: Names::default(),
        }
    }

    /// The name of an object's next member; of a list's next value it is empty.
    #[inline]
    fn name<'a>(&mut self, reader: &mut Reader<'a>, tape: &Tape<'a>) -> Option<&'a str> {
        if self.close == b']' {
            return Some("");
        }
        if reader.take()? != b'"' {
            return None;
        }
        let name = reader.text()?;
        let new = !self.names.twice(name, tape, self.at) && self.names.are_few();
        (new && reader.take()? == b':').then_some(name)
    }
}

/// The place of the first quotation mark. Most texts have few bytes: those are looked at word by word,
/// before it is worth while to call for vectors.
#[inline]
fn quotation_mark(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const MARKS: u64 = u64::from_ne_bytes([b'"'; 8]);
    let mut before = 0_usize;
    for word in bytes.as_chunks::<8>().0.iter().take(WORDS) {
        // Zero where there is a mark. Of the bytes that this finds to be zero, the first one is.
        let other = u64::from_le_bytes(*word) ^ MARKS;
        let zero = other.wrapping_sub(ONES) & !other & HIGHS;
        if zero != 0 {
            let within = usize::try_from(zero.trailing_zeros() / 8).ok()?;
            return Some(before.saturating_add(within));
        }
        before = before.saturating_add(word.len());
    }
    let found = memchr::memchr(b'"', bytes.get(before..)?)?;
    Some(before.saturating_add(found))
}

/// How many words [`quotation_mark`] looks at.
const WORDS: usize = 3;

/// What has not been read.
struct Reader<'a> {
    all: &'a str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// What stands before the closing quotation mark.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let begin = self.all.len().saturating_sub(self.rest.len());
        let length = quotation_mark(self.rest)?;
        self.rest = self.rest.get(length.saturating_add(1)..)?;
        self.all.get(begin..begin.saturating_add(length))
    }

    /// A number of few digits, without a sign, a fraction or an exponent.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let leading_zero = digits > 1 && number.first() == Some(&b'0');
        let ends = matches!(rest.first(), Some(b',' | b'}' | b']'));
        if digits > DIGITS || leading_zero || !ends {
            return None;
        }
        self.rest = rest;
        let value = number.iter().fold(0_u64, |value, digit| {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            value.wrapping_mul(10).wrapping_add(digit)
        });
        Some(value)
    }

    fn word(&mut self) -> Option<Scalar<'a>> {
        let words: [(&[u8], _); 3] = [
            (b"true", Scalar::Bool(true)),
            (b"false", Scalar::Bool(false)),
            (b"null", Scalar::Null),
        ];
        for (word, scalar) in words {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(scalar);
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "tests"
)]
mod tests {
    use super::*;
    use crate::json::with_serde;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn plain(text: &str) -> Option<Value> {
        let mut tape = Tape::default();
        read(text, &mut tape)?;
        Some(tape.root().to_value())
    }

    fn by_serde(text: &str) -> Option<Value> {
        let mut tape = Tape::default();
        with_serde::read(text, &mut tape).ok()?;
        Some(tape.root().to_value())
    }

    #[test]
    fn what_programs_write_is_plain() {
        let text = json!({
            "iss": "https://id.example.com", "aud": ["a", "b"], "exp": 1_767_225_600_u64, "admin": true, "off": false,
            "none": null, "act": {"sub": "bot", "act": {}}, "name": "Zoë", "list": [], "zero": 0,
        });
        assert_eq!(plain(&text.to_string()), Some(text));
    }

    #[test]
    fn what_is_unusual_is_left_to_serde_json() {
        let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let many = (0..33).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>();
        for text in [
            r#"{ "a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1} "#,
            "{\"a\":\n1}",
            r#"{"a":"\u0061"}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1234567890123456789}"#,
            r#"{"a":1,"a":2}"#,
            &deep(16),
            &format!("{{{}}}", many.join(",")),
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
        assert!(plain(&deep(15)).is_some());
    }

    #[test]
    fn what_is_no_json_is_not_plain() {
        for text in [
            "",
            "{",
            "}",
            "{}{}",
            "{},",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":01}",
            "{\"a\":00}",
            "{a:1}",
            "{\"a\":1",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{\"a\":tru}",
            "{\"a\":truex}",
            "{\"a\":\"b}",
            "{\"a\":'b'}",
            "[1 2]",
            "{\"a\":1}}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":+1}",
            "{\"a\":NaN}",
            "ä",
            "{ä:1}",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::String),
            "[ -~äöü]{0,12}".prop_map(Value::String),
        ];
        leaf.prop_recursive(6, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,4}", inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_plain_is_read_as_serde_json_reads_it(value in value()) {
            let text = value.to_string();
            if let Some(read) = plain(&text) {
                prop_assert_eq!(by_serde(&text), Some(read.clone()));
                prop_assert_eq!(read, value);
            }
        }

        #[test]
        fn a_changed_text_is_plain_only_if_serde_json_takes_it(
            value in value(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\x00-\\x7fä\"\\\\,:{}\\[\\]0-9]?"), 1..4),
        ) {
            let mut text = value.to_string();
            for (at, with) in changes {
                let at = at.index(text.len() + 1);
                if text.is_char_boundary(at) {
                    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
                    text.replace_range(at..end, &with);
                }
            }
            if let Some(read) = plain(&text) {
                prop_assert_eq!(Some(read), by_serde(&text), "{}", text);
            }
        }

        #[test]
        fn pieces_of_json_in_any_order_are_plain_only_if_serde_json_takes_them(
            pieces in prop::collection::vec(prop::sample::select(&[
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"", "0", "1", "12", "true", "null", "-", ".", " ", "\\",
            ][..]), 0..14),
        ) {
            let text = pieces.concat();
            if let Some(read) = plain(&text) {
                prop_assert_eq!(Some(read), by_serde(&text), "{}", text);
            }
        }
    }
}
