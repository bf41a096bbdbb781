//! A loaded value with its owner.

use std::fmt;

use crate::{Principal, Rejection, TenantContext, TenantId, scope};

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
    path: Option<Box<str>>,
    principal: Option<Principal>,
    value: T,
}

impl<T> TenantScoped<T> {
    /// A value and the tenant that owns it, as read from the store.
    pub const fn new(owner: TenantId, value: T) -> Self {
        Self {
            owner,
            path: None,
            principal: None,
            value,
        }
    }

    /// Says where the resource is: a credential that is limited to a
    /// [`resource_prefix`](crate::Identity::resource_prefix) reaches it only there. Such a credential reaches
    /// nothing whose path is not said.
    pub fn at(mut self, path: impl Into<Box<str>>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Says whose it is within the tenant, for [`for_owner`](Self::for_owner): a person and an agent of one id are two.
    pub fn of(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// The value, for its owner.
    ///
    /// # Errors
    ///
    /// The one 404 for another tenant's value (recorded as `cross_tenant` in the current trail) and for what
    /// the credential's prefix does not reach (`resource_prefix`); what [`TenantContext::check`] refuses.
    pub fn for_tenant(self, tenant: &TenantContext) -> Result<T, Rejection> {
        tenant.check()?;
        if self.owner != *tenant.tenant_id() {
            return Err(record(Rejection::cross_tenant()));
        }
        if !tenant.reaches(self.path.as_deref()) {
            return Err(record(
                Rejection::not_found().with_reason("resource_prefix"),
            ));
        }
        Ok(self.value)
    }

    /// The value, for the principal whose it is, whoever acts for it.
    ///
    /// ```
    /// use tenant_context::{Rejection, TenantContext, TenantScoped};
    ///
    /// struct Draft;
    ///
    /// fn read(tenant: &TenantContext, draft: TenantScoped<Draft>) -> Result<Draft, Rejection> {
    ///     if tenant.allows("drafts:review") {
    ///         return draft.for_tenant(tenant);       // whoever reviews sees everybody's
    ///     }
    ///     draft.for_owner(tenant)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`for_tenant`](Self::for_tenant); the same 404 (recorded as `owner`) for another principal, and where
    /// nobody has said whose it is.
    pub fn for_owner(self, tenant: &TenantContext) -> Result<T, Rejection> {
        let own = self.principal.as_ref() == Some(tenant.principal());
        let value = self.for_tenant(tenant)?;
        if own {
            Ok(value)
        } else {
            Err(record(Rejection::not_found().with_reason("owner")))
        }
    }
}

fn missing(tenant: &TenantContext) -> Rejection {
    match tenant.check() {
        Ok(()) => record(Rejection::not_found()),
        Err(ended) => ended,
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

    /// The value, for the principal whose it is.
    ///
    /// # Errors
    ///
    /// The one 404 if there is no value, or it is another tenant's or principal's; what
    /// [`TenantContext::check`] refuses.
    fn for_owner(self, tenant: &TenantContext) -> Result<Self::Value, Rejection>;
}

impl<T> ForTenant for Option<TenantScoped<T>> {
    type Value = T;

    fn for_tenant(self, tenant: &TenantContext) -> Result<T, Rejection> {
        match self {
            Some(value) => value.for_tenant(tenant),
            None => Err(missing(tenant)),
        }
    }

    fn for_owner(self, tenant: &TenantContext) -> Result<T, Rejection> {
        match self {
            Some(value) => value.for_owner(tenant),
            None => Err(missing(tenant)),
        }
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
