//! What a credential said, once verified: plain data, which grants nothing.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{CredentialId, Principal, RoleGrants, TenantId, UnixTime, scope_covers};

/// A credential that another one was derived from: what bounded it, and what it is revoked by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parent {
    /// Which credential it was.
    pub credential: CredentialId,
    /// Who issued it, if it was a token. An API key has no issuer.
    pub issuer: Option<Arc<str>>,
    /// The name of the issuer's key that verified it, if that has one.
    pub key_id: Option<Arc<str>>,
    /// When it was issued.
    pub issued_at: Option<UnixTime>,
    /// The API key that was presented beside it.
    pub api_key: Option<CredentialId>,
    /// When it ends.
    pub expires_at: UnixTime,
    /// The scopes that it had at most.
    pub scopes: Vec<Box<str>>,
    /// What its roles left of these: one of them allows each scope. `None` if they took nothing away.
    pub roles: Option<Vec<RoleGrants>>,
    /// Its resource prefix.
    pub resource_prefix: Option<Box<str>>,
}

impl Parent {
    /// A parent with these bounds.
    pub const fn new(
        credential: CredentialId,
        expires_at: UnixTime,
        scopes: Vec<Box<str>>,
    ) -> Self {
        Self {
            credential,
            issuer: None,
            key_id: None,
            issued_at: None,
            api_key: None,
            expires_at,
            scopes,
            roles: None,
            resource_prefix: None,
        }
    }

    /// Whether it had this scope, or all that a pattern covers: among its scopes, and left by a role.
    pub fn covers(&self, scope: &str) -> bool {
        let named = self.scopes.iter().any(|held| scope_covers(held, scope));
        let left = |roles: &Vec<RoleGrants>| roles.iter().any(|role| role.allow(scope));
        named && self.roles.as_ref().is_none_or(left)
    }
}

/// The verified content of a credential.
///
/// Anybody may build claims: they grant nothing. Only [`Resolver::resolve`](crate::Resolver::resolve)
/// turns them into an [`Identity`](crate::Identity), after looking the tenant up, and only the
/// identity layer turns an identity into the proof, a [`TenantContext`](crate::TenantContext).
///
/// ```
/// use tenant_context::{Claims, Principal, PrincipalId, TenantId, UnixTime};
///
/// let claims = Claims::new(
///     TenantId::parse("acme")?,
///     Principal::human(PrincipalId::parse("ada")?),
///     UnixTime::from_secs(4_000_000_000),
/// )
/// .scopes(["invoices:read"]);
/// assert_eq!(claims.scopes, ["invoices:read"]);
/// # Ok::<(), tenant_context::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// The tenant the credential belongs to.
    pub tenant: TenantId,
    /// On whose behalf the request is made.
    pub principal: Principal,
    /// Who acts for the principal, the current actor first (RFC 8693 §4.1 `act`). Empty when the
    /// principal acts itself. At most [`Claims::MAX_ACTORS`].
    pub actors: Vec<Principal>,
    /// What the credential allows.
    pub scopes: Vec<String>,
    /// Whether the credential itself says what it allows: then [`scopes`](Self::scopes) bound it, even
    /// if there are none, and its roles only take away. One that names scopes is always so; of one that does not, its
    /// roles decide.
    pub limited: bool,
    /// The principal's roles within the tenant.
    pub roles: Vec<String>,
    /// Which credential it was.
    pub credential: Option<CredentialId>,
    /// The name of the issuer's key that verified it, if that has one.
    pub key_id: Option<Arc<str>>,
    /// The API key that was presented beside a token.
    pub api_key: Option<CredentialId>,
    /// The session that the credential belongs to (`sid`): when that ends, so do all its credentials.
    pub session: Option<CredentialId>,
    /// The credentials that this one was derived from by delegation, its parent first. When one of them is
    /// revoked, so is this. At most [`Claims::MAX_ACTORS`].
    pub parents: Vec<Parent>,
    /// What the credential was given for, in the words of whoever delegated.
    pub purpose: Option<String>,
    /// The tenant whose staff is in the chain of actors, if it is not this tenant's: an operator's credential.
    pub operator_of: Option<TenantId>,
    /// When the credential ends, with all the leeway that its verifier grants.
    pub expires_at: UnixTime,
    /// The end that the credential states itself, if its verifier grants more: what is derived from it ends
    /// then at the latest. `None` if that is [`expires_at`](Self::expires_at).
    pub stated_expiry: Option<UnixTime>,
    /// When the credential was issued.
    pub issued_at: Option<UnixTime>,
    /// Only resources whose path begins so may be touched.
    pub resource_prefix: Option<String>,
    /// Who issued the credential: two issuers' subjects of one name are two callers.
    pub issuer: Option<Arc<str>>,
    /// The part of the tenant, or the group of tenants, that the credential names as its organization.
    pub org_id: Option<String>,
    /// Claims that were kept as they are.
    pub custom: Map<String, Value>,
}

impl Claims {
    /// The longest chain of actors.
    pub const MAX_ACTORS: usize = 8;
    /// The most scopes, and the most roles.
    pub const MAX_GRANTS: usize = 256;

    /// Claims of one principal of one tenant, without scopes or roles, until `expires_at`.
    pub fn new(tenant: TenantId, principal: Principal, expires_at: UnixTime) -> Self {
        Self {
            tenant,
            principal,
            actors: Vec::new(),
            scopes: Vec::new(),
            limited: false,
            roles: Vec::new(),
            credential: None,
            key_id: None,
            api_key: None,
            session: None,
            parents: Vec::new(),
            purpose: None,
            operator_of: None,
            expires_at,
            stated_expiry: None,
            issued_at: None,
            resource_prefix: None,
            issuer: None,
            org_id: None,
            custom: Map::new(),
        }
    }

    /// Adds an actor behind those already named: the first call names the current actor.
    #[must_use]
    pub fn actor(mut self, actor: Principal) -> Self {
        self.actors.push(actor);
        self
    }

    /// Adds scopes. From now on they bound the credential, even if there are none.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.limited = true;
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles.
    #[must_use]
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Names the credential.
    #[must_use]
    pub fn credential(mut self, credential: CredentialId) -> Self {
        self.credential = Some(credential);
        self
    }
}
