//! API keys: long-lived secrets of programs.

mod format;
mod memory;

use std::fmt;

use tenant_context::{Principal, TenantId, UnixTime};

pub(crate) use self::format::random;
pub use self::memory::MemoryApiKeys;
pub(crate) use self::memory::Record;

/// An API key to be issued: whose it is and what it allows.
#[derive(Clone, Debug)]
#[must_use = "issue it with `MemoryApiKeys::issue`"]
pub struct NewApiKey {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) scopes: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) expires_at: UnixTime,
}

impl NewApiKey {
    /// A key of one principal of one tenant, without scopes or roles, that never expires.
    pub const fn new(tenant: TenantId, principal: Principal) -> Self {
        Self {
            tenant,
            principal,
            scopes: Vec::new(),
            roles: Vec::new(),
            expires_at: UnixTime::MAX,
        }
    }

    /// Adds scopes.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles.
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// When the key ends.
    pub const fn expires_at(mut self, expires_at: UnixTime) -> Self {
        self.expires_at = expires_at;
        self
    }
}

/// The text of an API key, which is shown once: the store keeps a keyed hash of it only.
///
/// Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(pub(crate) String);

impl ApiKeySecret {
    /// The text, to be given to the key's owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(…)")
    }
}
