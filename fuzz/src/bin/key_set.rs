//! The parser of JWK sets: no bytes panic, and no set is larger than its bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenant_auth::KeySet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = KeySet::from_json(bytes) {
        assert!(bytes.len() <= KeySet::MAX_LEN);
        assert!(set.len() + set.skipped().len() <= KeySet::MAX_KEYS);
        // What is read once is read again, to the same keys.
        let again = KeySet::from_json(bytes).expect("the same bytes");
        assert_eq!(
            (set.len(), set.skipped().len()),
            (again.len(), again.skipped().len())
        );
    }
});
