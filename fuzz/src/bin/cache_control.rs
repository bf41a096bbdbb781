//! `Cache-Control`: whatever stands in it, `no-store` and `private` outside of strings are never overlooked, and what is
//! read is the same in one line and in two.

#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tenant_cache::fuzzing;

fn fields(lines: &[&[u8]]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(header::CACHE_CONTROL, HeaderValue::from_bytes(line).ok()?);
    }
    Some(fields)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(whole) = fields(&[bytes]) else { return };
    fuzzing::read_request(&whole);
    let storable = fuzzing::is_storable(&whole);
    // A directive that forbids, beside whatever it is, forbids.
    for forbidding in [&b"no-store"[..], b"private", b"NO-STORE=x"] {
        let beside = fields(&[bytes, forbidding]).expect("both are values");
        assert!(!fuzzing::is_storable(&beside));
        let before = fields(&[forbidding, bytes]).expect("both are values");
        assert!(!fuzzing::is_storable(&before));
    }
    // Two lines are one with a comma.
    if let Some(at) = bytes.iter().position(|byte| *byte == b',')
        && !bytes.contains(&b'"')
    {
        let halves = fields(&[&bytes[..at], &bytes[at + 1..]]).expect("halves of a value");
        assert_eq!(storable, fuzzing::is_storable(&halves));
    }
});
