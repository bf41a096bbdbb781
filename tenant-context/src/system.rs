//! Work that belongs to no tenant.

use std::fmt;

/// Work that belongs to no tenant (a migration, a billing run, a price list for all): explicit and
/// named, never the absence of a tenant.
///
/// Making one is written to the log (`tenant_context::system`, level INFO), and every use is found
/// by `rg SystemContext::begin`. Nothing that takes a [`TenantContext`](crate::TenantContext) takes a
/// `SystemContext` in its place.
///
/// ```
/// use tenant_context::SystemContext;
///
/// let system = SystemContext::begin("monthly-billing");
/// assert_eq!(system.task(), "monthly-billing");
/// ```
pub struct SystemContext {
    task: &'static str,
}

impl SystemContext {
    /// Begins work named `task`.
    pub fn begin(task: &'static str) -> Self {
        tracing::info!(target: "tenant_context::system", task, "system work begins");
        Self { task }
    }

    /// The work's name.
    pub const fn task(&self) -> &'static str {
        self.task
    }
}

impl fmt::Debug for SystemContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemContext")
            .field("task", &self.task)
            .finish()
    }
}
