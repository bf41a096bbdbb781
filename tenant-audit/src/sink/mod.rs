//! Where records go.

mod channel;
mod discard;
mod fan_out;
pub(crate) mod file;
mod memory;
mod region;
mod tracing;

use std::{borrow::Cow, convert::Infallible, fmt, ops::Range, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt, ready};
use tenant_context::UnixTime;

use self::file::spill::MAX_INLINE;
pub use self::{
    channel::{ChannelSink, Records},
    discard::DiscardSink,
    fan_out::FanOut,
    file::{FileSink, Retention, Rotation},
    memory::MemorySink,
    region::RegionSink,
    tracing::TracingSink,
};
use crate::{
    ChainId, Head, SinkError,
    chain::{before, head_of, record_of},
    stamp,
};

/// Keeps records: implement this for a store of your own.
///
/// The worker calls one method at a time and never runs two appends at once.
///
/// A sink that answers `Ok` before its records are durable loses them in a crash, unnoticed until
/// somebody compares the chain's numbers. One that keeps part of a batch and answers an error must
/// take the *same* batch again without keeping that part twice: the worker repeats the batch until
/// it is taken. One that reorders or changes lines makes the chain fail verification. One that never
/// answers costs each request its deadline at the queue, and no more.
///
/// Behind a [`FanOut`] whose first sink is a [`FileSink`], lines that failed come again from its files, in other batches: a sink
/// that may have kept part of them tells by chain and number.
///
/// Blocking work belongs on a thread of the sink's own, not into the future. A future that is dropped because a deadline
/// has passed may have taken its batch or not: the same batch comes again.
///
/// # What a store of your own owes
///
/// - **A database:** one transaction for a batch, the rows keyed by chain and number, so that a batch that comes again
///   changes nothing; durable commits (`synchronous_commit` on); a role that may insert and not update. The
///   head of each chain in the same transaction, for [`resume`](Self::resume).
/// - **An object store:** one object for each chain of a batch, named after its first number, put if absent and kept under
///   a write-once retention; `Ok` after the store has acknowledged all of them. Objects put by an attempt that failed
///   are equal to those of the next one.
/// - **A queue or a collector:** at least once; whoever reads drops what it has by chain and number.
///
/// Lines are handed on byte for byte: their hashes are of these bytes. A line has all of its record, however long it is
/// (below 1 MiB); only a [`FileSink`] keeps long records apart.
pub trait AuditSink: Send + 'static {
    /// Where the chains stand that the sink already holds, with what had to be recovered. Called
    /// once, before the first append.
    fn resume(&mut self) -> Vec<Resumed> {
        Vec::new()
    }

    /// What has been kept for long enough, at `now`. Asked now and then. The worker records each as `audit.expired`,
    /// and the batch that brings that record says so ([`ChainBatch::expired`]): only then, and when it is durable, is
    /// anything deleted, so that the rest verifies.
    #[allow(unused_variables, reason = "the name is for the documentation")]
    fn expired(&mut self, now: UnixTime) -> BoxFuture<'_, Vec<Expired>> {
        ready(Vec::new()).boxed()
    }

    /// Keeps a batch: `Ok` when all of it is durable.
    ///
    /// # Errors
    ///
    /// What failed: the batch comes again.
    fn append(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>>;

    /// The file log, if this is one: from it a [`FanOut`] reads again what another of its sinks has missed.
    fn log(&mut self) -> Option<&mut FileSink> {
        None
    }

    /// Whether it owes records to somebody who has missed them: then [`catch_up`](Self::catch_up) is called while nothing
    /// else is to be done.
    fn is_behind(&mut self) -> bool {
        false
    }

    /// Goes on with what was missed, for a short while: the worker takes no records meanwhile. It is given ten seconds; if
    /// it needs more, its future is dropped, and a pause follows that grows to a minute.
    fn catch_up(&mut self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// Called last: gives locks and handles back.
    ///
    /// # Errors
    ///
    /// What failed.
    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        ready(Ok(())).boxed()
    }
}

/// A chain that a sink already holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resumed {
    /// Which chain.
    pub chain: ChainId,
    /// Its last record.
    pub head: Head,
    /// What was found beyond the last checkpoint.
    pub recovery: Option<Recovery>,
    /// The event ids of intents that have no outcome.
    pub intents: Vec<String>,
}

impl Resumed {
    /// A chain that ends with `head`.
    pub const fn new(chain: ChainId, head: Head) -> Self {
        Self {
            chain,
            head,
            recovery: None,
            intents: Vec::new(),
        }
    }
}

/// What an unclean shutdown left: the worker writes it down as a record of the action
/// `audit.recovered`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records beyond the last checkpoint, which are kept.
    pub(crate) unsealed_records: u64,
    /// Bytes after the last whole record, which are kept too.
    pub(crate) torn: Option<Torn>,
    /// Records too long for a line whose lines were never written: their files are deleted.
    pub(crate) spills: u64,
}

impl Recovery {
    pub(crate) const ACTION: &'static str = "audit.recovered";
}

/// Bytes that are no record: what a crash left of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// The beginning of a chain that has been kept for long enough.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Which chain.
    pub chain: ChainId,
    /// The last record that may go.
    pub through: Head,
}

impl Expired {
    pub(crate) const ACTION: &'static str = "audit.expired";

    /// Everything of a chain up to `through`.
    pub const fn new(chain: ChainId, through: Head) -> Self {
        Self { chain, through }
    }
}

/// Records to be kept together: lines of one or more chains.
#[derive(Debug)]
pub struct Batch {
    chains: Vec<ChainBatch>,
}

impl Batch {
    pub(crate) const fn new(chains: Vec<ChainBatch>) -> Self {
        Self { chains }
    }

    pub(crate) fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
        self.chains.into_iter().map(|chain| chain.lines)
    }

    /// The lines, chain by chain.
    pub fn chains(&self) -> &[ChainBatch] {
        &self.chains
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.chains
            .iter()
            .fold(0, |sum, chain| sum.saturating_add(chain.records))
    }
}

/// One chain's lines of a batch.
#[derive(Clone)]
pub struct ChainBatch {
    chain: ChainId,
    pub(crate) head: Head,
    region: Option<Arc<str>>,
    records: usize,
    from: UnixTime,
    lines: Vec<u8>,
    /// Where lines stand whose records may be too long for a line of a file.
    long: Vec<Range<usize>>,
    pub(crate) opened: Vec<String>,
    pub(crate) closed: Vec<String>,
    pub(crate) expired: Option<Head>,
}

impl ChainBatch {
    /// No lines yet after `head`, and an empty buffer for them.
    pub(crate) const fn new(
        chain: ChainId,
        head: Head,
        lines: Vec<u8>,
        region: Option<Arc<str>>,
    ) -> Self {
        Self {
            chain,
            head,
            region,
            records: 0,
            from: UnixTime::from_nanos(0),
            lines,
            long: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            expired: None,
        }
    }

    /// Writes a record that was made at a time.
    pub(crate) fn push<E>(
        &mut self,
        at: UnixTime,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.lines.len();
        write(&mut self.lines)?;
        if self.records == 0 {
            self.from = at;
        }
        let line = start..self.lines.len();
        if line.len() > MAX_INLINE {
            self.long.push(line);
        }
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    pub(crate) fn long_lines(&self) -> &[Range<usize>] {
        &self.long
    }

    /// The lines that follow a record: nearly always all of them. `None`: they do not.
    pub(crate) fn following(&self, head: &Head) -> Option<Cow<'_, Self>> {
        let mut lines = self.lines.split_inclusive(|byte| *byte == b'\n');
        if lines.clone().next().and_then(before) == Some(*head) {
            return Some(Cow::Borrowed(self));
        }
        lines.find(|line| head_of(line) == Some(*head))?;
        let mut rest = Self {
            lines: Vec::new(),
            long: Vec::new(),
            records: 0,
            ..self.clone()
        };
        for line in lines {
            let at = record_of(line).and_then(stamp::of_record);
            let Ok(()) = rest.push(at.unwrap_or(self.from), |out| {
                out.extend_from_slice(line);
                Ok::<_, Infallible>(())
            });
        }
        Some(Cow::Owned(rest))
    }

    /// When its first record was made.
    pub(crate) const fn from(&self) -> UnixTime {
        self.from
    }

    /// The region that the tenant's record named when the batch was begun, and of lines that a [`FanOut`] has read again the
    /// last one that the log was told; `None`: none, or the platform's chain.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Up to where the chain may be deleted when this batch is durable. Not known of lines that a [`FanOut`] has read again.
    pub const fn expired(&self) -> Option<&Head> {
        self.expired.as_ref()
    }

    /// Which chain.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The chain's last record after this batch.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The event ids of intents among these records. A sink that resumes keeps those that are not closed,
    /// and gives them back as [`Resumed::intents`].
    pub fn opened_intents(&self) -> &[String] {
        &self.opened
    }

    /// The event ids of intents whose outcomes are among these records, or that are reported.
    pub fn closed_intents(&self) -> &[String] {
        &self.closed
    }

    /// The lines, each ended by a line feed.
    pub fn bytes(&self) -> &[u8] {
        &self.lines
    }

    /// The lines, without their ends.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .filter(|line| !line.is_empty())
    }
}

impl fmt::Debug for ChainBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainBatch")
            .field("chain", &self.chain)
            .field("head", &self.head)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}
