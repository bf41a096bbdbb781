//! The chain of schemes: what a request presents, verified.

use std::{fmt, net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use tenant_context::{
    Authenticate, Claims, ClientAddress, Clock, Identity, Lookup, Rejection, RequestHead, Resolver,
    Revocable, UnixTime,
};

use crate::{
    ApiKeys, Issuers, Revocations,
    api_key::{Behind, LiveKey, Vouched},
    cache::{self, CacheKey, CredentialCache, Found, Voucher},
    credential::{Credential, Presented, check_bytes},
    failures::{Attempt, Failures},
    jwks::Arrival,
    jwt::{self, Unverified},
    reason::{Malformed, Reason},
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
    pub(crate) keys: Option<ApiKeys>,
    pub(crate) revocations: Option<Revocations>,
    pub(crate) cache: CredentialCache,
    pub(crate) resolver: Resolver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_token_len: usize,
    pub(crate) signals: Signals,
    pub(crate) failures: Option<Arc<Failures>>,
}

/// What is presented: a token, an API key, or both.
#[derive(Clone, Copy)]
struct Credentials<'a> {
    token: Option<&'a [u8]>,
    api_key: Option<&'a [u8]>,
}

/// A credential, or two that agree, verified.
struct Verified {
    claims: Claims,
    voucher: Voucher,
}

type Loading = BoxFuture<'static, Result<Arc<LiveKey>, Rejection>>;

/// What an earlier attempt has waited for.
#[derive(Default)]
struct Awaited {
    /// The issuer's keys: nobody waits for them twice.
    keys: bool,
    api_key: Option<Arc<LiveKey>>,
}

/// Why a credential does not verify.
enum Failed {
    Rejected(Rejection),
    /// The keys are being fetched.
    Early(Arrival),
    /// The API key is being looked up.
    Loading(Loading),
    /// The second credential is another tenant's than these claims, of the first.
    Foreign(Box<Claims>),
}

impl From<Rejection> for Failed {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Rejection::credential_invalid(reason).into()
    }
}

impl From<Unverified> for Failed {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::Refused(reason) => reason.into(),
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
        let both = |token, api_key| self.identify(Credentials { token, api_key }, head);
        match Presented::read(head, self.0.keys.as_ref()) {
            Ok(Presented::One(Credential::Token(token))) => both(Some(token), None),
            Ok(Presented::One(Credential::ApiKey(key))) => both(None, Some(key)),
            Ok(Presented::Both { token, api_key }) => both(Some(token), Some(api_key)),
            Ok(Presented::Nothing) => refuse(Rejection::credential_missing()),
            Ok(Presented::Unsupported) => {
                refuse(Rejection::credential_invalid("scheme_unsupported"))
            }
            Err(malformed) => refuse(malformed.rejection()),
        }
    }

    fn identify(&self, credentials: Credentials<'_>, head: &RequestHead<'_>) -> Answer {
        if let Some(revocations) = &self.0.revocations
            && let Err(rejection) = revocations.open()
        {
            return refuse(rejection);
        }
        let Some(key) = self.0.key(credentials) else {
            return refuse(Rejection::credential_invalid("too_long"));
        };
        let vouched = |voucher: &Voucher| self.0.vouched(voucher, head);
        match self.0.cache.get(&key, vouched) {
            Found::Identity(identity) => Lookup::Ready(Ok(identity)),
            Found::Refused(rejection) => refuse(rejection),
            Found::Nothing => {
                self.0.cache.sweep(&*self.0.clock);
                let attempt = match &self.0.failures {
                    Some(failures) => match failures.admit(head, key) {
                        Ok(attempt) => attempt,
                        Err(rejection) => return refuse(rejection),
                    },
                    None => Attempt::uncounted(),
                };
                let client = credentials.api_key.and_then(|_| client(head));
                let awaited = Awaited::default();
                self.0.identify(key, credentials, client, attempt, awaited)
            }
        }
    }
}

impl Shared {
    fn key(&self, credentials: Credentials<'_>) -> Option<CacheKey> {
        let bounded = |bytes: &&[u8]| bytes.len() <= self.max_token_len;
        match (credentials.token, credentials.api_key) {
            (Some(token), None) => bounded(&token)
                .then(|| self.cache.key(&Credential::Token(token)))
                .flatten(),
            (None, Some(key)) => bounded(&key)
                .then(|| self.cache.key(&Credential::ApiKey(key)))
                .flatten(),
            (Some(token), Some(key)) => (bounded(&token) && bounded(&key))
                .then(|| self.cache.key_of_both(token, key))
                .flatten(),
            (None, None) => None,
        }
    }

    /// Whether a cached credential is vouched for still: `None` if it is to be verified anew.
    fn vouched(&self, voucher: &Voucher, head: &RequestHead<'_>) -> Option<Result<(), Rejection>> {
        if let Some(origin) = &voucher.origin
            && !origin.holds(&*self.clock, &self.issuers)
        {
            return None;
        }
        if let Some(keys) = &self.keys
            && !voucher.behind.iter().all(|key| keys.is_known(key))
        {
            return None;
        }
        match (&voucher.api_key, &self.keys) {
            (Some(key), Some(keys)) => match keys.vouch(key) {
                Vouched::Again => None,
                Vouched::Stands => {
                    let allowed = key.allows(|| client(head));
                    Some(allowed.map_err(Rejection::credential_invalid))
                }
            },
            (Some(_), None) => None,
            (None, _) => Some(Ok(())),
        }
    }

    /// Verifies what is not cached. Each thing that is being fetched is waited for once.
    fn identify(
        self: &Arc<Self>,
        key: CacheKey,
        credentials: Credentials<'_>,
        client: Option<IpAddr>,
        attempt: Attempt,
        mut awaited: Awaited,
    ) -> Answer {
        let verified = self.verify(credentials, client, &mut awaited);
        let (verified, revocable) = match verified.and_then(|verified| {
            let revocations = self.revocations.as_ref();
            let revocable = revocations.map(|revocations| revocations.admit(&verified.claims));
            Ok((verified, revocable.transpose()?))
        }) {
            Ok(verified) => verified,
            Err(Failed::Rejected(rejection)) => return refuse(attempt.failed(rejection)),
            Err(Failed::Foreign(claims)) => {
                // It is written to the chain of the tenant whose credential was verified.
                return self.resolver.resolve(*claims).map(|identity| {
                    let mismatch = Rejection::tenant_mismatch();
                    Err(identity.map_or(mismatch.clone(), |it| mismatch.with_identity(it)))
                });
            }
            Err(Failed::Early(arrival)) => {
                return self.after(key, credentials, client, attempt, async move {
                    arrival.wait().await;
                    awaited.keys = true;
                    Ok(awaited)
                });
            }
            Err(Failed::Loading(loading)) => {
                return self.after(key, credentials, client, attempt, async move {
                    awaited.api_key = Some(loading.await?);
                    Ok(awaited)
                });
            }
        };
        match self.keys_behind(&verified) {
            Lookup::Ready(Ok(keys)) => self.admit(key, verified, revocable, keys),
            Lookup::Ready(Err(rejection)) => refuse(rejection),
            waiting => {
                let shared = Arc::clone(self);
                Lookup::pending(async move {
                    let keys = waiting.wait().await?;
                    let admitted = shared.admit(key, verified, revocable, keys);
                    admitted.wait().await
                })
            }
        }
    }

    /// Verifies again what has been waited for.
    fn after(
        self: &Arc<Self>,
        key: CacheKey,
        credentials: Credentials<'_>,
        client: Option<IpAddr>,
        attempt: Attempt,
        waiting: impl Future<Output = Result<Awaited, Rejection>> + Send + 'static,
    ) -> Answer {
        let shared = Arc::clone(self);
        let token = credentials.token.map(<[u8]>::to_vec);
        let api_key = credentials.api_key.map(<[u8]>::to_vec);
        Lookup::pending(async move {
            let awaited = match waiting.await {
                Ok(awaited) => awaited,
                Err(rejection) => return Err(attempt.failed(rejection)),
            };
            let credentials = Credentials {
                token: token.as_deref(),
                api_key: api_key.as_deref(),
            };
            let again = shared.identify(key, credentials, client, attempt, awaited);
            again.wait().await
        })
    }

    fn admit(
        self: &Arc<Self>,
        key: CacheKey,
        verified: Verified,
        revocable: Option<Arc<dyn Revocable>>,
        keys: Vec<Arc<LiveKey>>,
    ) -> Answer {
        let Verified {
            claims,
            mut voucher,
        } = verified;
        let weight = cache::weight(&claims);
        let resolved = match revocable {
            Some(revocable) => self.resolver.resolve_revocable(claims, revocable),
            None => self.resolver.resolve(claims),
        };
        let shared = Arc::clone(self);
        resolved.map(move |resolved| {
            let identity = resolved?;
            for api_key in voucher.api_key.iter().chain(&keys) {
                api_key.adopt(&identity)?;
            }
            voucher.behind = keys;
            shared.cache.insert(key, &identity, voucher, weight);
            Ok(identity)
        })
    }

    /// Two credentials both verify, and name one tenant and one principal. What they admit is an identity
    /// of its own, with the token's claims: it ends when the first of the two does.
    fn verify(
        &self,
        credentials: Credentials<'_>,
        client: Option<IpAddr>,
        awaited: &mut Awaited,
    ) -> Result<Verified, Failed> {
        let now = self.clock.unix();
        let patient = !awaited.keys;
        match (credentials.token, credentials.api_key) {
            (Some(token), None) => self.token(token, now, patient),
            (None, Some(key)) => self.api_key(key, client, awaited),
            (Some(token), Some(key)) => {
                let token = self.token(token, now, patient)?;
                agree(token, self.api_key(key, client, awaited)?)
            }
            (None, None) => Err(Rejection::credential_missing().into()),
        }
    }

    fn token(&self, token: &[u8], now: UnixTime, patient: bool) -> Result<Verified, Failed> {
        let verified = jwt::verify(&self.issuers, token, now, &self.resolver, patient);
        let jwt::Verified { claims, origin } = verified.or_else(|why| {
            // What verifies has no other bytes than those of its alphabet; what does not may be no token at all.
            check_bytes(token).map_err(Malformed::rejection)?;
            Err(Failed::from(why))
        })?;
        let voucher = Voucher {
            origin: Some(origin),
            ..Voucher::default()
        };
        Ok(Verified { claims, voucher })
    }

    fn api_key(
        &self,
        key: &[u8],
        client: Option<IpAddr>,
        awaited: &mut Awaited,
    ) -> Result<Verified, Failed> {
        let keys = self.keys.as_ref();
        let keys = keys.ok_or_else(|| Rejection::credential_invalid("scheme_unsupported"))?;
        check_bytes(key).map_err(Malformed::rejection)?;
        let found = match awaited.api_key.take() {
            Some(found) => found,
            None => match keys.verify(key) {
                Lookup::Ready(found) => found?,
                Lookup::Pending(loading) => return Err(Failed::Loading(loading)),
                _ => return Err(Rejection::store_unavailable().into()),
            },
        };
        found
            .allows(|| client)
            .map_err(Rejection::credential_invalid)?;
        let mut claims = found.claims().clone();
        claims.expires_at = claims.expires_at.min(found.ends_at());
        let voucher = Voucher {
            api_key: Some(found),
            ..Voucher::default()
        };
        Ok(Verified { claims, voucher })
    }

    /// The API keys of this store that the token was derived from, which are asked for if they are not held: their end is the
    /// identity's, as is that of the one that is presented.
    fn keys_behind(&self, verified: &Verified) -> Lookup<Behind> {
        match &self.keys {
            Some(keys) => keys.behind_token(&verified.claims),
            None => Lookup::Ready(Ok(Vec::new())),
        }
    }
}

fn agree(token: Verified, api_key: Verified) -> Result<Verified, Failed> {
    if token.claims.tenant != api_key.claims.tenant {
        return Err(Failed::Foreign(Box::new(token.claims)));
    }
    if token.claims.principal != api_key.claims.principal {
        return Err(Malformed::TwoPrincipals.rejection().into());
    }
    let mut claims = token.claims;
    claims.expires_at = claims.expires_at.min(api_key.claims.expires_at);
    claims.api_key = api_key.claims.credential;
    let voucher = Voucher {
        origin: token.voucher.origin,
        api_key: api_key.voucher.api_key,
        ..Voucher::default()
    };
    Ok(Verified { claims, voucher })
}

fn client(head: &RequestHead<'_>) -> Option<IpAddr> {
    ClientAddress::of(head.extensions()).ip()
}

fn refuse(rejection: Rejection) -> Answer {
    Lookup::Ready(Err(rejection))
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
