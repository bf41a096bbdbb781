//! Calls to other services on behalf of a tenant: a client-side layer.
//!
//! [`PropagateLayer`] goes around an HTTP client or a gRPC channel (anything that is a tower service of
//! `http::Request`). For each call it takes the [`TenantContext`](tenant_context::TenantContext) of the scope it runs in, gives the
//! request a **service token** for one audience, this tenant, this chain of actors and these scopes, and adds
//! `traceparent` and `x-request-id`.
//!
//! - The credential that came in never goes out: `Authorization`, `Proxy-Authorization`, `Cookie`, `X-API-Key`,
//!   `Txn-Token`, the usual headers that name a tenant inside a network, and those of
//!   [`never_send`](PropagateLayer::never_send) are taken off whatever the caller sends.
//! - A `traceparent` that the caller has set goes on as it is. Without one, the trace of the request whose trail is open goes on
//!   with a new span, if the audit layer takes it (its `trace_context()`); else a trace begins. The request id is
//!   that of the request whose trail is open, else a new one.
//! - Without a context, or with one that has ended, nothing is sent.
//! - A token says no more than the context allows, and ends no later than the caller's credential says that it ends. The calling service becomes the current
//!   actor of the chain (RFC 8693 §4.1), so that the other side's audit shows all of it.
//! - It carries tenant, principal, chain, scopes, budgets and resource prefix; no roles, no custom claims. An operator's
//!   context is not passed on.
//! - Revoking the inbound credential stops further tokens at once. One that was minted names what it was derived from:
//!   a called service that shares the revocations ([`RevocationStore`](crate::RevocationStore)), or the API keys, refuses it as well. Elsewhere, and
//!   on behalf of whom an ingress names, it ends by itself, within [`ServiceTokens::life`].
//! - A token is reused for the calls of one identity until shortly before its end.
//!
//! The other side is a tenant-auth layer with this issuer and its own audience; it compares the tenant in
//! headers with the token's, as for any request:
//!
//! ```
//! use tenant_auth::{Issuer, VerifyingKey, propagate::ServiceTokens};
//!
//! # fn trust(public_key: VerifyingKey) -> Issuer {
//! // `billing`, which is called by `orders`:
//! Issuer::new("https://orders.internal")           // the name in `ServiceTokens::new`
//!     .audience("billing")                         // the audience in `PropagateLayer::new`
//!     .max_age(ServiceTokens::LONGEST_LIFE)
//!     .key(public_key)                             // or `.key_set(..)`, `.keys(..)`
//! # }
//! ```
//!
//! Leave its [`kinds`](crate::Issuer::kinds) as they are: the token says of each what it is, so that ada is a human in
//! `billing` too, and `orders` a service among the actors. [`KindRule::always`](crate::KindRule::always) would make a service of ada and an
//! agent of `orders`: it is for an issuer whose tokens are of services only, which act for nobody.
//!
//! # Example
//!
//! ```
//! use tenant_auth::{TokenMinter, propagate::{PropagateLayer, ServiceTokens}};
//! use tower::Layer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = tower::service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new(())) });
//! let tokens = ServiceTokens::new("https://orders.internal", "orders", TokenMinter::eddsa_generate("2026-01")?)?;
//! let billing = PropagateLayer::new(tokens, "billing")?.scopes(["invoices:write"])?.layer(client);
//! # Ok(())
//! # }
//! ```
//!
//! hyper-util's clients and tonic's channels are such services as they are. reqwest has a request type of its own, into which
//! `http::Request` converts:
//!
//! ```
//! use tenant_auth::{TokenMinter, propagate::{PropagateLayer, ServiceTokens}};
//! use tower::Layer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = reqwest::Client::new();
//! let send = tower::service_fn(move |request: http::Request<Vec<u8>>| {
//!     let client = client.clone();
//!     async move { client.execute(request.try_into()?).await }
//! });
//! let tokens = ServiceTokens::new("https://orders.internal", "orders", TokenMinter::eddsa_generate("2026-01")?)?;
//! let billing = PropagateLayer::new(tokens, "billing")?.scopes(["invoices:write"])?.layer(send);
//! // In a handler, whose state is shared, so a clone: a call takes the client.
//! // `billing.clone().oneshot(http::Request::post("https://billing.internal/charges").body(charge)?).await?`
//! # Ok(())
//! # }
//! ```

mod layer;
mod token;

pub use self::{
    layer::{Propagate, PropagateError, PropagateFuture, PropagateLayer},
    token::ServiceTokens,
};
