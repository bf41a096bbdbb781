//! Beginning, rotating and ending sessions.

use std::{error::Error, fmt, time::Duration};

use futures_util::FutureExt;
use subtle::ConstantTimeEq;
use tenant_context::{
    BoxError, CredentialId, LookupErrorKind, Principal, PrincipalId, Rejection, TenantId,
    TenantStatus, UnixTime,
};

use super::{
    RefreshStore, RefreshToken, RefreshTokens, Session, SessionId,
    store::{Kind, Previous},
    token::{self, Presented, SECRET_LEN, Secret},
};
use crate::{KeyError, Revocation};

/// A session to begin.
#[derive(Clone, Debug)]
#[must_use = "begin it with `RefreshTokens::begin`"]
pub struct NewSession {
    tenant: TenantId,
    principal: Principal,
    client: String,
    scopes: Vec<String>,
    roles: Vec<String>,
}

impl NewSession {
    /// A session of this principal with this client: an authenticated client id, or the thumbprint of
    /// the client's key.
    pub fn new(tenant: TenantId, principal: Principal, client: impl Into<String>) -> Self {
        Self {
            tenant,
            principal,
            client: client.into(),
            scopes: Vec::new(),
            roles: Vec::new(),
        }
    }

    /// Adds scopes.
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles.
    pub fn roles<T: Into<String>>(mut self, roles: impl IntoIterator<Item = T>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }
}

/// A token, and the session that it is for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// For the client.
    pub token: RefreshToken,
    /// For the access token: tenant, principal, scopes, and the id as `sid`.
    pub session: Session,
}

/// A session that a replay ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionEnded {
    /// The tenant.
    pub tenant: TenantId,
    /// Whose session it was.
    pub principal: Principal,
    /// The session: the `sid` of its access tokens.
    pub session: SessionId,
}

/// Why a token was not exchanged. The client is to be told `invalid_grant` (RFC 6749 §5.2) for all but
/// [`Unavailable`](Self::Unavailable); its `Display` says no more.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshError {
    /// No token, or none that was issued here.
    Invalid,
    /// The session has expired.
    Expired,
    /// The session was revoked.
    Revoked,
    /// The token was used before, or is another client's: the session is revoked now.
    Reused,
    /// The tenant is suspended. The token is still good.
    Suspended,
    /// The store or the registry failed, or the operating system gave no randomness: the client may try
    /// again with the same token.
    Unavailable(BoxError),
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable(_) => "temporarily_unavailable",
            _ => "invalid_grant",
        })
    }
}

impl Error for RefreshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<RefreshError> for Rejection {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Suspended => Self::tenant_suspended(),
            RefreshError::Unavailable(_) => Self::store_unavailable().with_source(error),
            RefreshError::Invalid => Self::credential_invalid("refresh_invalid"),
            RefreshError::Expired => Self::credential_invalid("refresh_expired"),
            RefreshError::Revoked => Self::credential_invalid("refresh_revoked"),
            RefreshError::Reused => Self::credential_invalid("refresh_reused"),
        }
    }
}

fn unavailable(error: impl Into<BoxError>) -> RefreshError {
    RefreshError::Unavailable(error.into())
}

fn random<const N: usize>() -> Result<[u8; N], RefreshError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| unavailable(KeyError::randomness()))?;
    Ok(bytes)
}

/// What a presented token is.
enum Finding {
    Current,
    /// The one before, within the grace: here is its successor.
    Concurrent(Secret),
    Replay,
}

impl<S: RefreshStore> RefreshTokens<S> {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// [`RefreshError`]: the tenant is unknown or suspended, the store failed or is full.
    pub async fn begin(&self, new: NewSession) -> Result<Issued, RefreshError> {
        self.ask(&new.tenant).await?;
        let (id, key, secret) = (
            SessionId::from_bytes(random()?),
            random::<SECRET_LEN>()?,
            random::<SECRET_LEN>()?,
        );
        let now = self.0.clock.unix();
        let session = Session {
            id,
            tenant: new.tenant,
            kind: Kind::of(new.principal.kind()),
            principal: new.principal.id().clone(),
            client: new.client,
            scopes: new.scopes,
            roles: new.roles,
            key,
            generation: 0,
            hash: token::hash(&secret),
            previous: None,
            began_at: now.as_nanos(),
            expires_at: self.end(now, now).as_nanos(),
            revoked: false,
        };
        let store = &self.0.store;
        store.insert(session.clone()).await.map_err(unavailable)?;
        Ok(Issued {
            token: token::issue(&key, id, 0, &secret),
            session,
        })
    }

    /// Exchanges a token for its successor. When this returns, the presented one is invalid.
    ///
    /// Dropped at any time it leaves the session with one token: the presented one or its successor.
    ///
    /// # Errors
    ///
    /// [`RefreshError`].
    pub async fn rotate(&self, presented: &str, client: &str) -> Result<Issued, RefreshError> {
        let presented = Presented::parse(presented).ok_or(RefreshError::Invalid)?;
        // Once more after a lost race: then the token is the one before, whatever else happens.
        for _ in 0..2 {
            let found = self.0.store.load(presented.session).await;
            let session = found.map_err(unavailable)?.ok_or(RefreshError::Invalid)?;
            if session.id != presented.session {
                return Err(unavailable("the store answered with another session"));
            }
            let now = self.0.clock.unix();
            match self.find(&session, &presented, client, now)? {
                Finding::Replay => return Err(self.reuse(session).await),
                Finding::Concurrent(successor) => {
                    self.ask(&session.tenant).await?;
                    return Ok(issued(session, &successor));
                }
                Finding::Current => {
                    self.ask(&session.tenant).await?;
                    if let Some(issued) = self.swap(session, &presented, now).await? {
                        return Ok(issued);
                    }
                }
            }
        }
        Err(unavailable("the store swaps nothing"))
    }

    /// Ends a session, for a sign-out, and its access tokens
    /// ([`revocations`](super::RefreshTokensBuilder::revocations)); says whether it stood.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Unavailable`] if the store failed, or the revocation was not published: try again.
    pub async fn end_session(&self, id: SessionId) -> Result<bool, RefreshError> {
        let found = self.0.store.load(id).await.map_err(unavailable)?;
        let stood = self.0.store.revoke(id).await.map_err(unavailable)?;
        if let Some(session) = found {
            self.end_access_tokens(&session.tenant, id).await?;
        }
        Ok(stood)
    }

    /// Ends all sessions of somebody who leaves, whatever kind of principal has this id, and their access tokens, those that
    /// act for others or through them included; says how many sessions that were.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Unavailable`] if the store failed, or the revocation was not published: try again.
    pub async fn end_all_of(
        &self,
        tenant: &TenantId,
        principal: &PrincipalId,
    ) -> Result<usize, RefreshError> {
        let revocation = Revocation::subject(tenant.clone(), principal.clone(), self.until_now());
        self.end_all(tenant, Some(principal), revocation).await
    }

    /// Ends all sessions of a tenant, and its access tokens; says how many sessions that were. Of a refresh that is under way
    /// at this moment an access token may be minted after it: suspend a tenant that is to be stopped at once.
    ///
    /// # Errors
    ///
    /// As [`end_all_of`](Self::end_all_of).
    pub async fn end_tenant(&self, tenant: &TenantId) -> Result<usize, RefreshError> {
        let revocation = Revocation::tenant(tenant.clone(), self.until_now());
        self.end_all(tenant, None, revocation).await
    }

    /// What was issued at this moment is included.
    fn until_now(&self) -> UnixTime {
        self.0.clock.unix().saturating_add(Duration::from_nanos(1))
    }

    /// The sessions first: else one of them would be refreshed after its access tokens were revoked.
    async fn end_all(
        &self,
        tenant: &TenantId,
        principal: Option<&PrincipalId>,
        revocation: Revocation,
    ) -> Result<usize, RefreshError> {
        let ended = self.0.store.revoke_all(tenant, principal).await;
        let ended = ended.map_err(unavailable)?;
        let Some(revocations) = &self.0.revocations else {
            return Ok(ended.len());
        };
        revocations.revoke(revocation).await.map_err(unavailable)?;
        if principal.is_some() {
            // An access token of a refresh that was under way is yet to be minted, and later than the revocation.
            for id in &ended {
                self.end_access_tokens(tenant, *id).await?;
            }
        }
        Ok(ended.len())
    }

    async fn end_access_tokens(
        &self,
        tenant: &TenantId,
        id: SessionId,
    ) -> Result<(), RefreshError> {
        let Some(revocations) = &self.0.revocations else {
            return Ok(());
        };
        let sid = CredentialId::parse(id.to_string()).map_err(unavailable)?;
        let revocation = Revocation::session(tenant.clone(), sid);
        revocations.revoke(revocation).await.map_err(unavailable)
    }

    fn find(
        &self,
        session: &Session,
        presented: &Presented,
        client: &str,
        now: UnixTime,
    ) -> Result<Finding, RefreshError> {
        if !presented.issued_under(&session.key) || presented.generation > session.generation {
            return Err(RefreshError::Invalid);
        }
        if session.revoked {
            return Err(RefreshError::Revoked);
        }
        if now >= session.expires_at() {
            return Err(RefreshError::Expired);
        }
        let bound = bool::from(session.client.as_bytes().ct_eq(client.as_bytes()));
        let hash = token::hash(&presented.secret);
        if presented.generation == session.generation {
            return match (bool::from(hash.ct_eq(&session.hash)), bound) {
                (true, true) => Ok(Finding::Current),
                // It left its client's hands.
                (true, false) => Ok(Finding::Replay),
                (false, _) => Err(RefreshError::Invalid),
            };
        }
        let graced = session.previous.as_ref().filter(|previous| {
            let end = UnixTime::from_nanos(previous.rotated_at).saturating_add(self.0.limits.grace);
            bound
                && presented.generation.checked_add(1) == Some(session.generation)
                && bool::from(hash.ct_eq(&previous.hash))
                && now < end
        });
        Ok(graced.map_or(Finding::Replay, |previous| {
            let secret = &presented.secret;
            Finding::Concurrent(token::pad(
                secret,
                session.id,
                presented.generation,
                &previous.successor,
            ))
        }))
    }

    /// `None`: another one was faster.
    async fn swap(
        &self,
        session: Session,
        presented: &Presented,
        now: UnixTime,
    ) -> Result<Option<Issued>, RefreshError> {
        let generation = session.generation;
        let following = generation.checked_add(1).ok_or(RefreshError::Expired)?;
        let secret = random::<SECRET_LEN>()?;
        let began_at = UnixTime::from_nanos(session.began_at);
        let next = Session {
            generation: following,
            hash: token::hash(&secret),
            // Nobody who has a copy of the store and an old token has the new one, unless a grace needs it.
            previous: (!self.0.limits.grace.is_zero()).then(|| Previous {
                hash: session.hash,
                successor: token::pad(&presented.secret, session.id, generation, &secret),
                rotated_at: now.as_nanos(),
            }),
            expires_at: self.end(began_at, now).as_nanos(),
            ..session
        };
        let swapped = self.0.store.swap(generation, next.clone()).await;
        Ok(swapped.map_err(unavailable)?.then(|| issued(next, &secret)))
    }

    async fn reuse(&self, session: Session) -> RefreshError {
        let given_up = GivenUp {
            tokens: self,
            session: Some(&session),
        };
        let stood = match self.0.store.revoke(session.id).await {
            Err(error) => {
                given_up.over();
                return unavailable(error);
            }
            Ok(stood) => stood,
        };
        if let Err(error) = self.end_access_tokens(&session.tenant, session.id).await {
            // It holds here; elsewhere they live to their end. The replay is answered as one all the same.
            tracing::error!(source = error.source(), session = %session.id, "the end of a stolen session's access tokens is not published");
        }
        given_up.over();
        if stood {
            self.tell(&session);
        }
        RefreshError::Reused
    }

    fn tell(&self, session: &Session) {
        (self.0.on_reuse)(&SessionEnded {
            tenant: session.tenant.clone(),
            principal: session.principal(),
            session: session.id,
        });
    }

    /// Whether the tenant may act, now.
    async fn ask(&self, tenant: &TenantId) -> Result<(), RefreshError> {
        match self.0.tenants.get(tenant).wait().await {
            Ok(state) if state.status() == TenantStatus::Active => Ok(()),
            Ok(state) if state.status() == TenantStatus::Suspended => Err(RefreshError::Suspended),
            Ok(_) => Err(RefreshError::Invalid),
            Err(error) if error.kind() == LookupErrorKind::Unknown => Err(RefreshError::Invalid),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn end(&self, began_at: UnixTime, now: UnixTime) -> UnixTime {
        let limits = &self.0.limits;
        now.saturating_add(limits.idle)
            .min(began_at.saturating_add(limits.life))
    }
}

/// A replay whose answer nobody waits for: whoever presents a stolen token decides when his request ends, not whether it is told.
struct GivenUp<'a, S: RefreshStore> {
    tokens: &'a RefreshTokens<S>,
    session: Option<&'a Session>,
}

impl<S: RefreshStore> GivenUp<'_, S> {
    fn over(mut self) {
        self.session = None;
    }
}

impl<S: RefreshStore> Drop for GivenUp<'_, S> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            // In this process it holds at the first poll.
            let ended = self.tokens.end_access_tokens(&session.tenant, session.id);
            if ended.now_or_never().is_none() {
                tracing::error!(session = %session.id, "the end of a stolen session's access tokens may not be published: its replay was given up");
            }
            self.tokens.tell(session);
        }
    }
}

fn issued(session: Session, secret: &Secret) -> Issued {
    Issued {
        token: token::issue(&session.key, session.id, session.generation, secret),
        session,
    }
}
