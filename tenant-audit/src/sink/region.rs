//! A sink for each region: records stay where the tenant's data must stay.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tenant_context::UnixTime;

use crate::{AuditSink, Batch, ChainBatch, ChainId, Expired, Head, Resumed, SinkError};

/// Chooses a sink by the region in the tenant's record ([`TenantState::region`](tenant_context::TenantState::region)).
/// The platform's chain, and tenants of no region or of one that has no sink, go to the default.
///
/// A chain stays where it began, because in another place its beginning would be missing: a tenant that moves is said in
/// the log until its chain is exported and the service starts with other directories.
///
/// A batch is taken when each region's sink has taken its part: one that fails or hangs holds the records of all. What may be away
/// for a while, a collector in another place, stands as [`best_effort`](crate::FanOut::best_effort) behind a file log of the region's own.
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
    homes: HashMap<ChainId, Home>,
    /// The batch that is being kept: a batch that failed comes again.
    current: Option<Arc<Batch>>,
}

/// Where a chain is kept, and how far.
struct Home {
    at: usize,
    /// What a sink has taken, while this process ran: it does not get it again, in whatever batch it comes.
    taken: Head,
}

struct Part {
    sink: Box<dyn AuditSink>,
    /// What it has to take of the current batch.
    batch: Option<Arc<Batch>>,
    /// What it has taken and is not noted.
    taken: Option<Arc<Batch>>,
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
    fn home(&mut self, lines: &ChainBatch) -> &Home {
        let wanted = lines.region().and_then(|region| self.regions.get(region));
        let wanted = wanted.copied().unwrap_or_default();
        let home = self.homes.entry(lines.chain().clone()).or_insert(Home {
            at: wanted,
            taken: Head::default(),
        });
        // The audit's own records of a tenant are made without its context: they name no region.
        if home.at != wanted && lines.region().is_some() {
            tracing::error!(
                chain = %lines.chain(),
                region = lines.region(),
                "a tenant has moved to another region: its records stay where they began"
            );
        }
        home
    }

    fn note_taken(&mut self) {
        let taken = self.sinks.iter_mut().filter_map(|part| part.taken.take());
        for batch in taken {
            for lines in batch.chains() {
                if let Some(home) = self.homes.get_mut(lines.chain()) {
                    home.taken = *lines.head();
                }
            }
        }
    }

    fn split(&mut self, batch: &Batch) {
        let mut parts: HashMap<usize, Vec<ChainBatch>> = HashMap::new();
        for lines in batch.chains() {
            let home = self.home(lines);
            // Lines that are read again from a file log come in other batches than those of which a part failed.
            if lines.head().seq() > home.taken.seq() {
                let rest = lines.following(&home.taken);
                let rest = rest.map_or_else(|| lines.clone(), Cow::into_owned);
                parts.entry(home.at).or_default().push(rest);
            }
        }
        for (at, part) in self.sinks.iter_mut().enumerate() {
            let lines = parts.remove(&at);
            part.batch = lines.map(|lines| Arc::new(Batch::new(lines)));
        }
    }
}

impl Part {
    fn new(sink: impl AuditSink) -> Self {
        Self {
            sink: Box::new(sink),
            batch: None,
            taken: None,
        }
    }

    async fn take(&mut self) -> Result<(), SinkError> {
        if let Some(batch) = &self.batch {
            self.sink.append(Arc::clone(batch)).await?;
            self.taken = self.batch.take();
        }
        Ok(())
    }
}

impl AuditSink for RegionSink {
    fn resume(&mut self) -> Vec<Resumed> {
        let mut all = Vec::new();
        for (at, part) in self.sinks.iter_mut().enumerate() {
            for resumed in part.sink.resume() {
                let taken = resumed.head;
                self.homes.insert(resumed.chain.clone(), Home { at, taken });
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
            // An attempt that was broken off may have been taken in part.
            self.note_taken();
            self.split(&batch);
            self.current = Some(batch);
        }
        async move {
            let taken = join_all(self.sinks.iter_mut().map(Part::take)).await;
            self.note_taken();
            taken.into_iter().collect::<Result<(), SinkError>>()?;
            self.current = None;
            Ok(())
        }
        .boxed()
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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::{
        MemorySink,
        chain::{ChainKey, seal},
    };
    use futures_util::future::pending;

    struct Hangs;

    impl AuditSink for Hangs {
        fn append(&mut self, _: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
            pending().boxed()
        }
    }

    /// Lines of a tenant, from one number to another.
    fn lines(tenant: &str, region: &str, from: u64, to: u64) -> ChainBatch {
        let chain = ChainId::of_tenant(tenant.parse().unwrap());
        let (key, mut head) = (ChainKey::of(&chain), Head::default());
        let mut lines = ChainBatch::new(chain, head, Vec::new(), Some(region.into()));
        for n in 1..=to {
            let mut line = Vec::new();
            seal(&key, &mut head, &mut line, |out| {
                out.extend_from_slice(format!(r#"{{"n":{n}}}"#).as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
            if n >= from {
                let write = |out: &mut Vec<u8>| {
                    out.append(&mut line);
                    Ok::<_, ()>(())
                };
                lines.push(UnixTime::from_secs(n), write).unwrap();
            }
        }
        lines.head = head;
        lines
    }

    fn numbers(sink: &MemorySink) -> Vec<u64> {
        let records = sink.records();
        let numbers = records.iter().map(|record| record["n"].as_u64().unwrap());
        numbers.collect()
    }

    #[test]
    fn a_region_gets_no_record_twice_in_whatever_batches_they_come_again() {
        let here = MemorySink::new();
        let mut sink = RegionSink::new(here.clone()).region("eu", Hangs);
        let mut append = |lines: Vec<ChainBatch>| {
            let batch = Arc::new(Batch::new(lines));
            sink.append(batch).now_or_never()
        };
        // One region takes its part, the other hangs, and the attempt is broken off.
        let both = || vec![lines("globex", "us", 1, 3), lines("acme", "eu", 1, 1)];
        assert!(append(both()).is_none());
        for (from, to) in [(1, 2), (1, 3), (2, 5)] {
            let taken = append(vec![lines("globex", "us", from, to)]);
            assert!(taken.unwrap().is_ok());
        }
        assert_eq!(numbers(&here), [1, 2, 3, 4, 5]);
    }
}
