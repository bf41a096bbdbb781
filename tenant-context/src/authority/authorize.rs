//! The seam for those who outgrow scopes.

use crate::{Lookup, Rejection, TenantContext};

/// Decides whether a verified caller may do something: the seam to a policy engine (Cedar, `OpenFGA`) for
/// those who need more than scopes, roles, prefixes and owners. There is no policy language here.
///
/// Ask it through [`TenantContext::authorize`], which looks first whether the context still holds, and
/// records a refusal. It only ever narrows: it comes after the identity layer, and beside
/// [`TenantContext::require`].
///
/// ```
/// use tenant_context::{Authorize, Lookup, Rejection, TenantContext};
///
/// # #[derive(Clone)] struct OpenFga;
/// # impl OpenFga { async fn check(&self, _: &str, _: &str, _: &str, _: &str) -> Result<bool, std::io::Error> { Ok(true) } }
/// struct Relations(OpenFga);
///
/// impl Authorize for Relations {
///     fn authorize(&self, tenant: &TenantContext, action: &str, resource: &str) -> Lookup<Result<(), Rejection>> {
///         // One store per tenant: a tuple of one tenant is never looked at for another. And the kind with the id: an agent
///         // that is called as a person is, is not that person.
///         let actor = tenant.actor();
///         let (store, user) = (tenant.tenant_id().to_string(), format!("{}:{}", actor.kind().as_str(), actor.id()));
///         let (client, relation, object) = (self.0.clone(), action.to_owned(), resource.to_owned());
///         Lookup::pending(async move {
///             match client.check(&store, &user, &relation, &object).await {
///                 Ok(true) => Ok(()),
///                 Ok(false) => Err(Rejection::not_found()),                     // what it may not see is not there
///                 Err(down) => Err(Rejection::store_unavailable().with_source(down)),
///             }
///         })
///     }
/// }
///
/// async fn edit(tenant: TenantContext, relations: &Relations, id: u64) -> Result<(), Rejection> {
///     tenant.require("documents:write")?;                                       // what the credential may do at all
///     tenant.authorize(relations, "editor", &format!("document:{id}")).await?;  // what this user may do with this one
///     Ok(())
/// }
/// ```
///
/// An engine in the process (Cedar) answers at once, with [`Lookup::Ready`]:
///
/// ```
/// # use tenant_context::{Authorize, Lookup, Rejection, TenantContext};
/// # struct Policies;
/// # impl Policies { fn is_allowed(&self, _: &str, _: (&str, &str), _: &str, _: &str) -> bool { true } }
/// impl Authorize for Policies {
///     fn authorize(&self, tenant: &TenantContext, action: &str, resource: &str) -> Lookup<Result<(), Rejection>> {
///         let (tenant_id, actor) = (tenant.tenant_id().as_str(), tenant.actor());
///         Lookup::Ready(match self.is_allowed(tenant_id, (actor.kind().as_str(), actor.id().as_str()), action, resource) {
///             true => Ok(()),
///             false => Err(Rejection::insufficient_scope([action]).with_reason("policy")),
///         })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` decides nothing",
    note = "implement `tenant_context::Authorize` for it"
)]
pub trait Authorize: Send + Sync + 'static {
    /// Whether the caller may do `action` to `resource`, both in the application's words.
    ///
    /// Fail closed: what cannot be decided is a rejection.
    fn authorize(
        &self,
        tenant: &TenantContext,
        action: &str,
        resource: &str,
    ) -> Lookup<Result<(), Rejection>>;
}
