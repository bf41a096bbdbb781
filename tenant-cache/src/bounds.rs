//! How much of the cache a tenant has for sure, and at most.

use std::{fmt, sync::Arc};

use tenant_context::TenantState;

/// What one tenant may hold, in bytes.
///
/// - **Floor:** while the tenant holds no more, no neighbour's load takes anything of it away. Default 0.
/// - **Ceiling:** it never holds more; beyond it, it evicts its own. At least the floor.
///
/// ```
/// use tenant_cache::{Bounds, TenantCache, TenantState};
///
/// let cache = TenantCache::builder()
///     .max_bytes(1 << 30)
///     .bounds(|tenant: &TenantState| match &*tenant.plan() {
///         "pro" => Bounds::ceiling(64 << 20).floor(8 << 20),
///         _ => Bounds::ceiling(4 << 20),
///     })
///     .build()?;
/// # Ok::<(), tenant_cache::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    floor: u64,
    ceiling: u64,
}

impl Bounds {
    /// At most so many bytes, and none for sure.
    pub const fn ceiling(bytes: u64) -> Self {
        Self {
            floor: 0,
            ceiling: bytes,
        }
    }

    /// So many bytes for sure; the ceiling is raised to it where it is lower.
    #[must_use]
    pub const fn floor(mut self, bytes: u64) -> Self {
        self.floor = bytes;
        if self.ceiling < bytes {
            self.ceiling = bytes;
        }
        self
    }

    /// The bytes for sure.
    pub const fn floor_bytes(self) -> u64 {
        self.floor
    }

    /// The bytes at most.
    pub const fn ceiling_bytes(self) -> u64 {
        self.ceiling
    }

    /// Within the whole cache.
    pub(crate) fn within(self, max_bytes: u64) -> Self {
        Self {
            floor: self.floor.min(max_bytes),
            ceiling: self.ceiling.min(max_bytes),
        }
    }
}

/// Bounds for all tenants alike, or made from a tenant's plan.
#[derive(Clone)]
pub(crate) enum Plan {
    Same(Bounds),
    By(Arc<dyn Fn(&TenantState) -> Bounds + Send + Sync>),
}

impl Plan {
    pub(crate) fn of(&self, tenant: &TenantState) -> Bounds {
        match self {
            Self::Same(bounds) => *bounds,
            Self::By(plan) => plan(tenant),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(bounds) => bounds.fmt(f),
            Self::By(_) => f.write_str("by plan"),
        }
    }
}
