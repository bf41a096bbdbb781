//! Thousands of random edits to a real log: none verifies.
//!
//! `TENANT_AUDIT_EDITS=100000 cargo test -p tenant-audit --test mutation` tries more than the 2,000 of an ordinary run,
//! `TENANT_AUDIT_SEED` others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::unused_async,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use tempfile::TempDir;
use tenant_audit::{
    CheckpointSigner, Event, FileSink, Rotation, SystemContext, Verifier, layer, verify,
};
use tenant_testkit::{ManualClock, context, tenants};

const TENANTS: [&str; 3] = ["acme", "globex", "zeta"];

fn directory() -> TempDir {
    // In memory where there is such a place.
    let tmp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    tmp.unwrap()
}

/// A real log of three tenants and the platform: files that rotated, an oversize record, several checkpoints.
async fn real_log(dir: &Path, signer: &CheckpointSigner) {
    let clock = ManualClock::new();
    let tenants = tenants(&TENANTS, &clock);
    for _ in 0..2 {
        let signer = CheckpointSigner::parse(&signer.secret()).unwrap();
        let sink = FileSink::open(dir)
            .unwrap()
            .rotated(Rotation::new().bytes(2_500))
            .signed(signer, Duration::from_secs(3600), |_| ());
        let (layer, worker) = layer(sink)
            .clock(clock.clone())
            .timer(clock.clone())
            .build()
            .unwrap();
        let audit = layer.handle();
        drop(layer);
        let (ended, ()) = tokio::join!(worker, async {
            for n in 0..4 {
                for id in TENANTS {
                    let mut event = Event::new("invoice.read").resource("invoice", n);
                    if (n, id) == (2, "acme") {
                        for n in 0..16 {
                            event = event.detail(format!("part-{n}"), "\u{9b}".repeat(180));
                        }
                    }
                    let by = context(&tenants, id, "ada");
                    audit.record(&by, event).await.unwrap();
                    audit.flush().await.unwrap();
                }
                let system = SystemContext::begin("billing");
                let run = Event::new("run");
                audit.record_system(&system, run).await.unwrap();
            }
            drop(audit);
        });
        ended.unwrap();
    }
    fs::remove_file(dir.join("lock")).unwrap();
}

/// The files of a directory, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn read(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

/// Makes the directory hold `to`, which held `from`.
fn put(dir: &Path, from: &Files, to: &Files) {
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in to {
        if from.get(name) != Some(bytes) {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the same edits for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

const KINDS: usize = 14;

/// One random edit, and what it was.
#[allow(clippy::too_many_lines, reason = "a list of edits")]
fn edit(files: &mut Files, random: &mut Random, kind: usize) -> String {
    let names: Vec<String> = files.keys().cloned().collect();
    let name = random.of(&names).clone();
    let logs: Vec<String> = names
        .iter()
        .filter(|name| tenant_audit::ChainId::from_segment_name(name).is_some())
        .cloned()
        .collect();
    let (one, other) = (random.of(&logs).clone(), random.of(&logs).clone());
    let bytes = files.get_mut(&name).unwrap();
    let at = random.below(bytes.len());
    match kind {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            format!("{name}: a bit of byte {at}")
        }
        1 => {
            let byte = *random.of(b"0123456789abcdef\",:{}\n \0");
            let was = std::mem::replace(&mut bytes[at], byte);
            format!("{name}: byte {at}, {was:#x} is {byte:#x}")
        }
        2 => {
            let more: Vec<u8> = (0..=random.below(8))
                .map(|_| *random.of(b"0123456789abcdef\",:{}\n "))
                .collect();
            bytes.splice(at..at, more.iter().copied());
            format!("{name}: {more:?} inserted at {at}")
        }
        3 => {
            let end = (at + 1 + random.below(8)).min(bytes.len());
            bytes.drain(at..end);
            format!("{name}: {at}..{end} removed")
        }
        4 => {
            bytes.truncate(at);
            format!("{name}: truncated to {at}")
        }
        5 => {
            files.remove(&name);
            format!("{name}: deleted")
        }
        6 => {
            // Into the place of another file, or to a name that is nobody's, but like one.
            let to = match random.below(3) {
                0 => random.of(&names).clone(),
                1 => name.replace("tenant-", "tenant-x"),
                _ => format!("tenant-acme.{}.jsonl", 1 + random.below(20)),
            };
            let moved = files.remove(&name).unwrap();
            files.insert(to.clone(), moved);
            format!("{name}: renamed to {to}")
        }
        7 => {
            let (a, b) = (files[&name].clone(), files[&other].clone());
            files.insert(name.clone(), b);
            files.insert(other.clone(), a);
            format!("{name}: exchanged with {other}")
        }
        8 => {
            let mut all = lines(&files[&one]);
            let (a, b) = (random.below(all.len()), random.below(all.len()));
            all.swap(a, b);
            files.insert(one.clone(), all.concat());
            format!("{one}: lines {a} and {b} swapped")
        }
        9 => {
            let mut all = lines(&files[&one]);
            let (from, to) = (random.below(all.len()), random.below(all.len() + 1));
            let line = all[from].clone();
            all.insert(to, line);
            files.insert(one.clone(), all.concat());
            format!("{one}: line {from} repeated before {to}")
        }
        10 => {
            let mut all = lines(&files[&one]);
            let at = random.below(all.len());
            all.remove(at);
            files.insert(one.clone(), all.concat());
            format!("{one}: line {at} removed")
        }
        11 => {
            let line = random.of(&lines(&files[&one])).clone();
            let mut all = lines(&files[&other]);
            let at = random.below(all.len() + 1);
            all.insert(at, line);
            files.insert(other.clone(), all.concat());
            format!("{other}: a line of {one} inserted before {at}")
        }
        12 => {
            // The end of every line of a file, as an editor would change it.
            let text = String::from_utf8(files[&one].clone()).unwrap();
            let (what, changed) = match random.below(3) {
                0 => ("no last line feed", text.trim_end().to_owned()),
                1 => ("CR LF", text.replace('\n', "\r\n")),
                _ => ("a space after each comma", text.replace("\",\"", "\", \"")),
            };
            files.insert(one.clone(), changed.into_bytes());
            format!("{one}: {what}")
        }
        _ => {
            // A number of the checkpoints.
            let of = *random.of(&["heads.json", "checkpoint.json"]);
            let bytes = files.get_mut(of).unwrap();
            let digits: Vec<usize> = (0..bytes.len())
                .filter(|at| bytes[*at].is_ascii_digit())
                .collect();
            let at = *random.of(&digits);
            bytes[at] = b'0' + (bytes[at] - b'0' + 1 + random.below(9) as u8) % 10;
            format!("{of}: the digit at {at}")
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |set| set.parse().unwrap())
}

#[tokio::test]
async fn none_of_thousands_of_random_edits_verifies() {
    let signer = CheckpointSigner::generate("audit.example.com/api").unwrap();
    let dir = directory();
    real_log(dir.path(), &signer).await;
    let whole = read(dir.path());
    assert!(whole.len() >= 12, "{:?}", whole.keys());
    assert!(whole.contains_key("tenant-acme.3.spill"));
    let with_key = Verifier::new().key(signer.key());
    assert_eq!(with_key.verify(dir.path()).unwrap().records, 32);

    let edits = setting("TENANT_AUDIT_EDITS", 2_000);
    let seed = setting("TENANT_AUDIT_SEED", 0x5eed);
    let mut random = Random(seed);
    let (mut unnoticed, mut same) = (Vec::new(), 0);
    // Without a key nobody can tell what is wrong with a signature, and all else is found.
    let unsigned = |files: &Files| {
        let mut files = files.clone();
        files.remove("checkpoint.json");
        files
    };
    for n in 0..edits {
        let kind = usize::try_from(n).unwrap() % KINDS;
        let mut edited = whole.clone();
        let what = edit(&mut edited, &mut random, kind);
        if edited == whole {
            same += 1;
            continue;
        }
        put(dir.path(), &whole, &edited);
        if with_key.verify(dir.path()).is_ok() {
            unnoticed.push(what);
        } else if verify(dir.path()).is_ok() && unsigned(&edited) != unsigned(&whole) {
            unnoticed.push(format!("without a key: {what}"));
        }
        put(dir.path(), &edited, &whole);
    }
    assert!(unnoticed.is_empty(), "seed {seed:#x}: {unnoticed:#?}");
    // Edits that change no byte are none: few.
    assert!(same < edits / 10, "{same} of {edits}");
    assert_eq!(with_key.verify(dir.path()).unwrap().records, 32);
    println!("{edits} edits, {same} of them changed nothing, none verifies");
}
