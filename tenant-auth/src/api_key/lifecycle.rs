//! A key's life: issued, listed, rotated, ended.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tenant_context::{
    ConfigError, CredentialId, PrincipalId, PrincipalKind, Rejection, TenantContext, TenantId,
    UnixTime, scope_covers,
};

use super::{
    ApiKeyDigest, ApiKeyError, ApiKeyRecord, ApiKeySecret, ApiKeyState, ApiKeys, NewApiKey,
    error::unavailable, format::random, live::LiveKey,
};
use crate::jobs::UNTIL;

/// A key's successor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotatedApiKey {
    /// The successor's text, shown once.
    pub secret: ApiKeySecret,
    /// The successor's id.
    pub key_id: CredentialId,
    /// Until when the old key is accepted beside it.
    pub old_valid_until: UnixTime,
}

/// When a key is due to be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    max_age: Duration,
}

impl RotationPolicy {
    /// 90 days.
    pub const STANDARD: Self = Self::max_age(Duration::from_secs(90 * 86_400));
    /// 30 days, for regulated tenants.
    pub const REGULATED: Self = Self::max_age(Duration::from_secs(30 * 86_400));

    /// After this time.
    pub const fn max_age(max_age: Duration) -> Self {
        Self { max_age }
    }
}

/// What is tried before somebody else is blamed for changing a key all the time.
const TRIES: usize = 16;
const DEFAULT_GRACE: Duration = Duration::from_secs(7 * 86_400);

impl ApiKeys {
    /// Issues a key. The text is shown once; the id names the key in logs, in the audit and for all that is done with it later.
    ///
    /// Of whom and with which scopes is the caller's decision. Where a request asks for a key, use [`issue_by`](Self::issue_by).
    ///
    /// # Errors
    ///
    /// [`ApiKeyError`]: the description is above a bound or ends before it begins, the store failed, there is no randomness.
    pub async fn issue(&self, new: NewApiKey) -> Result<(ApiKeySecret, CredentialId), ApiKeyError> {
        new.check().map_err(ApiKeyError::Invalid)?;
        let (secret, digest, id) = self.generate()?;
        let record = ApiKeyRecord::new(new, id.clone(), digest, self.0.clock.unix());
        self.0.store.insert(record).await.map_err(unavailable)?;
        Ok((secret, id))
    }

    /// Issues a key that a request asks for: of the context's tenant, for the caller itself or for a service, with scopes and roles
    /// that the context has itself.
    ///
    /// The new key has a life of its own. What an API key asks for is given that key's end and networks as they stand now
    /// ([`expires_at`](NewApiKey::expires_at), [`allowed_ips`](NewApiKey::allowed_ips)), or narrower ones. Nothing that comes later is taken over: when
    /// its maker is revoked, rotated or made to expire, or a token that asked for it ends, the new key stays. Its own id ends it
    /// ([`revoke`](Self::revoke)), [`revoke_all_of`](Self::revoke_all_of) its own principal, [`revoke_tenant`](Self::revoke_tenant).
    /// [`created_by`](ApiKeyRecord::created_by) says who asked.
    ///
    /// For a service means for any service of the tenant: whoever may call this can act as one that it names, with no more
    /// scopes than it has, and passes where an owner of that id is asked for. Which services, and who may, the handler decides.
    ///
    /// ```
    /// use tenant_auth::{ApiKeys, NewApiKey, Principal, PrincipalId, Rejection, TenantContext};
    ///
    /// /// `POST /ci-keys`: the text for the answer, which is shown once.
    /// async fn ci_key(keys: &ApiKeys, ctx: &TenantContext) -> Result<String, Rejection> {
    ///     ctx.require("keys:write")?;                                  // who may
    ///     let ci = PrincipalId::parse("ci").map_err(|_| Rejection::malformed("service"))?;
    ///     let new = NewApiKey::new(ctx.tenant_id().clone(), Principal::service(ci))
    ///         .scopes(["reports:write"]);                              // the caller has it, or `Refused`
    ///     let (secret, _id) = keys.issue_by(ctx, new).await?;
    ///     Ok(secret.expose().to_owned())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiKeyError`] as [`issue`](Self::issue); [`ApiKeyError::Refused`] for another tenant's key, for a scope or role that the
    /// context does not have, for another principal's, and of a context that has ended, has a resource prefix, is an operator's or
    /// a job's, or acts for somebody else: a key has none of these bounds, and would outlive them.
    pub async fn issue_by(
        &self,
        tenant: &TenantContext,
        new: NewApiKey,
    ) -> Result<(ApiKeySecret, CredentialId), ApiKeyError> {
        let refused = |rejection| ApiKeyError::Refused(tenant.deny(rejection));
        tenant.check().map_err(ApiKeyError::Refused)?;
        if new.tenant != *tenant.tenant_id() {
            return Err(refused(Rejection::tenant_mismatch()));
        }
        if is_wider(&new, tenant) {
            let wanted = new.scopes.iter().map(String::as_str);
            let rejection = Rejection::insufficient_scope(wanted);
            return Err(refused(rejection.with_reason("api_key_wider")));
        }
        let mut new = new;
        let presented = tenant.credential().filter(|_| tenant.issuer().is_none());
        for id in presented.into_iter().chain(tenant.api_key()) {
            // A credential of this kind that is not a key of ours has no bounds that we know.
            match self.record(tenant.tenant_id(), id).await {
                Ok(record) if new.narrow_to(&record) => {}
                Ok(_) | Err(ApiKeyError::Unknown) => {
                    let rejection = Rejection::insufficient_scope(None::<&str>);
                    return Err(refused(rejection.with_reason("api_key_wider")));
                }
                Err(error) => return Err(error),
            }
        }
        new.created_by = Some(tenant.actor().id().clone());
        self.issue(new).await
    }

    /// All keys of a tenant, ended ones included, the newest first. A use that this process knows of counts as
    /// [`last_used_at`](ApiKeyRecord::last_used_at) after the next [`sweep`](Self::sweep).
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`].
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, ApiKeyError> {
        let mut records = self.0.store.list(tenant).await.map_err(unavailable)?;
        // A store that answers with others' keys shall not be the leak.
        records.retain(|record| record.tenant_id() == tenant);
        records.sort_by_key(|record| std::cmp::Reverse(record.created_at()));
        Ok(records)
    }

    /// The keys of a tenant that are accepted, have no successor, and are older than the policy allows; the oldest first.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`].
    pub async fn due_for_rotation(
        &self,
        tenant: &TenantId,
        policy: RotationPolicy,
    ) -> Result<Vec<ApiKeyRecord>, ApiKeyError> {
        let now = self.0.clock.unix();
        let mut records = self.list(tenant).await?;
        records.retain(|record| record.stands(now) && record.age(now) >= policy.max_age);
        records.reverse();
        Ok(records)
    }

    /// Gives a key a successor with the same authority and the same end. Both are valid for 7 days.
    ///
    /// Given up half-way (the future dropped, the connection gone), the successor may be stored while nobody has its secret. Then
    /// the old key names it ([`ApiKeyRecord::successor`]): [`rotate_now`](Self::rotate_now) that one.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError`]: the tenant has no such key, it has ended or a successor, the store failed.
    pub async fn rotate(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<RotatedApiKey, ApiKeyError> {
        self.rotate_with_grace(tenant, id, DEFAULT_GRACE).await
    }

    /// As [`rotate`](Self::rotate), with another grace, of at most [`LONGEST_GRACE`](Self::LONGEST_GRACE).
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate), and for a grace that is too long.
    pub async fn rotate_with_grace(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        grace: Duration,
    ) -> Result<RotatedApiKey, ApiKeyError> {
        if grace > Self::LONGEST_GRACE {
            return Err(ApiKeyError::Invalid(ConfigError::new(format!(
                "API keys: a grace of {grace:?}; choose at most {:?}",
                Self::LONGEST_GRACE
            ))));
        }
        self.succeed(tenant, id, |old, now| {
            old.grace_ends_at = Some(now.saturating_add(grace).as_nanos());
        })
        .await
    }

    /// As [`rotate`](Self::rotate), for incidents: the old key is revoked in the same step, and is refused when this returns.
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate). A key in its grace has a successor already: [`revoke`](Self::revoke) it.
    pub async fn rotate_now(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<RotatedApiKey, ApiKeyError> {
        self.succeed(tenant, id, |old, now| {
            old.grace_ends_at = Some(now.as_nanos());
            old.revoked_at = Some(now.as_nanos());
        })
        .await
    }

    /// Moves a key's end forward, and never back. When this returns, the next request after that time is refused.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError`]: the tenant has no such key, it has ended, the store failed.
    pub async fn expire(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        at: UnixTime,
    ) -> Result<(), ApiKeyError> {
        self.change(tenant, id, |record, now| {
            if matches!(
                record.state(now),
                ApiKeyState::Revoked | ApiKeyState::Expired
            ) {
                return Err(ApiKeyError::Ended);
            }
            record.expires_at = record.expires_at.min(at.as_nanos());
            Ok(())
        })
        .await
    }

    /// Ends a key. When this returns, the key's next request is refused, cached or not, its identities are no
    /// longer valid wherever they are held, and their open streams end; so do those of requests that presented a token beside it.
    /// Its successor stays.
    ///
    /// In other processes it holds within [`fresh_for`](super::ApiKeysBuilder::fresh_for), or at once with
    /// [`Revocation::api_key`](crate::Revocation::api_key).
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unknown`] if the tenant has no such key; [`ApiKeyError::Unavailable`] if the store failed: in this process
    /// it is refused all the same until the store is asked again.
    pub async fn revoke(&self, tenant: &TenantId, id: &CredentialId) -> Result<(), ApiKeyError> {
        let revoked = self
            .change(tenant, id, |record, now| {
                record.revoked_at.get_or_insert(now.as_nanos());
                Ok(())
            })
            .await;
        if let Err(ApiKeyError::Unavailable(_)) = &revoked
            && let Some(key) = self.held(tenant, id)
        {
            key.end();
        }
        revoked
    }

    /// Ends all keys of the principals of this id, whatever their kind, as [`revoke`](Self::revoke), and says how many that were.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`]: some may have been revoked.
    pub async fn revoke_all_of(
        &self,
        tenant: &TenantId,
        principal: &PrincipalId,
    ) -> Result<usize, ApiKeyError> {
        self.revoke_where(tenant, |record| record.principal().id() == principal)
            .await
    }

    /// Ends all keys of this tenant, as [`revoke`](Self::revoke), and says how many that were. A key that is rotated
    /// meanwhile does not escape, nor does its successor; one that is issued meanwhile may.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`]: some may have been revoked.
    pub async fn revoke_tenant(&self, tenant: &TenantId) -> Result<usize, ApiKeyError> {
        self.revoke_where(tenant, |_| true).await
    }

    /// How many keys have not been presented since the server's secret was rotated: they are refused as unknown
    /// once the old secrets are retired.
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`].
    pub async fn under_old_secrets(&self) -> Result<usize, ApiKeyError> {
        let newest = self.0.secrets.read().tag();
        let count = self.0.store.count_other_secrets(newest).await;
        count.map_err(unavailable)
    }

    /// Housekeeping, once a minute or so: tells the store in one call when keys were last used, ends what was admitted with a key
    /// whose grace is over by now, and forgets the keys that nobody uses. Without it keys are verified and refused all the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// async fn housekeeping(keys: tenant_auth::ApiKeys) {
    ///     let mut minutes = tokio::time::interval(Duration::from_secs(60));
    ///     loop {
    ///         minutes.tick().await;
    ///         if let Err(error) = keys.sweep().await {
    ///             eprintln!("{error}");
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiKeyError::Unavailable`] if the store was not told: what it would have been told is lost, not the keys.
    pub async fn sweep(&self) -> Result<(), ApiKeyError> {
        let shared = &self.0;
        let keys: Vec<Arc<LiveKey>> = shared.held.read().by_id.values().cloned().collect();
        let (now, unix) = (shared.clock.monotonic().as_nanos(), shared.clock.unix());
        let uses: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let ago = Duration::from_nanos(now.saturating_sub(key.take_use()?));
                Some((key.id()?.clone(), unix.saturating_sub(ago)))
            })
            .collect();
        for key in keys.iter().filter(|key| key.is_over(unix)) {
            key.end();
        }
        drop(keys);
        shared.held.write().forget_idle();
        if uses.is_empty() {
            return Ok(());
        }
        shared.store.touch(&uses).await.map_err(unavailable)
    }

    fn generate(&self) -> Result<(ApiKeySecret, ApiKeyDigest, CredentialId), ApiKeyError> {
        let text = self.0.format.generate()?;
        let (tag, hash) = self.0.secrets.read().newest(text.as_bytes());
        let id = CredentialId::parse(format!("key_{}", random(22)?)).map_err(unavailable)?;
        let secret = ApiKeySecret::new(text, &self.0.format);
        Ok((secret, ApiKeyDigest::new(tag, &hash), id))
    }

    async fn succeed(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        end: impl Fn(&mut ApiKeyRecord, UnixTime),
    ) -> Result<RotatedApiKey, ApiKeyError> {
        let (secret, digest, key_id) = self.generate()?;
        for _ in 0..TRIES {
            let mut old = self.record(tenant, id).await?;
            let now = self.0.clock.unix();
            if old.successor.is_some() {
                return Err(ApiKeyError::Rotated);
            }
            if !old.stands(now) {
                return Err(ApiKeyError::Ended);
            }
            let successor = old.successor_of(key_id.clone(), digest.clone(), now);
            let version = old.version;
            old.version = version.saturating_add(1);
            old.successor = Some(key_id.clone());
            end(&mut old, now);
            let (store, record) = (&self.0.store, old.clone());
            let swapped = store.rotate(version, record, successor).await;
            if swapped.map_err(unavailable)? {
                self.apply(&old);
                return Ok(RotatedApiKey {
                    secret,
                    key_id,
                    old_valid_until: old.expires_at(),
                });
            }
        }
        Err(unavailable("the key changes all the time"))
    }

    async fn change(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        change: impl Fn(&mut ApiKeyRecord, UnixTime) -> Result<(), ApiKeyError>,
    ) -> Result<(), ApiKeyError> {
        for _ in 0..TRIES {
            let mut record = self.record(tenant, id).await?;
            let version = record.version;
            change(&mut record, self.0.clock.unix())?;
            record.version = version.saturating_add(1);
            let swapped = self.0.store.replace(version, record.clone()).await;
            if swapped.map_err(unavailable)? {
                self.apply(&record);
                return Ok(());
            }
        }
        Err(unavailable("the key changes all the time"))
    }

    async fn revoke_where(
        &self,
        tenant: &TenantId,
        which: impl Fn(&ApiKeyRecord) -> bool,
    ) -> Result<usize, ApiKeyError> {
        let mut revoked = HashSet::new();
        // Until a list shows none: a rotation may have added a successor to the one before.
        for _ in 0..TRIES {
            let mut records = self.list(tenant).await?;
            records.retain(|record| record.revoked_at.is_none() && which(record));
            if records.is_empty() {
                return Ok(revoked.len());
            }
            for record in records {
                self.revoke(tenant, &record.key_id).await?;
                revoked.insert(record.key_id);
            }
        }
        Err(unavailable("keys are added all the time"))
    }

    async fn record(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<ApiKeyRecord, ApiKeyError> {
        let found = self.0.store.load(tenant, id).await.map_err(unavailable)?;
        let theirs = |record: &ApiKeyRecord| record.tenant_id == *tenant && record.key_id == *id;
        found.filter(theirs).ok_or(ApiKeyError::Unknown)
    }

    /// What was changed in the store holds in this process. What is being read from the store is read again.
    fn apply(&self, record: &ApiKeyRecord) {
        let key = {
            let mut held = self.0.held.write();
            held.changes = held.changes.wrapping_add(1);
            held.by_id.get(&record.key_id).cloned()
        };
        if let Some(key) = key {
            key.change(record, &self.0.freshness);
        }
    }

    pub(crate) fn held(&self, tenant: &TenantId, id: &CredentialId) -> Option<Arc<LiveKey>> {
        let held = self.0.held.read();
        let key = held.by_id.get(id).cloned();
        key.filter(|key| key.claims().tenant == *tenant)
    }
}

/// Whether a key would allow more than the context that asks for it, or outlive what ends that.
fn is_wider(new: &NewApiKey, tenant: &TenantContext) -> bool {
    let bounded = tenant.resource_prefix().is_some()
        || tenant.operator_of().is_some()
        || !tenant.actors().is_empty()
        || !tenant.parents().is_empty()
        || tenant.claim::<u64>(UNTIL).is_some();
    let principal = tenant.principal();
    let itself = new.principal == *principal;
    let service =
        new.principal.kind() == PrincipalKind::Service && principal.kind() != PrincipalKind::Agent;
    let ceiling = tenant.ceiling();
    let within = |scope: &String| {
        tenant.allows(scope) && ceiling.iter().any(|held| scope_covers(held, scope))
    };
    let has = |role: &String| tenant.roles_grant() && tenant.has_role(role);
    bounded || !(itself || service) || !new.scopes.iter().all(within) || !new.roles.iter().all(has)
}

/// For the handler: whether a failure is the caller's.
pub(super) fn is_conflict(error: &ApiKeyError) -> bool {
    matches!(error, ApiKeyError::Rotated | ApiKeyError::Ended)
}
