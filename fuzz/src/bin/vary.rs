//! `Vary`: a star or a credential is never overlooked, the list is bounded, and a stored response answers the requests that
//! are alike in the fields it names, and no others.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tenant_cache::fuzzing;

/// Lines `name:value` up to an empty one.
fn request<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()).take(32) {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let Ok(value) = HeaderValue::from_bytes(line) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.insert(header::VARY, value);
    let Some(names) = fuzzing::varies_by(&fields) else {
        return;
    };
    assert!(names.len() <= 16);
    let members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for member in members.filter(|member| !member.is_empty()) {
        let lower = member.to_ascii_lowercase();
        assert!(![&b"*"[..], b"authorization", b"cookie"].contains(&lower.as_slice()));
        assert!(names.iter().any(|name| name.as_str().as_bytes() == lower));
    }
    let (one, other) = (request(&mut lines), request(&mut lines));
    let values = |of: &HeaderMap, name| of.get_all(name).iter().cloned().collect::<Vec<_>>();
    let alike = names.iter().all(|name| values(&one, name) == values(&other, name));
    assert!(fuzzing::is_found(&fields, &one, &one));
    assert_eq!(fuzzing::is_found(&fields, &one, &other), alike);
    assert_eq!(fuzzing::is_found(&fields, &other, &one), alike);
});
