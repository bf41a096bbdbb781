//! Credentials that end before their time.
//!
//! [`Revocations`] is the set of them in this process, [`Revocation`] one of them, [`RevocationStore`]
//! where other processes learn of it.

mod entries;
mod feed;
mod handle;
mod set;
mod store;
mod subject;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tenant_context::{CredentialId, PrincipalId, TenantId, UnixTime};

pub use self::{
    feed::RevocationFeed,
    handle::{Revocations, RevocationsBuilder, Revoking, SharedRevocationsBuilder},
    store::{FeedPosition, RevocationNews, RevocationStore},
};

/// What is not accepted any more: one credential, or all of a session, a subject, a tenant, an issuer or a
/// key; and with each of them all that was derived from it.
///
/// A revocation is for good: there is no way to take one back, and none is needed, as whoever was
/// revoked by mistake gets a new credential.
///
/// It is read and written by serde, for stores. Two that are equal revoke the same.
///
/// ```
/// use tenant_auth::{CredentialId, PrincipalId, Revocation, TenantId, UnixTime};
///
/// let (acme, now) = (TenantId::parse("acme")?, UnixTime::from_secs(1_767_225_600));
/// // One token, by its `jti` or, where it has none, by the digest that `ctx.credential()` names:
/// let one = Revocation::token(acme.clone(), CredentialId::parse("b7b1c7a2-6f0e")?);
/// // All tokens of one session of another issuer's, by their `sid`:
/// let ended = Revocation::session(acme.clone(), CredentialId::parse("08a5019c-17e1")?);
/// // All tokens of a person that were issued before now, also those that act for others. Not refresh tokens, nor API keys:
/// let left = Revocation::subject(acme.clone(), PrincipalId::parse("ada")?, now);
/// // A key of an issuer whose private half got out: all that it signed, and all it is going to sign.
/// let leaked = Revocation::signing_key("https://id.example.com", "2026-01");
/// assert_eq!(serde_json::from_str::<Revocation>(&serde_json::to_string(&left)?)?, left);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Revocation(pub(crate) Target);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Token {
        tenant: TenantId,
        credential: CredentialId,
    },
    Session {
        tenant: TenantId,
        session: CredentialId,
    },
    Subject {
        tenant: TenantId,
        subject: PrincipalId,
        before: UnixTime,
    },
    Tenant {
        tenant: TenantId,
        before: UnixTime,
    },
    Issuer {
        issuer: Arc<str>,
        before: UnixTime,
    },
    SigningKey {
        issuer: Arc<str>,
        kid: Arc<str>,
    },
    ApiKey {
        tenant: TenantId,
        id: CredentialId,
    },
}

impl Revocation {
    /// One token of this tenant: by its `jti`, or by the digest that names a token without one
    /// ([`Identity::credential`](tenant_context::Identity::credential) gives either).
    pub const fn token(tenant: TenantId, credential: CredentialId) -> Self {
        Self(Target::Token { tenant, credential })
    }

    /// All tokens of one session of this tenant, by their `sid`
    /// ([`Identity::session`](tenant_context::Identity::session)): for sessions of other issuers, which end the session
    /// itself.
    ///
    /// It is no sign-out where [`RefreshTokens`](crate::refresh::RefreshTokens) are in use: it stands only as long as a token of the session could live
    /// ([`longest_life`](RevocationsBuilder::longest_life)), and a session is refreshed for longer. There, use
    /// [`end_session`](crate::refresh::RefreshTokens::end_session), which ends both; its id is the text of the session,
    /// `.as_str().parse()`.
    pub const fn session(tenant: TenantId, session: CredentialId) -> Self {
        Self(Target::Session { tenant, session })
    }

    /// All tokens that name this subject, of whatever kind, and were issued before a time: as the one they speak for, and
    /// as an actor of their chain. API keys stay, and so do refresh tokens, with which new tokens are got: for somebody who
    /// leaves use [`RefreshTokens::end_all_of`](crate::refresh::RefreshTokens::end_all_of) and
    /// [`ApiKeys::revoke_all_of`](crate::ApiKeys::revoke_all_of) as well.
    ///
    /// The time is compared with the token's `iat`, which is the issuer's clock, usually in whole
    /// seconds: a token issued within the second of `before` is refused too. Where the issuer's clock may
    /// be ahead of yours, give a time that is later by as much.
    pub const fn subject(tenant: TenantId, subject: PrincipalId, before: UnixTime) -> Self {
        Self(Target::Subject {
            tenant,
            subject,
            before,
        })
    }

    /// All tokens of this tenant that were issued before a time, compared as in
    /// [`subject`](Self::subject). API keys stay. To stop a tenant altogether, suspend it.
    pub const fn tenant(tenant: TenantId, before: UnixTime) -> Self {
        Self(Target::Tenant { tenant, before })
    }

    /// All tokens of this issuer that were issued before a time, compared as in
    /// [`subject`](Self::subject). The name of a [template](crate::Issuer::template) stands for all the issuers
    /// that it gives. An issuer that is no longer trusted is removed instead.
    pub fn issuer(issuer: &str, before: UnixTime) -> Self {
        let issuer = issuer.into();
        Self(Target::Issuer { issuer, before })
    }

    /// All tokens that this issuer's key of this name verifies, whenever they were or will be issued. The name of a
    /// [template](crate::Issuer::template) stands for all the issuers that it gives. It
    /// stands as long as the process does: whoever has the private half can go on signing. A key without
    /// a name is taken from its issuer instead.
    pub fn signing_key(issuer: &str, kid: &str) -> Self {
        let (issuer, kid) = (issuer.into(), kid.into());
        Self(Target::SigningKey { issuer, kid })
    }

    /// An API key, by its id. It stands as long as the process does: the key may have no end.
    pub const fn api_key(tenant: TenantId, id: CredentialId) -> Self {
        Self(Target::ApiKey { tenant, id })
    }

    /// Whose credentials it concerns; `None`: those of all tenants.
    pub const fn tenant_id(&self) -> Option<&TenantId> {
        match &self.0 {
            Target::Token { tenant, .. }
            | Target::Session { tenant, .. }
            | Target::Subject { tenant, .. }
            | Target::Tenant { tenant, .. }
            | Target::ApiKey { tenant, .. } => Some(tenant),
            Target::Issuer { .. } | Target::SigningKey { .. } => None,
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { tenant, credential } => write!(f, "token {credential} of {tenant}"),
            Self::Session { tenant, session } => write!(f, "session {session} of {tenant}"),
            Self::Subject {
                tenant, subject, ..
            } => write!(f, "subject {subject} of {tenant}"),
            Self::Tenant { tenant, .. } => write!(f, "tenant {tenant}"),
            Self::Issuer { issuer, .. } => write!(f, "issuer {issuer:?}"),
            Self::SigningKey { issuer, kid } => write!(f, "key {kid:?} of {issuer:?}"),
            Self::ApiKey { tenant, id } => write!(f, "API key {id} of {tenant}"),
        }
    }
}

/// The form in which stores keep a revocation. Times are nanoseconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "revoked", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Token {
        tenant: TenantId,
        credential: CredentialId,
    },
    Session {
        tenant: TenantId,
        session: CredentialId,
    },
    Subject {
        tenant: TenantId,
        subject: PrincipalId,
        before: u64,
    },
    Tenant {
        tenant: TenantId,
        before: u64,
    },
    Issuer {
        issuer: String,
        before: u64,
    },
    SigningKey {
        issuer: String,
        kid: String,
    },
    ApiKey {
        tenant: TenantId,
        id: CredentialId,
    },
}

impl From<Revocation> for Wire {
    fn from(revocation: Revocation) -> Self {
        match revocation.0 {
            Target::Token { tenant, credential } => Self::Token { tenant, credential },
            Target::Session { tenant, session } => Self::Session { tenant, session },
            Target::Subject {
                tenant,
                subject,
                before,
            } => Self::Subject {
                tenant,
                subject,
                before: before.as_nanos(),
            },
            Target::Tenant { tenant, before } => Self::Tenant {
                tenant,
                before: before.as_nanos(),
            },
            Target::Issuer { issuer, before } => Self::Issuer {
                issuer: issuer.as_ref().to_owned(),
                before: before.as_nanos(),
            },
            Target::SigningKey { issuer, kid } => Self::SigningKey {
                issuer: issuer.as_ref().to_owned(),
                kid: kid.as_ref().to_owned(),
            },
            Target::ApiKey { tenant, id } => Self::ApiKey { tenant, id },
        }
    }
}

impl From<Wire> for Revocation {
    fn from(wire: Wire) -> Self {
        let time = UnixTime::from_nanos;
        match wire {
            Wire::Token { tenant, credential } => Self::token(tenant, credential),
            Wire::Session { tenant, session } => Self::session(tenant, session),
            Wire::Subject {
                tenant,
                subject,
                before,
            } => Self::subject(tenant, subject, time(before)),
            Wire::Tenant { tenant, before } => Self::tenant(tenant, time(before)),
            Wire::Issuer { issuer, before } => Self::issuer(&issuer, time(before)),
            Wire::SigningKey { issuer, kid } => Self::signing_key(&issuer, &kid),
            Wire::ApiKey { tenant, id } => Self::api_key(tenant, id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_keeps_is_read_as_it_was_written() {
        let acme = TenantId::parse("acme").unwrap();
        let id = CredentialId::parse("1").unwrap();
        let ada = PrincipalId::parse("ada").unwrap();
        let time = UnixTime::from_nanos(1_767_225_600_000_000_001);
        for (revocation, wire) in [
            (
                Revocation::token(acme.clone(), id.clone()),
                r#"{"revoked":"token","tenant":"acme","credential":"1"}"#,
            ),
            (
                Revocation::session(acme.clone(), id.clone()),
                r#"{"revoked":"session","tenant":"acme","session":"1"}"#,
            ),
            (
                Revocation::subject(acme.clone(), ada, time),
                r#"{"revoked":"subject","tenant":"acme","subject":"ada","before":1767225600000000001}"#,
            ),
            (
                Revocation::tenant(acme.clone(), time),
                r#"{"revoked":"tenant","tenant":"acme","before":1767225600000000001}"#,
            ),
            (
                Revocation::issuer("i", time),
                r#"{"revoked":"issuer","issuer":"i","before":1767225600000000001}"#,
            ),
            (
                Revocation::signing_key("i", "k"),
                r#"{"revoked":"signing_key","issuer":"i","kid":"k"}"#,
            ),
            (
                Revocation::api_key(acme, id),
                r#"{"revoked":"api_key","tenant":"acme","id":"1"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&revocation).unwrap(), wire);
            assert_eq!(
                serde_json::from_str::<Revocation>(wire).unwrap(),
                revocation
            );
        }
        for bad in [
            r#"{"revoked":"token","tenant":"a b","credential":"1"}"#,
            r#"{"revoked":"nobody"}"#,
            r#"{"revoked":"token","tenant":"acme","credential":"1","more":1}"#,
        ] {
            assert!(serde_json::from_str::<Revocation>(bad).is_err(), "{bad}");
        }
    }
}
