//! A loaded value with its owner.

use std::fmt;

use crate::{Rejection, TenantContext, TenantId, scope};

/// A value that was loaded together with its owner, and whose only way out is
/// [`for_tenant`](Self::for_tenant).
///
/// A repository returns `Option<TenantScoped<Invoice>>`, with the owner from the row it read: a handler
/// cannot reach the invoice without showing whose request it serves. A missing value and another
/// tenant's are one answer, the same 404; the audit trail tells them apart.
///
/// ```
/// use tenant_context::{ForTenant, Rejection, TenantContext, TenantId, TenantScoped};
///
/// struct Invoice { amount: u32 }
///
/// fn load(id: u32) -> Option<TenantScoped<Invoice>> {
///     let owner = TenantId::parse("acme").ok()?;
///     (id == 1).then(|| TenantScoped::new(owner, Invoice { amount: 3 }))
/// }
///
/// fn read(tenant: &TenantContext, id: u32) -> Result<Invoice, Rejection> {
///     load(id).for_tenant(tenant)
/// }
/// ```
///
/// There is no other way in:
///
/// ```compile_fail
/// # fn read(loaded: tenant_context::TenantScoped<u32>) -> u32 {
/// *loaded
/// # }
/// ```
#[must_use = "the value is reached with `for_tenant`"]
pub struct TenantScoped<T> {
    owner: TenantId,
    value: T,
}

impl<T> TenantScoped<T> {
    /// A value and the tenant that owns it, as read from the store.
    pub const fn new(owner: TenantId, value: T) -> Self {
        Self { owner, value }
    }

    /// The value, for its owner.
    ///
    /// # Errors
    ///
    /// The one 404 for another tenant's value (recorded as `cross_tenant` in the current trail), or what
    /// [`TenantContext::check`] refuses.
    pub fn for_tenant(self, tenant: &TenantContext) -> Result<T, Rejection> {
        tenant.check()?;
        if self.owner == *tenant.tenant_id() {
            Ok(self.value)
        } else {
            Err(record(Rejection::cross_tenant()))
        }
    }
}

fn record(rejection: Rejection) -> Rejection {
    match scope::current_trail() {
        Some(trail) => trail.deny(rejection),
        None => rejection,
    }
}

impl<T> fmt::Debug for TenantScoped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantScoped")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// [`TenantScoped::for_tenant`] on an optional value: missing and foreign are one answer.
pub trait ForTenant: sealed::Sealed {
    /// What is inside.
    type Value;

    /// The value, for its owner.
    ///
    /// # Errors
    ///
    /// The one 404 if there is no value, or it is another tenant's; what [`TenantContext::check`]
    /// refuses.
    fn for_tenant(self, tenant: &TenantContext) -> Result<Self::Value, Rejection>;
}

impl<T> ForTenant for Option<TenantScoped<T>> {
    type Value = T;

    fn for_tenant(self, tenant: &TenantContext) -> Result<T, Rejection> {
        if let Some(value) = self {
            return value.for_tenant(tenant);
        }
        tenant.check()?;
        Err(record(Rejection::not_found()))
    }
}

#[allow(
    unnameable_types,
    reason = "the seal: nobody else implements `ForTenant`"
)]
mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for Option<super::TenantScoped<T>> {}
}
