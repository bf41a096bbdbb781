//! From a context and a payload to an envelope.

use std::{fmt, time::Duration};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tenant_context::{Claims, EndReason, TenantContext, UnixTime};

use super::{
    JobEnvelope, Jobs, SealError, UNTIL,
    envelope::MAX_HEADER_LEN,
    wire::{Header, ID_LEN},
};
use crate::KeyError;

impl Jobs {
    /// Seals a payload for this context's tenant, with all of the context's scopes, for
    /// [`ttl`](super::JobsBuilder::ttl).
    ///
    /// # Errors
    ///
    /// [`SealError`]: the context does not hold any more (its tenant is suspended), the payload is too
    /// long, there is no key.
    pub fn seal(
        &self,
        tenant: &TenantContext,
        payload: impl AsRef<[u8]>,
    ) -> Result<JobEnvelope, SealError> {
        self.prepare(tenant).seal(payload)
    }

    /// Begins a job that says more than its payload.
    pub fn prepare<'a>(&'a self, tenant: &'a TenantContext) -> NewJob<'a> {
        NewJob {
            jobs: self,
            tenant,
            scopes: None,
            ttl: self.0.limits.ttl,
        }
    }
}

/// A job to be sealed. Made by [`Jobs::prepare`].
#[must_use = "nothing is sealed until `seal`"]
pub struct NewJob<'a> {
    jobs: &'a Jobs,
    tenant: &'a TenantContext,
    scopes: Option<Vec<String>>,
    ttl: Duration,
}

impl NewJob<'_> {
    /// Only these scopes, each one allowed to the context: a job has the authority of what it does. The roles
    /// go with it and can only take away: where a role is asked for, one counts whose scopes are all among these.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// How long the job lives, from now to the end of its work; at most
    /// [`max_ttl`](super::JobsBuilder::max_ttl).
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Seals the payload.
    ///
    /// # Errors
    ///
    /// As [`Jobs::seal`], and for a scope that the context does not have.
    pub fn seal(self, payload: impl AsRef<[u8]>) -> Result<JobEnvelope, SealError> {
        self.tenant.check().map_err(SealError::Ended)?;
        let (shared, payload) = (&self.jobs.0, payload.as_ref());
        let signer = shared.signer.as_ref().ok_or(SealError::NoKey)?;
        if payload.len() > shared.limits.max_payload {
            return Err(SealError::PayloadTooLong);
        }
        if self.ttl.is_zero() || self.ttl > shared.limits.max_ttl {
            return Err(SealError::Ttl);
        }
        let now = shared.clock.unix();
        let mut claims = self.tenant.to_claims();
        if let Some(scopes) = self.scopes {
            if let Some(scope) = scopes.iter().find(|scope| !self.tenant.allows(scope)) {
                return Err(SealError::Scope(scope.as_str().into()));
            }
            if scopes.len() > Claims::MAX_GRANTS {
                return Err(SealError::ClaimsTooLong);
            }
            claims.scopes = scopes;
            // The roles stay: from now on they only take away.
            claims.limited = true;
        }
        claims.expires_at = now.saturating_add(self.ttl);
        if let Some(end) = self.tenant.claim::<u64>(UNTIL) {
            // A job of a job: or a chain of them would outlive every credential.
            claims.expires_at = claims.expires_at.min(UnixTime::from_secs(end));
        }
        if self.tenant.operator_of().is_some() {
            // Staff is in the tenant for a limited time.
            claims.expires_at = claims.expires_at.min(self.tenant.stated_expiry());
        }
        if claims.expires_at <= now {
            return Err(SealError::Ended(EndReason::Expired.rejection()));
        }
        for parent in &mut claims.parents {
            // They name what revokes the job. It has a life of its own, and what is derived from it ends with that.
            parent.expires_at = parent.expires_at.max(claims.expires_at);
        }
        let mut id = [0; ID_LEN];
        getrandom::fill(&mut id).map_err(|_| SealError::Key(KeyError::randomness()))?;
        let header = Header {
            kid: signer.kid().to_owned(),
            queue: shared.queue.clone(),
            id,
            sealed_at: now,
            claims,
            payload_digest: Sha256::digest(payload).into(),
        };
        let bytes = header.encode();
        if bytes.len() > MAX_HEADER_LEN {
            return Err(SealError::ClaimsTooLong);
        }
        let signature = signer.sign(&bytes).map_err(SealError::Key)?;
        Ok(JobEnvelope::seal(&bytes, &signature, payload))
    }

    /// Seals a payload as JSON.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal), and if the payload cannot be written as JSON.
    pub fn seal_json(self, payload: &(impl Serialize + ?Sized)) -> Result<JobEnvelope, SealError> {
        let payload = serde_json::to_vec(payload).map_err(|_| SealError::Json)?;
        self.seal(payload)
    }
}

impl fmt::Debug for NewJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewJob")
            .field("tenant", self.tenant)
            .field("scopes", &self.scopes)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
