//! Records: what a request's thread pays, what the worker does, what a burst loses; and the peer's.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts and times of one run are far below 2^52"
)]

use std::{
    hint::black_box,
    io::{self, Write},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use sha2::{Digest, Sha256};
use tenant_audit::{
    AuditHandle, AuditSink, AuditWorker, Batch, ChainId, Event, FileSink, SinkError, SystemContext,
    TokioTimer, WhenFull,
};
use tokio::runtime::Runtime;
use tracing_appender::non_blocking::NonBlockingBuilder;

use super::{Definition, Shared, stack};
use crate::{
    Result,
    drive::Tally,
    row::{Operation, Row, Work},
};

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

/// Starts an audit on a sink, its worker on a thread of its own that ends with the handle.
fn start(sink: impl AuditSink, queue: usize) -> Result<AuditHandle> {
    let (layer, worker) = tenant_audit::layer(sink)
        .queue(queue)
        .in_flight(queue)
        .when_full(WhenFull::Refuse)
        .timer(TokioTimer::new())
        .build()?;
    let workers = runtime()?;
    thread::Builder::new()
        .name("audit-worker".to_owned())
        .spawn(move || {
            // Records are refused if it ends early, and the report says so.
            let _ended = workers.block_on(worker);
        })?;
    Ok(layer.handle())
}

/// In memory where there is such a place: what is measured is not the disk.
fn directory() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?)
}

/// A record opened, filled and queued, by code: action, actor, outcome.
pub(super) fn record(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let (layer, mut settle) = stack::audit(shared)?;
    let handle = layer.handle();
    let system = SystemContext::begin("bench");
    let mut queued = 0_usize;
    Ok(definition.row(Operation::new(move || {
        queued = queued.wrapping_add(1);
        if queued.is_multiple_of(16_384) {
            settle(0);
        }
        handle
            .try_record_system(&system, Event::new("invoice.read"))
            .is_ok()
    })))
}

/// How many records the worker is given at a time: each group is synced as one.
const GROUP: usize = 4096;

/// Encoded, chained and written, from the queue to the file, a whole group at a time: what is shared by a group (the
/// sync, the checkpoint, two changes of threads) is shared by as many records as the row says. The worker runs on the
/// measuring thread, so that it does nothing before the clock does.
struct Groups {
    handle: AuditHandle,
    worker: Option<AuditWorker>,
    system: SystemContext,
    runtime: Runtime,
    prepared: bool,
    figure: f64,
    tally: Tally,
    _directory: tempfile::TempDir,
}

impl Groups {
    /// Lets the worker write all there is.
    fn write(&mut self) -> bool {
        let (Some(worker), handle) = (&mut self.worker, &self.handle) else {
            return false;
        };
        let written = self.runtime.block_on(async {
            match select(pin!(handle.flush()), worker).await {
                Either::Left((written, _)) => written.is_ok(),
                // It ends only when it has failed.
                Either::Right(_) => false,
            }
        });
        if !written {
            self.worker = None;
        }
        written
    }
}

impl Work for Groups {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations > 0;
        for _ in 0..if self.prepared { GROUP } else { 0 } {
            let event = Event::new("invoice.read")
                .resource("invoice", 4711)
                .detail("amount", 3);
            if self.handle.try_record_system(&self.system, event).is_err() {
                self.tally.refused = self.tally.refused.saturating_add(1);
            }
        }
    }

    fn run(&mut self) {
        if !self.prepared {
            return;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark measures the system's time"
        )]
        let start = Instant::now();
        if !self.write() {
            self.tally.refused = self.tally.refused.saturating_add(1);
        }
        self.figure = start.elapsed().as_nanos() as f64 / GROUP as f64;
    }

    fn figure(&self) -> Option<f64> {
        Some(self.figure)
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn largest_batch(&self) -> usize {
        1
    }
}

pub(super) fn worker(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let directory = directory()?;
    let (layer, worker) = tenant_audit::layer(FileSink::open(directory.path())?)
        .when_full(WhenFull::Refuse)
        .timer(TokioTimer::new())
        .build()?;
    Ok(definition.row(Groups {
        handle: layer.handle(),
        worker: Some(worker),
        system: SystemContext::begin("bench"),
        runtime: runtime()?,
        prepared: false,
        figure: 0.0,
        tally: Tally::default(),
        _directory: directory,
    }))
}

/// A directory of some megabytes, verified as a whole.
struct Verify {
    path: PathBuf,
    prepared: bool,
    figure: f64,
    tally: Tally,
    _directory: tempfile::TempDir,
}

impl Work for Verify {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations > 0;
    }

    fn run(&mut self) {
        if !self.prepared {
            return;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark measures the system's time"
        )]
        let start = Instant::now();
        match tenant_audit::verify(&self.path) {
            Ok(verified) => {
                self.figure = verified.bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
            }
            Err(_) => self.tally.refused = self.tally.refused.saturating_add(1),
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn figure(&self) -> Option<f64> {
        Some(self.figure)
    }

    fn largest_batch(&self) -> usize {
        1
    }
}

/// A log of one chain, of some megabytes.
fn log() -> Result<tempfile::TempDir> {
    const RECORDS: usize = 20_000;
    let directory = directory()?;
    let handle = start(FileSink::open(directory.path())?, 1 << 16)?;
    let system = SystemContext::begin("bench");
    for n in 0..RECORDS {
        let event = Event::new("invoice.read")
            .resource("invoice", n)
            .detail("amount", 3)
            .detail("what", "x".repeat(200));
        handle.try_record_system(&system, event)?;
    }
    runtime()?.block_on(handle.flush())?;
    Ok(directory)
}

pub(super) fn verify(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let directory = log()?;
    Ok(definition.row(Verify {
        path: directory.path().to_path_buf(),
        prepared: false,
        figure: 0.0,
        tally: Tally::default(),
        _directory: directory,
    }))
}

/// What verification cannot be faster than: the hash alone, of the same bytes.
struct Hash {
    bytes: Vec<u8>,
    prepared: bool,
    figure: f64,
}

impl Work for Hash {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations > 0;
    }

    fn run(&mut self) {
        if !self.prepared {
            return;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark measures the system's time"
        )]
        let start = Instant::now();
        black_box(Sha256::digest(&self.bytes));
        self.figure = self.bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    }

    fn figure(&self) -> Option<f64> {
        Some(self.figure)
    }

    fn largest_batch(&self) -> usize {
        1
    }
}

pub(super) fn sha256(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let directory = log()?;
    let file = directory.path().join(ChainId::platform().file_name());
    Ok(definition.row(Hash {
        bytes: std::fs::read(file)?,
        prepared: false,
        figure: 0.0,
    }))
}

/// A sink that takes a millisecond for each batch.
struct Slow;

impl AuditSink for Slow {
    fn append(&mut self, _: Arc<Batch>) -> BoxFuture<'_, std::result::Result<(), SinkError>> {
        async {
            thread::sleep(Duration::from_millis(1));
            Ok(())
        }
        .boxed()
    }
}

const BURST: usize = 40_000;

/// A burst against the slow sink: how many records found no place, or how long the longest call took.
struct Burst {
    handle: AuditHandle,
    system: SystemContext,
    runtime: Runtime,
    prepared: bool,
    lost: usize,
    /// Each call is timed: the longest is the figure.
    timed: bool,
    longest: Duration,
}

impl Burst {
    fn record(&mut self) {
        let event = Event::new("invoice.read");
        if self.handle.try_record_system(&self.system, event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

impl Work for Burst {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations > 0;
    }

    fn run(&mut self) {
        if !self.prepared {
            return;
        }
        (self.lost, self.longest) = (0, Duration::ZERO);
        for _ in 0..BURST {
            if self.timed {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "a benchmark measures the system's time"
                )]
                let start = Instant::now();
                self.record();
                self.longest = self.longest.max(start.elapsed());
            } else {
                self.record();
            }
        }
    }

    fn settle(&mut self) {
        // A worker that is gone loses the next burst, and the figure says so.
        let _written = self.runtime.block_on(self.handle.flush());
    }

    fn figure(&self) -> Option<f64> {
        Some(if self.timed {
            self.longest.as_nanos() as f64
        } else {
            self.lost as f64
        })
    }

    fn largest_batch(&self) -> usize {
        1
    }
}

fn burst_of(definition: &'static Definition, timed: bool) -> Result<Row> {
    Ok(definition.row(Burst {
        handle: start(Slow, 1 << 16)?,
        system: SystemContext::begin("bench"),
        runtime: runtime()?,
        prepared: false,
        lost: 0,
        timed,
        longest: Duration::ZERO,
    }))
}

pub(super) fn burst(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    burst_of(definition, false)
}

pub(super) fn burst_wait(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    burst_of(definition, true)
}

/// Takes a millisecond for each line, as the slow sink does for each batch.
struct SlowLines;

impl Write for SlowLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(1));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The places of the lossy appender.
const PLACES: usize = 16_384;

/// The same burst to `tracing-appender`, lossy.
#[derive(Default)]
struct Lossy {
    prepared: bool,
    lost: f64,
}

impl Work for Lossy {
    fn prepare(&mut self, operations: usize) {
        self.prepared = operations > 0;
    }

    fn run(&mut self) {
        if !self.prepared {
            return;
        }
        let (mut appender, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(PLACES)
            .finish(SlowLines);
        for _ in 0..BURST {
            // A lossy appender takes everything, and counts what it throws away.
            let _taken = appender.write(b"{\"action\":\"invoice.read\"}\n");
        }
        self.lost = appender.error_counter().dropped_lines() as f64;
        // The guard would wait for the lines that are left.
        thread::spawn(move || drop(guard));
    }

    fn figure(&self) -> Option<f64> {
        Some(self.lost)
    }

    fn largest_batch(&self) -> usize {
        1
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the signature of all that make rows"
)]
pub(super) fn lossy(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    Ok(definition.row(Lossy::default()))
}

/// An event as a JSON line to a file, through an appender that waits when it is full.
pub(super) fn tracing_json(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let directory = directory()?;
    let file = std::fs::File::create(directory.path().join("events.jsonl"))?;
    let (appender, guard) = NonBlockingBuilder::default().lossy(false).finish(file);
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(appender)
        .finish();
    let dispatch = tracing::Dispatch::new(subscriber);
    Ok(definition.row(Operation::new(move || {
        let _alive = (&directory, &guard);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(
                tenant = "acme",
                actor = "ada",
                actor_type = "human",
                outcome = "success",
                "invoice.read"
            );
        });
        true
    })))
}
