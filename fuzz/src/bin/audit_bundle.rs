//! The verifier of bundles: no bytes panic, and of a good one not a byte is free to change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenant_audit::{CheckpointKey, verify_bundle};

/// Made once by `tenant-audit export`, with its key.
const BUNDLE: &[u8] = include_bytes!("../../seeds/audit_bundle/whole");
const KEY: &str = include_str!("../../seeds/audit_bundle/key");

fuzz_target!(|bytes: &[u8]| {
    let key: CheckpointKey = KEY.trim().parse().expect("a key");
    let keys = [key];
    if verify_bundle(bytes, &keys).is_ok() {
        // Only what the key's owner has signed.
        assert_eq!(bytes, BUNDLE);
    }
    let Some(([high, low, how], text)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes([*high, *low])) % BUNDLE.len();
    let end = if how % 2 == 0 {
        at
    } else {
        (at + text.len()).min(BUNDLE.len())
    };
    let changed = [&BUNDLE[..at], text, &BUNDLE[end..]].concat();
    assert_eq!(
        verify_bundle(&changed[..], &keys).is_ok(),
        changed == BUNDLE,
        "a bundle that was changed verifies"
    );
});
