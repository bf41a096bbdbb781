//! Text from outside, made safe to show.

use std::{borrow::Cow, fmt::Write};

use serde_json::{Map, Number, Value};
use tenant_context::Trail;

/// Characters that JSON does not escape and that still change what a terminal or an editor shows:
/// DEL and the C1 controls, line separators, and those that turn the direction of writing.
const fn hidden(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with hidden characters written out as `\u{9b}`. Without any: the text itself.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().saturating_mul(2));
    for c in text.chars() {
        if hidden(c) {
            // Writing to a string does not fail.
            let _infallible = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// [`visible`], and at most [`Trail::MAX_TEXT`] bytes of the text.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(Trail::MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    visible(text.get(..end).unwrap_or_default())
}

/// The largest integer that every reader of JSON keeps exactly (RFC 7493 §2.2).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// Details as records show them: visible text, and integers beyond 2^53 as strings, because a
/// canonical number is a double.
pub(crate) fn details(details: &[(Cow<'static, str>, Value)]) -> Map<String, Value> {
    details
        .iter()
        .map(|(name, value)| (member(name), shown(value, MAX_DEPTH)))
        .collect()
}

/// The deepest nesting of a detail; what is deeper is replaced by its kind. Readers have a bound too.
const MAX_DEPTH: usize = 16;

/// A member's name. `serde_json` gives names that begin so a meaning of their own when it reads: such a
/// member could make a record unreadable, or read as something else.
fn member(name: &str) -> String {
    let name = visible(name);
    match name.strip_prefix("$serde_json::") {
        Some(rest) => format!("$ serde_json::{rest}"),
        None => name.into_owned(),
    }
}

fn shown(value: &Value, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else {
        return match value {
            Value::Array(_) => "(nested too deep: a list)".into(),
            Value::Object(_) => "(nested too deep: an object)".into(),
            flat => shown(flat, 1),
        };
    };
    match value {
        Value::String(text) => Value::String(visible(text).into_owned()),
        Value::Number(number) => exact(number),
        Value::Array(values) => values.iter().map(|value| shown(value, deeper)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (member(name), shown(value, deeper)))
            .collect(),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

fn exact(number: &Number) -> Value {
    let fits = match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n <= MAX_EXACT,
        (None, Some(n)) => n.unsigned_abs() <= MAX_EXACT,
        (None, None) => true,
    };
    if fits {
        Value::Number(number.clone())
    } else {
        Value::String(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(visible("plain ä 漢"), "plain ä 漢");
        assert_eq!(
            visible("a\u{9b}31mb\u{202e}c\u{7f}"),
            "a\\u{9b}31mb\\u{202e}c\\u{7f}"
        );
    }

    #[test]
    fn i6_details_are_bounded_in_depth_and_hold_no_name_with_a_meaning_for_readers() {
        let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let hostile: Map<String, Value> = [(
            "$serde_json::private::RawValue".to_owned(),
            json!("not json"),
        )]
        .into_iter()
        .collect();
        let values = [("a".into(), nested), ("b".into(), Value::Object(hostile))];
        let text = Value::Object(details(&values)).to_string();
        assert!(text.contains("nested too deep: a list"));
        assert!(!text.contains("\"$serde_json::"), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn integers_beyond_a_double_become_text() {
        let values = [
            ("a".into(), json!(9_007_199_254_740_991_u64)),
            ("b".into(), json!(9_007_199_254_740_993_u64)),
            ("c".into(), json!([-9_007_199_254_740_993_i64, 1.5])),
        ];
        assert_eq!(
            Value::Object(details(&values)),
            json!({"a": 9_007_199_254_740_991_u64, "b": "9007199254740993", "c": ["-9007199254740993", 1.5]})
        );
    }

    proptest! {
        #[test]
        fn i6_bounded_text_is_bounded_and_a_prefix(text in any::<String>()) {
            let short = bounded(&text);
            prop_assert!(!short.contains(hidden));
            if !text.contains(hidden) {
                prop_assert!(short.len() <= Trail::MAX_TEXT && text.starts_with(short.as_ref()));
            }
        }
    }
}
