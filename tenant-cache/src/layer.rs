//! The response cache layer and its configuration.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, Method};
use tenant_context::{ConfigError, StackPart, check_template, stack::place};
use tower_layer::Layer;

use crate::{
    ResponseCache, TenantCache,
    cache::RESPONSES,
    key::KeyWriter,
    marks::Tag,
    plan::{Forward, Plan},
    policy::Heuristic,
    target::{Target, is_plain},
};

/// Keeps responses to GET requests, per tenant and within a tenant per authority, as RFC 9111 allows.
/// Made by [`layer`].
///
/// # Who may be answered from the cache
///
/// Always the same tenant, and the same *authority*: principal, actors, scopes, roles, resource prefix
/// and custom claims ([`Identity::authority`](tenant_context::Identity::authority)). A narrower token of the same
/// agent does not read what a wider one stored. `public` and `s-maxage` change nothing about that; only a
/// route declared [`shared_within_tenant`](ResponseCacheLayerBuilder::shared_within_tenant) crosses authorities.
///
/// `private` is obeyed as in any shared cache. What a request with `Authorization` stored answers requests with that
/// field only, unless the response says `public`, `must-revalidate` or `s-maxage` (RFC 9111 §3.5); on a shared route
/// nothing is stored without one of these, and what answers a request with `Cookie` only with `public`.
///
/// # What is stored
///
/// Complete responses to GET with any final status that speaks of the resource, that state their freshness
/// (`s-maxage`, `max-age`, `Expires`), or that say `no-cache` or are stale and carry a validator; freshness is guessed only
/// on [request](ResponseCacheLayerBuilder::heuristic). With `must-understand` only those whose status RFC 9110 defines. Never one with `Set-Cookie`,
/// `no-store`, `private`, `Vary: *`, a `Vary` on `Authorization` or `Cookie`, a field marked as sensitive, a
/// `Cache-Control` that does not parse, trailers, a refusal among its extensions or its trail, or gRPC content; nor one whose status speaks of the request
/// or the client (206, 304, 401, 403, 407, 408, 412, 413, 416, 417, 421, 425, 426, 428, 429, 431, 511). `Vary` may name 16 fields.
///
/// Requests with `Range`, `If-Match`, `If-Unmodified-Since`, `no-store` or content go to
/// the handler. `no-cache`, `max-age`, `min-fresh`, `max-stale` and `only-if-cached` are obeyed; HEAD is answered from a stored GET. `If-None-Match` and
/// `If-Modified-Since` are answered with 304 from what is stored. What is stale is validated with the handler, if it gave an entity tag or
/// `Last-Modified`: a 304 makes it fresh again, with the fields that it brought; one
/// that names another entity tag is passed on to a client that has that one, and is a 502 for all others. `stale-if-error` (RFC 5861) lets it stand in for 500, 502, 503, 504 and for
/// a service that fails; never for a refusal.
///
/// # What the key is, and what to key
///
/// Tenant, authority, scheme, host, path and query as they came, and the request's fields that the
/// response's `Vary` names. **Everything else that a handler reads must be named in `Vary`, or it must state no freshness:**
///
/// | a handler that reflects | says |
/// |---|---|
/// | `Accept`, `Accept-Language`, `Accept-Encoding` | `Vary` with that name |
/// | `Origin` (CORS inside of the layer) | `Vary: Origin`; better, put CORS outside |
/// | `X-Forwarded-Host`, `X-Forwarded-Proto`, `Forwarded` in links | `Vary` with that name, or builds links from its configuration |
/// | `User-Agent`, `Sec-CH-*`, `Save-Data`, a feature flag's header | `Vary` with that name |
/// | a cookie, `Authorization` itself | `Vary` with that name, and it is not stored; or `no-store` |
/// | the client's address, the time, a random number | `no-store` |
/// | the scheme, of a request that names a path alone (HTTP/1.1) | `Vary` with the field that tells it, or an origin for each scheme |
/// | `X-HTTP-Method-Override`, `X-Original-URL`, `X-Rewrite-URL` | nothing: put what reads them outside of the layer, or refuse them |
///
/// Paths are compared byte for byte. On shared routes a path with an encoded character, a `;`, a doubled slash or a dot segment is not
/// shared: `/static/..%2Faccount` may be another resource to the handler than to the template.
///
/// A framework may cut a prefix off the URI inside a nested router (axum's `nest` does). Put the layer
/// around the finished router, where the whole path is seen; inside nested routers, build a layer for each.
///
/// # Invalidation
///
/// A request whose method is not safe, or that carries content, makes what is stored of its URI unreachable, and what is
/// being made of it, for all authorities, and so for `Location` and `Content-Location` of the same origin; not if it ends in a 4xx or a refusal; also when it fails or is
/// cancelled, for it may have written. [`forget_all_on_write`](ResponseCacheLayerBuilder::forget_all_on_write) forgets all of the tenant's
/// responses instead: for handlers whose writes show under other URIs, and for gRPC, whose calls have URIs of their own. Responses with
/// [surrogate tags](ResponseCacheLayerBuilder::surrogate_key) are forgotten by [`TenantCache::invalidate_tag`]. Nothing is invalidated in other processes.
/// [`TenantCache::purge`] forgets everything, values too. A write counts as done when the head of its answer is there: a handler that goes on
/// writing while its body goes out invalidates what it writes then itself.
///
/// # What a hit passes by
///
/// Everything inside of the layer, authorization in handlers included: scope and role checks stand
/// outside of it ([`TenantStack`](tenant_context::TenantStack) orders them so). What the handler had written
/// to the trail as action and resource is written again.
///
/// # Cost
///
/// While nothing is stored for the tenant there is no look-up. A request whose answer may be stored is remembered in
/// a box, its fields included; after 256 of a tenant's answers in a row that could not be stored nothing is: one answer in eight is
/// then looked at, and after the first of these that states its freshness answers are stored again. A body that is being stored is copied, at most
/// [`max_body`](ResponseCacheLayerBuilder::max_body) bytes for each request in flight, at most its ceiling for all of a tenant's, and at most
/// [`max_bytes`](crate::TenantCacheBuilder::max_bytes) for all together, beside what is stored; beyond that answers pass through unstored.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct ResponseCacheLayer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) cache: TenantCache,
    pub(crate) max_body: usize,
    pub(crate) max_variants: usize,
    /// Whether every response says what the cache did, not only those it answers or stores.
    pub(crate) explains: bool,
    /// Whether a write forgets all of its tenant's responses.
    pub(crate) forgets_all: bool,
    pub(crate) heuristic: Option<Heuristic>,
    pub(crate) surrogate_key: Option<HeaderName>,
    /// How many requests may wait for one answer.
    pub(crate) followers: Option<usize>,
    routes: Option<matchit::Router<()>>,
    /// Tells this layer's entries from those of other layers on the same cache.
    number: u64,
}

/// Builds a [`ResponseCacheLayer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ResponseCacheLayerBuilder {
    cache: TenantCache,
    max_body: usize,
    max_variants: usize,
    explain: bool,
    forget_all: bool,
    heuristic: Option<Heuristic>,
    surrogate_key: Option<HeaderName>,
    followers: Option<usize>,
    shared: Vec<(Method, String)>,
}

/// Begins a response cache layer on a cache.
///
/// ```
/// use http::Method;
/// use tenant_cache::TenantCache;
///
/// let cache = TenantCache::builder().build()?;
/// let layer = tenant_cache::layer(cache.clone())
///     .max_body(256 << 10)
///     .shared_within_tenant(Method::GET, "/prices")
///     .build()?;
/// # Ok::<(), tenant_cache::ConfigError>(())
/// ```
pub fn layer(cache: TenantCache) -> ResponseCacheLayerBuilder {
    ResponseCacheLayerBuilder {
        cache,
        max_body: 1 << 20,
        max_variants: 8,
        explain: false,
        forget_all: false,
        heuristic: None,
        surrogate_key: None,
        followers: None,
        shared: Vec::new(),
    }
}

impl ResponseCacheLayerBuilder {
    /// The longest body that is stored, in bytes. Default 1 MiB. Longer ones pass through unstored. The tenant's
    /// ceiling holds besides.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The most responses kept for one URI that varies. Default 8, at most 64; beyond it the oldest goes.
    pub fn max_variants(mut self, variants: usize) -> Self {
        self.max_variants = variants;
        self
    }

    /// Whether a response that the cache neither answers nor stores says why (`Cache-Status`, RFC 9211
    /// §2.2: `fwd=bypass`, `fwd=miss`). Default false: it goes out as the handler made it, which spares every
    /// uncached response a header.
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }

    /// Whether a request that may have written forgets all of its tenant's responses, not only those of its own URI and
    /// those that its answer names. Default false.
    pub fn forget_all_on_write(mut self, all: bool) -> Self {
        self.forget_all = all;
        self
    }

    /// Guesses a freshness where a response states none and says when it was last modified: so many percent of the time
    /// since then, at most `most` (RFC 9111 §4.2.2, which suggests 10). Default: it is never guessed.
    pub fn heuristic(mut self, percent: u32, most: Duration) -> Self {
        self.heuristic = Some(Heuristic { percent, most });
        self
    }

    /// The response's field that names its tags, separated by spaces, for [`TenantCache::invalidate_tag`]: `surrogate-key`
    /// is usual. It is taken off every response. One with more than 16 tags, or with tags that are not UTF-8, is not stored. What a 304
    /// validates keeps its tags, and gets those of the 304 besides. Default: none.
    pub fn surrogate_key(mut self, name: HeaderName) -> Self {
        self.surrogate_key = Some(name);
        self
    }

    /// Lets up to so many requests wait for the answer to an equal one that went to the handler before them (same tenant, authority and target),
    /// instead of asking it the same; further ones go themselves. Default: none waits.
    ///
    /// Who waits looks again as soon as the first answer is stored or will not be, and goes to the handler if there is nothing for
    /// it. It waits for the handler alone: an answer of up to 64 KiB is stored before its client reads it, and nobody waits for
    /// a body that is longer, of unknown length, or not there yet. If the first request is given up, another of those who wait goes in its
    /// place; who has waited three times goes itself. Who waits keeps the inner service that was ready for it, with what that has reserved. Bound a slow handler by a time-out inside of this layer.
    pub fn collapse(mut self, followers: usize) -> Self {
        self.followers = Some(followers);
        self
    }

    /// Declares that every identity of a tenant gets the same answer here: what one stored, all of its
    /// tenant's read. By method (GET, which includes HEAD) and template (axum's syntax, `/prices/{region}`), matched on the raw
    /// path. The response must say `public`, `must-revalidate` or `s-maxage` to be stored (RFC 9111 §3.5), and `public` if the
    /// request carried a cookie.
    pub fn shared_within_tenant(mut self, method: Method, template: impl Into<String>) -> Self {
        self.shared.push((method, template.into()));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a shared route is not a GET's, its template is not valid or stands twice, or the
    /// number of variants is out of its bounds.
    pub fn build(self) -> Result<ResponseCacheLayer, ConfigError> {
        if !(1..=64).contains(&self.max_variants) {
            return Err(ConfigError::new(format!(
                "response cache: `max_variants` is {}; choose 1 to 64",
                self.max_variants
            )));
        }
        let mut routes = matchit::Router::new();
        for (method, template) in &self.shared {
            if method != Method::GET {
                return Err(ConfigError::new(format!(
                    "response cache: {method} {template:?} cannot be shared, only responses to GET are stored (and serve HEAD); declare GET"
                )));
            }
            if !template.starts_with('/') {
                return Err(ConfigError::new(format!(
                    "response cache: shared route {template:?}: a template begins with `/`"
                )));
            }
            check_template(template)?;
            routes.insert(template.as_str(), ()).map_err(|error| {
                ConfigError::new(format!(
                    "response cache: shared route {template:?}: {error}"
                ))
            })?;
        }
        Ok(ResponseCacheLayer {
            shared: Arc::new(Shared {
                explains: self.explain,
                forgets_all: self.forget_all,
                heuristic: self.heuristic,
                surrogate_key: self.surrogate_key,
                followers: self.followers,
                number: self.cache.next_layer(),
                cache: self.cache,
                max_body: self.max_body,
                max_variants: self.max_variants,
                routes: (!self.shared.is_empty()).then_some(routes),
            }),
        })
    }
}

impl Shared {
    /// What happens to a response that is not stored.
    pub(crate) fn mark(&self, forward: Forward) -> Plan {
        if self.explains {
            Plan::Mark(forward)
        } else {
            Plan::Nothing
        }
    }

    /// Whether all of the tenant's identities share the answers to this path.
    pub(crate) fn is_shared(&self, path: &str) -> bool {
        self.routes
            .as_ref()
            .is_some_and(|routes| is_plain(path) && routes.at(path).is_ok())
    }

    /// What invalidates all of a tenant's responses.
    pub(crate) fn all_responses(&self) -> Tag {
        self.cache.response_tag(b"")
    }

    /// What invalidates the responses to one resource, for all authorities and all layers.
    pub(crate) fn resource_tag(&self, resource: &[u8]) -> Tag {
        self.cache.response_tag(resource)
    }

    /// The key of a response: `authority` is `None` on a shared route.
    pub(crate) fn key(&self, authority: Option<u64>, target: Target<'_>) -> KeyWriter {
        let mut key = KeyWriter::begin(RESPONSES, 0);
        key.bytes(&self.number.to_be_bytes());
        match authority {
            None => key.bytes(&[]),
            Some(number) => key.bytes(&number.to_be_bytes()),
        };
        target.write(&mut key);
        key
    }
}

impl StackPart for ResponseCacheLayer {
    type Place = place::Cache;
}

impl<S> Layer<S> for ResponseCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> ResponseCache<S> {
        ResponseCache::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for ResponseCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCacheLayer")
            .field("max_body", &self.shared.max_body)
            .field("max_variants", &self.shared.max_variants)
            .finish_non_exhaustive()
    }
}
