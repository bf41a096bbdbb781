//! The verifier and the writer's way back in: a checkpoint of any bytes is the one that was written, or a finding; no
//! bytes panic.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use tenant_audit::{FileSink, Verifier};

/// A chain that was written, behind the byte that says what it is. Without a checkpoint its beginning verifies too.
const SEED: &[u8] = include_bytes!("../../seeds/audit_directory/2-tenant-acme.jsonl");

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.expect("a temporary directory");
    let name = match which % 4 {
        0 => "heads.json",
        1 => "checkpoint.json",
        2 => "tenant-acme.jsonl",
        _ => "tenant-acme.17.jsonl",
    };
    if which % 8 >= 4 {
        drop(FileSink::open(dir.path()));
    }
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("a file");
    let kept = Verifier::new().against(bytes.to_vec()).verify(dir.path());
    assert!(kept.is_err(), "whatever it is, nobody has signed it");
    let verified = Verifier::new().verify(dir.path());
    if name.ends_with(".jsonl") && verified.is_ok() {
        assert!(SEED[1..].starts_with(bytes), "nobody has written that");
    }
    if let Ok(sink) = FileSink::open(dir.path()) {
        drop(sink);
        // Nothing is ever cut.
        let kept = fs::read(&path).expect("it is still there");
        assert!(name.ends_with(".json") || kept.starts_with(bytes));
    }
});
