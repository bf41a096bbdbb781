//! Credentials in, a verified tenant out: JSON Web Tokens and API keys, as a tower layer.
//!
//! [`layer`] builds the identity layer of `tenant-context`: it verifies what a request presents, looks
//! its tenant up, and puts the proof, a [`TenantContext`], into the request. What was verified once is
//! found again in a credential cache; revocation and suspension reach a cached credential all the same.
//!
//! # Example
//!
//! ```
//! use axum::{Router, routing::get};
//! use tenant_auth::{
//!     CachedRegistry, Issuer, ApiKeys, MemoryRegistry, TenantContext, TenantId, TenantRecord, TenantStack,
//!     TokenMinter,
//! };
//! use tower::Layer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = MemoryRegistry::new();
//! registry.insert(TenantRecord::new(TenantId::parse("acme")?));
//! let tenants = CachedRegistry::builder(registry).build()?;
//! # let minter = TokenMinter::eddsa_generate("2026-01")?;
//! # let (public_key, server_secret) = (minter.verifying_key(), [7; 32]);
//!
//! let identity = tenant_auth::layer(tenants)
//!     .jwt(Issuer::new("https://id.example.com").audience("api").key(public_key))
//!     .api_keys(ApiKeys::in_memory("sk", "live", server_secret)?)
//!     .public(http::Method::GET, "/health")
//!     .build()?;                                     // says what is missing, and what to do
//!
//! async fn whoami(tenant: TenantContext) -> String {
//!     format!("{} of {}", tenant.principal().id(), tenant.tenant_id())
//! }
//! let app = TenantStack::new().identity(identity).layer(Router::<()>::new().route("/whoami", get(whoami)));
//! # Ok(())
//! # }
//! ```
//!
//! # The ways in
//!
//! | presented | way in |
//! |---|---|
//! | `Authorization: Bearer <token>` | a token of an [`Issuer`] |
//! | `X-API-Key: <key>`, `Authorization: ApiKey <key>`, `Authorization: Bearer <key>` | a key of [`ApiKeys`] |
//! | `X-Tenant-ID: <tenant>` from a trusted peer | a gateway's word: [`Ingress`] |
//! | `Host` or `:authority` below your domain | no way in, a second signal: [`Subdomain`] |
//!
//! A credential that is presented and fails is refused, whatever else the request presents. A token
//! **and** an API key must both verify and name the same tenant (else 403 `tenant_mismatch`) and the
//! same principal (else 400: nothing says which of the two acts); the token's scopes count then. An
//! `Authorization` of any other scheme is refused, and so is a token in the query string. Without API
//! keys, `X-API-Key` is a header of the application's own.
//!
//! ## Tokens, with keys that you have
//!
//! ```
//! use tenant_auth::{Algorithm, Issuer, KeySet, KindRule, VerifyingKey};
//!
//! # fn main() -> Result<(), tenant_auth::KeyError> {
//! # let published = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"}]}"#;
//! // A set that the issuer publishes, read from a file or fetched by the application:
//! let customers = Issuer::new("https://id.example.com")
//!     .audience("https://api.example.com")
//!     .tenant_claim("org_id")
//!     .typ("at+jwt")
//!     .algorithms([Algorithm::Es256, Algorithm::EdDsa])               // whatever else the set holds
//!     .key_set(KeySet::from_json(published)?);
//!
//! // One public key, or a secret that two services share. All that `cron` issues is of services, for work of their own. What
//! // services send on behalf of somebody is another issuer's: see `propagate`.
//! let internal = Issuer::new("cron")
//!     .audience("api")
//!     .kinds(KindRule::always(tenant_auth::PrincipalKind::Service))
//!     .key(VerifyingKey::hs256([7; 32]).kid("2026-01"));
//! # Ok(())
//! # }
//! ```
//!
//! The tenant is named by a claim (`tenant_id`, or what [`Issuer::tenant_claim`] says; [`Issuer::tenant_path`] for one inside of others), by the
//! issuer's name ([`Issuer::template`]), or is the issuer's one tenant ([`Issuer::fixed_tenant`]).
//!
//! `iss`, `aud`, `exp`, `sub` and the tenant claim are required; `nbf`, `iat`, `act` (RFC 8693), `scope`, `scopes`,
//! `scp`, `roles`, `resource_prefix`, `org_id`, `jti` and `sid` are read; every one of them must have its JSON type. Of
//! all other claims those are kept, for `ctx.claim::<T>("…")`, that [`Issuer::keep_claim`] names. A token with `cnf` is bound to a key or a
//! certificate and is refused: it is no bearer token.
//!
//! ## Tokens, with keys that change
//!
//! A [`KeyRefresher`] keeps key sets up to date: found by discovery, at a URL, or in a file. Its worker does the
//! fetching; requests wait for it only where a token names a key that is not known yet.
//!
//! ```
//! use tenant_auth::{Issuer, KeyRefresher};
//! use tenant_context::TokioTimer;
//!
//! # async fn run(fetcher: impl tenant_auth::Fetch) -> Result<(), Box<dyn std::error::Error>> {
//! // `fetcher`: `HttpFetcher::new()?` (feature `jwks`), or the HTTP client that you have.
//! let (keys, worker) = KeyRefresher::builder(fetcher).timer(TokioTimer::new()).build()?;
//! let worker = tokio::spawn(worker);
//! let customers = Issuer::new("https://id.example.com").audience("api").keys(keys.discover());
//! # Ok(())
//! # }
//! ```
//!
//! ## Issuers that come and go
//!
//! ```
//! use tenant_auth::{Issuer, Issuers, KeyRefresher, TenantId};
//!
//! # fn run(keys: &KeyRefresher, acme: TenantId, layer: tenant_auth::AuthLayerBuilder) -> Result<(), tenant_auth::ConfigError> {
//! let issuers = Issuers::new();
//! let layer = layer.issuers(issuers.clone());
//!
//! // A customer brings a provider of its own, which speaks for that customer alone:
//! issuers.add(Issuer::new("https://login.acme.example").audience("api").fixed_tenant(acme).keys(keys.discover()))?;
//! issuers.remove("https://login.acme.example");      // in effect for the next request, cached or not
//! # Ok(())
//! # }
//! ```
//!
//! ## API keys
//!
//! ```
//! use tenant_auth::{ApiKeys, NewApiKey, Principal, PrincipalId, RotationPolicy, TenantId, UnixTime};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = ApiKeys::in_memory("sk", "live", [7; 32])?;           // or `ApiKeys::builder(..).store(your_database)`
//! let acme = TenantId::parse("acme")?;
//! let new = NewApiKey::new(acme.clone(), Principal::service(PrincipalId::parse("ci")?))
//!     .scopes(["reports:write"])
//!     .allowed_ips(["192.0.2.0/24".parse()?])                     // of the client, behind trusted proxies
//!     .expires_at(UnixTime::from_secs(1_800_000_000));
//! let (secret, id) = keys.issue(new).await?;                      // where a request asks for one: `issue_by(&ctx, ..)`
//! println!("Authorization: ApiKey {}", secret.expose());          // once
//!
//! for old in keys.due_for_rotation(&acme, RotationPolicy::STANDARD).await? {   // 90 days
//!     keys.rotate(&acme, old.key_id()).await?;                    // both are valid for 7 days
//! }
//! keys.revoke(&acme, &id).await?;                                 // in effect for the next request
//! # Ok(())
//! # }
//! ```
//!
//! A key's holder rotates it itself at [`ApiKeys::rotation_service`]; [`ApiKeys::pattern`] is what secret scanners look for.
//!
//! ## Credentials that end before their time
//!
//! [`Revocations::revoke`] holds for the next request in this process when it returns: cached, held by a
//! handler, or being verified at that moment. It reaches what was derived from the credential too: delegated and service
//! tokens where the layer has the [`Revocations`], jobs where [`Jobs`](jobs::Jobs) were given them
//! ([`JobsBuilder::revocations`](jobs::JobsBuilder::revocations)). [`RevocationStore`] tells the other processes.
//!
//! | to end | revoke |
//! |---|---|
//! | one token | [`Revocation::token`], by its `jti` or its digest |
//! | a session with refresh tokens: a sign-out | [`RefreshTokens::end_session`], by the id that `ctx.session()` says: `.as_str().parse()` |
//! | a session of another issuer's | [`Revocation::session`], by `sid`; its refresh tokens are that issuer's to end |
//! | somebody who left, an agent that runs wild | [`RefreshTokens::end_all_of`], [`ApiKeys::revoke_all_of`], and [`Revocation::subject`] for tokens of no session |
//! | a tenant's tokens | [`Revocation::tenant`]; to stop the tenant, suspend it |
//! | an API key | [`Revocation::api_key`], or [`ApiKeys::revoke`] in this process |
//! | a signing key that got out | [`Revocation::signing_key`] |
//! | an issuer's tokens until now; an issuer | [`Revocation::issuer`]; [`Issuers::remove`] |
//!
//! A revocation of a session or a subject is kept as long as a token could live, and of tokens alone: refresh tokens live longer,
//! and API keys are none. Give `RefreshTokens` the revocations too, or the access tokens of its sessions live on to their end.
//!
//! [`RefreshTokens::end_session`]: refresh::RefreshTokens::end_session
//! [`RefreshTokens::end_all_of`]: refresh::RefreshTokens::end_all_of
//!
//! ```
//! # use tenant_auth::{CachedRegistry, MemoryRegistry, refresh::MemoryRefreshStore};
//! use tenant_auth::{
//!     ApiKeys, Issuer, PrincipalId, Revocation, Revocations, TenantId, UnixTime, VerifyingKey, refresh::RefreshTokens,
//! };
//!
//! # async fn run(refresh: RefreshTokens<MemoryRefreshStore>, keys: ApiKeys, now: UnixTime) -> Result<(), tenant_context::BoxError> {
//! # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
//! let revocations = Revocations::builder(&tenants).build()?;       // or `.shared(store, timer)`, and spawn the feed
//! let identity = tenant_auth::layer(tenants)
//!     .jwt(Issuer::new("https://id.example.com").audience("api").key(VerifyingKey::hs256([7; 32])))
//!     .revocations(revocations.clone())
//!     .build()?;
//!
//! // Ada has left: her sessions first, which would be refreshed, then her keys.
//! let (acme, ada) = (TenantId::parse("acme")?, PrincipalId::parse("ada")?);
//! refresh.end_all_of(&acme, &ada).await?;
//! keys.revoke_all_of(&acme, &ada).await?;
//! // All her tokens, those that act for her or through her, and all that was derived from them.
//! let publishing = revocations.revoke(Revocation::subject(acme, ada, now));
//! publishing.await?;                                               // it was in effect before: this tells the other processes
//! # Ok(())
//! # }
//! ```
//!
//! ## Behind a gateway, and at a tenant's host
//!
//! ```
//! # use tenant_auth::{CachedRegistry, MemoryRegistry};
//! use http::HeaderName;
//! use tenant_auth::{Ingress, PrincipalKind, Subdomain};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
//! let identity = tenant_auth::layer(tenants)
//!     .ingress(
//!         Ingress::header(HeaderName::from_static("x-tenant-id"))
//!             .from_peer("spiffe://mesh.example/ns/edge/sa/gateway")      // a certificate that the server verified
//!             .principal_header(HeaderName::from_static("x-user-id"), PrincipalKind::Human),
//!     )
//!     .subdomain(Subdomain::of("saas.example.com"))                       // acme.saas.example.com is for acme
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! From anybody else the header counts for nothing, and one that names another tenant than the credential is a
//! forgery: 403. All signals that a request has must name one tenant.
//!
//! ## Work that is no request
//!
//! A job presents its metadata as a head, to the same [`Authenticated`]:
//!
//! ```
//! use tenant_context::{Lookup, RequestHead, TenantContext};
//! # use tenant_auth::{Authenticated, Rejection};
//!
//! # async fn run(authenticated: Authenticated, token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let request = http::Request::builder().header("authorization", format!("Bearer {token}")).body(())?;
//! let (metadata, ()) = request.into_parts();
//! let tenant = TenantContext::admit(&authenticated, &RequestHead::new(&metadata)).wait().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a caller may do
//!
//! A token's scopes bound what it allows, with wildcards: `sessions:*`, `*:read`. Roles map to scopes in each tenant
//! ([`Roles`](tenant_context::Roles), given to the registry's builder) and only take away from a token's
//! scopes; they decide alone only where a token names no scopes and no agent holds it. Where a role itself is asked for, it counts with all
//! that it stands for: an administrator's token for `reports:read` is no administrator.
//!
//! | question | asked with |
//! |---|---|
//! | may this caller use these routes at all? | [`RequireScope`] around them |
//! | may it do this, which the handler finds out? | `ctx.require("sessions:write")?` |
//! | is it somebody's job in the tenant, for which there is no scope? | [`RequireRole`], `ctx.require_role("owner")?` |
//! | is this resource the tenant's, within the credential's prefix? | `TenantScoped::new(owner, value).at(path)`, `.for_tenant(&ctx)?` |
//! | is it this user's own? | `.of(Principal::human(user))`, `.for_owner(&ctx)?` |
//! | who may edit document 7? | a policy engine behind [`Authorize`](tenant_context::Authorize) |
//!
//! ```
//! use tenant_auth::{Rejection, TenantContext};
//!
//! async fn end_session(tenant: TenantContext) -> Result<(), Rejection> {
//!     tenant.require("sessions:write")?;              // 403 that names the scope
//!     Ok(())
//! }
//! ```
//!
//! # What a client sees, and what the audit sees
//!
//! A client is told `invalid_token`, in one fixed answer, whatever is wrong with its credential. The
//! rejection's reason, for the audit, is one of these:
//!
//! | reason | what was wrong |
//! |---|---|
//! | `credential_missing` | nothing was presented (the client is asked for a credential) |
//! | `credential_malformed` | a repeated header, two methods, bytes that are no visible ASCII, a token in the query (400; the rejection's source says which) |
//! | `scheme_unsupported` | an `Authorization` of a scheme that is no way in |
//! | `too_long` | more bytes than `max_token_len` |
//! | `malformed`, `encrypted`, `too_deep`, `duplicate_member`, `header_type`, `crit` | the token's form |
//! | `algorithm`, `issuer`, `kid`, `kid_missing`, `typ` | no key, or not this key |
//! | `signature` | the signature |
//! | `keys_unavailable` | the issuer's keys were never fetched, or not for too long (503) |
//! | `expired`, `too_old`, `not_yet_valid`, `issued_in_future`, `audience` | a good signature, but not now or not for us |
//! | `claim_missing:…`, `claim_type:…`, `claim_invalid:…` | a claim is absent, of another JSON type, or has no value that is accepted |
//! | `cnf`, `act_depth`, `cross_tenant_chain` | bound to a key; too many actors, also where a service token would have them; an actor of another tenant (403 where it is delegated to) |
//! | `delegation_wider`, `delegation_outlives` | a token that is wider than what its chain says it was derived from, or ends later; 403 where such a one is asked for |
//! | `issuer_tenant` | a tenant that the issuer may not speak for, or that its name or fixed tenant contradicts |
//! | `claims_too_long`, `tenant_unknown` | too many scopes or roles; no such tenant |
//! | `scope`, `role` | a verified caller that may not do this (403) |
//! | `resource_prefix`, `owner`, `cross_tenant`, `not_found` | beyond the credential's prefix, another user's, another tenant's, or none (the one 404) |
//! | `tenant_suspended`, `store_unavailable`, `context_missing` | the tenant is suspended (403); a store or the registry did not answer (503); no identity layer ran (500) |
//! | `api_key_format`, `api_key_checksum`, `api_key_unknown`, `api_key_network` | the API key, or where it comes from |
//! | `api_key_wider`, `api_key_rotation` | a key that its creator may not give; a rotation by somebody else than the key's holder (403) |
//! | `api_key_invalid`, `api_key_ended`, `api_key_rotated` | a new key whose description is above a bound (400); a key that has ended, or has a successor (400, at the rotation handler 409) |
//! | `api_keys_full` | more keys in use than are held (503) |
//! | `delegation_depth`, `delegation_prefix`, `delegation_budget` | a longer chain than the issuer allows, a wider prefix, carried budgets that do not fit the chain (403) |
//! | `delegation_nameless`, `delegation_undated` | a context whose credential has no name (an ingress' word) or no `iat`: what cannot be revoked is not delegated (403) |
//! | `delegation_operator` | an operator as the actor that is delegated to (403) |
//! | `delegation_malformed`, `delegation_too_long`, `delegation_unsigned` | a delegation or operation that cannot be written, or that verifiers would not take (400); signing failed (503) |
//! | `operator`, `operator_wider`, `operator_reason` | no operator; more than operators may (403); no reason (400) |
//! | `operator_not_propagated` | an operator's context, for which no service token is minted (403) |
//! | `refresh_invalid`, `refresh_expired`, `refresh_revoked`, `refresh_reused` | the refresh token or its session, where a handler answers with the [`RefreshError`](refresh::RefreshError) (401) |
//! | `job_payload_too_long`, `job_claims_too_long`, `job_not_sealed` | a payload or claims that are too long (400); a job that was not sealed for another reason (503) |
//! | `job_replays_full` | more jobs than are remembered ([`OpenError::Unavailable`](jobs::OpenError::Unavailable)) |
//! | `job_missing`, `job_too_long`, `job_malformed`, `job_version`, `job_unknown_key`, `job_altered`, `job_foreign`, `job_expired`, `job_sealed_in_future`, `job_lives_too_long`, `job_replayed`, `job_tenant_unknown`, `job_revoked`, `job_refused` | no rejection, but why a job is dead: [`DeadReason`](jobs::DeadReason) |
//! | `revoked` | it was revoked |
//! | `life_too_long` | it lives longer than a revocation would ([`RevocationsBuilder::longest_life`]) |
//! | `revocations_stale`, `revocations_full` | nobody can say what is revoked (503) |
//! | `tenant_mismatch` | token, key, host or internal header name two tenants (403) |
//! | `rate_limited:failed-authentication` | the address has presented too many bad credentials (429) |
//! | `host_malformed`, `host_conflict` | what is no host, or stands twice; `Host` is not the authority (400) |
//! | `ingress_header_missing` | a trusted ingress names no tenant (401; 400 beside a good credential) |
//! | `ingress_malformed`, `ingress_principal` | a trusted ingress' headers are no ids, or name another principal than the credential (400) |
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | a credential | 8192 bytes ([`AuthLayerBuilder::max_token_len`]), looked at before anything else |
//! | nesting of a token's JSON | 16 levels |
//! | actors, scopes, roles | 8, 256, 256 |
//! | failed authentications of one address | off; [`FailureBudget`]: 65,536 cells, 16,384 spent clients, 16,384 bad tokens |
//! | remembered credentials | 100,000, 256 MiB ([`AuthLayerBuilder::cache_capacity`], [`cache_bytes`](AuthLayerBuilder::cache_bytes)) |
//! | revocations | 100,000; 10,000 of one tenant's tokens, of one tenant's API keys, of one issuer's keys ([`RevocationsBuilder::capacity`]) |
//! | an API key's networks, labels; the server's secrets | 64, 16; 4 |
//! | API keys in use; a rotation's grace | 100,000 ([`ApiKeysBuilder::capacity`]); 14 days |
//! | a key set, metadata | 512 KiB, 256 keys; 64 KiB |
//! | a fetch of keys | 5 s ([`KeyRefresherBuilder::timeout`]); for unknown keys one in 10 s an issuer, 1,024 requests wait for it |
//! | issuers, templates among them | 10,000, 64 |
//! | kept claims | 32, 4 KiB together |
//! | RSA keys | 2048 to 8192 bits |
//!
//! # Map
//!
//! | what | where |
//! |---|---|
//! | the layer | [`layer()`], [`AuthLayerBuilder`], [`Authenticated`] |
//! | what a caller may do | [`RequireScope`], [`RequireRole`], [`TenantContext::require`] |
//! | keys that change | [`KeyRefresher`], [`KeySource`], [`KeyWorker`], [`Fetch`] |
//! | tokens | [`Issuer`], [`Issuers`], [`Algorithm`], [`VerifyingKey`], [`KeySet`], [`KindRule`] |
//! | API keys | [`ApiKeys`], [`NewApiKey`], [`ApiKeyRecord`], [`ApiKeyStore`] |
//! | floods of bad credentials | [`FailureBudget`] |
//! | revocation | [`Revocations`], [`Revocation`], [`RevocationStore`] |
//! | other signals | [`Ingress`], [`PeerIdentity`], [`Subdomain`], [`OutsideHosts`] |
//! | background jobs | [`jobs`] |
//! | refresh tokens | [`refresh`] |
//! | calls to other services | [`propagate`] |
//! | tokens of our own | [`TokenIssuer`], [`SigningKey`], [`AccessToken`], [`Delegation`], [`Operation`] |
//! | for examples and tests | [`TokenMinter`], [`NewToken`] |
//!
//! # Features
//!
//! - `aws_lc_rs` (default): signatures with AWS-LC; each key is parsed once. Used if both are on.
//! - `jwks`: [`HttpFetcher`], key sets and metadata over HTTPS with `reqwest` and `rustls`.
//! - `rust_crypto`: signatures in pure Rust, several times slower for public keys.
//!
//! Without either, every key is refused when the layer is built.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod algorithm;
mod api_key;
mod authenticated;
mod authority;
mod cache;
mod credential;
mod crypto;
mod delegation;
mod error;
mod failures;
mod hash;
mod host;
mod ingress;
mod issuer;
mod issuers;
pub mod jobs;
mod json;
mod jwks;
mod jwt;
mod key;
mod key_set;
mod layer;
mod mint;
mod origin;
pub mod propagate;
mod reason;
pub mod refresh;
mod revocation;
mod ring;
mod signals;
mod token_issuer;

#[cfg(feature = "jwks")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
pub use self::jwks::HttpFetcher;
pub use self::{
    algorithm::Algorithm,
    api_key::{
        ApiKeyDigest, ApiKeyError, ApiKeyRecord, ApiKeySecret, ApiKeyState, ApiKeyStore, ApiKeys,
        ApiKeysBuilder, MemoryApiKeyStore, NewApiKey, RotateApiKeyService, RotatedApiKey,
        RotationPolicy, SecretTag,
    },
    authenticated::Authenticated,
    authority::{Require, RequireFuture, RequireRole, RequireScope},
    delegation::{Budget, Delegation, Operation, Operators},
    error::{KeyError, KeyErrorKind},
    failures::FailureBudget,
    host::{OutsideHosts, Subdomain},
    ingress::{Ingress, PeerIdentity},
    issuer::{Issuer, IssuerWithoutAudience, KindRule},
    issuers::Issuers,
    jwks::{Fetch, FetchError, Fetched, KeyRefresher, KeyRefresherBuilder, KeySource, KeyWorker},
    key::VerifyingKey,
    key_set::{KeySet, SkippedKey},
    layer::{AuthLayerBuilder, layer},
    mint::{NewToken, TokenMinter},
    revocation::{
        FeedPosition, Revocation, RevocationFeed, RevocationNews, RevocationStore, Revocations,
        RevocationsBuilder, Revoking, SharedRevocationsBuilder,
    },
    token_issuer::{
        AccessToken, JwksService, MintedToken, SigningKey, TokenIssuer, TokenIssuerBuilder,
    },
};
pub use tenant_context::{
    CachedRegistry, Clock, ConfigError, CredentialId, IdentityLayer, MemoryRegistry, Principal,
    PrincipalId, PrincipalKind, Rejection, RejectionKind, SystemClock, TenantContext, TenantId,
    TenantRecord, TenantStack, UnixTime,
};
