//! From claims to an identity: the tenant is looked up.

use std::sync::Arc;

use crate::{
    CachedRegistry, Claims, IdError, Identity, Lookup, Rejection, Revocable, TenantId,
    registry::{LookupError, LookupErrorKind},
};

/// Turns verified [`Claims`] into an [`Identity`]: the one constructor.
///
/// An `Authenticate` implementation holds a resolver and gives it what it verified.
#[derive(Clone, Debug)]
pub struct Resolver {
    tenants: CachedRegistry,
}

impl Resolver {
    /// A resolver that looks tenants up in `tenants`.
    pub const fn new(tenants: CachedRegistry) -> Self {
        Self { tenants }
    }

    /// The tenants this resolver knows.
    pub const fn tenants(&self) -> &CachedRegistry {
        &self.tenants
    }

    /// Parses a tenant's id. That of a tenant that is known here is shared, not made anew.
    ///
    /// # Errors
    ///
    /// As [`TenantId::parse`].
    pub fn tenant_id(&self, text: &str) -> Result<TenantId, IdError> {
        match self.tenants.known_id(text) {
            Some(id) => Ok(id),
            None => TenantId::parse(text),
        }
    }

    /// Looks the claims' tenant up.
    ///
    /// A suspended tenant has identities too: the identity layer refuses them, and goes on refusing
    /// until it is resumed.
    ///
    /// # Errors
    ///
    /// A rejection as for a bad token if the tenant is unknown or closed or a list is longer than
    /// its bound; 503 if the registry cannot be asked.
    pub fn resolve(&self, claims: Claims) -> Lookup<Result<Arc<Identity>, Rejection>> {
        self.look_up(claims, None)
    }

    /// [`resolve`](Self::resolve), for a credential that can be revoked while its identity is in use:
    /// `revocable` is asked before the identity's first use and whenever its tenant's identities are
    /// told to look again ([`CachedRegistry::recheck`]).
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn resolve_revocable(
        &self,
        claims: Claims,
        revocable: Arc<dyn Revocable>,
    ) -> Lookup<Result<Arc<Identity>, Rejection>> {
        self.look_up(claims, Some(revocable))
    }

    fn look_up(
        &self,
        claims: Claims,
        revocable: Option<Arc<dyn Revocable>>,
    ) -> Lookup<Result<Arc<Identity>, Rejection>> {
        if claims.actors.len() > Claims::MAX_ACTORS
            || claims.scopes.len() > Claims::MAX_GRANTS
            || claims.roles.len() > Claims::MAX_GRANTS
            || claims.parents.len() > Claims::MAX_ACTORS
        {
            return Lookup::Ready(Err(Rejection::credential_invalid("claims_too_long")));
        }
        let (roles, clock) = (self.tenants.roles(), self.tenants.clock());
        self.tenants
            .get(&claims.tenant)
            .map(move |tenant| match tenant {
                Ok(tenant) => Ok(Arc::new(Identity::new(
                    claims, tenant, roles, clock, revocable,
                ))),
                Err(error) => Err(refuse(&error)),
            })
    }
}

pub(crate) fn refuse(error: &LookupError) -> Rejection {
    match error.kind() {
        LookupErrorKind::Unknown => Rejection::credential_invalid("tenant_unknown"),
        LookupErrorKind::Unavailable | LookupErrorKind::Full => {
            Rejection::store_unavailable().with_source(error.clone())
        }
    }
}
