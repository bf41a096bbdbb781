//! Tokens for examples, tests and small services that are their own issuer.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value, json};
use tenant_context::{Clock, PrincipalKind};

use crate::{
    KeyError, KeyErrorKind, VerifyingKey,
    algorithm::Algorithm,
    api_key::random,
    crypto::{self, KeyMaterial, MIN_SECRET_LEN},
};

/// Signs tokens.
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
pub struct TokenMinter {
    algorithm: Algorithm,
    kid: Box<str>,
    key: EncodingKey,
    verifying: VerifyingKey,
    public: Option<Map<String, Value>>,
}

/// PKCS#8 of an Ed25519 key up to its 32 bytes (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// PKCS#8 of a P-256 key up to its 32 bytes (RFC 5958, RFC 5915).
const P256_PKCS8: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

impl TokenMinter {
    /// A fresh Ed25519 key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the operating system gives no randomness, or there is no backend.
    pub fn eddsa_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        let der = [ED25519_PKCS8.as_slice(), &secret()?].concat();
        Self::eddsa(kid.into(), EncodingKey::from_ed_der(&der))
    }

    /// An Ed25519 private key in PEM (`PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn eddsa_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_pem(pem.as_ref()).map_err(|_| not_a_key("Ed25519"))?;
        Self::eddsa(kid.into(), key)
    }

    /// A fresh key on the curve P-256.
    ///
    /// # Errors
    ///
    /// As [`eddsa_generate`](Self::eddsa_generate).
    pub fn es256_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        let der = [P256_PKCS8.as_slice(), &secret()?].concat();
        // One number in four billion is beyond the curve's order, and an error.
        Self::es256(kid.into(), EncodingKey::from_ec_der(&der))
    }

    /// A private key on the curve P-256 in PEM (`PRIVATE KEY`, PKCS#8).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn es256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ec_pem(pem.as_ref()).map_err(|_| not_a_key("P-256"))?;
        Self::es256(kid.into(), key)
    }

    /// An RSA private key in PEM (`PRIVATE KEY` or `RSA PRIVATE KEY`), for RS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none, or below 2048 bits.
    pub fn rs256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_rsa_pem(pem.as_ref()).map_err(|_| not_a_key("RSA"))?;
        let components = crypto::provider()?
            .key_utils
            .rsa_pub_components_from_private_key;
        let (n, e) = components(key.as_bytes()).map_err(|_| not_a_key("RSA"))?;
        let public = json!({"kty": "RSA", "n": encode(&n), "e": encode(&e)});
        Self::new(
            kid.into(),
            Algorithm::Rs256,
            key,
            &KeyMaterial::rsa(&n, &e),
            public,
        )
    }

    /// A shared secret of at least 32 random bytes, for HS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is shorter.
    pub fn hs256(kid: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        let key = EncodingKey::from_secret(secret);
        let material = KeyMaterial::Secret(secret.to_vec());
        Self::new(kid.into(), Algorithm::Hs256, key, &material, Value::Null)
    }

    fn eddsa(kid: String, key: EncodingKey) -> Result<Self, KeyError> {
        use jsonwebtoken::jwk::EllipticCurve::Ed25519;
        let public = crypto::provider()?
            .key_utils
            .ed_pub_components_from_private_key;
        let x = public(key.as_bytes(), &Ed25519).map_err(|_| not_a_key("Ed25519"))?;
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&x)});
        Self::new(kid, Algorithm::EdDsa, key, &KeyMaterial::Ed25519(x), jwk)
    }

    fn es256(kid: String, key: EncodingKey) -> Result<Self, KeyError> {
        let public = crypto::provider()?
            .key_utils
            .ec_pub_components_from_private_key;
        let (_, x, y) = public(key.as_bytes(), jsonwebtoken::Algorithm::ES256)
            .map_err(|_| not_a_key("P-256"))?;
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(&x), "y": encode(&y)});
        let point = KeyMaterial::Ec([&[4], x.as_slice(), &y].concat());
        Self::new(kid, Algorithm::Es256, key, &point, jwk)
    }

    fn new(
        kid: String,
        algorithm: Algorithm,
        key: EncodingKey,
        public: &KeyMaterial,
        jwk: Value,
    ) -> Result<Self, KeyError> {
        let verifying = VerifyingKey::new(algorithm, Ok(public)).kid(&*kid);
        verifying.check()?;
        Ok(Self {
            algorithm,
            kid: kid.into(),
            key,
            verifying,
            public: match jwk {
                Value::Object(members) => Some(members),
                _ => None,
            },
        })
    }

    /// The key that verifies this minter's tokens.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.verifying.clone()
    }

    /// The public key as a JWK (RFC 7517), for a key set. `None` for HS256: a secret is not published.
    pub fn public_jwk(&self) -> Option<String> {
        let mut jwk = self.public.clone()?;
        jwk.insert("kid".into(), (*self.kid).into());
        jwk.insert("alg".into(), self.algorithm.name().into());
        jwk.insert("use".into(), "sig".into());
        Some(Value::Object(jwk).to_string())
    }

    /// Signs a token, issued now by `clock`, with a random `jti` unless one was given.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if signing fails, or the operating system gives no randomness.
    pub fn mint(&self, token: &NewToken, clock: &dyn Clock) -> Result<String, KeyError> {
        let header = json!({"alg": self.algorithm.name(), "typ": &*token.typ, "kid": &*self.kid});
        let claims = Value::Object(token.claims(clock)?);
        self.mint_raw(&header.to_string(), &claims.to_string())
    }

    /// Signs any header and any claims, as they stand, whether or not they are JSON: **for tests** that
    /// forge tokens. The signature is always this minter's, whatever the header says.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if signing fails.
    pub fn mint_raw(&self, header: &str, claims: &str) -> Result<String, KeyError> {
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = crypto::sign(self.algorithm, &self.key, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}

impl TokenMinter {
    pub(crate) const fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs bytes that are no token's: they must begin like none.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        crypto::sign(self.algorithm, &self.key, message)
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn secret() -> Result<[u8; MIN_SECRET_LEN], KeyError> {
    let mut secret = [0; MIN_SECRET_LEN];
    getrandom::fill(&mut secret).map_err(|_| KeyError::randomness())?;
    Ok(secret)
}

fn not_a_key(what: &str) -> KeyError {
    KeyError::new(
        KeyErrorKind::Format,
        format!("this is no {what} private key in PKCS#8"),
    )
}

impl fmt::Debug for TokenMinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMinter")
            .field("algorithm", &self.algorithm.name())
            .field("kid", &self.kid)
            .finish_non_exhaustive()
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
