//! What can revoke an identity's credential.

use std::sync::Arc;

use crate::Identity;

/// Says whether an identity's credential was revoked, or one that it was derived from. Given to
/// [`Resolver::resolve_revocable`](crate::Resolver::resolve_revocable) with the credential's claims.
///
/// It is asked before the identity is used for the first time, and again after each
/// [`CachedRegistry::recheck`](crate::CachedRegistry::recheck) of its tenant; in between a request costs
/// two atomic loads. Whoever revokes records it first and calls `recheck` then: when that returns, the
/// credential's next request is refused, contexts that hold it are no longer valid, and its open
/// streams end. An identity that was revoked stays so.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
/// use tenant_context::{CachedRegistry, Identity, Revocable, TenantId};
///
/// /// A session that ends when its user signs out.
/// #[derive(Default)]
/// struct Session { over: AtomicBool }
///
/// impl Revocable for Session {
///     fn is_revoked(&self, _: &Identity) -> bool { self.over.load(Ordering::Acquire) }
/// }
///
/// fn sign_out(session: &Session, tenant: &TenantId, tenants: &CachedRegistry) {
///     session.over.store(true, Ordering::Release);
///     tenants.recheck(tenant);
/// }
/// ```
pub trait Revocable: Send + Sync + 'static {
    /// Whether the identity's credential was revoked. Called on the request's thread: it must not block for
    /// long.
    fn is_revoked(&self, identity: &Identity) -> bool;
}

impl<T: Revocable + ?Sized> Revocable for Arc<T> {
    fn is_revoked(&self, identity: &Identity) -> bool {
        (**self).is_revoked(identity)
    }
}
