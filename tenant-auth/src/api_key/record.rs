//! What is kept of a key.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenant_context::{Claims, CredentialId, Network, Principal, PrincipalId, TenantId, UnixTime};

use super::{NewApiKey, ring::SecretTag};
use crate::refresh::Kind;

/// The keyed hash of a key, and under which of the server's secrets: what a store finds a key by.
///
/// `<16 hex digits of the secret's tag>:<64 hex digits of the hash>`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyDigest(Box<str>);

impl ApiKeyDigest {
    pub(super) fn new(tag: SecretTag, hash: &[u8; 32]) -> Self {
        use fmt::Write;
        let mut text = format!("{tag}:");
        for byte in hash {
            // Writing to a `String` does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// The text, for a unique column.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash, if the text is what [`new`](Self::new) writes.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        let (_, digits) = self.0.split_once(':')?;
        let mut hash = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            let from = at.checked_mul(2)?;
            let pair = digits.get(from..from.checked_add(2)?)?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(hash)
    }

    /// Whether it was made with the secret of this tag.
    pub fn has_tag(&self, tag: SecretTag) -> bool {
        self.0
            .split_once(':')
            .is_some_and(|(found, _)| found == tag.to_string())
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyDigest(…)")
    }
}

/// A key as a store keeps it, with serde: all but its text. It grants nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    pub(super) key_id: CredentialId,
    pub(super) digest: ApiKeyDigest,
    pub(super) tenant_id: TenantId,
    kind: Kind,
    principal: PrincipalId,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    #[serde(with = "networks")]
    pub(super) allowed_ips: Vec<Network>,
    labels: BTreeMap<String, String>,
    description: String,
    pub(super) created_by: Option<PrincipalId>,
    /// Nanoseconds since 1970, as all times here.
    pub(super) created_at: u64,
    pub(super) not_before: u64,
    pub(super) expires_at: u64,
    pub(super) successor: Option<CredentialId>,
    pub(super) grace_ends_at: Option<u64>,
    pub(super) revoked_at: Option<u64>,
    pub(super) last_used_at: Option<u64>,
    pub(super) version: u64,
}

/// What stands of a key at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiKeyState {
    /// It is accepted from a later time on.
    NotYet,
    /// It is accepted.
    Active,
    /// It was rotated, and is accepted beside its successor until then.
    Grace(UnixTime),
    /// It has expired, or its grace is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl ApiKeyRecord {
    pub(super) fn new(
        new: NewApiKey,
        key_id: CredentialId,
        digest: ApiKeyDigest,
        now: UnixTime,
    ) -> Self {
        Self {
            key_id,
            digest,
            tenant_id: new.tenant,
            kind: Kind::of(new.principal.kind()),
            principal: new.principal.id().clone(),
            scopes: new.scopes,
            roles: new.roles,
            allowed_ips: new.allowed_ips,
            labels: new.labels,
            description: new.description,
            created_by: new.created_by,
            created_at: new.issued_at.unwrap_or(now).as_nanos(),
            not_before: new.not_before.as_nanos(),
            expires_at: new.expires_at.as_nanos(),
            successor: None,
            grace_ends_at: None,
            revoked_at: None,
            last_used_at: None,
            version: 0,
        }
    }

    /// The key that takes this one's place: the same authority and the same end, never more.
    pub(super) fn successor_of(
        &self,
        key_id: CredentialId,
        digest: ApiKeyDigest,
        now: UnixTime,
    ) -> Self {
        Self {
            key_id,
            digest,
            created_at: now.as_nanos(),
            successor: None,
            grace_ends_at: None,
            revoked_at: None,
            last_used_at: None,
            version: 0,
            ..self.clone()
        }
    }

    /// Names the key: in logs, in the audit (`ctx.credential()`), and to change it.
    pub const fn key_id(&self) -> &CredentialId {
        &self.key_id
    }

    /// What the key is found by.
    pub const fn digest(&self) -> &ApiKeyDigest {
        &self.digest
    }

    /// Whose key it is.
    pub const fn tenant_id(&self) -> &TenantId {
        &self.tenant_id
    }

    /// Who acts with it.
    pub fn principal(&self) -> Principal {
        self.kind.principal(self.principal.clone())
    }

    /// What it allows.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Its roles.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Where it is accepted; everywhere if there are none.
    pub fn allowed_ips(&self) -> &[Network] {
        &self.allowed_ips
    }

    /// Its labels.
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// What it is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Who created it.
    pub const fn created_by(&self) -> Option<&PrincipalId> {
        self.created_by.as_ref()
    }

    /// When it was created.
    pub const fn created_at(&self) -> UnixTime {
        UnixTime::from_nanos(self.created_at)
    }

    /// When it ends: its expiry, or the end of its grace.
    pub fn expires_at(&self) -> UnixTime {
        let grace = self.grace_ends_at.unwrap_or(u64::MAX);
        UnixTime::from_nanos(self.expires_at.min(grace))
    }

    /// The key that took its place.
    pub const fn successor(&self) -> Option<&CredentialId> {
        self.successor.as_ref()
    }

    /// When it was revoked.
    pub fn revoked_at(&self) -> Option<UnixTime> {
        self.revoked_at.map(UnixTime::from_nanos)
    }

    /// When it was last used, as far as the processes have said
    /// ([`ApiKeys::sweep`](super::ApiKeys::sweep)).
    pub fn last_used_at(&self) -> Option<UnixTime> {
        self.last_used_at.map(UnixTime::from_nanos)
    }

    /// How often it was changed: what a store compares before it replaces it.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What stands of it at this time.
    pub fn state(&self, now: UnixTime) -> ApiKeyState {
        if self.revoked_at.is_some() {
            ApiKeyState::Revoked
        } else if now >= self.expires_at() {
            ApiKeyState::Expired
        } else if now.as_nanos() < self.not_before {
            ApiKeyState::NotYet
        } else if let Some(grace) = self.grace_ends_at {
            ApiKeyState::Grace(UnixTime::from_nanos(grace))
        } else {
            ApiKeyState::Active
        }
    }

    /// Whether it is accepted, or will be, and was not rotated.
    pub(super) fn stands(&self, now: UnixTime) -> bool {
        matches!(self.state(now), ApiKeyState::NotYet | ApiKeyState::Active)
    }

    /// How old it is.
    pub(super) fn age(&self, now: UnixTime) -> Duration {
        now.saturating_since(self.created_at())
    }

    /// For stores: notes that it was used then, unless a later use is known.
    pub fn touch(&mut self, used_at: UnixTime) {
        let used_at = used_at.as_nanos();
        self.last_used_at = Some(self.last_used_at.unwrap_or(0).max(used_at));
    }

    pub(super) fn claims(&self) -> Claims {
        let mut claims = Claims::new(self.tenant_id.clone(), self.principal(), self.expires_at())
            .scopes(self.scopes.iter().cloned())
            .roles(self.roles.iter().cloned())
            .credential(self.key_id.clone());
        claims.issued_at = Some(self.created_at());
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels = labels.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            let labels = Value::Object(labels.collect());
            claims.custom.insert("labels".to_owned(), labels);
        }
        claims
    }
}

impl fmt::Debug for ApiKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyRecord")
            .field("key_id", &self.key_id)
            .field("tenant_id", &self.tenant_id)
            .field("principal", &self.principal)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Networks as stores keep them.
mod networks {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tenant_context::Network;

    pub(super) fn serialize<S: Serializer>(list: &[Network], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Network>, D::Error> {
        let list = Vec::<String>::deserialize(from)?;
        let parsed = list.iter().map(|network| network.parse());
        parsed.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}
