//! Where keys are kept.

use std::{future::Future, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};
use tenant_context::{BoxError, CredentialId, TenantId, UnixTime};

use super::{ApiKeyDigest, ApiKeyRecord, SecretTag};

/// Keeps API keys: implement it on your database. [`MemoryApiKeyStore`](super::MemoryApiKeyStore) is the default.
///
/// In SQL: a row for each key with its id, digest (unique), tenant, version, `last_used_at`, and the record as JSON.
/// Keep a revoked or expired key: its record says who made it.
///
/// What wrong answers cost: a [`replace`](Self::replace) or [`rotate`](Self::rotate) that does not compare the version undoes a
/// revocation that landed meanwhile; a [`find`](Self::find) or [`list`](Self::list) that lags behind accepts a revoked key for as long,
/// and lets a successor escape from [`ApiKeys::revoke_tenant`](super::ApiKeys::revoke_tenant). Read where you write. An error costs
/// availability only.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep API keys",
    note = "implement `tenant_auth::ApiKeyStore` for it"
)]
pub trait ApiKeyStore: Send + Sync + 'static {
    /// Adds a key, whose id and digest are new.
    fn insert(&self, record: ApiKeyRecord) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The key of one of these digests, in whatever state it is. There are at most four.
    fn find(
        &self,
        digests: &[ApiKeyDigest],
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, BoxError>> + Send;

    /// The key of this id, if it is this tenant's.
    fn load(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, BoxError>> + Send;

    /// All keys of this tenant, in whatever state they are, as they are at one time.
    fn list(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<Vec<ApiKeyRecord>, BoxError>> + Send;

    /// Replaces a key **if** its version is still this one, in one step, and says whether it did:
    /// `UPDATE … WHERE key_id = $1 AND version = $2`. `last_used_at` stays.
    fn replace(
        &self,
        version: u64,
        record: ApiKeyRecord,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// As [`replace`](Self::replace), and adds the successor in the same transaction: both or neither.
    fn rotate(
        &self,
        version: u64,
        record: ApiKeyRecord,
        successor: ApiKeyRecord,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Notes when keys were last used, unless a later use is known. Many at once, about once a minute; the version stays.
    fn touch(
        &self,
        uses: &[(CredentialId, UnixTime)],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// How many keys that are not revoked were hashed with another secret than this one.
    fn count_other_secrets(
        &self,
        newest: SecretTag,
    ) -> impl Future<Output = Result<usize, BoxError>> + Send;
}

/// [`ApiKeyStore`] without its type.
pub(super) trait Store: Send + Sync {
    fn insert(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), BoxError>>;
    fn find(
        self: Arc<Self>,
        digests: Vec<ApiKeyDigest>,
    ) -> BoxFuture<'static, Result<Option<ApiKeyRecord>, BoxError>>;
    fn load<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, BoxError>>;
    fn list<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Vec<ApiKeyRecord>, BoxError>>;
    fn replace(&self, version: u64, record: ApiKeyRecord) -> BoxFuture<'_, Result<bool, BoxError>>;
    fn rotate(
        &self,
        version: u64,
        record: ApiKeyRecord,
        successor: ApiKeyRecord,
    ) -> BoxFuture<'_, Result<bool, BoxError>>;
    fn touch<'a>(
        &'a self,
        uses: &'a [(CredentialId, UnixTime)],
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn count_other_secrets(&self, newest: SecretTag) -> BoxFuture<'_, Result<usize, BoxError>>;
}

impl<T: ApiKeyStore> Store for T {
    fn insert(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), BoxError>> {
        ApiKeyStore::insert(self, record).boxed()
    }

    fn find(
        self: Arc<Self>,
        digests: Vec<ApiKeyDigest>,
    ) -> BoxFuture<'static, Result<Option<ApiKeyRecord>, BoxError>> {
        async move { ApiKeyStore::find(&*self, &digests).await }.boxed()
    }

    fn load<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, BoxError>> {
        ApiKeyStore::load(self, tenant, id).boxed()
    }

    fn list<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Vec<ApiKeyRecord>, BoxError>> {
        ApiKeyStore::list(self, tenant).boxed()
    }

    fn replace(&self, version: u64, record: ApiKeyRecord) -> BoxFuture<'_, Result<bool, BoxError>> {
        ApiKeyStore::replace(self, version, record).boxed()
    }

    fn rotate(
        &self,
        version: u64,
        record: ApiKeyRecord,
        successor: ApiKeyRecord,
    ) -> BoxFuture<'_, Result<bool, BoxError>> {
        ApiKeyStore::rotate(self, version, record, successor).boxed()
    }

    fn touch<'a>(
        &'a self,
        uses: &'a [(CredentialId, UnixTime)],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        ApiKeyStore::touch(self, uses).boxed()
    }

    fn count_other_secrets(&self, newest: SecretTag) -> BoxFuture<'_, Result<usize, BoxError>> {
        ApiKeyStore::count_other_secrets(self, newest).boxed()
    }
}
