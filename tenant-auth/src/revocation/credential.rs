//! One credential in use, as revocations see it.

use std::sync::Arc;

use tenant_context::{Claims, Revocable};

use super::{handle::Shared, set::Subject};
use crate::reason::{Claim, Reason};

/// What has to stand for an identity to be used: a token, a key, or both.
pub(crate) struct Standing {
    shared: Arc<Shared>,
    subjects: Vec<Subject>,
}

/// Why a credential cannot be used at all, where credentials are revoked.
pub(crate) type Revoked = Reason;

impl Standing {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            subjects: Vec::new(),
        }
    }

    /// A token with these claims, verified by the key of this name.
    ///
    /// A revocation is kept for the longest life of a token. So a token that says no `iat`, or lives
    /// longer, cannot be revoked, and is refused.
    pub(crate) fn token(mut self, claims: &Claims, kid: Option<Arc<str>>) -> Result<Self, Revoked> {
        let issued_at = claims.issued_at.ok_or(Claim::IAT.missing)?;
        if claims.expires_at > self.shared.latest_end(issued_at) {
            return Err("life_too_long");
        }
        let principals = std::iter::once(&claims.principal).chain(&claims.actors);
        self.shared.note(issued_at, claims.expires_at);
        self.subjects.push(Subject::Token {
            tenant: claims.tenant.clone(),
            credentials: claims
                .credential
                .iter()
                .chain(claims.parents.iter().map(|parent| &parent.credential))
                .cloned()
                .collect(),
            principals: principals.map(|principal| principal.id().clone()).collect(),
            issuer: claims.issuer.clone(),
            kid,
            issued_at,
            expires_at: claims.expires_at,
        });
        Ok(self)
    }

    /// An API key with these claims.
    pub(crate) fn api_key(mut self, claims: &Claims) -> Self {
        if let Some(id) = &claims.credential {
            self.subjects.push(Subject::ApiKey {
                tenant: claims.tenant.clone(),
                id: id.clone(),
            });
        }
        self
    }
}

impl Revocable for Standing {
    fn is_revoked(&self) -> bool {
        self.shared.is_revoked(&self.subjects)
    }
}
