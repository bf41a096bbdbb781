//! From an envelope to a context, through the one door.

use std::{sync::Arc, time::Duration};

use http::Request;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tenant_context::{
    Authenticate, Claims, Identity, Lookup, Rejection, RejectionKind, RequestHead, TenantContext,
    TenantId,
};

use super::{
    DeadLetter, DeadReason, Job, JobEnvelope, JobId, Jobs, OpenError, Shared, UNTIL,
    envelope::Parts,
};

/// How far the sealing process' clock may be ahead.
const LEEWAY: Duration = Duration::from_secs(60);

/// An envelope that verified. Nobody else can make one, so nobody else gets through the door with one.
#[derive(Clone)]
struct Verified {
    id: JobId,
    claims: Claims,
}

impl Verified {
    /// Says until when whatever the job seals may live.
    fn with_end(mut self) -> Self {
        let end = self.claims.expires_at.as_secs();
        self.claims.custom.insert(UNTIL.to_owned(), end.into());
        self
    }
}

/// The door of jobs: admits what [`Shared::verify`] let through, and no request.
struct Door(Arc<Shared>);

impl Authenticate for Door {
    fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
        match head.extensions().get::<Verified>() {
            Some(verified) => self.0.admit(&verified.claims),
            None => Lookup::Ready(Err(Rejection::credential_missing())),
        }
    }
}

impl Jobs {
    /// Opens an envelope of any tenant. `None`, a message that has none, is a dead letter.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: dead, or not now.
    pub async fn open(&self, envelope: Option<&JobEnvelope>) -> Result<Job, OpenError> {
        self.admit(envelope, None).await
    }

    /// Opens an envelope of this tenant: for queues that are kept per tenant, where another tenant's
    /// envelope is [`DeadReason::Foreign`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_for(
        &self,
        tenant: &TenantId,
        envelope: Option<&JobEnvelope>,
    ) -> Result<Job, OpenError> {
        self.admit(envelope, Some(tenant)).await
    }

    async fn admit(
        &self,
        envelope: Option<&JobEnvelope>,
        expected: Option<&TenantId>,
    ) -> Result<Job, OpenError> {
        let letter = |reason, verified: Option<&Verified>| {
            (self.0.on_dead_letter)(DeadLetter {
                reason,
                envelope,
                tenant: verified.map(|verified| &verified.claims.tenant),
                id: verified.map(|verified| verified.id),
            });
            OpenError::Dead(reason)
        };
        let Some(sealed) = envelope else {
            return Err(letter(DeadReason::Missing, None));
        };
        let (verified, payload) = match self.0.verify(sealed) {
            Ok(verified) => verified,
            Err((reason, verified)) => return Err(letter(reason, verified.as_deref())),
        };
        if expected.is_some_and(|tenant| *tenant != verified.claims.tenant) {
            return Err(letter(DeadReason::Foreign, Some(&verified)));
        }
        let tenant = match self.context(verified.clone()).await {
            Ok(tenant) => tenant,
            Err(rejection) => {
                return Err(match refusal(&rejection) {
                    Some(reason) => letter(reason, Some(&verified)),
                    None if rejection.kind() == RejectionKind::TenantSuspended => {
                        OpenError::Suspended
                    }
                    None => OpenError::Unavailable(rejection),
                });
            }
        };
        let (id, expires_at) = (verified.id, verified.claims.expires_at);
        let replays = &self.0.replays;
        match replays.begin(&verified.claims.tenant, id, expires_at, self.0.clock.unix()) {
            Ok(Ok(hold)) => Ok(Job::new(tenant, id, payload, hold)),
            Ok(Err(OpenError::Dead(reason))) => Err(letter(reason, Some(&verified))),
            Ok(Err(error)) => Err(error),
            Err(super::replays::Full) => Err(OpenError::Unavailable(
                Rejection::store_unavailable().with_reason("job_replays_full"),
            )),
        }
    }

    async fn context(&self, verified: Verified) -> Result<TenantContext, Rejection> {
        let mut request = Request::new(());
        request.extensions_mut().insert(verified);
        let (head, ()) = request.into_parts();
        let door = Door(Arc::clone(&self.0));
        TenantContext::admit(&door, &RequestHead::new(&head))
            .wait()
            .await
    }
}

/// Which refusals are for good.
fn refusal(rejection: &Rejection) -> Option<DeadReason> {
    match (rejection.kind(), rejection.reason()) {
        (RejectionKind::TenantSuspended | RejectionKind::StoreUnavailable, _) => None,
        (_, "tenant_unknown") => Some(DeadReason::TenantUnknown),
        (_, "revoked") => Some(DeadReason::Revoked),
        (_, "expired") => Some(DeadReason::Expired),
        _ => Some(DeadReason::Refused),
    }
}

impl Shared {
    /// Admits what a job says, tied to the API keys that it comes from.
    fn admit(self: &Arc<Self>, claims: &Claims) -> Lookup<Result<Arc<Identity>, Rejection>> {
        let Some(keys) = &self.api_keys else {
            return self.resolve(claims.clone());
        };
        let behind = keys.behind_job(claims);
        let (shared, claims) = (Arc::clone(self), claims.clone());
        let admitted = async move {
            let keys = behind.wait().await?;
            let identity = shared.resolve(claims).wait().await?;
            for key in &keys {
                key.adopt(&identity)?;
            }
            Ok(identity)
        };
        Lookup::pending(admitted)
    }

    fn resolve(&self, claims: Claims) -> Lookup<Result<Arc<Identity>, Rejection>> {
        if self.issuer_is_gone(&claims) {
            return Lookup::Ready(Err(Rejection::credential_invalid("issuer")));
        }
        let Some(revocations) = &self.revocations else {
            return self.resolver.resolve(claims);
        };
        let revocable = revocations.open().and_then(|()| {
            let revocable = revocations.admit(&claims);
            revocable.map_err(Rejection::credential_invalid)
        });
        match revocable {
            Ok(revocable) => self.resolver.resolve_revocable(claims, revocable),
            Err(rejection) => Lookup::Ready(Err(rejection)),
        }
    }

    /// Whether an issuer of what the job was derived from was removed.
    fn issuer_is_gone(&self, claims: &Claims) -> bool {
        let Some(issuers) = &self.issuers else {
            return false;
        };
        let parents = claims.parents.iter().map(|parent| &parent.issuer);
        std::iter::once(&claims.issuer)
            .chain(parents)
            .flatten()
            .any(|name| issuers.has_removed(name))
    }
}

/// Boxed: it is the rare way.
type Refused = (DeadReason, Option<Box<Verified>>);

impl Shared {
    /// The signature before all that it covers; only then is anybody named.
    fn verify(&self, envelope: &JobEnvelope) -> Result<(Verified, Vec<u8>), Refused> {
        let nobodys = |reason| (reason, None);
        let parts = Parts::read(envelope, self.limits.max_payload).map_err(nobodys)?;
        let named = |name: &str| name == parts.header.kid;
        let key = self
            .keys
            .iter()
            .find(|key| key.name().is_some_and(|name| named(name)));
        let key = key.ok_or(nobodys(DeadReason::UnknownKey))?;
        if !key.verifies(&parts.signed, &parts.signature) {
            return Err(nobodys(DeadReason::Altered));
        }
        let header = parts.header;
        let verified = Verified {
            id: JobId::new(header.id),
            claims: header.claims,
        };
        let now = self.clock.unix();
        let expires_at = verified.claims.expires_at;
        let digest: [u8; 32] = Sha256::digest(&parts.payload).into();
        let fault = if header.queue != self.queue {
            DeadReason::Foreign
        } else if !bool::from(digest.ct_eq(&header.payload_digest)) {
            DeadReason::Altered
        } else if now >= expires_at {
            DeadReason::Expired
        } else if header.sealed_at > now.saturating_add(LEEWAY) {
            DeadReason::SealedInFuture
        } else if expires_at.saturating_since(header.sealed_at) > self.limits.max_ttl {
            DeadReason::LivesTooLong
        } else {
            return Ok((verified.with_end(), parts.payload));
        };
        Err((fault, Some(Box::new(verified))))
    }
}
