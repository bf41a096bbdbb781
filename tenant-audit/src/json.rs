//! Canonical JSON (RFC 8785), written straight into a record's bytes: no tree, no allocation for text as it
//! usually is.

use std::{borrow::Cow, cmp::Ordering, io::Write as _};

use serde_json::{Number, Value};
use smallvec::SmallVec;

use crate::text::{self, MAX_DEPTH};

/// A member's name as it stands in the text, with all that stands around it, at one stroke.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use key;

/// The members of an object, which the caller names ([`key`]) in canonical order.
pub(crate) struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Begins a member; its value is to be written to what this gives. The name is a [`key`] that needs no escape.
    pub(crate) fn name(&mut self, key: &str) -> &mut Vec<u8> {
        let skipped = usize::from(std::mem::take(&mut self.empty));
        let key = key.as_bytes().get(skipped..).unwrap_or_default();
        self.out.extend_from_slice(key);
        self.out
    }

    /// Text from outside: bounded, and made visible.
    pub(crate) fn bounded(&mut self, name: &str, value: &str) {
        string(text::cut(value), self.name(name));
    }

    /// [`bounded`](Self::bounded), if there is any.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.bounded(name, value);
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        integer(value, self.name(name));
    }

    pub(crate) fn maybe_number(&mut self, name: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.number(name, value.into());
        }
    }

    /// What needs no escape: words of our own, ids of a plain alphabet, digits.
    pub(crate) fn plain(&mut self, name: &str, value: &[u8]) {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// A list.
pub(crate) fn list<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Whether a byte stands for itself in a JSON string and on a terminal.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// A string, with hidden characters written out: see [`text::visible`].
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    // No early exit: so that it is done for many bytes at a time.
    if text
        .bytes()
        .fold(true, |plain, byte| plain & is_plain(byte))
    {
        out.extend_from_slice(text.as_bytes());
    } else {
        escaped(text, out);
    }
    out.push(b'"');
}

fn escaped(text: &str, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            // Writing to a vector does not fail.
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c if text::is_hidden(c) => drop(write!(out, "\\{}", c.escape_unicode())),
            c => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
}

fn integer(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The largest integer that every reader of JSON keeps exactly (RFC 7493 §2.2).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// Integers beyond 2^53 as strings, because a canonical number is a double.
fn number(value: &Number, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match (value.as_u64(), value.as_i64()) {
        (Some(n), _) if n <= MAX_EXACT => integer(n, out),
        (None, Some(n)) if n.unsigned_abs() <= MAX_EXACT => {
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        }
        (Some(_), _) | (None, Some(_)) => string(&value.to_string(), out),
        (None, None) => {
            out.extend_from_slice(serde_json_canonicalizer::to_string(value)?.as_bytes());
        }
    }
    Ok(())
}

/// A value from the application, at most so deep; what is deeper is replaced by its kind.
pub(crate) fn value(value: &Value, depth: usize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let deeper = depth.checked_sub(1);
    match (value, deeper) {
        (Value::Null, _) => out.extend_from_slice(b"null"),
        (Value::Bool(true), _) => out.extend_from_slice(b"true"),
        (Value::Bool(false), _) => out.extend_from_slice(b"false"),
        (Value::Number(n), _) => number(n, out)?,
        (Value::String(text), _) => string(text, out),
        (Value::Array(_), None) => string("(nested too deep: a list)", out),
        (Value::Object(_), None) => string("(nested too deep: an object)", out),
        (Value::Array(values), Some(deeper)) => {
            let mut result = Ok(());
            list(values, out, |item, out| {
                if result.is_ok() {
                    result = self::value(item, deeper, out);
                }
            });
            result?;
        }
        (Value::Object(members), Some(deeper)) => {
            object(
                members.iter().map(|(name, value)| (name.as_str(), value)),
                deeper,
                out,
            )?;
        }
    }
    Ok(())
}

/// Details under their names, in canonical order; of two with one name the later one counts.
pub(crate) fn details(
    details: &[(Cow<'static, str>, Value)],
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let members = details.iter().map(|(name, value)| (name.as_ref(), value));
    object(members, MAX_DEPTH, out)
}

fn object<'a>(
    members: impl Iterator<Item = (&'a str, &'a Value)>,
    depth: usize,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let mut sorted: SmallVec<[(Cow<'_, str>, &Value); 16]> = members
        .map(|(name, value)| (text::member(name), value))
        .collect();
    // Stable: the later of two stays the later.
    sorted.sort_by(|(a, _), (b, _)| by_utf16(a, b));
    out.push(b'{');
    let mut members = sorted.iter().peekable();
    let mut first = true;
    while let Some((name, one)) = members.next() {
        if members.peek().is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(name, out);
        out.push(b':');
        value(one, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// The order of RFC 8785 §3.2.3.
pub(crate) fn by_utf16(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.cmp(b);
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(read: &Value) -> String {
        let mut out = Vec::new();
        value(read, MAX_DEPTH, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_beyond_a_double_become_text() {
        assert_eq!(
            of(
                &json!({"b": 9_007_199_254_740_993_u64, "a": 9_007_199_254_740_991_u64, "c": [-9_007_199_254_740_993_i64, 1.5, -7]})
            ),
            r#"{"a":9007199254740991,"b":"9007199254740993","c":["-9007199254740993",1.5,-7]}"#
        );
    }

    #[test]
    fn the_later_of_two_details_counts() {
        let mut out = Vec::new();
        let two = [("a".into(), json!(1)), ("a".into(), json!(2))];
        details(&two, &mut out).unwrap();
        assert_eq!(out, br#"{"a":2}"#);
    }

    #[test]
    fn i6_details_are_bounded_in_depth_and_hold_no_name_with_a_meaning_for_readers() {
        let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let hostile = json!({"$serde_json::private::RawValue": "not json", "a": nested});
        let shown = of(&hostile);
        assert!(shown.contains("nested too deep: a list"));
        assert!(!shown.contains("\"$serde_json::"), "{shown}");
        let read: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read.to_string(), shown);
    }

    proptest! {
        #[test]
        fn strings_are_as_serde_json_writes_their_visible_form(text in any::<String>()) {
            let mut out = Vec::new();
            string(&text, &mut out);
            let expected = serde_json::to_string(&text::visible(&text)).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        #[test]
        fn members_stand_in_the_order_of_utf_16(a in any::<String>(), b in any::<String>()) {
            let shown = of(&json!({a: 1, b: 2}));
            prop_assert_eq!(serde_json_canonicalizer::pipe(&shown).unwrap(), shown);
        }
    }
}
