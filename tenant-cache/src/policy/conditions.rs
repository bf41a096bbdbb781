//! Validation: what a cache asks with, what it answers, and what a 304 changes (RFC 9111 §4.3, RFC 9110 §13).

use http::{HeaderMap, HeaderName, header};

use super::dated;

/// The longest list of entity tags that is looked through.
const MAX_TAGS: usize = 64;

/// Whether a response can be asked about again.
pub(crate) fn keeps_validator(headers: &HeaderMap) -> bool {
    etag(headers).is_some() || dated(headers, &header::LAST_MODIFIED).is_some()
}

/// What a stored response is validated with, in place of the request's own conditions (§4.3.1): those are looked at
/// when the answer is there.
pub(crate) fn validators(stored: &HeaderMap, asked: &mut HeaderMap) {
    asked.remove(header::IF_NONE_MATCH);
    asked.remove(header::IF_MODIFIED_SINCE);
    if let Some(tag) = stored.get(header::ETAG)
        && etag(stored).is_some()
    {
        asked.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED)
        && dated(stored, &header::LAST_MODIFIED).is_some()
    {
        asked.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Whether a request's own conditions are answered with 304 by this response (RFC 9110 §13.2.2: `If-None-Match` before
/// `If-Modified-Since`).
pub(crate) fn is_not_modified(asked: &HeaderMap, stored: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let known = etag(stored);
        return asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|line| lists(line.as_bytes(), known));
    }
    match (
        dated(asked, &header::IF_MODIFIED_SINCE),
        // §4.3.2: without `Last-Modified`, when it was made.
        dated(stored, &header::LAST_MODIFIED).or_else(|| dated(stored, &header::DATE)),
    ) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether a 304 speaks of this stored response (§4.3.4): its entity tag is the stored one, or it names none.
pub(crate) fn same_representation(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (etag(not_modified), etag(stored)) {
        (Some(new), Some(old)) => opaque(new) == opaque(old),
        (Some(_), None) => false,
        (None, _) => match (
            dated(not_modified, &header::LAST_MODIFIED),
            dated(stored, &header::LAST_MODIFIED),
        ) {
            (Some(new), Some(old)) => new == old,
            _ => true,
        },
    }
}

/// The stored fields after a 304 (§3.2): each field that it has replaces the stored ones, apart from those that describe the
/// content that was stored.
pub(crate) fn refreshed(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    for name in not_modified.keys() {
        if describes_content(name) {
            continue;
        }
        fields.remove(name);
        for value in not_modified.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    // Made anew, it is as old as the answer that said so.
    for name in [header::AGE, header::DATE] {
        if !not_modified.contains_key(&name) {
            fields.remove(name);
        }
    }
    fields
}

fn describes_content(name: &HeaderName) -> bool {
    [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}

/// The one entity tag of a response, if it is one.
fn etag(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(header::ETAG).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let tag = line.as_bytes();
            let quoted = opaque(tag);
            let whole = quoted.len() >= 2 && quoted.starts_with(b"\"") && quoted.ends_with(b"\"");
            whole.then_some(tag)
        }
        _ => None,
    }
}

/// Without the mark of a weak one: the comparison that validation takes (RFC 9110 §8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a line of `If-None-Match` is `*` or names the tag. A comma may stand inside of a tag.
fn lists(line: &[u8], known: Option<&[u8]>) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let Some(known) = known.map(opaque) else {
        return false;
    };
    let mut rest = line;
    for _ in 0..MAX_TAGS {
        let Some(begin) = rest.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        let Some((_, quoted)) = rest.split_at_checked(begin) else {
            return false;
        };
        let Some(end) = quoted.iter().skip(1).position(|byte| *byte == b'"') else {
            return false;
        };
        let Some((tag, after)) = quoted.split_at_checked(end.saturating_add(2)) else {
            return false;
        };
        if tag == known {
            return true;
        }
        rest = after;
    }
    false
}
