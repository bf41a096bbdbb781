//! A process that is killed while it writes, again and again.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use tenant_audit::{Event, FileSink, Rotation, SystemClock, TokioTimer, layer, verify};
use tenant_testkit::{ManualClock, context, tenants};

const DIR: &str = "TENANT_AUDIT_KILL_DIR";
const ROUND: &str = "TENANT_AUDIT_KILL_ROUND";
/// How often the process is killed; more by hand: `TENANT_AUDIT_KILL_ROUNDS=500 cargo test … kill`.
const ROUNDS: &str = "TENANT_AUDIT_KILL_ROUNDS";

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// The process that is killed: it writes a number as soon as that number's records are synced.
#[test]
fn child() {
    let (Some(dir), Some(round)) = (variable(DIR), variable(ROUND)) else {
        return;
    };
    let round: usize = round.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Files that are soon full: it is killed between two of them too.
        let sink = FileSink::open(dir)
            .unwrap()
            .rotated(Rotation::new().bytes(1_500));
        let (layer, worker) = layer(sink)
            .clock(SystemClock::new())
            .timer(TokioTimer::new())
            .build()
            .unwrap();
        let handle = layer.handle();
        let writing = async move {
            let _layer = layer;
            let clock = ManualClock::new();
            let tenants = tenants(&["acme", "globex"], &clock);
            let contexts = ["acme", "globex"].map(|tenant| context(&tenants, tenant, "ada"));
            for n in (round * 1_000_000).. {
                for context in &contexts {
                    let event = Event::new("written").detail("n", n);
                    handle.record(context, event).await.unwrap();
                }
                handle.flush().await.unwrap();
                // The line feed first: the harness may have begun a line.
                print!("\nsynced {n}\n");
                std::io::stdout().flush().unwrap();
            }
        };
        let _killed = tokio::join!(worker, writing);
    });
}

/// Starts the writer, and kills it when so many numbers were acknowledged, wherever it is then. The
/// acknowledged numbers.
fn round(dir: &Path, round: usize, kill_after: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut synced = Vec::new();
    let number = |line: String| line.strip_prefix("synced ")?.parse::<u64>().ok();
    while synced.len() < kill_after {
        let line = lines.next().expect("the writer ended by itself").unwrap();
        synced.extend(number(line));
    }
    child.kill().unwrap();
    // What was acknowledged before the signal came counts too.
    synced.extend(lines.map_while(Result::ok).filter_map(number));
    child.wait().unwrap();
    synced
}

#[test]
fn kill_9_at_any_point_loses_nothing_that_was_synced_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = variable(ROUNDS).map_or(8, |rounds| rounds.parse().unwrap());
    let mut synced = Vec::new();
    for n in 0..rounds {
        synced.extend(round(dir.path(), n, 1 + n * 7 % 5));
    }
    // A last process that takes it up and ends well.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let sink = FileSink::open(dir.path()).unwrap();
        let clock = ManualClock::new();
        let (layer, worker) = layer(sink).timer(clock).build().unwrap();
        drop(layer);
        worker.await.unwrap();
    });
    let verified = verify(dir.path()).unwrap();
    assert!(verified.records >= 2 * u64::try_from(synced.len()).unwrap());
    for tenant in ["acme", "globex"] {
        let files = fs::read_dir(dir.path()).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let text: String = files
            .filter(|path| {
                path.to_string_lossy()
                    .contains(&format!("tenant-{tenant}."))
            })
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let there: HashSet<u64> = text
            .lines()
            .filter_map(|line| {
                let rest = line.split_once("\"metadata\":{\"n\":")?.1;
                rest.split_once('}')?.0.parse().ok()
            })
            .collect();
        for n in &synced {
            assert!(there.contains(n), "{tenant} lost {n}, which was synced");
        }
    }
}
