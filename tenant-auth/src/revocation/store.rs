//! Where other processes learn what is revoked.

use std::{fmt, future::Future, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};
use tenant_context::BoxError;

use super::Revocation;

/// A place in a store's feed: what the store says, unread by anybody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedPosition(Box<str>);

impl FeedPosition {
    /// A position: a sequence number, a stream's entry id.
    pub fn new(position: impl Into<String>) -> Self {
        Self(position.into().into())
    }

    /// The position as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a store has to say.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::exhaustive_structs,
    reason = "stores outside of this crate make it"
)]
pub struct RevocationNews {
    /// What was revoked after the position that was asked for, oldest first.
    pub revocations: Vec<Revocation>,
    /// Where to go on; `None` if the feed is empty so far.
    pub position: Option<FeedPosition>,
    /// Whether there is more to be read behind it at once. Until it is read, the store has not answered.
    pub more: bool,
}

/// Shares revocations between processes: implement it on your database, stream or broker.
///
/// What each wrong answer costs: a revocation that is lost, or answered before it is readable, is not in
/// effect elsewhere, and nobody knows. One that is answered twice costs nothing. An error, or an answer
/// that never comes, costs availability only: after
/// [`max_silence`](super::SharedRevocationsBuilder::max_silence) every request is refused with 503 until
/// the store answers again.
///
/// Keep what concerns tokens for twice the longest life of a token, and what concerns keys for good: a
/// process that starts reads the feed from its beginning.
///
/// ```
/// use tenant_auth::{FeedPosition, Revocation, RevocationNews, RevocationStore};
/// use tenant_context::BoxError;
///
/// struct Database;
///
/// impl RevocationStore for Database {
///     async fn publish(&self, revocation: &Revocation) -> Result<(), BoxError> {
///         let row = serde_json::to_string(revocation)?;
///         // INSERT INTO revocations (body) VALUES ($1)      -- `seq` in the order of commits
/// #       drop(row);
///         Ok(())
///     }
///
///     async fn read(&self, after: Option<&FeedPosition>) -> Result<RevocationNews, BoxError> {
///         // SELECT seq, body FROM revocations WHERE seq > $1 ORDER BY seq LIMIT 1000
/// #       let rows = [(7, r#"{"revoked":"signing_key","issuer":"i","kid":"k"}"#)];
///         let mut news = RevocationNews { position: after.cloned(), ..RevocationNews::default() };
///         news.more = rows.len() == 1000;
///         for (seq, body) in rows {
///             news.revocations.push(serde_json::from_str(body)?);
///             news.position = Some(FeedPosition::new(seq.to_string()));
///         }
///         Ok(news)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot share revocations",
    note = "implement `tenant_auth::RevocationStore` for it"
)]
pub trait RevocationStore: Send + Sync + 'static {
    /// Adds a revocation. When this returns, every [`read`](Self::read) that begins afterwards, in
    /// whatever process, gives it.
    ///
    /// # Errors
    ///
    /// Whatever the store reports. The revocation holds in this process all the same.
    fn publish(&self, revocation: &Revocation)
    -> impl Future<Output = Result<(), BoxError>> + Send;

    /// What was revoked after a position, `None` being the beginning. Nothing new is an answer too: it is
    /// what keeps the feed from being silent. It may answer in parts, saying that there is more.
    ///
    /// # Errors
    ///
    /// Whatever the store reports: it is logged, and asked again.
    fn read(
        &self,
        after: Option<&FeedPosition>,
    ) -> impl Future<Output = Result<RevocationNews, BoxError>> + Send;
}

/// [`RevocationStore`] without its type.
pub(super) trait Store: Send + Sync {
    fn publish(self: Arc<Self>, revocation: Revocation)
    -> BoxFuture<'static, Result<(), BoxError>>;

    fn read(
        self: Arc<Self>,
        after: Option<FeedPosition>,
    ) -> BoxFuture<'static, Result<RevocationNews, BoxError>>;
}

impl<T: RevocationStore> Store for T {
    fn publish(
        self: Arc<Self>,
        revocation: Revocation,
    ) -> BoxFuture<'static, Result<(), BoxError>> {
        async move { RevocationStore::publish(&*self, &revocation).await }.boxed()
    }

    fn read(
        self: Arc<Self>,
        after: Option<FeedPosition>,
    ) -> BoxFuture<'static, Result<RevocationNews, BoxError>> {
        async move { RevocationStore::read(&*self, after.as_ref()).await }.boxed()
    }
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationStore")
    }
}
