//! What is asked for, and what comes of it.

use std::{fmt, time::Duration};

use tenant_context::{CredentialId, Principal, TenantId, UnixTime};

/// What an access token is to say. See [`TokenIssuer::access_token`](crate::TokenIssuer::access_token).
#[derive(Clone, Debug)]
#[must_use = "mint it with `TokenIssuer::access_token`"]
pub struct AccessToken {
    pub(super) tenant: TenantId,
    pub(super) principal: Principal,
    pub(super) audience: Option<Box<str>>,
    pub(super) scopes: Option<Vec<Box<str>>>,
    pub(super) roles: Vec<Box<str>>,
    pub(super) session: Option<Box<str>>,
    pub(super) resource_prefix: Option<Box<str>>,
    pub(super) ttl: Option<Duration>,
}

impl AccessToken {
    /// A token of this principal in this tenant, for the issuer's audience. Without scopes and roles it allows nothing.
    pub const fn new(tenant: TenantId, principal: Principal) -> Self {
        Self {
            tenant,
            principal,
            audience: None,
            scopes: None,
            roles: Vec::new(),
            session: None,
            resource_prefix: None,
            ttl: None,
        }
    }

    /// Adds scopes: they bound the token, even if there are none.
    pub fn scopes<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let all = self.scopes.get_or_insert_default();
        all.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles.
    pub fn roles<S: Into<Box<str>>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Who the token is for. Default: the issuer's audience.
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The session that the token belongs to (`sid`), by which all tokens of a session are revoked
    /// ([`Revocation::session`](crate::Revocation::session)). A session that ends by time revokes nothing: a token that is minted in its
    /// last minutes lives to its own end, unless [`ttl`](Self::ttl) says what is left.
    pub fn session(mut self, sid: impl Into<Box<str>>) -> Self {
        self.session = Some(sid.into());
        self
    }

    /// Limits the token to resources whose path begins so.
    pub fn resource_prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.resource_prefix = Some(prefix.into());
        self
    }

    /// How long it lives, in whole seconds, at most 60 minutes. Default: the issuer's, for services or for all others.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// A token. It prints as nothing: [`expose`](Self::expose) it where it is sent.
#[derive(Clone)]
#[must_use = "send it to whom it was minted for"]
pub struct MintedToken {
    token: Box<str>,
    id: CredentialId,
    expires_at: UnixTime,
}

impl MintedToken {
    pub(super) fn new(token: String, id: CredentialId, expires_at: UnixTime) -> Self {
        Self {
            token: token.into(),
            id,
            expires_at,
        }
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// Its `jti`, by which it is revoked, with all that is derived from it.
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// When it ends: its `exp`.
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("id", &self.id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
