//! A sink for each region: records stay where the tenant's data must stay.

use std::{collections::HashMap, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tenant_context::UnixTime;

use crate::{AuditSink, Batch, ChainBatch, ChainId, Expired, Resumed, SinkError};

/// Chooses a sink by the region in the tenant's record ([`TenantState::region`](tenant_context::TenantState::region)).
/// The platform's chain, and tenants of no region or of one that has no sink, go to the default.
///
/// A chain stays where it began, because in another place its beginning would be missing: a tenant that moves is said in
/// the log until its chain is exported and the service starts with other directories.
///
/// ```
/// use tenant_audit::{FileSink, RegionSink};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tmp = tempfile::tempdir()?;
/// # let (here, frankfurt) = (tmp.path().join("a"), tmp.path().join("b"));
/// let sink = RegionSink::new(FileSink::open(here)?).region("eu", FileSink::open(frankfurt)?);
/// # drop(sink);
/// # Ok(())
/// # }
/// ```
#[must_use = "it is what records go to"]
pub struct RegionSink {
    /// The default first.
    sinks: Vec<Part>,
    regions: HashMap<String, usize>,
    homes: HashMap<ChainId, usize>,
    /// The batch that is being kept: a batch that failed comes again.
    current: Option<Arc<Batch>>,
}

struct Part {
    sink: Box<dyn AuditSink>,
    /// What it has to take of the current batch.
    batch: Option<Arc<Batch>>,
}

impl RegionSink {
    /// Everything to one sink, until regions are added.
    pub fn new(default: impl AuditSink) -> Self {
        Self {
            sinks: vec![Part::new(default)],
            regions: HashMap::new(),
            homes: HashMap::new(),
            current: None,
        }
    }

    /// The records of a region's tenants to another one.
    pub fn region(mut self, name: impl Into<String>, sink: impl AuditSink) -> Self {
        self.regions.insert(name.into(), self.sinks.len());
        self.sinks.push(Part::new(sink));
        self
    }

    /// Which sink keeps a chain.
    fn home(&mut self, lines: &ChainBatch) -> usize {
        let wanted = lines.region().and_then(|region| self.regions.get(region));
        let wanted = wanted.copied().unwrap_or_default();
        let home = *self.homes.entry(lines.chain().clone()).or_insert(wanted);
        // The audit's own records of a tenant are made without its context: they name no region.
        if home != wanted && lines.region().is_some() {
            tracing::error!(
                chain = %lines.chain(),
                region = lines.region(),
                "a tenant has moved to another region: its records stay where they began"
            );
        }
        home
    }

    fn split(&mut self, batch: &Batch) {
        let mut parts: HashMap<usize, Vec<ChainBatch>> = HashMap::new();
        for lines in batch.chains() {
            parts
                .entry(self.home(lines))
                .or_default()
                .push(lines.clone());
        }
        for (at, lines) in parts {
            if let Some(part) = self.sinks.get_mut(at) {
                part.batch = Some(Arc::new(Batch::new(lines)));
            }
        }
    }
}

impl Part {
    fn new(sink: impl AuditSink) -> Self {
        Self {
            sink: Box::new(sink),
            batch: None,
        }
    }

    async fn take(&mut self) -> Result<(), SinkError> {
        if let Some(batch) = &self.batch {
            self.sink.append(Arc::clone(batch)).await?;
            self.batch = None;
        }
        Ok(())
    }
}

impl AuditSink for RegionSink {
    fn resume(&mut self) -> Vec<Resumed> {
        let mut all = Vec::new();
        for (at, part) in self.sinks.iter_mut().enumerate() {
            for resumed in part.sink.resume() {
                self.homes.insert(resumed.chain.clone(), at);
                all.push(resumed);
            }
        }
        all
    }

    fn expired(&mut self, now: UnixTime) -> BoxFuture<'_, Vec<Expired>> {
        let asked = self.sinks.iter_mut().map(|part| part.sink.expired(now));
        join_all(asked)
            .map(|expired| expired.into_iter().flatten().collect())
            .boxed()
    }

    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        let again = self
            .current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, &batch));
        if !again {
            self.split(&batch);
            self.current = Some(batch);
        }
        async move {
            let taken = join_all(self.sinks.iter_mut().map(Part::take)).await;
            taken.into_iter().collect::<Result<(), SinkError>>()?;
            self.current = None;
            Ok(())
        }
        .boxed()
    }

    /// Without their regions, records of a tenant that is new here would go to the default.
    fn takes_read_back(&self) -> bool {
        false
    }

    fn is_behind(&mut self) -> bool {
        self.sinks.iter_mut().any(|part| part.sink.is_behind())
    }

    fn catch_up(&mut self) -> BoxFuture<'_, ()> {
        let behind = self.sinks.iter_mut().filter_map(|part| {
            let is_behind = part.sink.is_behind();
            is_behind.then(|| part.sink.catch_up())
        });
        join_all(behind).map(|_| ()).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        let closed = join_all(self.sinks.iter_mut().map(|part| part.sink.close()));
        closed.map(|closed| closed.into_iter().collect()).boxed()
    }
}

impl fmt::Debug for RegionSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionSink")
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}
