//! The identity layer: the one door into a tenant's context.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_layer::Layer;

use crate::{
    Authenticate, Challenge, ConfigError, IdentityService, Protocol, Rejection, TenantContext,
    Timer, public::PublicRoutes,
};

/// Admits requests: asks an [`Authenticate`] who is asking, and puts the proof into the request's
/// extensions.
///
/// For every `Authenticate` alike it
/// - removes any [`TenantContext`](crate::TenantContext) that an outer layer left;
/// - takes internal headers (`X-Tenant-ID`, …) off the request, and refuses with 403 one that names
///   another tenant than the verified one;
/// - refuses suspended, closed and unknown tenants and expired identities, and asks the registry
///   again when a tenant's record is stale;
/// - refuses gRPC under another method than POST, and requests with too many header lines or a
///   malformed [`ClientAddress`](crate::ClientAddress), with 400;
/// - lets declared public routes pass without a context, unless a credential was presented and fails;
/// - runs the inner service, and its response's body, in the context's scope;
/// - ends the request's and the response's streams when the context ends.
///
/// `tenant_auth::layer(..)` builds one; for an `Authenticate` of your own:
///
/// ```
/// # use std::sync::Arc;
/// # use tenant_context::{Authenticate, Identity, IdentityLayer, Lookup, Rejection, RequestHead};
/// # struct Mesh;
/// # impl Authenticate for Mesh {
/// #     fn authenticate(&self, _: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
/// #         Lookup::Ready(Err(Rejection::credential_missing()))
/// #     }
/// # }
/// let layer = IdentityLayer::builder().public(http::Method::GET, "/health").build(Mesh)?;
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
#[must_use = "a layer does nothing until it wraps a service"]
pub struct IdentityLayer<A> {
    shared: Arc<Shared<A>>,
}

pub(crate) struct Shared<A> {
    pub(crate) authenticate: A,
    pub(crate) settings: Settings,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) public: PublicRoutes,
    internal: Vec<HeaderName>,
    /// Internal headers that name no tenant.
    asserted: Vec<HeaderName>,
    /// The marks of all internal and credential headers, and of the content type.
    marks: u64,
    pub(crate) challenge: Arc<Challenge>,
    pub(crate) cut_in_flight: bool,
    pub(crate) cut_at_expiry: Option<Arc<dyn Timer>>,
    pub(crate) max_headers: usize,
    credentials: Vec<HeaderName>,
    forward_credentials: bool,
}

/// Builds an [`IdentityLayer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct IdentityLayerBuilder {
    settings: Settings,
    error: Option<ConfigError>,
}

const INTERNAL: [&str; 5] = [
    "x-tenant-id",
    "x-tenant",
    "x-organization-id",
    "x-org-id",
    "organization-id",
];

impl IdentityLayer<()> {
    /// A layer without public routes, with the usual internal headers: `X-Tenant-ID`, `X-Tenant`,
    /// `X-Organization-ID`, `X-Org-ID`, `Organization-ID`.
    pub fn builder() -> IdentityLayerBuilder {
        let settings = Settings {
            public: PublicRoutes::default(),
            internal: Vec::new(),
            asserted: Vec::new(),
            marks: mark(&header::CONTENT_TYPE),
            challenge: Arc::default(),
            cut_in_flight: false,
            cut_at_expiry: None,
            max_headers: 100,
            credentials: Vec::new(),
            forward_credentials: true,
        };
        let empty = IdentityLayerBuilder {
            settings,
            error: None,
        }
        .credential_header(header::AUTHORIZATION);
        INTERNAL
            .into_iter()
            .map(HeaderName::from_static)
            .fold(empty, IdentityLayerBuilder::internal_header)
    }
}

impl IdentityLayerBuilder {
    /// Declares a route that is served without a credential, by method and template (axum's syntax:
    /// `/docs/{*path}`), as the router has it, names of parameters included. GET includes HEAD.
    /// A gRPC method is `POST` and its path: `/grpc.health.v1.Health/Check`.
    /// A credential that is presented on it is still verified.
    pub fn public(mut self, method: Method, template: &str) -> Self {
        if let Err(error) = self.settings.public.declare(method, template) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Declares a route that is not public although the template of a public one matches it: `/users/me`
    /// beside a public `/users/{id}`. Inside of an axum `Router` that says which route it chose (its feature
    /// `matched-path` and our feature `axum`) this is known without it.
    pub fn not_public(mut self, method: Method, template: &str) -> Self {
        if let Err(error) = self.settings.public.except(method, template) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Adds a header that names a tenant inside your network: it is taken off every request, and a
    /// request whose value differs from the verified tenant is refused.
    pub fn internal_header(mut self, name: HeaderName) -> Self {
        let settings = &mut self.settings;
        settings.marks |= mark(&name);
        if !settings.internal.contains(&name) {
            settings.internal.push(name);
        }
        self
    }

    /// Adds a header in which your network says something else than a tenant (who the user is, say): it
    /// is taken off every request and set apart for the [`Authenticate`], and is not compared.
    pub fn asserted_header(mut self, name: HeaderName) -> Self {
        let settings = &mut self.settings;
        settings.marks |= mark(&name);
        if !settings.asserted.contains(&name) {
            settings.asserted.push(name);
        }
        self
    }

    /// Adds a header that carries a credential: it is marked sensitive, so that `Debug` of the request
    /// does not show it. `Authorization` is one by default.
    pub fn credential_header(mut self, name: HeaderName) -> Self {
        let settings = &mut self.settings;
        settings.marks |= mark(&name);
        if !settings.credentials.contains(&name) {
            settings.credentials.push(name);
        }
        self
    }

    /// Whether admitted requests keep their credential headers. Default true; false takes them off
    /// before the handler.
    pub fn forward_credentials(mut self, forward: bool) -> Self {
        self.settings.forward_credentials = forward;
        self
    }

    /// How credentials are asked for. Default: `Bearer realm="api"`.
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.settings.challenge = Arc::new(challenge);
        self
    }

    /// Whether the end of a context also cuts handlers that are still working: they are dropped at the
    /// await they stand at, and the client is refused as at its next request. By default they finish, and
    /// their answer is let through; streams are cut in any case.
    pub fn cut_in_flight(mut self, cut: bool) -> Self {
        self.settings.cut_in_flight = cut;
        self
    }

    /// Ends streams when their credential expires, and with [`cut_in_flight`](Self::cut_in_flight)
    /// handlers too. The timer wakes them. By default what was admitted before its expiry goes on.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # {
    /// use tenant_context::{IdentityLayer, TokioTimer};
    ///
    /// let layer = IdentityLayer::builder().cut_at_expiry(TokioTimer::new());
    /// # }
    /// ```
    pub fn cut_at_expiry(mut self, timer: impl Timer) -> Self {
        self.settings.cut_at_expiry = Some(Arc::new(timer));
        self
    }

    /// The most header lines of a request; more are refused with 400. Default 100.
    pub fn max_headers(mut self, max: usize) -> Self {
        self.settings.max_headers = max;
        self
    }

    /// Builds the layer around an [`Authenticate`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a public route's template is not valid or two of them conflict, or no
    /// header at all would be accepted.
    pub fn build<A: Authenticate>(self, authenticate: A) -> Result<IdentityLayer<A>, ConfigError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.settings.max_headers == 0 {
            return Err(ConfigError::new(
                "identity layer: `max_headers` is 0, so no request with a credential could pass; leave it at 100",
            ));
        }
        Ok(IdentityLayer {
            shared: Arc::new(Shared {
                authenticate,
                settings: self.settings,
            }),
        })
    }
}

/// A bit by a name's length and first byte: most headers are passed over by it alone.
fn mark(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let first = name.first().copied().unwrap_or_default();
    1 << (name.len().wrapping_mul(7).wrapping_add(first.into()) % 64)
}

/// What one pass over the headers finds.
pub(crate) struct Inspected {
    pub(crate) protocol: Protocol,
    /// The internal headers, taken off.
    pub(crate) internal: Vec<(HeaderName, HeaderValue)>,
}

impl Settings {
    /// One pass over the headers: marks credentials as sensitive, takes the internal headers off, in
    /// their order, and sees which protocol it is. No allocation when there are no internal ones.
    pub(crate) fn inspect(&self, headers: &mut HeaderMap) -> Inspected {
        let mut found: Vec<HeaderName> = Vec::new();
        let mut protocol = None;
        for (name, value) in headers.iter_mut() {
            if self.marks & mark(name) == 0 {
                continue;
            }
            if *name == header::CONTENT_TYPE {
                protocol.get_or_insert_with(|| Protocol::of_type(value));
            } else if self.credentials.contains(name) {
                value.set_sensitive(true);
            }
            let internal = self.internal.contains(name) || self.asserted.contains(name);
            if internal && found.last() != Some(name) {
                found.push(name.clone());
            }
        }
        let mut internal = Vec::new();
        for name in found {
            if let header::Entry::Occupied(entry) = headers.entry(name) {
                let (name, values) = entry.remove_entry_mult();
                internal.extend(values.map(|value| (name.clone(), value)));
            }
        }
        Inspected {
            protocol: protocol.unwrap_or(Protocol::Http),
            internal,
        }
    }

    /// What the handler may see of the credentials.
    pub(crate) fn forward(&self, headers: &mut HeaderMap) {
        if !self.forward_credentials {
            for name in &self.credentials {
                headers.remove(name);
            }
        }
    }

    /// Every internal header that names a tenant names the verified one, byte for byte.
    pub(crate) fn compare(
        &self,
        tenant: &TenantContext,
        internal: &[(HeaderName, HeaderValue)],
    ) -> Result<(), Rejection> {
        if internal
            .iter()
            .filter(|(name, _)| !self.asserted.contains(name) || self.internal.contains(name))
            .all(|(_, value)| value.as_bytes() == tenant.tenant_id().as_str().as_bytes())
        {
            Ok(())
        } else {
            Err(Rejection::tenant_mismatch())
        }
    }
}

impl<A> Clone for IdentityLayer<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<A> fmt::Debug for IdentityLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityLayer")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl<S, A: Authenticate> Layer<S> for IdentityLayer<A> {
    type Service = IdentityService<S, A>;

    fn layer(&self, inner: S) -> IdentityService<S, A> {
        IdentityService::new(inner, Arc::clone(&self.shared))
    }
}
