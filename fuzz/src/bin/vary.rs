//! `Vary`: a star or a credential is never overlooked, the list is bounded, and a stored response answers the request it was
//! stored for.

#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tenant_cache::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.insert(header::VARY, value);
    let Some(names) = fuzzing::varies_by(&fields) else {
        return;
    };
    assert!(names.len() <= 16);
    let members = bytes.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for member in members.filter(|member| !member.is_empty()) {
        let lower = member.to_ascii_lowercase();
        assert!(![&b"*"[..], b"authorization", b"cookie"].contains(&lower.as_slice()));
        assert!(names.iter().any(|name| name.as_str().as_bytes() == lower));
    }
});
