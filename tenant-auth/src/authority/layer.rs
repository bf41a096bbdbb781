//! The layers that require scopes and roles.

use std::sync::Arc;

use tenant_context::{Challenge, ConfigError, StackPart, stack::place};
use tower_layer::Layer;

use super::service::{Needed, Require, Rule};

/// Lets a request pass whose caller has these scopes, wildcards and roles taken into account
/// ([`TenantContext::require`](tenant_context::TenantContext::require)).
///
/// For all routes it stands in the stack, at its place; for some of them around these:
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tenant_auth::RequireScope;
///
/// let app: Router = Router::new()
///     .route("/reports", post(async || "made").route_layer(RequireScope::new("reports:write")))
///     .route("/reports/{id}", get(async || "read").route_layer(RequireScope::new("reports:read")));
/// ```
///
/// A request without a context is refused: with 500 where no identity layer stands outside, with 401 on a route
/// that is declared public.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequireScope(Arc<Rule>);

impl RequireScope {
    /// Requires this scope.
    pub fn new(scope: impl Into<Box<str>>) -> Self {
        Self(Rule::new(Needed::Scopes(vec![scope.into()])))
    }

    /// Requires each of these scopes; a refusal names them all.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is none: that would require nothing.
    pub fn all<S: Into<Box<str>>>(
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let scopes: Vec<Box<str>> = scopes.into_iter().map(Into::into).collect();
        if scopes.is_empty() {
            return Err(ConfigError::new(
                "RequireScope: no scope is named, which would require nothing; name one, or leave the layer out",
            ));
        }
        Ok(Self(Rule::new(Needed::Scopes(scopes))))
    }

    /// Lets requests without a context pass on routes that are declared public: for a layer that stands around
    /// these too, such as the stack's.
    pub fn except_public_routes(mut self) -> Self {
        Arc::make_mut(&mut self.0).except_public = true;
        self
    }

    /// How the scopes are asked for: name the resource's metadata here where clients discover their
    /// authorization server (RFC 9728). Default: `Bearer realm="api"`.
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        Arc::make_mut(&mut self.0).challenge = Some(Arc::new(challenge));
        self
    }
}

/// Lets a request pass whose caller has one of these roles itself, with all that it stands for: whoever acts for another
/// does not have the other's, and a token for less than the role allows is not in it
/// ([`Identity::acts_as`](tenant_context::Identity::acts_as)).
///
/// Prefer [`RequireScope`]: what a role allows is then said in one place,
/// [`Roles`](tenant_context::Roles), per tenant, and a token's scopes bound it. A role says who somebody is
/// in the tenant, for what no scope stands for. Where tokens name scopes, say of such a role that it stands for what these
/// name ([`RoleGrants::only_the_credentials`](tenant_context::RoleGrants::only_the_credentials)): one that is not known does
/// not count there.
///
/// ```
/// use axum::{Router, routing::post};
/// use tenant_auth::RequireRole;
///
/// let app: Router = Router::new()
///     .route("/members", post(async || "invited").route_layer(RequireRole::new("admin")));
/// ```
///
/// A request without a context is refused as by [`RequireScope`].
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequireRole(Arc<Rule>);

impl RequireRole {
    /// Requires this role.
    pub fn new(role: impl Into<Box<str>>) -> Self {
        Self(Rule::new(Needed::AnyRole(vec![role.into()])))
    }

    /// Requires one of these roles.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is none: nobody would pass.
    pub fn any<S: Into<Box<str>>>(roles: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        let roles: Vec<Box<str>> = roles.into_iter().map(Into::into).collect();
        if roles.is_empty() {
            return Err(ConfigError::new(
                "RequireRole: no role is named, so nobody would pass; name one",
            ));
        }
        Ok(Self(Rule::new(Needed::AnyRole(roles))))
    }

    /// As [`RequireScope::except_public_routes`].
    pub fn except_public_routes(mut self) -> Self {
        Arc::make_mut(&mut self.0).except_public = true;
        self
    }
}

impl StackPart for RequireScope {
    type Place = place::Authority;
}

impl StackPart for RequireRole {
    type Place = place::Authority;
}

impl<S> Layer<S> for RequireScope {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require::new(inner, Arc::clone(&self.0))
    }
}

impl<S> Layer<S> for RequireRole {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require::new(inner, Arc::clone(&self.0))
    }
}
