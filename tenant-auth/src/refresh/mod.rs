//! Refresh tokens: one at a time for each session, and a stolen one ends it (RFC 9700 §4.14.2).
//!
//! A session (a *family*) has one token. [`RefreshTokens::rotate`] exchanges it for its successor by
//! compare-and-swap on (family, generation); from then on the old one is invalid. If it is presented
//! again, somebody has a copy: the session is revoked, its access tokens with it
//! ([`revocations`](RefreshTokensBuilder::revocations)), [`on_reuse`](RefreshTokensBuilder::on_reuse) is called, and nobody's
//! token works any more. Sign-outs end a session in the same way ([`end_session`](RefreshTokens::end_session)), and so does
//! somebody's leaving all of theirs ([`end_all_of`](RefreshTokens::end_all_of)).
//!
//! Tokens are opaque, and what is stored of one is its hash: neither a store nor a copy of it gives one
//! away, and there is no secret of the server to keep. (With a grace, below, a copy of the store gives the current token to
//! whoever has the one before.)
//!
//! # Tabs, retries and crashes
//!
//! Two tabs of one browser refresh at the same moment; an answer is lost on its way; the server dies after
//! the swap. In each case an honest client presents the old token again, and without more its session
//! ends. With [`concurrent_grace`](RefreshTokensBuilder::concurrent_grace) it is given, for some seconds,
//! **the same** successor as before: no second one is ever made, so a session never forks. The successor
//! is kept encrypted under the token that it replaced. The price: whoever steals a token and presents
//! it within the grace, as the same client, goes undetected until the two next meet. It is off by default;
//! 10 s is enough for browsers.
//!
//! A token is bound to the client it was issued to: a client id that was authenticated, or the thumbprint of
//! the client's key or certificate. Presented by another, it has leaked, and the session ends.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tenant_auth::{AccessToken, CachedRegistry, Principal, PrincipalId, Revocations, TenantId, TokenIssuer};
//! use tenant_auth::refresh::{MemoryRefreshStore, NewSession, RefreshTokens};
//!
//! # async fn example(tenants: CachedRegistry, revocations: Revocations, issuer: TokenIssuer) -> Result<(), Box<dyn std::error::Error>> {
//! let refresh = RefreshTokens::builder(tenants, MemoryRefreshStore::new(100_000))
//!     .concurrent_grace(Duration::from_secs(10))
//!     .revocations(revocations)                                   // those of the layer: a session's access tokens end with it
//!     .on_reuse(|ended| eprintln!("{:?} of {} was stolen", ended.session, ended.tenant))
//!     .build()?;
//!
//! // Signed in:
//! let ada = Principal::human(PrincipalId::parse("ada")?);
//! let first = refresh.begin(NewSession::new(TenantId::parse("acme")?, ada, "web").scopes(["invoices:read"])).await?;
//! // POST /token, grant_type=refresh_token:
//! let next = refresh.rotate(first.token.expose(), "web").await?;
//! let session = next.session;
//! let access = issuer.access_token(
//!     &AccessToken::new(session.tenant().clone(), session.principal())
//!         .scopes(session.scopes().iter().cloned())               // they bound it, also where there are none: leave them out if roles alone decide
//!         .roles(session.roles().iter().cloned())
//!         .session(session.id().to_string()),                     // `sid`: it ends with the session
//! )?;
//! let answer = (access.expose(), next.token.expose());
//! # Ok(())
//! # }
//! ```
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | a session's life without a refresh | 30 days ([`RefreshTokensBuilder::idle`]) |
//! | a session's whole life | 90 days ([`RefreshTokensBuilder::life`]) |
//! | grace | none; at most 60 s |
//! | a presented token | one length, looked at first |
//! | sessions in [`MemoryRefreshStore`] | its capacity, a tenth of it (at least 1,000) of one tenant; beyond it none begins |

mod builder;
mod memory;
mod rotate;
mod store;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use tenant_context::{CachedRegistry, Clock};

use crate::Revocations;

pub(crate) use self::store::Kind;
pub use self::{
    builder::RefreshTokensBuilder,
    memory::MemoryRefreshStore,
    rotate::{Issued, NewSession, RefreshError, SessionEnded},
    store::{NoSessionId, RefreshStore, Session, SessionId},
    token::RefreshToken,
};

/// Begins sessions and rotates their tokens. See the [module's documentation](self). Clones share
/// everything.
pub struct RefreshTokens<S>(Arc<Shared<S>>);

struct Shared<S> {
    store: S,
    tenants: CachedRegistry,
    clock: Arc<dyn Clock>,
    limits: Limits,
    revocations: Option<Revocations>,
    on_reuse: Box<dyn Fn(&SessionEnded) + Send + Sync>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    idle: Duration,
    life: Duration,
    grace: Duration,
}

impl<S> Clone for RefreshTokens<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for RefreshTokens<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}
