//! What handlers ask of a context.

use super::{Authorize, RoleGrants};
use crate::{Identity, Principal, PrincipalKind, Rejection, TenantContext, scope::current_trail};

impl Identity {
    /// Whether the credential and the roles together allow this scope, wildcards included.
    ///
    /// A credential that names scopes allows at most those; its roles only take away. What it names is nothing where
    /// none of its roles allows it. One that names no scopes allows what its roles map to in its tenant,
    /// unless an agent holds it: an agent has only what its credential names.
    pub fn allows(&self, scope: &str) -> bool {
        if self.is_limited() {
            let held = self.scopes().any(|held| super::scope_covers(held, scope));
            held && (self.roles().len() == 0 || self.any_role(|role| role.leaves(scope)))
        } else {
            self.roles_grant() && self.any_role(|role| role.allow(scope))
        }
    }

    /// The scopes that bound whatever is derived from this credential: those that it names, or those of
    /// its roles.
    pub fn ceiling(&self) -> Vec<Box<str>> {
        if self.is_limited() {
            return self.scopes().map(Into::into).collect();
        }
        let mut scopes = Vec::new();
        if self.roles_grant() {
            for role in self.roles() {
                let grants = self.role_mapping().grants(self.tenant(), role);
                scopes.extend(grants.iter().flat_map(|role| role.scopes()).map(Into::into));
            }
        }
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }

    /// What its roles leave of the [`ceiling`](Self::ceiling), as they are now: one of them allows each scope. `None` if they take
    /// nothing away.
    pub fn role_bounds(&self) -> Option<Vec<RoleGrants>> {
        if self.roles().len() == 0 {
            return None;
        }
        let grants = self.roles().filter_map(|role| {
            let grants = self.role_mapping().grants(self.tenant(), role)?;
            Some(if self.is_limited() {
                grants.left()
            } else {
                RoleGrants::clone(&grants)
            })
        });
        let grants: Vec<_> = grants.collect();
        let bounds = self.is_limited() || grants.iter().any(|role| role.exceptions().len() > 0);
        bounds.then_some(grants)
    }

    /// Whether the identity's roles allow anything: nobody who acts for another has the other's roles, and an agent has only
    /// what its credential names.
    pub fn roles_grant(&self) -> bool {
        self.actors().is_empty() && self.principal().kind() != PrincipalKind::Agent
    }

    /// Whether the principal acts in this role now. A role that the mapping knows counts with all that it stands
    /// for: not where the credential's scopes leave less of it, and not by way of somebody else's credential. Of one
    /// that the mapping does not know nobody can say what is left of it by scopes: it counts only for a credential
    /// that names none.
    pub fn acts_as(&self, role: &str) -> bool {
        if !self.roles_grant() || !self.has_role(role) {
            return false;
        }
        if !self.is_limited() {
            return true;
        }
        let grants = self.role_mapping().grants(self.tenant(), role);
        grants.is_some_and(|role| {
            role.is_within(|needed| self.scopes().any(|held| super::scope_covers(held, needed)))
        })
    }

    fn any_role(&self, allows: impl Fn(&RoleGrants) -> bool) -> bool {
        self.roles().any(|role| {
            let grants = self.role_mapping().grants(self.tenant(), role);
            grants.is_some_and(|role| allows(&role))
        })
    }
}

impl TenantContext {
    /// Requires a scope, for the work that follows.
    ///
    /// ```
    /// use tenant_context::{Rejection, TenantContext};
    ///
    /// async fn end_session(tenant: TenantContext) -> Result<(), Rejection> {
    ///     tenant.require("sessions:write")?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// 403 that names the scope, recorded in the current trail; what [`check`](Self::check) refuses.
    pub fn require(&self, scope: &str) -> Result<(), Rejection> {
        self.require_all([scope])
    }

    /// Requires each of these scopes.
    ///
    /// # Errors
    ///
    /// 403 that names all of them, those that are there too (RFC 6750 §3.1): so the client asks once. What
    /// [`check`](Self::check) refuses.
    pub fn require_all<'s>(
        &self,
        scopes: impl IntoIterator<Item = &'s str, IntoIter: Clone>,
    ) -> Result<(), Rejection> {
        self.check()?;
        let scopes = scopes.into_iter();
        if scopes.clone().all(|scope| self.allows(scope)) {
            Ok(())
        } else {
            Err(self.deny(Rejection::insufficient_scope(scopes)))
        }
    }

    /// Requires a role, with all that it stands for ([`Identity::acts_as`]). Whoever acts for another does not have the
    /// other's roles, an agent has none that count, and an administrator's token or job for `reports:read` is
    /// no administrator. Prefer scopes: what a role allows is then said in one place.
    ///
    /// # Errors
    ///
    /// 403; what [`check`](Self::check) refuses.
    pub fn require_role(&self, role: &str) -> Result<(), Rejection> {
        self.require_any_role([role])
    }

    /// Requires one of these roles.
    ///
    /// # Errors
    ///
    /// As [`require_role`](Self::require_role).
    pub fn require_any_role<'r>(
        &self,
        roles: impl IntoIterator<Item = &'r str>,
    ) -> Result<(), Rejection> {
        self.check()?;
        if roles.into_iter().any(|role| self.acts_as(role)) {
            return Ok(());
        }
        let rejection = Rejection::insufficient_scope(None::<&str>).with_reason("role");
        Err(self.deny(rejection))
    }

    /// Requires that a resource lies within the credential's
    /// [`resource_prefix`](Identity::resource_prefix), if it has one: `projects/7` has
    /// `projects/7/files/1` in it, and not `projects/77`.
    ///
    /// # Errors
    ///
    /// The one 404; what [`check`](Self::check) refuses.
    pub fn require_resource(&self, path: &str) -> Result<(), Rejection> {
        self.check()?;
        if self.reaches(Some(path)) {
            Ok(())
        } else {
            Err(self.deny(Rejection::not_found().with_reason("resource_prefix")))
        }
    }

    /// Requires that the resource is the principal's own, whoever acts for it: of the same id and the same kind.
    ///
    /// # Errors
    ///
    /// The one 404; what [`check`](Self::check) refuses.
    pub fn require_owner(&self, owner: &Principal) -> Result<(), Rejection> {
        self.check()?;
        if self.principal() == owner {
            Ok(())
        } else {
            Err(self.deny(Rejection::not_found().with_reason("owner")))
        }
    }

    /// Asks a policy engine. See [`Authorize`].
    ///
    /// # Errors
    ///
    /// What it refuses, and what [`check`](Self::check) refuses, before and after it was asked.
    pub async fn authorize(
        &self,
        policy: &(impl Authorize + ?Sized),
        action: &str,
        resource: &str,
    ) -> Result<(), Rejection> {
        self.check()?;
        let answer = policy.authorize(self, action, resource).wait().await;
        answer.map_err(|rejection| self.deny(rejection))?;
        // It may have taken its time.
        self.check()
    }

    /// Whether a resource lies within the credential's prefix; one whose path nobody knows does not.
    pub(crate) fn reaches(&self, path: Option<&str>) -> bool {
        match (self.resource_prefix(), path) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(prefix), Some(path)) => prefix_covers(prefix, path),
        }
    }

    /// Records a refusal in the current scope's trail, and hands it back.
    #[cold]
    pub fn deny(&self, rejection: Rejection) -> Rejection {
        tracing::debug!(tenant = %self.tenant_id(), reason = rejection.reason(), "the caller may not do this");
        match current_trail() {
            Some(trail) => trail.deny(rejection),
            None => rejection,
        }
    }
}

/// Whether a path lies within a resource prefix: by whole segments, and a path that could be read as another one
/// (`..`, `%2e`) is in nothing.
pub fn prefix_covers(prefix: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    let whole =
        rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/') || prefix.is_empty();
    let ambiguous = path.split('/').any(|segment| matches!(segment, "." | ".."))
        || path.bytes().any(|byte| matches!(byte, b'%' | b'\\' | 0));
    whole && !ambiguous
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::prefix_covers;

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        for (prefix, path, inside) in [
            ("projects/7", "projects/7", true),
            ("projects/7", "projects/7/files/1", true),
            ("projects/7", "projects/77", false),
            ("projects/7/", "projects/7/files/1", true),
            ("projects/7/", "projects/7", false),
            ("projects/7", "Projects/7", false),
            ("projects/7", "projects", false),
            ("projects/7", "/projects/7", false),
            ("projects/7", "projects/7/../8", false),
            ("projects/7", "projects/7/%2e%2e/8", false),
            ("projects/7", "projects/7/..\\8", false),
            ("projects/7", "projects/7/..x", true),
        ] {
            assert_eq!(prefix_covers(prefix, path), inside, "{prefix} {path}");
        }
    }
}
