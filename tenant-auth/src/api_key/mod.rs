//! API keys: long-lived secrets of programs.

mod format;
mod memory;
mod record;
mod ring;

use std::{collections::BTreeMap, fmt};

use tenant_context::{ConfigError, Network, Principal, TenantId, UnixTime};

pub(crate) use self::format::random;
pub use self::memory::MemoryApiKeys;
pub(crate) use self::record::Record;

/// An API key to be issued: whose it is, what it allows, and from when, to when and where.
///
/// ```
/// use tenant_auth::{NewApiKey, Principal, PrincipalId, TenantId, UnixTime};
///
/// let key = NewApiKey::new(TenantId::parse("acme")?, Principal::service(PrincipalId::parse("ci")?))
///     .scopes(["reports:write"])
///     .networks(["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?])
///     .expires_at(UnixTime::from_secs(1_800_000_000))
///     .label("team", "billing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "issue it with `MemoryApiKeys::issue`"]
pub struct NewApiKey {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) scopes: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) networks: Vec<Network>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) not_before: UnixTime,
    pub(crate) expires_at: UnixTime,
    pub(crate) issued_at: Option<UnixTime>,
}

impl NewApiKey {
    /// The most labels.
    pub const MAX_LABELS: usize = 16;
    /// The most bytes of a label's name or value.
    pub const MAX_LABEL_LEN: usize = 256;
    /// The most networks.
    pub const MAX_NETWORKS: usize = 64;

    /// A key of one principal of one tenant, without scopes or roles, that is valid everywhere, from now
    /// on and for good.
    pub const fn new(tenant: TenantId, principal: Principal) -> Self {
        Self {
            tenant,
            principal,
            scopes: Vec::new(),
            roles: Vec::new(),
            networks: Vec::new(),
            labels: BTreeMap::new(),
            not_before: UnixTime::from_nanos(0),
            expires_at: UnixTime::MAX,
            issued_at: None,
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

    /// Adds networks: the key is accepted only from a client whose address is in one of them
    /// ([`ClientAddress`](tenant_context::ClientAddress)), and not where that address is not known.
    /// Without any the key is accepted from everywhere.
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.networks.extend(networks);
        self
    }

    /// Adds a label, for whoever looks at the key: handlers find all of them with
    /// `ctx.claim::<BTreeMap<String, String>>("labels")`.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// When the key begins to be valid.
    pub const fn not_before(mut self, not_before: UnixTime) -> Self {
        self.not_before = not_before;
        self
    }

    /// When the key ends.
    pub const fn expires_at(mut self, expires_at: UnixTime) -> Self {
        self.expires_at = expires_at;
        self
    }

    /// When the key is issued, for whoever looks at it.
    pub const fn issued_at(mut self, issued_at: UnixTime) -> Self {
        self.issued_at = Some(issued_at);
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fault = if self.not_before >= self.expires_at {
            Some("it ends before it begins")
        } else if self.networks.len() > Self::MAX_NETWORKS {
            Some("it has more than 64 networks; use larger blocks")
        } else if self.labels.len() > Self::MAX_LABELS {
            Some("it has more than 16 labels")
        } else if self
            .labels
            .iter()
            .any(|(name, value)| name.len().max(value.len()) > Self::MAX_LABEL_LEN)
        {
            Some("a label has more than 256 bytes")
        } else if self.scopes.len().max(self.roles.len()) > tenant_context::Claims::MAX_GRANTS {
            Some("it has more than 256 scopes or roles")
        } else {
            None
        };
        match fault {
            Some(fault) => Err(ConfigError::new(format!("API key: {fault}"))),
            None => Ok(()),
        }
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
