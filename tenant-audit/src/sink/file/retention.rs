//! For how long records are kept.

use std::{collections::HashMap, path::Path, time::Duration};

use tenant_context::{TenantId, UnixTime};

use super::{
    disk::open_regular,
    heads::Heads,
    pieces::Pieces,
    segments::{Chains, begun},
};
use crate::{ChainId, Expired, Head, chain::before};

/// For how long records are kept, by tenant and for the platform's own. A chain's files are deleted whole, from the
/// front, when the last record of each is older; so rotate ([`Rotation`](crate::Rotation)) more often than that.
/// Before a file goes, a record of the action `audit.expired` names the last record in it, under the next
/// checkpoint's signature: the rest verifies, and nobody can cut more.
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
///     .platform(DAY * 30);                    // refusals before a tenant is known, system work
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

    /// As long for all.
    pub fn of(keep: Duration) -> Self {
        Self {
            tenants: HashMap::new(),
            others: keep,
            platform: keep,
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

    fn keep(&self, chain: &ChainId) -> Duration {
        match chain.tenant() {
            None => self.platform,
            Some(tenant) => self.tenants.get(tenant).copied().unwrap_or(self.others),
        }
    }

    /// What may go. A file that cannot be read is kept.
    pub(super) fn expired(
        &self,
        dir: &Path,
        chains: &Chains,
        heads: &Heads,
        now: UnixTime,
    ) -> Vec<Expired> {
        let mut expired = Vec::new();
        for (name, (chain, files)) in chains {
            let keep = self.keep(chain);
            let gone = heads.expired.get(name).map_or(0, Head::seq);
            // All records of a file are older than the first one of the next.
            let through = files.iter().skip(1).take_while(|first| {
                let begun = begun(dir, chain, **first).ok().flatten();
                begun.is_some_and(|begun| now.saturating_since(begun) >= keep)
            });
            let through = through.last().and_then(|first| {
                let path = dir.join(chain.segment_name(*first));
                let mut pieces = Pieces::new(open_regular(&path).ok()?);
                before(pieces.next().ok()??)
            });
            if let Some(through) = through.filter(|head| head.seq() > gone) {
                expired.push(Expired::new(chain.clone(), through));
            }
        }
        expired
    }
}
