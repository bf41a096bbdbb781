//! Text from outside, made safe to show.

use std::{borrow::Cow, fmt::Write};

use tenant_context::Trail;

/// Characters that JSON does not escape and that still change what a terminal or an editor shows:
/// DEL and the C1 controls, line separators, and those that turn the direction of writing.
pub(crate) const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with hidden characters written out as `\u{9b}`. Without any: the text itself.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().saturating_mul(2));
    for c in text.chars() {
        if is_hidden(c) {
            // Writing to a string does not fail.
            let _infallible = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// At most [`Trail::MAX_TEXT`] bytes of a text, whole characters.
pub(crate) fn cut(text: &str) -> &str {
    if text.len() <= Trail::MAX_TEXT {
        return text;
    }
    let mut end = Trail::MAX_TEXT;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// [`visible`], of what [`cut`] leaves.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    visible(cut(text))
}

/// The deepest nesting of a detail; what is deeper is replaced by its kind. Readers have a bound too.
pub(crate) const MAX_DEPTH: usize = 16;

/// A member's name. `serde_json` gives names that begin so a meaning of their own when it reads: such a
/// member could make a record unreadable, or read as something else.
pub(crate) fn member(name: &str) -> Cow<'_, str> {
    let shown = visible(name);
    match shown.strip_prefix("$serde_json::") {
        Some(rest) => format!("$ serde_json::{rest}").into(),
        None => shown,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(visible("plain ä 漢"), "plain ä 漢");
        assert_eq!(
            visible("a\u{9b}31mb\u{202e}c\u{7f}"),
            "a\\u{9b}31mb\\u{202e}c\\u{7f}"
        );
    }

    proptest! {
        #[test]
        fn i6_bounded_text_is_bounded_and_a_prefix(text in any::<String>()) {
            let short = bounded(&text);
            prop_assert!(!short.contains(is_hidden));
            if !text.contains(is_hidden) {
                prop_assert!(short.len() <= Trail::MAX_TEXT && text.starts_with(short.as_ref()));
            }
        }
    }
}
