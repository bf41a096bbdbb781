//! The chain of schemes: what a request presents, verified.

use std::{fmt, sync::Arc};

use tenant_context::{
    Authenticate, Claims, Clock, Identity, Lookup, Rejection, RequestHead, Resolver,
};

use crate::{
    Issuers, MemoryApiKeys,
    api_key::Record,
    cache::{CacheKey, CredentialCache},
    credential::{Credential, Presented, check_bytes},
    failures::{Attempt, Failures},
    jwks::Arrival,
    jwt::{self, Unverified},
    origin::Origin,
    reason::Malformed,
    signals::Signals,
};

/// Verifies the credentials of requests: what [`layer`](crate::layer()) puts behind the identity layer.
///
/// It has three outcomes. No credential is presented: 401 that asks for one, or on a declared public
/// route no context. A credential is presented and fails: a refusal, whatever else is presented. All
/// that is presented verifies and agrees: an identity.
///
/// It is also the `Authenticate` of work that is no HTTP request: see
/// [`TenantContext::admit`](tenant_context::TenantContext::admit) and
/// [`AuthLayerBuilder::authenticate`](crate::AuthLayerBuilder::authenticate). Clones share the cache.
///
/// A request whose credential is cached costs a keyed hash of it and a look-up, and no allocation.
#[derive(Clone)]
pub struct Authenticated(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) issuers: Issuers,
    pub(crate) keys: Option<MemoryApiKeys>,
    pub(crate) cache: CredentialCache,
    pub(crate) resolver: Resolver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_token_len: usize,
    pub(crate) signals: Signals,
    pub(crate) failures: Option<Arc<Failures>>,
}

/// What vouches for a credential as long as it is cached.
enum Voucher {
    Token(Origin),
    ApiKey(Arc<Record>),
}

/// Why a credential does not verify.
enum Failed {
    Rejected(Rejection),
    /// The keys are being fetched.
    Early(Arrival),
}

impl From<Rejection> for Failed {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Unverified> for Failed {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::Refused(reason) => Rejection::credential_invalid(reason).into(),
            Unverified::Unavailable => Rejection::store_unavailable()
                .with_reason("keys_unavailable")
                .into(),
            Unverified::Wait(arrival) => Self::Early(arrival),
        }
    }
}

type Answer = Lookup<Result<Arc<Identity>, Rejection>>;

impl Authenticate for Authenticated {
    fn authenticate(&self, head: &RequestHead<'_>) -> Answer {
        let Shared {
            signals, resolver, ..
        } = &*self.0;
        signals.agree(head, resolver, || self.credentials(head))
    }
}

impl Authenticated {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// What the request's own credentials say.
    fn credentials(&self, head: &RequestHead<'_>) -> Answer {
        match Presented::read(head, self.0.keys.as_ref()) {
            Ok(Presented::One(credential)) => self.identify(head, credential),
            Ok(Presented::Nothing) => refuse(Rejection::credential_missing()),
            Ok(Presented::Unsupported) => {
                refuse(Rejection::credential_invalid("scheme_unsupported"))
            }
            Ok(Presented::Both { token, api_key }) => both(
                self.identify(head, Credential::Token(token)),
                self.identify(head, Credential::ApiKey(api_key)),
            ),
            Err(malformed) => refuse(malformed.rejection()),
        }
    }

    fn identify(&self, head: &RequestHead<'_>, credential: Credential<'_>) -> Answer {
        let (Credential::Token(bytes) | Credential::ApiKey(bytes)) = credential;
        let bounded = bytes.len() <= self.0.max_token_len;
        let Some(key) = bounded.then(|| self.0.cache.key(&credential)).flatten() else {
            return refuse(Rejection::credential_invalid("too_long"));
        };
        if let Some(identity) = self.0.cache.get(key, &*self.0.clock) {
            return Lookup::Ready(Ok(identity));
        }
        let attempt = match &self.0.failures {
            Some(failures) => match failures.admit(head, key) {
                Ok(attempt) => attempt,
                Err(rejection) => return refuse(rejection),
            },
            None => Attempt::uncounted(),
        };
        self.0.identify(key, credential, attempt, true)
    }
}

impl Shared {
    /// Verifies what is not cached. Who is `patient` waits once for keys that are being fetched.
    fn identify(
        self: &Arc<Self>,
        key: CacheKey,
        credential: Credential<'_>,
        attempt: Attempt,
        patient: bool,
    ) -> Answer {
        let (claims, voucher) = match self.verify(credential, patient) {
            Ok(verified) => verified,
            Err(Failed::Rejected(rejection)) => return refuse(attempt.failed(rejection)),
            Err(Failed::Early(arrival)) => {
                let (shared, credential) = (Arc::clone(self), credential.to_owned());
                return Lookup::pending(async move {
                    arrival.wait().await;
                    shared
                        .identify(key, credential.borrow(), attempt, false)
                        .wait()
                        .await
                });
            }
        };
        let shared = Arc::clone(self);
        self.resolver.resolve(claims).map(move |resolved| {
            let identity = resolved?;
            let origin = match voucher {
                Voucher::ApiKey(record) => {
                    record.adopt(&identity)?;
                    None
                }
                Voucher::Token(origin) => Some(origin),
            };
            shared.cache.insert(key, &identity, origin);
            Ok(identity)
        })
    }

    fn verify(
        &self,
        credential: Credential<'_>,
        patient: bool,
    ) -> Result<(Claims, Voucher), Failed> {
        let now = self.clock.unix();
        match (credential, &self.keys) {
            (Credential::Token(token), _) => {
                check_bytes(token).map_err(Malformed::rejection)?;
                let verified = jwt::verify(&self.issuers, token, now, patient)?;
                Ok((verified.claims, Voucher::Token(verified.origin)))
            }
            (Credential::ApiKey(key), Some(keys)) => {
                check_bytes(key).map_err(Malformed::rejection)?;
                let record = keys.verify(key, now);
                let record = record.map_err(Rejection::credential_invalid)?;
                Ok((record.claims(), Voucher::ApiKey(record)))
            }
            (Credential::ApiKey(_), None) => {
                Err(Rejection::credential_invalid("scheme_unsupported").into())
            }
        }
    }
}

fn refuse(rejection: Rejection) -> Answer {
    Lookup::Ready(Err(rejection))
}

/// Two credentials: both verify, and they name one tenant and one principal. The token's identity
/// is used.
fn both(token: Answer, api_key: Answer) -> Answer {
    match (token, api_key) {
        (Lookup::Ready(token), Lookup::Ready(api_key)) => Lookup::Ready(agree(token, api_key)),
        (token, api_key) => {
            Lookup::pending(async move { agree(token.wait().await, api_key.wait().await) })
        }
    }
}

fn agree(
    token: Result<Arc<Identity>, Rejection>,
    api_key: Result<Arc<Identity>, Rejection>,
) -> Result<Arc<Identity>, Rejection> {
    let (token, api_key) = (token?, api_key?);
    if let Some(ended) = api_key.ended() {
        // The door looks at the token's identity only.
        return Err(ended.rejection());
    }
    if token.tenant().id() != api_key.tenant().id() {
        return Err(Rejection::tenant_mismatch().with_identity(token));
    }
    if token.principal() != api_key.principal() {
        return Err(Malformed::TwoPrincipals.rejection());
    }
    Ok(token)
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated")
            .field("issuers", &self.0.issuers)
            .field("keys", &self.0.keys)
            .field("cache", &self.0.cache)
            .finish_non_exhaustive()
    }
}
