//! The layer's builder.

use std::{fmt, sync::Arc};

use http::{HeaderName, Method};
use tenant_context::{
    CachedRegistry, Challenge, ConfigError, IdentityLayer, IdentityLayerBuilder, Resolver, Timer,
};

use crate::{
    ApiKeys, Authenticated, FailureBudget, Ingress, Issuer, Issuers, Revocations, Subdomain,
    authenticated::Shared,
    cache::{self, CredentialCache},
    credential::X_API_KEY,
    signals::Signals,
};

/// Begins an identity layer that verifies tokens and API keys of these tenants. See the
/// [crate's documentation](crate).
pub fn layer(tenants: CachedRegistry) -> AuthLayerBuilder {
    AuthLayerBuilder {
        tenants,
        jwt: Vec::new(),
        issuers: None,
        keys: None,
        ingress: None,
        subdomain: None,
        failures: None,
        challenge: ChallengeText::default(),
        max_token_len: 8192,
        revocations: None,
        cache: cache::Bounds {
            entries: 100_000,
            bytes: 256 << 20,
        },
        identity: IdentityLayer::builder(),
    }
}

/// Builds the identity layer. Made by [`layer`].
#[must_use = "a builder does nothing until `build`"]
pub struct AuthLayerBuilder {
    tenants: CachedRegistry,
    jwt: Vec<Issuer>,
    issuers: Option<Issuers>,
    keys: Option<ApiKeys>,
    ingress: Option<Ingress>,
    subdomain: Option<Subdomain>,
    failures: Option<FailureBudget>,
    challenge: ChallengeText,
    max_token_len: usize,
    revocations: Option<Revocations>,
    cache: cache::Bounds,
    identity: IdentityLayerBuilder,
}

impl AuthLayerBuilder {
    /// The longest token that may be allowed: 64 KiB.
    pub const MAX_TOKEN_LEN: usize = 65_536;

    /// Accepts this issuer's tokens, as `Authorization: Bearer <token>`. May be called for several.
    pub fn jwt(mut self, issuer: Issuer) -> Self {
        self.jwt.push(issuer);
        self
    }

    /// Accepts the tokens of these issuers, which come and go while the layer serves. Those given to
    /// [`jwt`](Self::jwt) are added to them when the layer is built. A second call replaces the first.
    pub fn issuers(mut self, issuers: Issuers) -> Self {
        self.issuers = Some(issuers);
        self
    }

    /// Accepts these API keys, as `X-API-Key: <key>`, `Authorization: ApiKey <key>` or
    /// `Authorization: Bearer <key>`: keys begin like no token does. A second call replaces the first.
    pub fn api_keys(mut self, keys: ApiKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Believes a gateway that says in headers who is calling. See [`Ingress`].
    pub fn ingress(mut self, ingress: Ingress) -> Self {
        self.ingress = Some(ingress);
        self
    }

    /// Compares the host with the credential's tenant. See [`Subdomain`].
    pub fn subdomain(mut self, subdomain: Subdomain) -> Self {
        self.subdomain = Some(subdomain);
        self
    }

    /// Bounds how many bad credentials one client may present. Off by default: behind a proxy it needs to know
    /// the clients' addresses. See [`FailureBudget`].
    pub fn failure_budget(mut self, budget: FailureBudget) -> Self {
        self.failures = Some(budget);
        self
    }

    /// Declares a route that is served without a credential, by method and template (axum's syntax); a gRPC method is
    /// `POST` and its path, such as `/grpc.health.v1.Health/Check`. A credential that is presented on it is still
    /// verified.
    pub fn public(mut self, method: Method, template: &str) -> Self {
        self.identity = self.identity.public(method, template);
        self
    }

    /// Declares a route that is not public although a public template matches it: `/users/me` beside a
    /// public `/users/{id}`.
    pub fn not_public(mut self, method: Method, template: &str) -> Self {
        self.identity = self.identity.not_public(method, template);
        self
    }

    /// Adds a header that names a tenant inside your network, such as `X-Tenant-ID` (which is known
    /// already): it is taken off every request, and a value other than the verified tenant is refused.
    pub fn internal_header(mut self, name: HeaderName) -> Self {
        self.identity = self.identity.internal_header(name);
        self
    }

    /// The realm that challenges name. Default `api`.
    pub fn realm(mut self, realm: &str) -> Self {
        realm.clone_into(&mut self.challenge.realm);
        self
    }

    /// The URL of the protected resource's metadata, which challenges name (RFC 9728 §5.1): clients, MCP's
    /// among them, learn there who issues tokens for this service.
    pub fn resource_metadata(mut self, url: &str) -> Self {
        self.challenge.resource_metadata = Some(url.to_owned());
        self
    }

    /// The scopes that challenges tell a client to ask for (RFC 6750 §3).
    pub fn challenge_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.challenge
            .scopes
            .extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Whether the end of a context also cuts handlers that are still working. By default they
    /// finish; streams are cut in any case.
    pub fn cut_in_flight(mut self, cut: bool) -> Self {
        self.identity = self.identity.cut_in_flight(cut);
        self
    }

    /// Ends streams when their credential expires, and with [`cut_in_flight`](Self::cut_in_flight)
    /// handlers too. The timer wakes them. By default what was admitted before its expiry goes on.
    pub fn cut_at_expiry(mut self, timer: impl Timer) -> Self {
        self.identity = self.identity.cut_at_expiry(timer);
        self
    }

    /// Whether admitted requests keep their credential headers. Default true; false takes them off
    /// before the handler sees them. They are marked sensitive in any case, so that `Debug` of the
    /// request does not show them.
    pub fn forward_credentials(mut self, forward: bool) -> Self {
        self.identity = self.identity.forward_credentials(forward);
        self
    }

    /// The most bytes of a credential; a longer one is refused before it is looked at. Default 8192,
    /// at most [`MAX_TOKEN_LEN`](Self::MAX_TOKEN_LEN).
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// Refuses what is revoked: when [`Revocations::revoke`] returns, the credential's next request is
    /// refused. Tokens that say no `iat`, or live longer than
    /// [`longest_life`](crate::RevocationsBuilder::longest_life), are refused then.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// How many verified credentials are remembered. Default 100,000; 0 verifies every request anew.
    ///
    /// No tenant has a fixed share, and none displaces what a smaller one holds: see
    /// [`cache_bytes`](Self::cache_bytes).
    pub fn cache_capacity(mut self, credentials: usize) -> Self {
        self.cache.entries = credentials;
        self
    }

    /// How many bytes the remembered credentials may take, about: 1 to 2 KB each, more where tokens carry
    /// large claims. Default 256 MiB.
    ///
    /// A tenant may use what others leave. When there is no room, a credential displaces others of its own
    /// tenant, or those of a tenant that holds at least twice as much.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache.bytes = bytes;
        self
    }

    /// Builds the layer. It takes the time from the registry's clock.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with a sentence on what to do: no way in, an issuer or a key that cannot be
    /// used, a bound that is out of range, a public route or a realm that cannot be parsed.
    pub fn build(self) -> Result<IdentityLayer<Authenticated>, ConfigError> {
        let (authenticated, identity) = self.assemble()?;
        identity.build(authenticated)
    }

    /// Builds the `Authenticate` alone, for work that is no HTTP request.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn authenticate(self) -> Result<Authenticated, ConfigError> {
        self.assemble().map(|(authenticated, _)| authenticated)
    }

    fn assemble(self) -> Result<(Authenticated, IdentityLayerBuilder), ConfigError> {
        if !(64..=Self::MAX_TOKEN_LEN).contains(&self.max_token_len) {
            return Err(ConfigError::new(format!(
                "tenant_auth: `max_token_len` is {}; choose 64 to {} bytes",
                self.max_token_len,
                Self::MAX_TOKEN_LEN
            )));
        }
        if let Some(revocations) = &self.revocations
            && !revocations.is_for(&self.tenants)
        {
            return Err(ConfigError::new(
                "tenant_auth: the revocations were built for another registry, so they would not reach these tenants; use `Revocations::builder(&tenants)` with the layer's own",
            ));
        }
        let no_tokens = self.jwt.is_empty() && self.issuers.is_none();
        let issuers = self.issuers.unwrap_or_default();
        for issuer in self.jwt {
            issuers.add(issuer)?;
        }
        if no_tokens && self.keys.is_none() && self.ingress.is_none() {
            return Err(ConfigError::new(
                "tenant_auth: no way in; add `.jwt(Issuer::new(..).audience(..).key(..))`, `.api_keys(..)` or `.ingress(..)`",
            ));
        }
        let challenge = self.challenge.build(no_tokens, self.keys.is_some())?;
        let mut identity = self.identity.challenge(challenge);
        if self.keys.is_some() {
            identity = identity.credential_header(X_API_KEY);
        }
        if let Some(ingress) = &self.ingress {
            identity = identity.internal_header(ingress.tenant_header().clone());
            if let Some(name) = ingress.asserted_header() {
                identity = identity.asserted_header(name.clone());
            }
        }
        let signals = Signals {
            ingress: self.ingress.map(Ingress::build).transpose()?.map(Arc::new),
            hosts: self
                .subdomain
                .map(Subdomain::build)
                .transpose()?
                .map(Arc::new),
        };
        let failures = self
            .failures
            .map(|budget| budget.build(self.tenants.clock()));
        let authenticated = Authenticated::new(Shared {
            issuers,
            keys: self.keys,
            cache: CredentialCache::new(self.cache, self.max_token_len)?,
            revocations: self.revocations,
            clock: self.tenants.clock(),
            resolver: Resolver::new(self.tenants),
            max_token_len: self.max_token_len,
            signals,
            failures: failures.transpose()?.map(Arc::new),
        });
        Ok((authenticated, identity))
    }
}

/// What challenges say, until it is checked.
struct ChallengeText {
    realm: String,
    resource_metadata: Option<String>,
    scopes: Vec<String>,
}

impl Default for ChallengeText {
    fn default() -> Self {
        Self {
            realm: "api".to_owned(),
            resource_metadata: None,
            scopes: Vec::new(),
        }
    }
}

impl ChallengeText {
    fn build(self, no_tokens: bool, keys: bool) -> Result<Challenge, ConfigError> {
        let mut challenge = match (no_tokens, keys) {
            (true, true) => Challenge::api_key(self.realm)?,
            (_, false) => Challenge::bearer(self.realm)?,
            (false, true) => Challenge::bearer(self.realm)?.and_api_key(),
        };
        if let Some(url) = self.resource_metadata {
            challenge = challenge.resource_metadata(url)?;
        }
        challenge.scope(&self.scopes)
    }
}

impl fmt::Debug for AuthLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayerBuilder")
            .field("jwt", &self.jwt)
            .field("issuers", &self.issuers)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
