//! What roles allow, per tenant.

use std::{collections::HashMap, fmt, sync::Arc};

use super::pattern::{scope_covers, scopes_overlap};
use crate::{TenantId, TenantState};

/// What one role allows: scopes, and what of them it does not allow after all.
///
/// ```
/// use tenant_context::RoleGrants;
///
/// let developer = RoleGrants::new(["*:read", "*:write"]).except(["billing:*"]);
/// assert!(developer.allow("invoices:write"));
/// assert!(!developer.allow("billing:read"));
/// assert!(!developer.allow("*:read"));               // all of them: those of billing too
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleGrants {
    scopes: Box<[Box<str>]>,
    except: Box<[Box<str>]>,
    token_only: bool,
}

impl RoleGrants {
    /// A role that allows these scopes, wildcards included (see [`scope_covers`]).
    pub fn new<S: Into<Box<str>>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// A role that allows what its holder's credential names, and nothing by itself.
    pub fn only_the_credentials() -> Self {
        Self {
            token_only: true,
            ..Self::default()
        }
    }

    /// Takes these scopes out of it.
    #[must_use]
    pub fn except<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.except = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the role by itself allows this scope.
    pub fn allow(&self, needed: &str) -> bool {
        self.scopes.iter().any(|held| scope_covers(held, needed)) && !self.excepts(needed)
    }

    /// Whether the role leaves a credential this scope, which it names.
    pub(super) fn leaves(&self, needed: &str) -> bool {
        (self.token_only && !self.excepts(needed)) || self.allow(needed)
    }

    /// Whether all that the role stands for is among `held`. A role that stands for no scope is not known to be,
    /// unless it was said that it stands for what the credential names.
    pub(super) fn is_within(&self, held: impl Fn(&str) -> bool) -> bool {
        self.token_only || (!self.scopes.is_empty() && self.scopes.iter().all(|scope| held(scope)))
    }

    /// The scopes that it allows, but for its [exceptions](Self::exceptions).
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scopes.iter().map(AsRef::as_ref)
    }

    /// What it does not allow after all.
    pub fn exceptions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.except.iter().map(AsRef::as_ref)
    }

    /// What it leaves of a credential's scopes: what it allows; of one that allows what the credential does, all but its
    /// exceptions.
    pub(super) fn left(&self) -> Self {
        let mut left = self.clone();
        if left.token_only {
            left.token_only = false;
            left.scopes = Box::new(["*".into()]);
        }
        left
    }

    fn excepts(&self, needed: &str) -> bool {
        self.except
            .iter()
            .any(|taken| scopes_overlap(taken, needed))
    }
}

/// What roles mean in each tenant: given to
/// [`CachedRegistryBuilder::roles`](crate::CachedRegistryBuilder::roles), and asked at each
/// decision, so that a change holds for the next one. [`Roles`] is the ready one.
///
/// ```
/// use std::{collections::HashMap, sync::Arc};
/// use tenant_context::{RoleGrants, RoleMapping, TenantState};
///
/// /// The roles that tenants have made for themselves, kept up to date by whoever changes them.
/// #[derive(Default)]
/// struct Custom(parking_lot::RwLock<HashMap<(String, String), Arc<RoleGrants>>>);
///
/// impl RoleMapping for Custom {
///     fn grants(&self, tenant: &TenantState, role: &str) -> Option<Arc<RoleGrants>> {
///         let key = (tenant.id().as_str().to_owned(), role.to_owned());
///         self.0.read().get(&key).cloned()
///     }
/// }
/// ```
pub trait RoleMapping: Send + Sync + 'static {
    /// What this role allows in this tenant; `None`, an unknown role, allows nothing. Called on the request's
    /// thread: from memory.
    fn grants(&self, tenant: &TenantState, role: &str) -> Option<Arc<RoleGrants>>;
}

impl fmt::Debug for dyn RoleMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoleMapping")
    }
}

/// Roles for all tenants, and for single ones.
///
/// | the ready ones | allow |
/// |---|---|
/// | `admin` | `*` |
/// | `developer` | `*:read`, `*:write`, and nothing of `billing` |
/// | `agent` | what its credential's scopes name |
/// | `viewer` | `*:read` |
///
/// What is said for one tenant stands there in place of what is said for all.
///
/// ```
/// use tenant_context::{RoleGrants, Roles, TenantId};
///
/// let roles = Roles::ready()
///     .role("auditor", RoleGrants::new(["audit:read"]))
///     .tenant_role(&TenantId::parse("acme")?, "clerk", RoleGrants::new(["invoices:*"]));   // nothing in globex
/// # Ok::<(), tenant_context::IdError>(())
/// ```
#[derive(Clone, Default)]
pub struct Roles {
    all: HashMap<Box<str>, Arc<RoleGrants>>,
    tenants: HashMap<TenantId, HashMap<Box<str>, Arc<RoleGrants>>>,
}

impl Roles {
    /// No role: each allows nothing until it is named.
    pub fn none() -> Self {
        Self::default()
    }

    /// The ready roles above: what counts where nothing else is configured.
    pub fn ready() -> Self {
        Self::none()
            .role("admin", RoleGrants::new(["*"]))
            .role(
                "developer",
                RoleGrants::new(["*:read", "*:write"]).except(["billing", "billing:*"]),
            )
            .role("agent", RoleGrants::only_the_credentials())
            .role("viewer", RoleGrants::new(["*:read"]))
    }

    /// Says what a role allows in every tenant.
    #[must_use]
    pub fn role(mut self, role: impl Into<Box<str>>, grants: RoleGrants) -> Self {
        self.all.insert(role.into(), Arc::new(grants));
        self
    }

    /// Says what a role allows in this tenant.
    #[must_use]
    pub fn tenant_role(
        mut self,
        tenant: &TenantId,
        role: impl Into<Box<str>>,
        grants: RoleGrants,
    ) -> Self {
        let own = self.tenants.entry(tenant.clone()).or_default();
        own.insert(role.into(), Arc::new(grants));
        self
    }
}

impl RoleMapping for Roles {
    fn grants(&self, tenant: &TenantState, role: &str) -> Option<Arc<RoleGrants>> {
        let own = self.tenants.get(tenant.id());
        own.and_then(|own| own.get(role))
            .or_else(|| self.all.get(role))
            .cloned()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles")
            .field("all", &self.all)
            .field("tenants", &self.tenants.len())
            .finish()
    }
}
