//! What is revoked: bounded, and never forgotten while it could matter. Pure: no clock, no lock.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tenant_context::{TenantId, UnixTime};

use super::{
    Target,
    entries::{Cut, OfIssuer, OfTenant},
    subject::{Link, Subject},
};
use crate::{Issuer, issuer};

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The longest life of a token, from its `iat` to its `exp`.
    pub(crate) longest_life: Duration,
    pub(crate) capacity: usize,
    /// Of one tenant's tokens, of one tenant's API keys, and of one issuer's keys.
    pub(crate) each_capacity: usize,
}

impl Bounds {
    /// How long after its revocation a token could still be presented: its life, and an issuer's clock
    /// that is ahead by its leeway, which is granted at the end as well.
    fn lifetime(&self) -> Duration {
        self.longest_life
            .saturating_add(Issuer::MAX_LEEWAY.saturating_mul(2))
    }
}

/// All that is revoked.
#[derive(Debug, Default)]
pub(crate) struct Set {
    tenants: HashMap<TenantId, OfTenant>,
    issuers: HashMap<Arc<str>, OfIssuer>,
    /// By the names of templates: they stand for all issuers whose names they give.
    templates: HashMap<Arc<str>, OfIssuer>,
    /// Tenants whose staff was seen in others: what is revoked there reaches all tenants. As many as
    /// issuers name.
    staff: HashSet<TenantId>,
    len: usize,
    next_sweep: UnixTime,
    /// When entries were last forgotten: a token that had expired by then is never accepted again,
    /// wherever the clock is set to.
    swept_at: UnixTime,
    /// The latest expiry and the latest issue of all credentials that were looked up.
    latest_expiry: UnixTime,
    latest_issue: UnixTime,
    full: bool,
}

/// Entries that one entry can stand for, which then revokes more than they do.
#[derive(Clone, PartialEq, Eq)]
enum Group {
    /// The tokens, sessions and subjects of a tenant: all its tokens until now.
    Tokens(TenantId),
    /// The API keys of a tenant: all those that were issued until now.
    ApiKeys(TenantId),
    /// The keys of an issuer: all its tokens.
    SigningKeys(Arc<str>),
}

impl Set {
    /// Adds a revocation. What does not fit widens what is revoked; nothing that was revoked is
    /// accepted again.
    pub(crate) fn insert(&mut self, target: &Target, now: UnixTime, bounds: &Bounds) {
        if now >= self.next_sweep {
            self.sweep(now, bounds);
        }
        self.make_room(target, now, bounds);
        if self.full {
            return;
        }
        let until = now
            .saturating_add(bounds.lifetime())
            .max(self.latest_expiry);
        let added = self.put(target, until);
        self.len = self.len.saturating_add(usize::from(added));
    }

    /// Whether it is a new entry.
    fn put(&mut self, target: &Target, until: UnixTime) -> bool {
        let cut = |before: &UnixTime| Cut {
            before: *before,
            until,
        };
        match target {
            Target::Token { tenant, credential } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                of.tokens.insert(credential.clone(), until).is_none()
            }
            Target::Session { tenant, session } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                of.sessions.insert(session.clone(), until).is_none()
            }
            Target::Subject {
                tenant,
                subject,
                before,
            } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                let mut slot = of.subjects.get(subject).copied();
                let new = Cut::widen(&mut slot, cut(before));
                of.subjects.extend(slot.map(|cut| (subject.clone(), cut)));
                new
            }
            Target::Tenant { tenant, before } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                Cut::widen(&mut of.all, cut(before))
            }
            Target::Issuer { issuer, before } => {
                Cut::widen(&mut self.of_issuer(issuer).all, cut(before))
            }
            Target::SigningKey { issuer, kid } => {
                let of = self.of_issuer(issuer);
                !of.is_banned() && of.keys.insert(Arc::clone(kid))
            }
            Target::ApiKey { tenant, id } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                of.api_keys.insert(id.clone())
            }
        }
    }

    fn of_issuer(&mut self, name: &Arc<str>) -> &mut OfIssuer {
        let map = if issuer::is_template(name) {
            &mut self.templates
        } else {
            &mut self.issuers
        };
        map.entry(Arc::clone(name)).or_default()
    }

    fn contains(&self, target: &Target) -> bool {
        let of = |tenant| self.tenants.get(tenant);
        let of_issuer = |name| {
            let templates = || self.templates.get(name);
            self.issuers.get(name).or_else(templates)
        };
        match target {
            Target::Token { tenant, credential } => {
                of(tenant).is_some_and(|of| of.tokens.contains_key(credential))
            }
            Target::Session { tenant, session } => {
                of(tenant).is_some_and(|of| of.sessions.contains_key(session))
            }
            Target::Subject {
                tenant, subject, ..
            } => of(tenant).is_some_and(|of| of.subjects.contains_key(subject)),
            Target::Tenant { tenant, .. } => of(tenant).is_some_and(|of| of.all.is_some()),
            Target::ApiKey { tenant, id } => of(tenant).is_some_and(|of| of.api_keys.contains(id)),
            Target::Issuer { issuer, .. } => of_issuer(issuer).is_some_and(|of| of.all.is_some()),
            Target::SigningKey { issuer, kid } => {
                of_issuer(issuer).is_some_and(|of| of.is_banned() || of.keys.contains(kid))
            }
        }
    }

    /// At its own bound a group becomes one entry, which concerns nobody else. At the bound of all, that
    /// befalls the largest of them. If there is none left to widen, the set is full.
    fn make_room(&mut self, target: &Target, now: UnixTime, bounds: &Bounds) {
        if self.contains(target) {
            // Only its time can change, which takes no room.
            return;
        }
        if let Some(own) = target.group()
            && self.size(&own) >= bounds.each_capacity
        {
            self.widen(&own, now, bounds);
        }
        if self.len >= bounds.capacity {
            self.sweep(now, bounds);
        }
        while self.len >= bounds.capacity && !self.contains(target) {
            let Some(group) = self.largest() else {
                self.full = true;
                return;
            };
            self.widen(&group, now, bounds);
        }
    }

    fn size(&self, group: &Group) -> usize {
        match group {
            Group::Tokens(tenant) => self.tenants.get(tenant).map_or(0, OfTenant::narrow),
            Group::ApiKeys(tenant) => self.tenants.get(tenant).map_or(0, |of| of.api_keys.len()),
            Group::SigningKeys(issuer) => {
                let templates = || self.templates.get(issuer);
                let of = self.issuers.get(issuer).or_else(templates);
                of.map_or(0, |of| of.keys.len())
            }
        }
    }

    /// The group that gives back most when it is widened.
    fn largest(&self) -> Option<Group> {
        let tenants = self.tenants.iter().flat_map(|(id, of)| {
            [
                (of.narrow(), Group::Tokens(id.clone())),
                (of.api_keys.len(), Group::ApiKeys(id.clone())),
            ]
        });
        let issuers = self.issuers.iter().chain(&self.templates);
        let issuers =
            issuers.map(|(name, of)| (of.keys.len(), Group::SigningKeys(Arc::clone(name))));
        tenants
            .chain(issuers)
            .filter(|(size, _)| *size > 1)
            .max_by_key(|(size, _)| *size)
            .map(|(_, group)| group)
    }

    fn widen(&mut self, group: &Group, now: UnixTime, bounds: &Bounds) {
        // Later than the issue of everything that can have been revoked.
        let latest = now
            .saturating_add(Issuer::MAX_LEEWAY)
            .max(self.latest_issue);
        let before = latest.saturating_add(Duration::from_nanos(1));
        let until = now
            .saturating_add(bounds.lifetime())
            .max(self.latest_expiry);
        match group {
            Group::Tokens(tenant) => {
                if let Some(of) = self.tenants.get_mut(tenant) {
                    of.cut(Cut { before, until });
                }
                tracing::warn!(%tenant, "too many revocations: all tokens of the tenant that were issued until now are refused; raise the capacity");
            }
            Group::ApiKeys(tenant) => {
                if let Some(of) = self.tenants.get_mut(tenant) {
                    of.cut_api_keys(before);
                }
                tracing::warn!(%tenant, "too many revocations: all API keys of the tenant that were issued until now are refused; raise the capacity");
            }
            Group::SigningKeys(issuer) => {
                self.of_issuer(issuer).ban();
                tracing::warn!(%issuer, "too many revocations of its keys: all tokens of the issuer are refused; raise the capacity");
            }
        }
        self.count();
    }

    fn count(&mut self) {
        let tenants = self.tenants.values().map(OfTenant::len);
        let issuers = self.issuers.values().chain(self.templates.values());
        let all = tenants.chain(issuers.map(OfIssuer::len));
        self.len = all.fold(0, usize::saturating_add);
    }

    /// Forgets what no token can need any more.
    fn sweep(&mut self, now: UnixTime, bounds: &Bounds) {
        let pause = bounds.lifetime().checked_div(8).unwrap_or_default();
        self.next_sweep = now.saturating_add(pause);
        let was = self.len;
        self.tenants.retain(|_, of| of.sweep(now));
        self.issuers.retain(|_, of| of.sweep(now));
        self.templates.retain(|_, of| of.sweep(now));
        self.count();
        if self.len < was {
            self.swept_at = self.swept_at.max(now);
        }
    }

    /// Notes the times of a credential that is about to be used, and whose staff uses it.
    pub(crate) fn note(&mut self, seen: &Seen<'_>) {
        self.latest_issue = self.latest_issue.max(seen.issued_at);
        self.latest_expiry = self.latest_expiry.max(seen.expires_at);
        self.staff.extend(seen.staff.cloned());
    }

    /// Whether [`note`](Self::note) would change nothing.
    pub(crate) fn has_noted(&self, seen: &Seen<'_>) -> bool {
        seen.issued_at <= self.latest_issue
            && seen.expires_at <= self.latest_expiry
            && seen.staff.is_none_or(|staff| self.staff.contains(staff))
    }

    /// Whether what is revoked in this tenant reaches others.
    pub(crate) fn has_staff(&self, tenant: &TenantId) -> bool {
        self.staff.contains(tenant)
    }

    /// Whether a credential is revoked, or one of those that it was derived from.
    pub(crate) fn is_revoked(&self, subject: &Subject<'_>) -> bool {
        self.full
            || (subject.is_token() && subject.expires_at <= self.swept_at)
            || self
                .tenants
                .get(subject.tenant)
                .is_some_and(|of| of.revokes(subject))
            || subject
                .staff
                .and_then(|staff| self.tenants.get(staff))
                .is_some_and(|of| of.revokes_operator(subject))
            || subject.links().any(|link| self.by_issuer(&link))
    }

    fn by_issuer(&self, link: &Link<'_>) -> bool {
        let Some(name) = link.issuer else {
            return false;
        };
        let own = self.issuers.get(name);
        let mut templates = self.templates.iter();
        own.is_some_and(|of| of.revokes(link))
            || templates.any(|(template, of)| {
                (**template == *name || issuer::is_of_template(template, name)) && of.revokes(link)
            })
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }
}

/// What is noted of a credential that is about to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) issued_at: UnixTime,
    pub(crate) expires_at: UnixTime,
    pub(crate) staff: Option<&'a TenantId>,
}

impl Target {
    /// The entries among which this one counts.
    fn group(&self) -> Option<Group> {
        match self {
            Self::Token { tenant, .. }
            | Self::Session { tenant, .. }
            | Self::Subject { tenant, .. } => Some(Group::Tokens(tenant.clone())),
            Self::ApiKey { tenant, .. } => Some(Group::ApiKeys(tenant.clone())),
            Self::SigningKey { issuer, .. } => Some(Group::SigningKeys(Arc::clone(issuer))),
            Self::Tenant { .. } | Self::Issuer { .. } => None,
        }
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
