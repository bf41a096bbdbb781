//! Tokens for examples, tests and small services that are their own issuer.

use std::{fmt, time::Duration};

use serde_json::{Map, Value};
use tenant_context::{Clock, PrincipalKind};

use crate::{KeyError, SigningKey, VerifyingKey, api_key::random, token_issuer::encode};

/// Signs tokens that say whatever a test or an example wants them to: nothing is checked. A service that
/// issues tokens has a [`TokenIssuer`](crate::TokenIssuer).
///
/// ```
/// use std::time::Duration;
/// use tenant_auth::{Issuer, NewToken, TokenMinter};
/// use tenant_context::SystemClock;
///
/// let minter = TokenMinter::eddsa_generate("2026-01")?;
/// let issuer = Issuer::new("https://id.example.com").audience("api").key(minter.verifying_key());
/// let token = minter.mint(
///     &NewToken::new("https://id.example.com", "api", "acme", "ada")
///         .scopes(["invoices:read"])
///         .agent("bot-7")                                   // a bot that acts for ada
///         .expires_in(Duration::from_secs(300)),
///     &SystemClock::new(),
/// )?;
/// assert_eq!(token.split('.').count(), 3);
/// # Ok::<(), tenant_auth::KeyError>(())
/// ```
#[derive(Clone)]
pub struct TokenMinter(SigningKey);

impl TokenMinter {
    /// A fresh Ed25519 key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the operating system gives no randomness, or there is no backend.
    pub fn eddsa_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        SigningKey::eddsa_generate(kid).map(Self)
    }

    /// An Ed25519 private key in PEM (`PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn eddsa_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        SigningKey::eddsa_pem(kid, pem).map(Self)
    }

    /// A fresh key on the curve P-256.
    ///
    /// # Errors
    ///
    /// As [`eddsa_generate`](Self::eddsa_generate).
    pub fn es256_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        SigningKey::es256_generate(kid).map(Self)
    }

    /// A private key on the curve P-256 in PEM (`PRIVATE KEY`, PKCS#8).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn es256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        SigningKey::es256_pem(kid, pem).map(Self)
    }

    /// An RSA private key in PEM (`PRIVATE KEY` or `RSA PRIVATE KEY`), for RS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none, or below 2048 bits.
    pub fn rs256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        SigningKey::rs256_pem(kid, pem).map(Self)
    }

    /// A shared secret of at least 32 random bytes, for HS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is shorter.
    pub fn hs256(kid: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        SigningKey::hs256(kid, secret).map(Self)
    }

    /// The key that verifies this minter's tokens.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// The public key as a JWK (RFC 7517), for a key set. `None` for HS256: a secret is not published.
    pub fn public_jwk(&self) -> Option<String> {
        self.0.public_jwk()
    }

    /// Signs a token, issued now by `clock`, with a random `jti` unless one was given.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if signing fails, or the operating system gives no randomness.
    pub fn mint(&self, token: &NewToken, clock: &dyn Clock) -> Result<String, KeyError> {
        let claims = Value::Object(token.claims(clock)?).to_string();
        self.0.token(&self.0.header(&token.typ), claims.as_bytes())
    }

    /// Signs any header and any claims, as they stand, whether or not they are JSON: **for tests** that
    /// forge tokens. The signature is always this minter's, whatever the header says.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if signing fails.
    pub fn mint_raw(&self, header: &str, claims: &str) -> Result<String, KeyError> {
        self.0.token(&encode(header.as_bytes()), claims.as_bytes())
    }
}

impl TokenMinter {
    pub(crate) fn kid(&self) -> &str {
        self.0.kid()
    }

    /// Signs bytes that are no token's: they must begin like none.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign_bytes(message)
    }
}

impl fmt::Debug for TokenMinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMinter").field("key", &self.0).finish()
    }
}

/// What a token is to say. Nothing is checked here: whoever verifies it does.
#[derive(Clone, Debug)]
#[must_use = "mint it with `TokenMinter::mint`"]
pub struct NewToken {
    issuer: String,
    audience: String,
    tenant_claim: String,
    tenant: String,
    subject: String,
    typ: String,
    kind: Option<PrincipalKind>,
    actors: Vec<(PrincipalKind, String)>,
    scopes: Vec<String>,
    roles: Vec<String>,
    jti: Option<String>,
    expires_in: Duration,
    more: Map<String, Value>,
}

impl NewToken {
    /// A token of an access token's type (`at+jwt`, RFC 9068) for a human, for 15 minutes. The tenant
    /// stands in the claim `tenant_id`.
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        tenant: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            tenant_claim: "tenant_id".to_owned(),
            tenant: tenant.into(),
            subject: subject.into(),
            typ: "at+jwt".to_owned(),
            kind: None,
            actors: Vec::new(),
            scopes: Vec::new(),
            roles: Vec::new(),
            jti: None,
            expires_in: Duration::from_secs(900),
            more: Map::new(),
        }
    }

    /// Adds scopes.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles.
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Says what kind of principal the subject is.
    pub const fn kind(mut self, kind: PrincipalKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Adds an agent to the chain of actors (RFC 8693 §4.1). The first is the current actor.
    pub fn agent(self, id: impl Into<String>) -> Self {
        self.act(PrincipalKind::Agent, id)
    }

    /// Adds an actor to the chain of actors (RFC 8693 §4.1). The first is the current actor.
    pub fn act(mut self, kind: PrincipalKind, id: impl Into<String>) -> Self {
        self.actors.push((kind, id.into()));
        self
    }

    /// How long the token lives.
    pub const fn expires_in(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// The token's id. Default: a random one.
    pub fn jti(mut self, jti: impl Into<String>) -> Self {
        self.jti = Some(jti.into());
        self
    }

    /// The header's `typ`.
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typ = typ.into();
        self
    }

    /// The claim that names the tenant.
    pub fn tenant_claim(mut self, name: impl Into<String>) -> Self {
        self.tenant_claim = name.into();
        self
    }

    /// Adds a claim, or replaces one of the above.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }

    fn claims(&self, clock: &dyn Clock) -> Result<Map<String, Value>, KeyError> {
        let now = clock.unix();
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", self.issuer.as_str().into());
        put("aud", self.audience.as_str().into());
        put(&self.tenant_claim, self.tenant.as_str().into());
        put("sub", self.subject.as_str().into());
        put("iat", now.as_secs().into());
        put("exp", now.saturating_add(self.expires_in).as_secs().into());
        let jti = match &self.jti {
            Some(jti) => jti.clone(),
            None => random(22)?,
        };
        put("jti", jti.into());
        if let Some(kind) = self.kind {
            put("principal_kind", kind.as_str().into());
        }
        if !self.scopes.is_empty() {
            put("scope", self.scopes.join(" ").into());
        }
        if !self.roles.is_empty() {
            put("roles", self.roles.clone().into());
        }
        let chain = self.actors.iter().rev().fold(None, |inner, (kind, id)| {
            let mut act = Map::new();
            act.insert("sub".to_owned(), id.as_str().into());
            act.insert("principal_kind".to_owned(), kind.as_str().into());
            if let Some(inner) = inner {
                act.insert("act".to_owned(), inner);
            }
            Some(Value::Object(act))
        });
        if let Some(act) = chain {
            put("act", act);
        }
        claims.extend(self.more.clone());
        Ok(claims)
    }
}
