//! The reader of a log's lines: whatever stands in one, it is the record that was written, or a finding.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use tenant_audit::verify;

/// A directory of one record, in memory where there is such a place.
fn log() -> &'static (tempfile::TempDir, Vec<u8>) {
    static LOG: std::sync::OnceLock<(tempfile::TempDir, Vec<u8>)> = std::sync::OnceLock::new();
    LOG.get_or_init(|| {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("a temporary directory");
        let sink = tenant_audit::FileSink::open(dir.path()).expect("an empty directory");
        let (layer, worker) = tenant_audit::layer(sink)
            .when_full(tenant_audit::WhenFull::Refuse)
            .build()
            .expect("a layer");
        let system = tenant_audit::SystemContext::begin("fuzz");
        let handle = layer.handle();
        for _ in 0..2 {
            let event = tenant_audit::Event::new("run").detail("n", 1);
            handle.try_record_system(&system, event).expect("a place");
        }
        drop((layer, handle));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(worker).expect("written");
        let bytes = fs::read(dir.path().join("platform.jsonl")).expect("a chain");
        (dir, bytes)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (dir, written) = log();
    let path = dir.path().join("platform.jsonl");
    // The first two bytes say where what follows stands in the file, and whether in place of what was there.
    let Some(([at, how], text)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let at = written.len() * usize::from(*at) / 256;
    let end = if how % 2 == 0 {
        at
    } else {
        (at + text.len()).min(written.len())
    };
    let changed = [&written[..at], text, &written[end..]].concat();
    fs::write(&path, &changed).expect("a file");
    assert_eq!(
        verify(dir.path()).is_ok(),
        changed == *written,
        "a log that was changed verifies"
    );
});
