//! All layers in their one order, which the compiler checks.

use std::{fmt, marker::PhantomData};

use tower_layer::{Identity as NoLayer, Layer, Stack};

use crate::{Authenticate, ClientAddressLayer, IdentityLayer, RenderLayer, RequestIdLayer};

/// What a layer is in a [`TenantStack`]. Implemented by the layers of the tenant crates, and by a
/// layer of your own that takes the place of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no place in a `TenantStack`",
    note = "a stack takes, in this order: client_address, request_id, audit, identity, limits, authority, cache; put other layers around the stack or into the application"
)]
pub trait StackPart {
    /// One of [`place`]'s types.
    type Place;
}

/// The audit's place has two parts: the layer itself, outermost, and a gate inside of all others, where the
/// tenant is known and a cached answer has gone by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no audit layer",
    note = "use `tenant_audit::layer(..)`; an audit layer of your own implements `AuditPart`, with `tower_layer::Identity` for a gate that lets everything pass"
)]
pub trait AuditPart: StackPart<Place = place::Audit> {
    /// The innermost layer.
    type Gate;

    /// Makes it.
    fn gate(&self) -> Self::Gate;
}

/// The places of a stack.
pub mod place {
    macro_rules! place {
        ($($(#[$doc:meta])* $name:ident),*) => {$(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            #[non_exhaustive]
            pub struct $name;
        )*};
    }
    place! {
        /// Outermost: opens and closes the trail.
        Audit,
        /// Budgets, decided with a verified context.
        Limits,
        /// Scopes and roles.
        Authority,
        /// Responses kept per tenant.
        Cache
    }
}

/// How far a stack is built.
pub mod stage {
    macro_rules! stage {
        ($($(#[$doc:meta])* $name:ident),*) => {$(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            #[non_exhaustive]
            pub struct $name;
        )*};
    }
    stage! {
        /// Nothing yet.
        Start,
        /// `client_address` stands.
        Addressed,
        /// `request_id` stands.
        Numbered,
        /// `audit` stands.
        Audited,
        /// `identity` stands: from here on the stack is a layer.
        Identified,
        /// `limits` stand.
        Limited,
        /// `authority` stands.
        Authorized,
        /// `cache` stands.
        Cached
    }
}

/// The layers of the tenant crates in their one order: client address, request id, audit, (render), identity,
/// limits, authority, cache, handler. A wrong order does not compile, and a stack without identity
/// is no layer. Only identity is required; [`RenderLayer`] is always included.
///
/// Wrap the *finished* `Router`: what comes back is no router, so nothing can be added outside of the stack by
/// mistake. A route of another router that is merged around it does stand outside.
///
/// What comes back is served by `axum::serve(listener, Shared::new(MapResponse::new(app, |answer| answer.map(Body::new))))`, with
/// `tower`'s features `make` and `util`; with `ConnectInfo` by
/// `Router::new().fallback_service(app).into_make_service_with_connect_info::<SocketAddr>()`.
///
/// ```
/// # use std::sync::Arc;
/// # use tenant_context::{Authenticate, Identity, IdentityLayer, Lookup, Rejection, RequestHead, TenantStack};
/// # struct Mesh;
/// # impl Authenticate for Mesh {
/// #     fn authenticate(&self, _: &RequestHead<'_>) -> Lookup<Result<Arc<Identity>, Rejection>> {
/// #         Lookup::Ready(Err(Rejection::credential_missing()))
/// #     }
/// # }
/// use tower_layer::Layer;
///
/// let identity = IdentityLayer::builder().build(Mesh)?;
/// let stack = TenantStack::new().identity(identity);
/// let app = stack.layer(axum::Router::<()>::new());
/// # Ok::<(), tenant_context::ConfigError>(())
/// ```
///
/// ```compile_fail
/// # fn stack(identity: tenant_context::IdentityLayer<std::sync::Arc<dyn tenant_context::Authenticate>>) {
/// use tower_layer::Layer;
/// tenant_context::TenantStack::new().layer(axum::Router::<()>::new());     // no identity: no layer
/// # }
/// ```
#[must_use = "a stack does nothing until it wraps a service"]
pub struct TenantStack<L, Stage, Gate = NoLayer> {
    layers: L,
    /// Innermost: the audit's second part.
    gate: Gate,
    render: RenderLayer,
    stage: PhantomData<fn() -> Stage>,
}

impl TenantStack<NoLayer, stage::Start> {
    /// A stack without layers.
    pub fn new() -> Self {
        Self {
            layers: NoLayer::new(),
            gate: NoLayer::new(),
            render: RenderLayer::new(),
            stage: PhantomData,
        }
    }

    /// Finds the client's address behind trusted proxies, for all layers that follow.
    pub fn client_address(
        self,
        layer: ClientAddressLayer,
    ) -> TenantStack<Stack<ClientAddressLayer, NoLayer>, stage::Addressed> {
        self.push(layer)
    }
}

impl Default for TenantStack<NoLayer, stage::Start> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L, Stage, Gate> TenantStack<L, Stage, Gate> {
    fn push<Inner, Next>(self, layer: Inner) -> TenantStack<Stack<Inner, L>, Next, Gate> {
        TenantStack {
            layers: Stack::new(layer, self.layers),
            gate: self.gate,
            render: self.render,
            stage: PhantomData,
        }
    }

    /// Renders refusals in the application's own form.
    pub fn render(mut self, render: RenderLayer) -> Self
    where
        Stage: BeforeRender,
    {
        self.render = render;
        self
    }
}

/// A stage at which it is not yet decided how refusals are rendered.
#[diagnostic::on_unimplemented(
    message = "how refusals are rendered is said before identity, whose refusals it renders",
    note = "call `.render(..)` before `.identity(..)`"
)]
pub trait BeforeRender {}
impl BeforeRender for stage::Start {}
impl BeforeRender for stage::Addressed {}
impl BeforeRender for stage::Numbered {}
impl BeforeRender for stage::Audited {}

/// A stage that the request id may follow.
#[diagnostic::on_unimplemented(
    message = "the request id comes before audit and identity, and once",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeRequestId {}
impl BeforeRequestId for stage::Start {}
impl BeforeRequestId for stage::Addressed {}

/// A stage that an audit layer may follow.
#[diagnostic::on_unimplemented(
    message = "audit stands outside of identity, and once: it has to see every refusal",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeAudit {}
impl BeforeAudit for stage::Start {}
impl BeforeAudit for stage::Addressed {}
impl BeforeAudit for stage::Numbered {}

/// A stage that the identity layer may follow.
#[diagnostic::on_unimplemented(
    message = "a stack has one identity layer",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeIdentity {}
impl BeforeIdentity for stage::Start {}
impl BeforeIdentity for stage::Addressed {}
impl BeforeIdentity for stage::Numbered {}
impl BeforeIdentity for stage::Audited {}

/// A stage that limits may follow.
#[diagnostic::on_unimplemented(
    message = "limits come right after identity: they count a verified tenant's requests",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeLimits {}
impl BeforeLimits for stage::Identified {}

/// A stage that scopes and roles may follow.
#[diagnostic::on_unimplemented(
    message = "scopes and roles come after identity and limits, before the cache, and once",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeAuthority {}
impl BeforeAuthority for stage::Identified {}
impl BeforeAuthority for stage::Limited {}

/// A stage that the cache may follow.
#[diagnostic::on_unimplemented(
    message = "the cache comes last, after identity, and once",
    note = "the order is: client_address, request_id, audit, identity, limits, authority, cache"
)]
pub trait BeforeCache {}
impl BeforeCache for stage::Identified {}
impl BeforeCache for stage::Limited {}
impl BeforeCache for stage::Authorized {}

/// A stage at which a stack is a layer: identity stands.
#[diagnostic::on_unimplemented(
    message = "this stack has no identity layer, so it is no layer yet",
    note = "add `.identity(tenant_auth::layer(..).build()?)`"
)]
pub trait Complete {}
impl Complete for stage::Identified {}
impl Complete for stage::Limited {}
impl Complete for stage::Authorized {}
impl Complete for stage::Cached {}

impl<L, Stage, Gate> TenantStack<L, Stage, Gate> {
    /// Validates or makes `x-request-id`, echoes and records it.
    pub fn request_id(
        self,
        layer: RequestIdLayer,
    ) -> TenantStack<Stack<RequestIdLayer, L>, stage::Numbered, Gate>
    where
        Stage: BeforeRequestId,
    {
        self.push(layer)
    }

    /// Records every request, refusals included. The layer's second part, its gate, goes inside of all
    /// others, directly around the application.
    pub fn audit<A: AuditPart>(self, layer: A) -> TenantStack<Stack<A, L>, stage::Audited, A::Gate>
    where
        Stage: BeforeAudit,
    {
        TenantStack {
            gate: layer.gate(),
            layers: Stack::new(layer, self.layers),
            render: self.render,
            stage: PhantomData,
        }
    }

    /// Verifies who is asking. The renderer stands directly outside of it.
    pub fn identity<A: Authenticate>(
        self,
        layer: IdentityLayer<A>,
    ) -> TenantStack<Stack<IdentityLayer<A>, Stack<RenderLayer, L>>, stage::Identified, Gate>
    where
        Stage: BeforeIdentity,
    {
        let render = self.render.clone();
        self.push::<_, Stage>(render).push(layer)
    }

    /// Enforces budgets.
    pub fn limits<M: StackPart<Place = place::Limits>>(
        self,
        layer: M,
    ) -> TenantStack<Stack<M, L>, stage::Limited, Gate>
    where
        Stage: BeforeLimits,
    {
        self.push(layer)
    }

    /// Checks scopes and roles.
    pub fn authority<M: StackPart<Place = place::Authority>>(
        self,
        layer: M,
    ) -> TenantStack<Stack<M, L>, stage::Authorized, Gate>
    where
        Stage: BeforeAuthority,
    {
        self.push(layer)
    }

    /// Keeps responses, per tenant.
    pub fn cache<C: StackPart<Place = place::Cache>>(
        self,
        layer: C,
    ) -> TenantStack<Stack<C, L>, stage::Cached, Gate>
    where
        Stage: BeforeCache,
    {
        self.push(layer)
    }
}

impl<S, L, Stage, Gate> Layer<S> for TenantStack<L, Stage, Gate>
where
    Gate: Layer<S>,
    L: Layer<Gate::Service>,
    Stage: Complete,
{
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.layers.layer(self.gate.layer(inner))
    }
}

impl<L: Clone, Stage, Gate: Clone> Clone for TenantStack<L, Stage, Gate> {
    fn clone(&self) -> Self {
        Self {
            layers: self.layers.clone(),
            gate: self.gate.clone(),
            render: self.render.clone(),
            stage: PhantomData,
        }
    }
}

impl<L: fmt::Debug, Stage, Gate> fmt::Debug for TenantStack<L, Stage, Gate> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantStack")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}
