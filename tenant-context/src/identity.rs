//! Who a credential speaks for, with the tenant looked up.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Attachments, Claims, Clock, CredentialId, Parent, Principal, Rejection, Revocable, RoleMapping,
    TenantId, TenantState, UnixTime,
    live::{Checked, Standing},
};

/// A credential's owner: verified claims together with the tenant's live state.
///
/// Only [`Resolver::resolve`](crate::Resolver::resolve) makes one. An identity is shared by all
/// requests that present the same credential, so what a layer resolves for it can be kept in its
/// [`attachments`](Self::attachments).
pub struct Identity {
    tenant: Arc<TenantState>,
    principal: Principal,
    actors: Box<[Principal]>,
    scopes: Vec<String>,
    limited: bool,
    roles: Vec<String>,
    role_mapping: Arc<dyn RoleMapping>,
    credential: Option<CredentialId>,
    key_id: Option<Arc<str>>,
    api_key: Option<CredentialId>,
    session: Option<CredentialId>,
    parents: Box<[Parent]>,
    purpose: Option<Box<str>>,
    operator_of: Option<TenantId>,
    expires_at: UnixTime,
    stated_expiry: Option<UnixTime>,
    issued_at: Option<UnixTime>,
    resource_prefix: Option<Box<str>>,
    issuer: Option<Arc<str>>,
    org_id: Option<Box<str>>,
    custom: Map<String, Value>,
    authority: OnceLock<Box<[u8]>>,
    checked: Checked,
    revocable: Option<Arc<dyn Revocable>>,
    clock: Arc<dyn Clock>,
    attachments: Attachments,
}

/// Why a context is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The tenant was suspended.
    Suspended,
    /// The tenant has left, or its registry no longer knows it.
    Closed,
    /// The credential was revoked.
    Revoked,
    /// The credential has expired.
    Expired,
}

impl EndReason {
    /// The rejection that says so.
    pub fn rejection(self) -> Rejection {
        match self {
            Self::Suspended => Rejection::tenant_suspended(),
            Self::Closed => Rejection::credential_invalid("tenant_unknown"),
            Self::Revoked => Rejection::credential_invalid("revoked"),
            Self::Expired => Rejection::credential_invalid("expired"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspended => "the tenant is suspended",
            Self::Closed => "the tenant is closed",
            Self::Revoked => "the credential is revoked",
            Self::Expired => "the credential has expired",
        })
    }
}

impl std::error::Error for EndReason {}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
}

fn texts<T: AsRef<str>>(bytes: &mut Vec<u8>, list: &[T]) {
    length(bytes, list.len());
    for text in list.iter().map(AsRef::as_ref) {
        length(bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
}

fn principals(bytes: &mut Vec<u8>, list: &[Principal]) {
    length(bytes, list.len());
    for principal in list {
        for text in [principal.kind().as_str(), principal.id().as_str()] {
            length(bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

impl Identity {
    pub(crate) fn new(
        claims: Claims,
        tenant: Arc<TenantState>,
        role_mapping: Arc<dyn RoleMapping>,
        clock: Arc<dyn Clock>,
        revocable: Option<Arc<dyn Revocable>>,
    ) -> Self {
        Self {
            limited: claims.limited || !claims.scopes.is_empty(),
            role_mapping,
            parents: claims.parents.into_boxed_slice(),
            purpose: claims.purpose.map(String::into_boxed_str),
            operator_of: claims.operator_of,
            tenant,
            principal: claims.principal,
            actors: claims.actors.into_boxed_slice(),
            scopes: sorted(claims.scopes),
            roles: sorted(claims.roles),
            credential: claims.credential,
            key_id: claims.key_id,
            api_key: claims.api_key,
            session: claims.session,
            expires_at: claims.expires_at,
            stated_expiry: claims.stated_expiry,
            issued_at: claims.issued_at,
            resource_prefix: claims.resource_prefix.map(String::into_boxed_str),
            issuer: claims.issuer,
            org_id: claims.org_id.map(String::into_boxed_str),
            custom: claims.custom,
            authority: OnceLock::new(),
            checked: Checked::never(),
            revocable,
            clock,
            attachments: Attachments::default(),
        }
    }

    /// The tenant's live state.
    pub fn tenant(&self) -> &Arc<TenantState> {
        &self.tenant
    }

    /// On whose behalf the credential acts.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Who acts for the principal, the current actor first; empty if the principal acts itself.
    pub fn actors(&self) -> &[Principal] {
        &self.actors
    }

    /// Who is acting now: the current actor, or else the principal.
    pub fn actor(&self) -> &Principal {
        self.actors.first().unwrap_or(&self.principal)
    }

    /// What the credential allows, sorted and without duplicates.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scopes.iter().map(AsRef::as_ref)
    }

    /// Whether exactly this scope is among the credential's.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes
            .binary_search_by(|known| known.as_str().cmp(scope))
            .is_ok()
    }

    /// Whether the credential itself bounds what it allows: its roles then only take away.
    pub const fn is_limited(&self) -> bool {
        self.limited
    }

    /// The principal's roles in its tenant, sorted and without duplicates.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.roles.iter().map(AsRef::as_ref)
    }

    /// Whether the credential says that the principal has this role in its tenant. Whether the role counts, for an agent or a
    /// credential for less, is [`acts_as`](Self::acts_as).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles
            .binary_search_by(|known| known.as_str().cmp(role))
            .is_ok()
    }

    /// Which credential was presented.
    pub fn credential(&self) -> Option<&CredentialId> {
        self.credential.as_ref()
    }

    /// The name of the issuer's key that verified the credential, if that has one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The API key that was presented beside the token, if one was.
    pub const fn api_key(&self) -> Option<&CredentialId> {
        self.api_key.as_ref()
    }

    /// The session that the credential belongs to: a token's `sid`.
    pub const fn session(&self) -> Option<&CredentialId> {
        self.session.as_ref()
    }

    /// The credentials that this one was derived from by delegation, its parent first.
    pub fn parents(&self) -> &[Parent] {
        &self.parents
    }

    /// What the credential was given for, in the words of whoever delegated.
    pub fn purpose(&self) -> Option<&str> {
        self.purpose.as_deref()
    }

    /// The tenant whose staff acts here, if the credential is an operator's: then the first of its
    /// [`actors`](Self::actors), the last in the list, is a member of that tenant, not of this one.
    pub const fn operator_of(&self) -> Option<&TenantId> {
        self.operator_of.as_ref()
    }

    /// When the credential ends, with the leeway that its verifier grants.
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// When the credential ends by its own word, without leeway: never after [`expires_at`](Self::expires_at). What is derived
    /// from it ends then at the latest.
    pub fn stated_expiry(&self) -> UnixTime {
        self.stated_expiry
            .map_or(self.expires_at, |stated| stated.min(self.expires_at))
    }

    /// When the credential was issued, if it says so.
    pub const fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// Only resources whose path begins so may be touched.
    pub fn resource_prefix(&self) -> Option<&str> {
        self.resource_prefix.as_deref()
    }

    /// Who issued the credential: a token's `iss`. `None` for what has no issuer, such as an API key.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The organization that the credential names, if it names one (`org_id`). It tells nothing of the
    /// tenant, which is [`tenant`](Self::tenant).
    pub fn org_id(&self) -> Option<&str> {
        self.org_id.as_deref()
    }

    /// A claim of the credential's own that was kept, read as `T`: `None` if it is missing or of another type.
    pub fn claim<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.custom.get(name)?).ok()
    }

    /// What the credential said, as plain data, which grants nothing: for whoever carries an identity on, into
    /// a job or a narrower token. Scopes and roles are sorted and without duplicates.
    pub fn to_claims(&self) -> Claims {
        let mut claims = Claims::new(
            self.tenant.id().clone(),
            self.principal.clone(),
            self.expires_at,
        );
        claims.actors = self.actors.to_vec();
        claims.scopes.clone_from(&self.scopes);
        claims.limited = self.limited;
        claims.roles.clone_from(&self.roles);
        claims.credential.clone_from(&self.credential);
        claims.key_id.clone_from(&self.key_id);
        claims.api_key.clone_from(&self.api_key);
        claims.session.clone_from(&self.session);
        claims.parents = self.parents.to_vec();
        claims.purpose = self.purpose.as_deref().map(str::to_owned);
        claims.operator_of.clone_from(&self.operator_of);
        claims.stated_expiry = self.stated_expiry;
        claims.issued_at = self.issued_at;
        claims.resource_prefix = self.resource_prefix.as_deref().map(str::to_owned);
        claims.issuer.clone_from(&self.issuer);
        claims.org_id = self.org_id.as_deref().map(str::to_owned);
        claims.custom.clone_from(&self.custom);
        claims
    }

    /// All that decides what this identity may see, as injective bytes: principal, actors, scopes,
    /// roles, resource prefix, issuer, organization, the operator's tenant, purpose and custom claims, each length-prefixed. What is computed under one authority may be
    /// served again to an equal one of the same tenant, and to no other.
    pub fn authority(&self) -> &[u8] {
        self.authority.get_or_init(|| {
            let mut bytes = Vec::with_capacity(256);
            principals(&mut bytes, std::slice::from_ref(&self.principal));
            principals(&mut bytes, &self.actors);
            texts(&mut bytes, &self.scopes);
            bytes.push(self.limited.into());
            texts(&mut bytes, &self.roles);
            texts(&mut bytes, self.resource_prefix.as_slice());
            texts(&mut bytes, self.issuer.as_slice());
            texts(&mut bytes, self.org_id.as_slice());
            texts(&mut bytes, self.operator_of.as_slice());
            texts(&mut bytes, self.purpose.as_slice());
            // Custom claims may decide too: a handler can read them. They come last, so that they
            // need no length.
            if !self.custom.is_empty() {
                // Writing a map with text keys into memory does not fail.
                serde_json::to_writer(&mut bytes, &self.custom).ok();
            }
            bytes.into_boxed_slice()
        })
    }

    /// Slots for what layers resolved for this identity.
    pub const fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// Ends this identity: from now on it is refused, wherever it is held, and its open streams end.
    pub fn revoke(&self) {
        self.checked.revoke();
        self.tenant.live().wake_all();
    }

    /// Whether, and why, this identity is no longer valid. Two atomic loads and a clock reading.
    pub fn ended(&self) -> Option<EndReason> {
        self.ended_at(self.clock.coarse_unix())
    }

    pub(crate) fn ended_at(&self, now: UnixTime) -> Option<EndReason> {
        self.cut_off()
            .or_else(|| (now >= self.expires_at).then_some(EndReason::Expired))
    }

    /// [`ended`](Self::ended) without the clock.
    pub(crate) fn cut_off(&self) -> Option<EndReason> {
        if self.checked.holds(self.tenant.live()) {
            None
        } else {
            self.look_again()
        }
    }

    #[cold]
    fn look_again(&self) -> Option<EndReason> {
        let revocable = self.revocable.as_deref();
        let revoked = || revocable.is_some_and(|revocable| revocable.is_revoked(self));
        match self.checked.look(self.tenant.live(), revoked) {
            Some(Standing::Active) => None,
            Some(Standing::Suspended) => Some(EndReason::Suspended),
            Some(Standing::Absent) => Some(EndReason::Closed),
            None => Some(EndReason::Revoked),
        }
    }

    pub(crate) fn role_mapping(&self) -> &dyn RoleMapping {
        &*self.role_mapping
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("tenant", self.tenant.id())
            .field("principal", &self.principal)
            .field("actors", &self.actors)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}
