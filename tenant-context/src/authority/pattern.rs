//! Scopes with wildcards: one covers another, two overlap. Pure.

use std::iter::Peekable;

/// Segments of a scope are separated by this.
const SEPARATOR: u8 = b':';
const ANY: &[u8] = b"*";

/// Whether whoever holds the scope `held` may do all that `needed` names.
///
/// A scope has segments separated by `:`. A segment that is `*` stands for any one segment, and as the last
/// one for one or more: `sessions:*` covers `sessions:write` and `sessions:all:write`, `*:read` covers
/// `sessions:read`, `*` covers everything. Everything else, case included, is compared byte for byte.
///
/// `needed` may have wildcards too: then it is covered if everything that it covers is.
///
/// ```
/// use tenant_context::scope_covers;
///
/// assert!(scope_covers("sessions:*", "sessions:write"));
/// assert!(scope_covers("*:read", "sessions:read"));
/// assert!(!scope_covers("*:read", "*"));
/// assert!(!scope_covers("sessions", "sessions:write"));
/// ```
pub fn scope_covers(held: &str, needed: &str) -> bool {
    let (mut held, mut needed) = (segments(held), segments(needed));
    loop {
        let (Some(left), Some(right)) = (held.next(), needed.next()) else {
            return false;
        };
        let (last_held, last_needed) = (held.peek().is_none(), needed.peek().is_none());
        if left == ANY && last_held {
            return true;
        }
        // What is needed goes on without end, or names any segment: only the like covers it.
        if right == ANY && (last_needed || left != ANY) {
            return false;
        }
        if left != ANY && left != right {
            return false;
        }
        if last_held && last_needed {
            return true;
        }
    }
}

/// Whether some one scope is covered by both.
///
/// ```
/// use tenant_context::scopes_overlap;
///
/// assert!(scopes_overlap("*:read", "billing:*"));       // billing:read
/// assert!(!scopes_overlap("invoices:*", "billing:*"));
/// ```
pub fn scopes_overlap(one: &str, two: &str) -> bool {
    let (mut one, mut two) = (segments(one), segments(two));
    loop {
        let (Some(left), Some(right)) = (one.next(), two.next()) else {
            return false;
        };
        let (last_one, last_two) = (one.peek().is_none(), two.peek().is_none());
        if (left == ANY && last_one) || (right == ANY && last_two) {
            return true;
        }
        if left != right && left != ANY && right != ANY {
            return false;
        }
        if last_one && last_two {
            return true;
        }
    }
}

fn segments(scope: &str) -> Peekable<impl Iterator<Item = &[u8]>> {
    let bytes = scope.as_bytes();
    bytes.split(|byte| *byte == SEPARATOR).peekable()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// All scopes of up to three segments over three names: small enough to try each.
    fn concrete() -> Vec<String> {
        let names = ["a", "b", ""];
        let mut all = Vec::new();
        for one in names {
            all.push(one.to_owned());
            for two in names {
                all.push(format!("{one}:{two}"));
                for three in names {
                    all.push(format!("{one}:{two}:{three}"));
                    // Longer than any pattern, so that a wildcard at the end is told from one in the middle.
                    all.push(format!("{one}:{two}:{three}:a:a"));
                }
            }
        }
        all
    }

    fn pattern() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a"), Just("b"), Just(""), Just("*")];
        vec(segment, 1..4).prop_map(|segments| segments.join(":"))
    }

    proptest! {
        #[test]
        fn covering_is_what_trying_every_scope_says(held in pattern(), needed in pattern()) {
            let expected = concrete().iter().all(|scope| !scope_covers(&needed, scope) || scope_covers(&held, scope));
            // `x:*:…` of all names `a`, `b` and none is not every name: the pattern knows more names than we try.
            let named = concrete().iter().any(|scope| scope_covers(&needed, scope));
            prop_assert!(named);
            if scope_covers(&held, &needed) {
                prop_assert!(expected, "{held} covers {needed}");
            } else {
                prop_assert!(!expected, "{held} does not cover {needed}");
            }
        }

        #[test]
        fn overlapping_is_what_trying_every_scope_says(one in pattern(), two in pattern()) {
            let expected = concrete().iter().any(|scope| scope_covers(&one, scope) && scope_covers(&two, scope));
            prop_assert_eq!(scopes_overlap(&one, &two), expected, "{} and {}", one, two);
        }

        #[test]
        fn covering_is_an_order(one in pattern(), two in pattern(), three in pattern()) {
            prop_assert!(scope_covers(&one, &one));
            if scope_covers(&one, &two) && scope_covers(&two, &three) {
                prop_assert!(scope_covers(&one, &three));
            }
            if scope_covers(&one, &two) && scope_covers(&two, &one) {
                prop_assert_eq!(one, two);
            }
        }
    }

    #[test]
    fn the_table() {
        for (held, needed, covers) in [
            ("sessions:write", "sessions:write", true),
            ("sessions:*", "sessions:write", true),
            ("sessions:*", "sessions", false),
            ("sessions:*", "sessions:all:write", true),
            ("sessions", "sessions:write", false),
            ("*:read", "sessions:read", true),
            ("*:read", "sessions:write", false),
            ("*:read", "sessions:all:read", false),
            ("*", "anything:at:all", true),
            ("*", "*", true),
            ("*:read", "*", false),
            ("*:read", "*:read", true),
            ("*:*", "*:read", true),
            ("*:*", "read", false),
            ("sess*", "sessions", false),
            ("Sessions:read", "sessions:read", false),
            ("sessions:read", "sessions:read:all", false),
            ("*", "", true),
            ("", "sessions:read", false),
        ] {
            assert_eq!(scope_covers(held, needed), covers, "{held} {needed}");
        }
    }
}
