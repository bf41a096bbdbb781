//! What is kept of a session, and where.

use std::{fmt, future::Future, str::FromStr};

use serde::{Deserialize, Serialize};
use tenant_context::{BoxError, Principal, PrincipalId, PrincipalKind, TenantId, UnixTime};

use super::token::Secret;

/// A session's id: random, the same through all its tokens. It is the `sid` of its access tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId([u8; 16]);

impl SessionId {
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads what [`Display`](fmt::Display) writes, and what an access token's `sid` says:
/// `tenant.session().map(|sid| sid.as_str().parse::<SessionId>())`.
///
/// ```
/// use tenant_auth::refresh::SessionId;
///
/// let id: SessionId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
/// assert!("session-7".parse::<SessionId>().is_err());
/// # Ok::<(), tenant_auth::refresh::NoSessionId>(())
/// ```
impl FromStr for SessionId {
    type Err = NoSessionId;

    fn from_str(text: &str) -> Result<Self, NoSessionId> {
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| NoSessionId(()))?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = match pair.map(digit) {
                [Some(high), Some(low)] => (high << 4) | low,
                _ => return Err(NoSessionId(())),
            };
        }
        Ok(Self(bytes))
    }
}

/// A digit as `Display` writes it: one id has one text.
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}

/// A text is no session's id: that of another issuer's session, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSessionId(());

impl fmt::Display for NoSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no id of a session: 32 digits of lower-case hexadecimal")
    }
}

impl std::error::Error for NoSessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A session as a store keeps it, with serde. It holds hashes, no token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub(super) id: SessionId,
    pub(super) tenant: TenantId,
    pub(super) kind: Kind,
    pub(super) principal: PrincipalId,
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) key: Secret,
    pub(super) generation: u64,
    /// Of the current token's secret.
    pub(super) hash: Secret,
    pub(super) previous: Option<Previous>,
    /// Nanoseconds since 1970, as all times here.
    pub(super) began_at: u64,
    pub(super) expires_at: u64,
    pub(super) revoked: bool,
}

/// The token that the current one replaced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Previous {
    pub(super) hash: Secret,
    /// The current secret, encrypted under the previous one.
    pub(super) successor: Secret,
    pub(super) rotated_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Human,
    Agent,
    Service,
}

impl Kind {
    pub(crate) const fn of(kind: PrincipalKind) -> Self {
        match kind {
            PrincipalKind::Human => Self::Human,
            PrincipalKind::Agent => Self::Agent,
            _ => Self::Service,
        }
    }

    pub(crate) const fn principal(self, id: PrincipalId) -> Principal {
        match self {
            Self::Human => Principal::human(id),
            Self::Agent => Principal::agent(id),
            Self::Service => Principal::service(id),
        }
    }
}

impl Session {
    /// Its id, the `sid` of its access tokens.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Whose session it is.
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Who signed in.
    pub fn principal(&self) -> Principal {
        self.kind.principal(self.principal.clone())
    }

    /// What its access tokens may say at most.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The principal's roles when it signed in.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// How often its token was rotated.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// When it ends unless it is refreshed.
    pub const fn expires_at(&self) -> UnixTime {
        UnixTime::from_nanos(self.expires_at)
    }

    /// Whether it was revoked.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// For stores: marks it as revoked.
    pub const fn revoke(&mut self) {
        self.revoked = true;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("principal", &self.principal)
            .field("generation", &self.generation)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// Where sessions are kept.
///
/// In SQL: a row for each session with its id, generation, `revoked`, its tenant and principal for
/// administration, and the session as JSON. Keep a revoked session until it has expired.
pub trait RefreshStore: Send + Sync + 'static {
    /// Adds a session that is new.
    fn insert(&self, session: Session) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The session of this id, revoked or not, as it is now: a copy that lags behind would take an old
    /// token for the current one, and the swap would refuse what is good.
    fn load(&self, id: SessionId)
    -> impl Future<Output = Result<Option<Session>, BoxError>> + Send;

    /// Replaces a session **if** it is not revoked and its generation is still this one, in one step, and
    /// says whether it was: `UPDATE … WHERE id = $1 AND generation = $2 AND NOT revoked`. Two that both
    /// succeed on one generation fork the session: a stolen token then goes undetected.
    fn swap(
        &self,
        generation: u64,
        session: Session,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Revokes a session for good, and says whether it was not revoked before, in one step. It must
    /// hold for every later `load` and `swap`.
    fn revoke(&self, id: SessionId) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Revokes all sessions of a tenant, or of one principal of it, as [`revoke`](Self::revoke), and says which were not
    /// revoked before: `UPDATE … WHERE tenant = $1 AND ($2 IS NULL OR principal = $2) AND NOT revoked RETURNING id`.
    fn revoke_all(
        &self,
        tenant: &TenantId,
        principal: Option<&PrincipalId>,
    ) -> impl Future<Output = Result<Vec<SessionId>, BoxError>> + Send;
}
