//! The one door: from a request's head to an identity.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, request};

use crate::{Identity, Lookup, Rejection};

/// Decides who is asking. Whatever admits requests implements this; everything else is plain data.
///
/// Every implementation in a code base is found by `rg 'Authenticate(<.*>)?\s+for'`.
///
/// The identity layer does the rest for every implementation: it strips and compares internal
/// headers, refuses suspended tenants and expired identities, and puts the proof into the request.
///
/// ```
/// use std::sync::Arc;
/// use tenant_context::{
///     Authenticate, Claims, Identity, Lookup, Principal, PrincipalId, Rejection, RequestHead, Resolver, TenantId,
///     UnixTime,
/// };
///
/// /// A mesh that has verified the peer and says so in an extension set by the server.
/// #[derive(Clone)]
/// struct Peer { tenant: TenantId, service: PrincipalId }
///
/// struct Mesh(Resolver);
///
/// impl Authenticate for Mesh {
///     fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
///         let Some(peer) = head.extensions().get::<Peer>() else {
///             return Lookup::Ready(Err(Rejection::credential_missing()));
///         };
///         self.0.resolve(Claims::new(peer.tenant.clone(), Principal::service(peer.service.clone()), UnixTime::MAX))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not authenticate requests",
    note = "use `tenant_auth::layer(..)`, or implement `tenant_context::Authenticate` for it"
)]
pub trait Authenticate: Send + Sync + 'static {
    /// Verifies what the head presents.
    ///
    /// Fail closed: a credential that is presented and fails is a rejection, never a reason to try
    /// another scheme; no credential at all is [`Rejection::credential_missing`].
    fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>>;
}

impl<T: Authenticate + ?Sized> Authenticate for Arc<T> {
    fn authenticate(&self, head: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
        (**self).authenticate(head)
    }
}

/// What an [`Authenticate`] sees: a request's head, its internal headers set apart.
///
/// A job or a message is presented as a head too: its metadata as headers.
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    internal: &'a [(HeaderName, HeaderValue)],
}

/// The names of the headers only: a value may be a credential.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let internal = self.internal.iter().map(|(name, _)| name);
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("internal", &internal.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl<'a> RequestHead<'a> {
    /// The head of a request that has no internal headers.
    pub fn new(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
            internal: &[],
        }
    }

    /// The head of a request whose internal headers were taken off already: what layers inside of identity
    /// see.
    pub fn of_request<B>(request: &'a http::Request<B>) -> Self {
        Self::of(request, &[])
    }

    pub(crate) fn of<B>(
        request: &'a http::Request<B>,
        internal: &'a [(HeaderName, HeaderValue)],
    ) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            internal,
        }
    }

    /// The method.
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The request target.
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The headers, without the internal ones.
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What the server and outer layers know of the connection.
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The internal headers (`X-Tenant-ID`, …) that were taken off the request, in their order.
    /// Unless the peer is trusted they are claims of an attacker.
    pub const fn internal(&self) -> &'a [(HeaderName, HeaderValue)] {
        self.internal
    }
}
