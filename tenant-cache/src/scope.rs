//! Whose values are read and written.

use tenant_context::{SystemContext, TenantContext};

/// Whose values a call reads and writes: a tenant's, by its [`TenantContext`], or those that serve all
/// tenants alike (a public price list), by a [`SystemContext`]. The two never meet: what was stored under the one is not
/// found under the other.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not prove who is asking",
    note = "pass the `&TenantContext` of the request; values that serve all tenants alike take a `&SystemContext`"
)]
pub trait Scope: sealed::Scoped {}

impl Scope for TenantContext {}
impl Scope for SystemContext {}

pub(crate) mod sealed {
    use std::sync::Arc;

    use tenant_context::{Rejection, SystemContext, TenantContext};

    use crate::{
        cache::TenantCache,
        directory::Found,
        partition::{Epoch, Partition},
    };

    /// What the crate itself asks of a scope.
    #[allow(
        unnameable_types,
        reason = "sealed: nobody else says whose values these are"
    )]
    pub trait Scoped: Sync {
        #[doc(hidden)]
        fn holds(&self) -> Result<(), Rejection>;

        #[doc(hidden)]
        fn partition<'a>(&'a self, cache: &'a TenantCache) -> Option<Room<'a>>;
    }

    /// The partition of a scope, without a reference count where the identity has it.
    #[allow(unnameable_types, reason = "sealed")]
    #[derive(Debug)]
    pub struct Room<'a>(Held<'a>);

    enum Held<'a> {
        Seat(Found<'a>, &'a TenantContext),
        System(&'a Arc<Partition>),
    }

    impl std::fmt::Debug for Held<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("partition")
        }
    }

    impl Room<'_> {
        pub(crate) fn partition(&self) -> &Arc<Partition> {
            match &self.0 {
                Held::Seat(seat, _) => &seat.partition,
                Held::System(partition) => partition,
            }
        }

        /// What begins now; `None` if the partition has gone to another meanwhile.
        pub(crate) fn begin(&self) -> Option<Epoch> {
            match &self.0 {
                Held::Seat(seat, tenant) => seat.partition.begin(tenant.tenant()),
                Held::System(partition) => Some(partition.epoch()),
            }
        }

        /// The number of the caller's authority; the system has none.
        pub(crate) fn authority(&self, cache: &TenantCache) -> Option<u64> {
            match &self.0 {
                Held::Seat(seat, tenant) => Some(cache.authority(seat, tenant)),
                Held::System(_) => None,
            }
        }
    }

    impl Scoped for TenantContext {
        fn holds(&self) -> Result<(), Rejection> {
            self.check()
        }

        fn partition<'a>(&'a self, cache: &'a TenantCache) -> Option<Room<'a>> {
            let seat = cache.seat(self)?;
            Some(Room(Held::Seat(seat, self)))
        }
    }

    impl Scoped for SystemContext {
        fn holds(&self) -> Result<(), Rejection> {
            Ok(())
        }

        fn partition<'a>(&'a self, cache: &'a TenantCache) -> Option<Room<'a>> {
            Some(Room(Held::System(cache.system())))
        }
    }
}
