//! Tokens of our own: minted, published keys, rotated.

mod builder;
mod ids;
mod jwks;
mod keys;
mod minted;
mod signing_key;
mod wire;

use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use tenant_context::{Claims, Clock, CredentialId, Principal, TenantId, UnixTime};

pub use self::{
    builder::TokenIssuerBuilder,
    jwks::JwksService,
    minted::{AccessToken, MintedToken},
    signing_key::SigningKey,
};
use self::{ids::Ids, keys::Keys};
pub(crate) use self::{
    signing_key::encode,
    wire::{Act, Body, Chain, Left, Link},
};
use crate::{Issuer, KeyError, KeyErrorKind, Operators};

/// The most bytes of a minted token: what verifiers take by default.
const MAX_TOKEN_LEN: usize = 8192;

/// Issues tokens: access tokens of minutes, narrower ones for agents and services
/// ([`delegate`](Self::delegate)), and for operators ([`operate`](Self::operate)). Clones are the same
/// issuer.
///
/// Every token says `iss`, `aud`, `tenant_id`, `sub`, `iat`, `exp` and `jti`, and is of the type `at+jwt` (RFC 9068).
///
/// ```
/// use tenant_auth::{AccessToken, Principal, PrincipalId, SigningKey, TenantId, TokenIssuer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = TokenIssuer::builder("https://id.example.com", "api")
///     .key(SigningKey::eddsa_generate("2026-01")?)
///     .build()?;
///
/// let ada = Principal::human(PrincipalId::parse("ada")?);
/// let token = issuer.access_token(&AccessToken::new(TenantId::parse("acme")?, ada).scopes(["invoices:*"]))?;
/// println!("{}", token.expose());                                  // 15 minutes
///
/// // Other services fetch the keys, and repeat what `as_issuer` says; this one takes its own tokens without fetching.
/// # let tenants = tenant_auth::CachedRegistry::builder(tenant_auth::MemoryRegistry::new()).build()?;
/// let app: axum::Router = axum::Router::new().route_service("/.well-known/jwks.json", issuer.jwks_service());
/// let layer = tenant_auth::layer(tenants).jwt(issuer.as_issuer()).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Rotation
///
/// [`rotate`](Self::rotate) publishes the new key at once and signs with it after
/// [`publish_ahead`](TokenIssuerBuilder::publish_ahead), when those who cache the set have fetched it; the old one
/// stays published until its last token has expired. [`withdraw`](Self::withdraw) has no overlap: for a key that leaked.
#[derive(Clone)]
pub struct TokenIssuer(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) audience: Box<str>,
    pub(crate) access_ttl: Duration,
    pub(crate) service_ttl: Duration,
    pub(crate) max_depth: usize,
    pub(crate) operators: Option<Operators>,
    pub(crate) clock: Arc<dyn Clock>,
    keys: Keys,
    ids: Ids,
}

impl TokenIssuer {
    /// The longest life of a token.
    pub const MAX_TTL: Duration = Duration::from_secs(3600);

    /// Begins an issuer: its name, as it stands in `iss`, and the audience of its access tokens.
    pub fn builder(name: impl Into<String>, audience: impl Into<String>) -> TokenIssuerBuilder {
        TokenIssuerBuilder::new(name.into(), audience.into())
    }

    /// Mints an access token. Of whom and with which scopes is the caller's decision: call it where a login was
    /// verified, and [`delegate`](Self::delegate) where a request was.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the life is 0 or above [`MAX_TTL`](Self::MAX_TTL), a scope or claim cannot be written, there is more of
    /// them than verifiers take (256 scopes, 256 roles, 8192 bytes), or signing fails.
    pub fn access_token(&self, token: &AccessToken) -> Result<MintedToken, KeyError> {
        let inner = &self.0;
        let ttl = token.ttl.unwrap_or(match token.principal.kind() {
            tenant_context::PrincipalKind::Service => inner.service_ttl,
            _ => inner.access_ttl,
        });
        if ttl < Duration::from_secs(1) || ttl > Self::MAX_TTL {
            return Err(refused(format!(
                "a token of {ttl:?} is not minted; choose 1 s to {:?}",
                Self::MAX_TTL
            )));
        }
        if let Some(sid) = token.session.as_deref()
            && let Err(error) = CredentialId::parse(sid)
        {
            return Err(refused(format!("the session {sid:?} is no id: {error}")));
        }
        let scope = token.scopes.as_deref().map(joined).transpose()?;
        let now = inner.clock.unix();
        self.mint(
            &Subject {
                tenant: &token.tenant,
                principal: &token.principal,
                audience: token.audience.as_deref().unwrap_or(&inner.audience),
                expires_at: now.saturating_add(ttl),
                now,
            },
            |body| {
                body.scope = scope.as_deref();
                body.roles = &token.roles;
                body.sid = token.session.as_deref();
                body.resource_prefix = token.resource_prefix.as_deref();
            },
        )
    }

    /// Signs with another key from [`publish_ahead`](TokenIssuerBuilder::publish_ahead) on; it is published at
    /// once, and the old ones until their tokens have expired.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the key is a secret, a key of its name is published, or there are 16.
    pub fn rotate(&self, key: SigningKey) -> Result<(), KeyError> {
        self.0.keys.rotate(key, self.0.clock.unix())
    }

    /// Takes a key that leaked out of the set at once. If it is the one that signs, the newest of the others does from now on, whether
    /// verifiers have fetched it or not. False if there is no key of this name, or no other. Verifiers that fetched the set go on trusting it as long as they cache
    /// it: revoke it there too.
    pub fn withdraw(&self, kid: &str) -> bool {
        self.0.keys.withdraw(kid, self.0.clock.unix())
    }

    /// The published keys, as a JWK set (RFC 7517 §5).
    pub fn jwks(&self) -> String {
        self.0.keys.jwks(self.0.clock.unix())
    }

    /// Serves [`jwks`](Self::jwks), at `/.well-known/jwks.json` say. Declare the route public.
    pub fn jwks_service(&self) -> JwksService {
        JwksService::new(self.clone())
    }

    /// Trust in this issuer's tokens, with the keys that are published now, for
    /// [`AuthLayerBuilder::jwt`](crate::AuthLayerBuilder::jwt). Replace it in
    /// [`Issuers`](crate::Issuers) after each rotation.
    ///
    /// Other services fetch the keys. A set says nothing of the rest, so they repeat it; what they leave out is not
    /// checked there:
    ///
    /// ```
    /// use tenant_auth::{Issuer, KeySource, TenantId, TokenIssuer};
    ///
    /// # fn trust(keys: KeySource, staff: TenantId) -> Issuer {
    /// Issuer::new("https://id.example.com")
    ///     .audience("billing")                         // that service's own, as `Delegation::audience` says
    ///     .typ("at+jwt")
    ///     .max_age(TokenIssuer::MAX_TTL)
    ///     .chains_required()
    ///     .max_depth(4)                                // that of the issuer's builder
    ///     .operators_of(staff)                         // if there are operators; without it they are refused
    ///     .keys(keys)
    /// # }
    /// ```
    pub fn as_issuer(&self) -> Issuer {
        let inner = &self.0;
        let issuer = Issuer::new(&*inner.name)
            .audience(&*inner.audience)
            .typ("at+jwt")
            .max_age(Self::MAX_TTL)
            .chains_required()
            .max_depth(inner.max_depth);
        let issuer = match &inner.operators {
            Some(operators) => issuer.operators_of(operators.staff.clone()),
            None => issuer,
        };
        let keys = inner.keys.published(inner.clock.unix());
        keys.into_iter().fold(issuer, Issuer::key)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.0.keys.publish_ahead()
    }

    pub(crate) fn mint<'a>(
        &'a self,
        subject: &'a Subject<'a>,
        fill: impl FnOnce(&mut Body<'a>),
    ) -> Result<MintedToken, KeyError> {
        let jti = self.0.ids.next()?;
        let key = self.0.keys.current(subject.now)?;
        let expires_at = UnixTime::from_secs(subject.expires_at.as_secs());
        let mut body = Body::new(&self.0.name, subject, expires_at);
        fill(&mut body);
        if !body.grants_fit() {
            let message = format!(
                "the token, or what it was derived from, has more than {} scopes or roles, and verifiers take no more; give it fewer",
                Claims::MAX_GRANTS
            );
            return Err(KeyError::new(KeyErrorKind::TooLong, message));
        }
        let token = key.token(body, &jti)?;
        if token.len() > MAX_TOKEN_LEN {
            let message = format!(
                "the token would have {} bytes, and verifiers take {MAX_TOKEN_LEN}; give it fewer scopes",
                token.len()
            );
            return Err(KeyError::new(KeyErrorKind::TooLong, message));
        }
        let id = CredentialId::parse(&jti).map_err(|_| refused("the token's id is none"))?;
        Ok(MintedToken::new(token, id, expires_at))
    }
}

/// Of whom a token is, for whom and until when.
pub(crate) struct Subject<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) principal: &'a Principal,
    pub(crate) audience: &'a str,
    pub(crate) expires_at: UnixTime,
    pub(crate) now: UnixTime,
}

pub(crate) fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> KeyError {
    KeyError::new(KeyErrorKind::Signing, message)
}

/// Scopes as they stand in a token, separated by spaces (RFC 6749 §3.3).
pub(crate) fn joined<S: Borrow<str>>(scopes: &[S]) -> Result<String, KeyError> {
    if !scopes.iter().all(|scope| is_scope(scope.borrow())) {
        return Err(refused(NO_SCOPE));
    }
    Ok(scopes.join(" "))
}

pub(crate) const NO_SCOPE: &str =
    "a scope is printable ASCII without spaces, quotes and backslashes (RFC 6749 §3.3)";

/// Whether a text is one scope: written between spaces it is read as what it was.
pub(crate) fn is_scope(scope: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    !scope.is_empty() && scope.bytes().all(allowed)
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer")
            .field("name", &self.0.name)
            .field("keys", &self.0.keys)
            .finish_non_exhaustive()
    }
}
