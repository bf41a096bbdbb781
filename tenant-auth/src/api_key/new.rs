//! A key to be issued.

use std::collections::BTreeMap;

use tenant_context::{Claims, ConfigError, Network, Principal, PrincipalId, TenantId, UnixTime};

use super::ApiKeyRecord;
use crate::token_issuer::is_scope;

/// An API key to be issued: whose it is, what it allows, and from when, to when and where.
///
/// ```
/// use tenant_auth::{NewApiKey, Principal, PrincipalId, TenantId, UnixTime};
///
/// let key = NewApiKey::new(TenantId::parse("acme")?, Principal::service(PrincipalId::parse("ci")?))
///     .scopes(["reports:write"])
///     .allowed_ips(["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?])
///     .expires_at(UnixTime::from_secs(1_800_000_000))
///     .description("nightly reports")
///     .label("team", "billing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "issue it with `ApiKeys::issue`"]
pub struct NewApiKey {
    pub(super) tenant: TenantId,
    pub(super) principal: Principal,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) allowed_ips: Vec<Network>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) description: String,
    pub(super) created_by: Option<PrincipalId>,
    pub(super) not_before: UnixTime,
    pub(super) expires_at: UnixTime,
    pub(super) issued_at: Option<UnixTime>,
}

impl NewApiKey {
    /// The most labels.
    pub const MAX_LABELS: usize = 16;
    /// The most bytes of a label's name or value, and of a description.
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
            allowed_ips: Vec::new(),
            labels: BTreeMap::new(),
            description: String::new(),
            created_by: None,
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
    pub fn allowed_ips(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.allowed_ips.extend(networks);
        self
    }

    /// What the key is for, in words.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Who creates it, where no context says so ([`ApiKeys::issue_by`](super::ApiKeys::issue_by)).
    pub fn created_by(mut self, creator: PrincipalId) -> Self {
        self.created_by = Some(creator);
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

    /// When the key was issued, for keys that come from elsewhere. Default: now.
    pub const fn issued_at(mut self, issued_at: UnixTime) -> Self {
        self.issued_at = Some(issued_at);
        self
    }

    /// Ends it no later than this key, and accepts it only where that is accepted. False if it names a place where that is not.
    pub(super) fn narrow_to(&mut self, parent: &ApiKeyRecord) -> bool {
        self.expires_at = self.expires_at.min(parent.expires_at());
        let bounds = parent.allowed_ips();
        if bounds.is_empty() {
            return true;
        }
        if self.allowed_ips.is_empty() {
            self.allowed_ips = bounds.to_vec();
            return true;
        }
        let within = |network: &Network| bounds.iter().any(|bound| bound.covers(network));
        self.allowed_ips.iter().all(within)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let too_long = |text: &String| text.len() > Self::MAX_LABEL_LEN;
        let fault = if self.not_before >= self.expires_at {
            Some("it ends before it begins")
        } else if self.allowed_ips.len() > Self::MAX_NETWORKS {
            Some("it has more than 64 networks; use larger blocks")
        } else if self.labels.len() > Self::MAX_LABELS {
            Some("it has more than 16 labels")
        } else if self
            .labels
            .iter()
            .any(|(name, value)| too_long(name) || too_long(value))
        {
            Some("a label has more than 256 bytes")
        } else if too_long(&self.description) {
            Some("its description has more than 256 bytes")
        } else if self.scopes.len().max(self.roles.len()) > Claims::MAX_GRANTS {
            Some("it has more than 256 scopes or roles")
        } else if !self.scopes.iter().all(|scope| is_scope(scope)) {
            Some(
                "a scope is printable ASCII without spaces, quotes and backslashes (RFC 6749 §3.3); name each by itself",
            )
        } else {
            None
        };
        match fault {
            Some(fault) => Err(ConfigError::new(format!("API key: {fault}"))),
            None => Ok(()),
        }
    }
}
