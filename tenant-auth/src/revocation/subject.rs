//! What a credential in use is revoked by: its own names, and those of all that it was derived from.

#[cfg(test)]
use tenant_context::Claims;
use tenant_context::{CredentialId, Identity, Parent, Principal, PrincipalId, TenantId, UnixTime};

/// A credential in use, as revocations see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(super) tenant: &'a TenantId,
    /// The tenant that an operator comes from: what its credential was derived from is revoked there.
    pub(super) staff: Option<&'a TenantId>,
    pub(super) session: Option<&'a CredentialId>,
    pub(super) expires_at: UnixTime,
    own: Link<'a>,
    parents: &'a [Parent],
    principal: &'a Principal,
    actors: &'a [Principal],
}

/// One credential of those that have to stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    /// Its name, if it may be a token.
    pub(super) token: Option<&'a CredentialId>,
    /// Its name, if it may be an API key.
    pub(super) api_key: Option<&'a CredentialId>,
    /// The API key that was presented beside it.
    pub(super) beside: Option<&'a CredentialId>,
    /// Who issued it. An API key has no issuer.
    pub(super) issuer: Option<&'a str>,
    pub(super) kid: Option<&'a str>,
    /// What does not say when it was issued is older than every revocation.
    pub(super) issued_at: UnixTime,
    /// How many delegations there have been since: so many of the actors it does not name.
    depth: usize,
}

impl<'a> Subject<'a> {
    /// The credential itself, then its parents.
    pub(super) fn links(&self) -> impl Iterator<Item = Link<'a>> + use<'a> {
        let parents = self.parents.iter().zip(1..).map(Link::of);
        std::iter::once(self.own).chain(parents)
    }

    /// Those that were issued within its own tenant: all but the last, if that is one of the staff.
    pub(super) fn at_home(&self) -> impl Iterator<Item = Link<'a>> + use<'a> {
        let all = self.parents.len().saturating_add(1);
        self.links().take(match self.staff {
            Some(_) => all.saturating_sub(1).max(1),
            None => all,
        })
    }

    /// The one that was issued within the tenant of the staff: what an operator came with.
    pub(super) fn abroad(&self) -> Option<Link<'a>> {
        self.parents
            .last()
            .map(|parent| Link::of((parent, self.parents.len())))
    }

    /// Whom a link names: on whose behalf, and who acted then.
    pub(super) fn named_by(
        &self,
        link: &Link<'_>,
    ) -> impl Iterator<Item = &'a PrincipalId> + use<'a> {
        let actors = self.actors.get(link.depth..).unwrap_or_default();
        std::iter::once(self.principal)
            .chain(actors)
            .map(Principal::id)
    }

    /// The member of the staff: who acted first.
    pub(super) fn operator(&self) -> Option<&'a PrincipalId> {
        self.actors.last().map(Principal::id)
    }

    pub(super) const fn is_token(&self) -> bool {
        self.own.issuer.is_some()
    }
}

impl<'a> Link<'a> {
    /// The credential that is presented.
    fn own(
        credential: Option<&'a CredentialId>,
        issuer: Option<&'a str>,
        issued_at: Option<UnixTime>,
    ) -> Self {
        Self {
            token: credential.filter(|_| issuer.is_some()),
            api_key: credential.filter(|_| issuer.is_none()),
            beside: None,
            issuer,
            kid: None,
            issued_at: issued_at.unwrap_or_default(),
            depth: 0,
        }
    }

    /// A parent that does not say what it is may be either.
    fn of((parent, depth): (&'a Parent, usize)) -> Self {
        let credential = Some(&parent.credential);
        Self {
            token: credential,
            api_key: credential.filter(|_| parent.issuer.is_none()),
            beside: parent.api_key.as_ref(),
            issuer: parent.issuer.as_deref(),
            kid: parent.key_id.as_deref(),
            issued_at: parent.issued_at.unwrap_or_default(),
            depth,
        }
    }
}

impl<'a> From<&'a Identity> for Subject<'a> {
    fn from(identity: &'a Identity) -> Self {
        let (credential, issuer) = (identity.credential(), identity.issuer());
        Self {
            tenant: identity.tenant().id(),
            staff: identity.operator_of(),
            session: identity.session(),
            expires_at: identity.expires_at(),
            own: Link {
                beside: identity.api_key(),
                kid: identity.key_id(),
                ..Link::own(credential, issuer, identity.issued_at())
            },
            parents: identity.parents(),
            principal: identity.principal(),
            actors: identity.actors(),
        }
    }
}

#[cfg(test)]
impl<'a> From<&'a Claims> for Subject<'a> {
    fn from(claims: &'a Claims) -> Self {
        let (credential, issuer) = (claims.credential.as_ref(), claims.issuer.as_deref());
        Self {
            tenant: &claims.tenant,
            staff: claims.operator_of.as_ref(),
            session: claims.session.as_ref(),
            expires_at: claims.expires_at,
            own: Link {
                beside: claims.api_key.as_ref(),
                kid: claims.key_id.as_deref(),
                ..Link::own(credential, issuer, claims.issued_at)
            },
            parents: &claims.parents,
            principal: &claims.principal,
            actors: &claims.actors,
        }
    }
}
