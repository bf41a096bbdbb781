//! For how long records are kept.

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use tenant_context::{TenantId, UnixTime};

use super::{
    disk::open_regular,
    heads::Heads,
    pieces::Pieces,
    segments::{Chains, begun},
    spill,
};
use crate::{
    ChainId, Expired, Head,
    chain::{before, spilled},
};

/// For how long records are kept: by tenant, for the platform's own, and by class. **One year by default**: a sink that nobody
/// gave a retention keeps records for 365 days. It says so in the log when it starts, with what is older by then, and
/// deletes nothing in the ten minutes after that; [`forever`](Self::forever) keeps all.
///
/// A chain's files are deleted whole, from the
/// front, when the last record of each is older; so rotate ([`Rotation`](crate::Rotation)) more often than that.
/// Before a file goes, a record of the action `audit.expired` names the last record in it, under the next
/// checkpoint's signature: the rest verifies, and nobody can cut more. The log says what was deleted.
///
/// # Classes
///
/// A class is what a rule of yours says of a record: a route, a method, an outcome, an action. All classes share their tenant's
/// chain, and a chain has no holes: **the longest of the classes holds**, for the whole file in which a record of it stands, and for
/// those that follow it until it goes. So a class with a longer time than the tenant's is always kept for as long; one with a
/// shorter time goes earlier only where whole files at the front hold nothing else. Records that must go early belong
/// to a service with a directory of its own.
///
/// ```
/// use std::time::Duration;
/// use tenant_audit::{FileSink, Retention};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tmp = tempfile::tempdir()?;
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// let retention = Retention::new()            // one year
///     .tenant("acme".parse()?, DAY * 90)
///     .platform(DAY * 30)                     // refusals before a tenant is known, system work
///     .class("payments", DAY * 365 * 10, |record| record["action"] == "payment.write");
/// let sink = FileSink::open(tmp.path())?.retained(retention);
/// # drop(sink);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is given to a sink"]
pub struct Retention {
    tenants: HashMap<TenantId, Duration>,
    others: Duration,
    platform: Duration,
    classes: Vec<Class>,
}

/// Records that a rule picks.
#[derive(Clone)]
struct Class {
    name: String,
    keep: Duration,
    rule: Arc<dyn Fn(&Value) -> bool + Send + Sync>,
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.name, self.keep)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::new()
    }
}

impl Retention {
    /// One year of 365 days, for all.
    pub fn new() -> Self {
        Self::of(Duration::from_secs(365 * 24 * 3600))
    }

    /// Nothing is ever deleted.
    pub fn forever() -> Self {
        Self::of(Duration::MAX)
    }

    /// As long for all.
    pub fn of(keep: Duration) -> Self {
        Self {
            tenants: HashMap::new(),
            others: keep,
            platform: keep,
            classes: Vec::new(),
        }
    }

    /// As long for one tenant.
    pub fn tenant(mut self, tenant: TenantId, keep: Duration) -> Self {
        self.tenants.insert(tenant, keep);
        self
    }

    /// As long for the platform's own chain.
    pub const fn platform(mut self, keep: Duration) -> Self {
        self.platform = keep;
        self
    }

    /// As long for the records of any chain that a rule picks; of several rules the first that does counts. The rule is
    /// given the record as it stands in the log. It runs on the sink's thread, once for each record of a file whose time may
    /// have come (some seconds for a GiB, at most 64 MiB or one file in ten minutes).
    pub fn class(
        mut self,
        name: impl Into<String>,
        keep: Duration,
        rule: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.classes.push(Class {
            name: name.into(),
            keep,
            rule: Arc::new(rule),
        });
        self
    }

    fn keep(&self, chain: &ChainId) -> Duration {
        match chain.tenant() {
            None => self.platform,
            Some(tenant) => self.tenants.get(tenant).copied().unwrap_or(self.others),
        }
    }

    /// The least that any record of a chain is kept.
    fn least(&self, chain: &ChainId) -> Duration {
        let classes = self.classes.iter().map(|class| class.keep);
        classes.fold(self.keep(chain), Duration::min)
    }

    /// For how long one of a file's records is kept, the one that is kept for longest.
    fn longest(&self, dir: &Path, chain: &ChainId, first: u64) -> io::Result<Duration> {
        let mut pieces = Pieces::new(open_regular(&dir.join(chain.segment_name(first)))?);
        let mut longest = Duration::ZERO;
        while let Some(line) = pieces.next()? {
            let record = spill::record(dir, chain, line);
            let record = record.and_then(|record| serde_json::from_str::<Value>(&record).ok());
            let keep = match record {
                Some(record) => {
                    let mut classes = self.classes.iter();
                    let class = classes.find(|class| (class.rule)(&record));
                    class.map_or(self.keep(chain), |class| class.keep)
                }
                // What cannot be read may be of any class.
                None if spilled(line).is_some() => Duration::MAX,
                // What a crash has torn is no record.
                None => Duration::ZERO,
            };
            longest = longest.max(keep);
        }
        Ok(longest)
    }
}

/// What says, now and then, what may go.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    retention: Retention,
    /// Whether somebody has chosen it, or the log has said what applies.
    known: bool,
    /// For how long files are kept that were read for it.
    longest: HashMap<(String, u64), Duration>,
}

/// How much is read at a time to know the classes in it.
const MOST_READ: u64 = 64 << 20;

impl Keeper {
    pub(super) fn of(retention: Retention) -> Self {
        Self {
            retention,
            known: true,
            ..Self::default()
        }
    }

    /// What may go. A file that cannot be read is kept.
    pub(super) fn expired(
        &mut self,
        dir: &Path,
        chains: &Chains,
        heads: &Heads,
        now: UnixTime,
    ) -> Vec<Expired> {
        let mut expired = Vec::new();
        let mut left = MOST_READ;
        for (name, (chain, files)) in chains {
            let gone = heads.expired.get(name).map_or(0, Head::seq);
            let mut through = None;
            for (first, next) in files.iter().zip(files.iter().skip(1)) {
                // All records of a file are older than the first one of the next.
                let begun = begun(dir, chain, *next).ok().flatten();
                let age = begun.map(|begun| now.saturating_since(begun));
                let old = age.is_some_and(|age| {
                    age >= self.retention.least(chain)
                        && (self.retention.classes.is_empty()
                            || self
                                .longest(dir, name, chain, *first, &mut left)
                                .is_some_and(|longest| age >= longest))
                });
                if !old {
                    break;
                }
                through = Some(*next);
            }
            let through = through.and_then(|next| {
                let path = dir.join(chain.segment_name(next));
                let mut pieces = Pieces::new(open_regular(&path).ok()?);
                before(pieces.next().ok()??)
            });
            if let Some(through) = through.filter(|head| head.seq() > gone) {
                expired.push(Expired::new(chain.clone(), through));
            }
        }
        if !std::mem::replace(&mut self.known, true) {
            tracing::warn!(
                directory = %dir.display(),
                days = self.retention.others.as_secs() / 86_400,
                chains_with_older_records = expired.len(),
                "nobody has chosen for how long audit records are kept: what is older than a year is deleted from ten minutes on; choose with `FileSink::retained`"
            );
            expired.clear();
        }
        expired
    }

    /// [`Retention::longest`], of a file that is full; `None`: it is not known yet.
    fn longest(
        &mut self,
        dir: &Path,
        name: &str,
        chain: &ChainId,
        first: u64,
        left: &mut u64,
    ) -> Option<Duration> {
        let key = (name.to_owned(), first);
        if let Some(known) = self.longest.get(&key) {
            return Some(*known);
        }
        if *left == 0 {
            return None;
        }
        let path = dir.join(chain.segment_name(first));
        *left = left.saturating_sub(path.metadata().ok()?.len());
        let longest = self.retention.longest(dir, chain, first).ok()?;
        self.longest.insert(key, longest);
        Some(longest)
    }
}
