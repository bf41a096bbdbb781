//! A file log with what else gets its records: of two tenants, `acme` in the region `eu` and `globex` in `us`.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tenant_audit::{
    AuditError, AuditHandle, AuditSink, Event, FanOut, FileSink, MemorySink, Rotation,
    TenantContext, layer, verify,
};
use tenant_context::{CachedRegistry, MemoryRegistry, TenantId, TenantRecord};
use tenant_testkit::{ManualClock, context};

pub const DEADLINE: Duration = Duration::from_secs(2);

/// Waits until nobody writes to a directory: the thread of a sink that was dropped gives the lock back when it ends.
pub fn released(dir: &Path) {
    if let Ok(lock) = std::fs::File::open(dir.join("lock")) {
        fs4::FileExt::lock(&lock).unwrap();
    }
}

/// In memory where there is such a place: a hundred milliseconds of these tests go by in one.
pub fn directory() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.unwrap()
}

pub struct Log {
    pub dir: TempDir,
    pub clock: ManualClock,
    pub contexts: Vec<TenantContext>,
}

impl Log {
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let registry = MemoryRegistry::new();
        for (id, region) in [("acme", "eu"), ("globex", "us")] {
            let record = TenantRecord::new(TenantId::parse(id).unwrap());
            registry.insert(record.region(region));
        }
        let tenants = CachedRegistry::builder(registry).clock(clock.clone());
        let tenants = tenants.build().unwrap();
        Self {
            contexts: ["acme", "globex"]
                .map(|id| context(&tenants, id, "ada"))
                .into(),
            dir: directory(),
            clock,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self) -> FileSink {
        let rotation = Rotation::new().bytes(20_000);
        released(self.path());
        FileSink::open(self.path()).unwrap().rotated(rotation)
    }

    /// The log, and another sink of best effort.
    pub fn and(&self, other: impl AuditSink) -> FanOut {
        FanOut::all(self.clock.clone(), DEADLINE)
            .sink(self.file())
            .best_effort(other)
    }

    pub async fn with<F: Future<Output = ()>>(
        &self,
        sink: FanOut,
        write: impl FnOnce(AuditHandle) -> F,
    ) -> Result<(), AuditError> {
        let (layer, worker) = layer(sink)
            .clock(self.clock.clone())
            .timer(self.clock.clone())
            .build()
            .unwrap();
        let handle = layer.handle();
        drop(layer);
        let (ended, ()) = tokio::join!(worker, write(handle));
        ended
    }

    /// [`with`](Self::with), and then the process ends without a goodbye.
    pub async fn crash<F: Future<Output = ()>>(
        &self,
        sink: FanOut,
        write: impl FnOnce(AuditHandle) -> F,
    ) {
        let (layer, worker) = layer(sink)
            .clock(self.clock.clone())
            .timer(self.clock.clone())
            .build()
            .unwrap();
        tokio::select! {
            biased;
            _ = worker => panic!("it ended"),
            () = write(layer.handle()) => {}
        }
    }

    /// Records numbered events, one of each tenant, each pair in a batch of its own.
    pub async fn record(&self, audit: &AuditHandle, numbers: std::ops::Range<usize>) {
        for n in numbers {
            for context in &self.contexts {
                let event = Event::new("invoice.read").detail("n", n);
                audit.try_record(context, event).unwrap();
            }
            self.flush(audit).await;
        }
    }

    /// Waits for the sinks; the time goes by.
    pub async fn flush(&self, audit: &AuditHandle) {
        let time = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.clock.advance(Duration::from_millis(100));
            }
        };
        tokio::select! {
            flushed = audit.flush() => flushed.unwrap(),
            () = time => {}
        }
    }
}

/// What a sink got of one tenant, in its order.
pub fn numbers(sink: &MemorySink, tenant: &str) -> Vec<u64> {
    let records = sink.records();
    let ours = records
        .iter()
        .filter(|record| record["tenant_id"] == tenant && record["action"] == "invoice.read");
    ours.map(|record| record["metadata"]["n"].as_u64().unwrap())
        .collect()
}

#[track_caller]
pub fn assert_has(sink: &MemorySink, expected: std::ops::Range<u64>) {
    for tenant in ["acme", "globex"] {
        assert_eq!(
            numbers(sink, tenant),
            expected.clone().collect::<Vec<_>>(),
            "{tenant}"
        );
    }
}

impl Log {
    /// Lets the time go by until a sink has so many of each tenant; nothing is recorded meanwhile.
    pub async fn until(&self, sink: &MemorySink, count: usize) {
        for tenant in ["acme", "globex"] {
            self.until_of(sink, tenant, count).await;
        }
    }

    pub async fn until_of(&self, sink: &MemorySink, tenant: &str, count: usize) {
        for _ in 0..5_000 {
            if numbers(sink, tenant).len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.clock.advance(Duration::from_millis(100));
        }
    }
}

/// How many pairs the log holds.
pub fn numbers_in(log: &Log) -> usize {
    let verified = verify(log.path()).unwrap();
    usize::try_from(verified.records / 2).unwrap()
}
