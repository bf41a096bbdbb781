//! A tenant that a trusted ingress names in a header.

mod peer;

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use tenant_context::{
    Claims, ClientAddress, ConfigError, Identity, Lookup, Network, Principal, PrincipalId,
    PrincipalKind, Rejection, RequestHead, Resolver, TenantId, UnixTime,
};

pub use self::peer::PeerIdentity;

/// A gateway in front of the service, which has authenticated the caller and says in headers who it is.
///
/// The headers count from a *trusted* peer only: one whose connection comes from the listed networks, or
/// whose verified client certificate is the listed identity. From a trusted peer, a request without the
/// header is refused. From everybody else the header is what an attacker sends: it is taken off, and a value
/// other than the tenant of the request's credential is refused.
///
/// ```
/// # use tenant_auth::{CachedRegistry, MemoryRegistry};
/// use http::HeaderName;
/// use tenant_auth::{Ingress, PrincipalKind};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
/// let gateway = Ingress::header(HeaderName::from_static("x-tenant-id"))
///     .from_networks(["10.1.0.0/24"])
///     .from_peer("spiffe://mesh.example/ns/edge/sa/gateway")
///     .principal_header(HeaderName::from_static("x-user-id"), PrincipalKind::Human);
/// let identity = tenant_auth::layer(tenants).ingress(gateway).build()?;
/// # Ok(())
/// # }
/// ```
///
/// The peer is the one of the *connection* ([`PeerAddress`](tenant_context::PeerAddress)), not a client that a
/// forwarded header names. A credential that the same request presents is verified as always, and must be of
/// the same tenant, and with a principal's header of the same principal; its own identity is used then.
///
/// Suspension reaches whom a gateway names like everybody else. Revocations are of credentials: the gateway's word is
/// none, and is given anew with each request.
#[derive(Clone, Debug)]
#[must_use = "give it to `AuthLayerBuilder::ingress`"]
pub struct Ingress {
    header: HeaderName,
    networks: Vec<String>,
    peers: Vec<String>,
    who: Option<Who>,
    scopes: Vec<String>,
    roles: Vec<String>,
}

#[derive(Clone, Debug)]
enum Who {
    Header(HeaderName, PrincipalKind),
    Fixed(Principal),
}

impl Ingress {
    /// The header that names the tenant.
    pub fn header(name: HeaderName) -> Self {
        Self {
            header: name,
            networks: Vec::new(),
            peers: Vec::new(),
            who: None,
            scopes: Vec::new(),
            roles: Vec::new(),
        }
    }

    /// Trusts connections from these networks. Everything that runs there can act as every tenant: name the
    /// gateway's own, not the cluster's.
    pub fn from_networks<N: Into<String>>(mut self, networks: impl IntoIterator<Item = N>) -> Self {
        self.networks.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Trusts connections whose [`PeerIdentity`] is this one.
    pub fn from_peer(mut self, identity: &str) -> Self {
        self.peers.push(identity.to_owned());
        self
    }

    /// The header that names the principal, always of this kind. A request without it is refused. It is taken
    /// off every request.
    pub fn principal_header(mut self, name: HeaderName, kind: PrincipalKind) -> Self {
        self.who = Some(Who::Header(name, kind));
        self
    }

    /// The principal of every request that has no credential of its own: the gateway itself, say.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.who = Some(Who::Fixed(principal));
        self
    }

    /// What such a request may do.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// The roles of such a request.
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// The tenant's header.
    pub(crate) fn tenant_header(&self) -> &HeaderName {
        &self.header
    }

    /// The principal's header.
    pub(crate) fn asserted_header(&self) -> Option<&HeaderName> {
        match &self.who {
            Some(Who::Header(name, _)) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn build(self) -> Result<Gateway, ConfigError> {
        let error = |what: &str| Err(ConfigError::new(format!("tenant_auth: `ingress`: {what}")));
        let networks = self.networks.iter().map(|text| text.parse());
        let networks = networks.collect::<Result<Box<[Network]>, _>>()?;
        let peers = self.peers.iter().map(|text| PeerIdentity::parse(text));
        let peers = peers.collect::<Result<Box<[PeerIdentity]>, _>>()?;
        if networks.is_empty() && peers.is_empty() {
            return error("nobody is trusted; add `.from_networks([..])` or `.from_peer(..)`");
        }
        if networks
            .iter()
            .any(|network| network.to_string().ends_with("/0"))
        {
            return error("a network of prefix 0 trusts everybody; name the gateway's own");
        }
        let Some(who) = self.who else {
            return error(
                "nobody acts; add `.principal_header(..)`, or `.principal(..)` for the gateway itself",
            );
        };
        if matches!(&who, Who::Header(name, _) if *name == self.header) {
            return error("tenant and principal cannot stand in one header");
        }
        Ok(Gateway {
            header: self.header,
            networks,
            peers,
            who,
            scopes: self.scopes,
            roles: self.roles,
            known: Cache::new(Gateway::CAPACITY),
        })
    }
}

/// A checked [`Ingress`].
pub(crate) struct Gateway {
    header: HeaderName,
    networks: Box<[Network]>,
    peers: Box<[PeerIdentity]>,
    who: Who,
    scopes: Vec<String>,
    roles: Vec<String>,
    /// One identity for all requests of a principal, as a token has one: budgets and caches hang on it.
    known: Cache<(TenantId, PrincipalId), Arc<Identity>>,
}

/// What a gateway says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assertion {
    /// The peer is not trusted: nothing.
    Untrusted,
    /// The peer is trusted and names nobody.
    Missing,
    /// It names a tenant, and who acts.
    Named(TenantId, Principal),
}

impl Gateway {
    /// The most identities that are remembered.
    const CAPACITY: usize = 10_000;

    /// What the gateway says.
    ///
    /// # Errors
    ///
    /// 400 if a trusted peer's headers stand more than once, are no ids, or name a tenant and no principal.
    pub(crate) fn read(&self, head: &RequestHead<'_>) -> Result<Assertion, Rejection> {
        if !self.trusts(head) {
            return Ok(Assertion::Untrusted);
        }
        let malformed = || Rejection::malformed("ingress_malformed");
        let Some(tenant) = only(head, &self.header)? else {
            return Ok(Assertion::Missing);
        };
        let tenant = TenantId::parse(tenant).map_err(|_| malformed())?;
        let principal = match &self.who {
            Who::Fixed(principal) => principal.clone(),
            Who::Header(name, kind) => {
                let id = only(head, name)?.ok_or_else(malformed)?;
                Principal::new(*kind, PrincipalId::parse(id).map_err(|_| malformed())?)
            }
        };
        Ok(Assertion::Named(tenant, principal))
    }

    /// A credential's identity is whom the gateway names.
    pub(crate) fn compare(
        &self,
        identity: &Arc<Identity>,
        tenant: &TenantId,
        principal: &Principal,
    ) -> Result<(), Rejection> {
        if identity.tenant().id() != tenant {
            return Err(Rejection::tenant_mismatch().with_identity(Arc::clone(identity)));
        }
        let named = matches!(self.who, Who::Header(..));
        if named && identity.principal() != principal {
            return Err(
                Rejection::malformed("ingress_principal").with_identity(Arc::clone(identity))
            );
        }
        Ok(())
    }

    /// The identity of a request that has no credential of its own.
    pub(crate) fn identify(
        self: &Arc<Self>,
        resolver: &Resolver,
        tenant: TenantId,
        principal: Principal,
    ) -> Lookup<Result<Arc<Identity>, Rejection>> {
        let key = (tenant, principal.id().clone());
        if let Some(identity) = self.known.get(&key).filter(|known| known.ended().is_none()) {
            return Lookup::Ready(Ok(identity));
        }
        let claims = Claims::new(key.0.clone(), principal, UnixTime::MAX)
            .scopes(self.scopes.iter().cloned())
            .roles(self.roles.iter().cloned());
        let gateway = Arc::clone(self);
        resolver.resolve(claims).map(move |resolved| {
            let identity = resolved?;
            gateway.known.insert(key, Arc::clone(&identity));
            Ok(identity)
        })
    }

    fn trusts(&self, head: &RequestHead<'_>) -> bool {
        let extensions = head.extensions();
        let certificate = extensions.get::<PeerIdentity>();
        let address = ClientAddress::of(extensions).peer();
        certificate.is_some_and(|peer| self.peers.contains(peer))
            || address
                .is_some_and(|peer| self.networks.iter().any(|network| network.contains(peer)))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("header", &self.header)
            .field("networks", &self.networks)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// The one value of a header that the door has set apart.
fn only<'a>(head: &RequestHead<'a>, name: &HeaderName) -> Result<Option<&'a str>, Rejection> {
    let mut values = head.internal().iter().filter(|(known, _)| known == name);
    let malformed = || Rejection::malformed("ingress_malformed");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(malformed()),
        (Some((_, value)), None) => text(value).ok_or_else(malformed).map(Some),
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}
