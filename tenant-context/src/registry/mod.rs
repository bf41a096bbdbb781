//! Where tenants are looked up: the trait users implement, an in-memory registry, and the cache in
//! front of either.

mod cached;
mod memory;
mod worker;

use std::{error::Error, fmt, future::Future, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};

pub(crate) use self::cached::Directory;
pub use self::{
    cached::{CachedRegistry, CachedRegistryBuilder},
    memory::MemoryRegistry,
    worker::RegistryWorker,
};
use crate::{TenantId, TenantRecord};

/// An error of a user's store.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Looks tenants up: implement this on your database.
///
/// A wrong answer costs security: a record of another tenant, an active status for a tenant that
/// is suspended, or a version that goes back. (The cache refuses the first and ignores the last.)
/// An error costs availability only: known tenants go on for the cache's maximum staleness, others
/// are refused with 503.
///
/// ```
/// use tenant_context::{BoxError, TenantId, TenantRecord, TenantRegistry, TenantStatus};
///
/// struct Database;
///
/// impl TenantRegistry for Database {
///     async fn load(&self, id: &TenantId) -> Result<Option<TenantRecord>, BoxError> {
///         // SELECT plan, status, version FROM tenants WHERE id = $1
///         let row = (id.as_str() == "acme").then_some(("pro", TenantStatus::Active, 7));
///         Ok(row.map(|(plan, status, version)| {
///             TenantRecord::new(id.clone()).plan(plan).status(status).version(version)
///         }))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot look tenants up",
    note = "implement `tenant_context::TenantRegistry` for it, or use `MemoryRegistry`"
)]
pub trait TenantRegistry: Send + Sync + 'static {
    /// The tenant's record, `None` if there is no such tenant.
    ///
    /// # Errors
    ///
    /// Whatever the store reports. The error is logged, never shown to a client.
    fn load(
        &self,
        id: &TenantId,
    ) -> impl Future<Output = Result<Option<TenantRecord>, BoxError>> + Send;
}

/// [`TenantRegistry`] without its type.
pub(crate) trait Source: Send + Sync {
    fn load(
        self: Arc<Self>,
        id: TenantId,
    ) -> BoxFuture<'static, Result<Option<TenantRecord>, BoxError>>;
}

impl<R: TenantRegistry> Source for R {
    fn load(
        self: Arc<Self>,
        id: TenantId,
    ) -> BoxFuture<'static, Result<Option<TenantRecord>, BoxError>> {
        async move { TenantRegistry::load(&*self, &id).await }.boxed()
    }
}

/// Why a tenant could not be looked up.
#[derive(Clone, Debug)]
pub struct LookupError {
    kind: LookupErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What went wrong in a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupErrorKind {
    /// The registry does not know the tenant, or it is closed.
    Unknown,
    /// The registry failed, timed out, panicked or answered for another tenant.
    Unavailable,
    /// The cache is full of tenants that are all in use.
    Full,
}

impl LookupError {
    pub(crate) fn new(kind: LookupErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn unavailable(source: impl Into<BoxError>) -> Self {
        Self {
            kind: LookupErrorKind::Unavailable,
            source: Some(Arc::from(source.into())),
        }
    }

    pub(crate) fn registry_gone() -> Self {
        Self::unavailable("the registry that this tenant was loaded from has been dropped")
    }

    pub(crate) fn left_alone() -> Self {
        Self::unavailable("the tenant registry failed and is left alone for a while")
    }

    /// What went wrong.
    pub const fn kind(&self) -> LookupErrorKind {
        self.kind
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            LookupErrorKind::Unknown => "no such tenant",
            LookupErrorKind::Unavailable => "the tenant registry is unavailable",
            LookupErrorKind::Full => "the tenant cache is full of tenants in use",
        })
    }
}

impl Error for LookupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|error| error as &(dyn Error + 'static))
    }
}
