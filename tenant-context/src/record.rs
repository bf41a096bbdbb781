//! What a registry says of a tenant.

use std::sync::Arc;

use crate::TenantId;

/// Whether a tenant may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantStatus {
    /// Requests are served.
    Active,
    /// Requests are refused with 403 `tenant-suspended`, open streams end.
    Suspended,
    /// The tenant has left: its credentials are as good as forged.
    Closed,
}

/// One tenant, as the registry knows it.
///
/// ```
/// use tenant_context::{TenantId, TenantRecord, TenantStatus};
///
/// let record = TenantRecord::new(TenantId::parse("acme")?).plan("pro").region("eu").version(7);
/// assert_eq!(record.status, TenantStatus::Active);
/// # Ok::<(), tenant_context::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantRecord {
    /// The tenant.
    pub id: TenantId,
    /// Whether it may act.
    pub status: TenantStatus,
    /// The plan's name, which quotas and cache sizes go by. Empty if there are no plans.
    pub plan: Arc<str>,
    /// Where the tenant's data must stay.
    pub region: Option<Arc<str>>,
    /// Grows with every change of the record (a row version, an update time in microseconds). An older
    /// record than the one that is known is ignored; one that changed under the same version counts only if it
    /// refuses. 0: there are no versions, and every looked-up record counts.
    ///
    /// A suspension made in the process stands until it is lifted by hand, or until a newer record that refuses was
    /// seen and then a newer one that does not.
    pub version: u64,
}

impl TenantRecord {
    /// An active tenant without plan or region, version 0.
    pub fn new(id: TenantId) -> Self {
        Self {
            id,
            status: TenantStatus::Active,
            plan: "".into(),
            region: None,
            version: 0,
        }
    }

    /// Sets the plan.
    #[must_use]
    pub fn plan(mut self, plan: impl Into<Arc<str>>) -> Self {
        self.plan = plan.into();
        self
    }

    /// Sets the region.
    #[must_use]
    pub fn region(mut self, region: impl Into<Arc<str>>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: TenantStatus) -> Self {
        self.status = status;
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }
}
