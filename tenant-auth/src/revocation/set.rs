//! What is revoked: bounded, and never forgotten while it could matter. Pure: no clock, no lock.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tenant_context::{CredentialId, PrincipalId, TenantId, UnixTime};

use super::Target;
use crate::Issuer;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The longest life of a token, from its `iat` to its `exp`.
    pub(crate) longest_life: Duration,
    pub(crate) capacity: usize,
    pub(crate) tenant_capacity: usize,
}

impl Bounds {
    /// How long after its revocation a token could still be presented: its life, and an issuer's clock
    /// that is ahead by its leeway, which is granted at the end as well.
    fn lifetime(&self) -> Duration {
        self.longest_life
            .saturating_add(Issuer::MAX_LEEWAY.saturating_mul(2))
    }
}

/// What one token or key is looked up by.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Token {
        tenant: TenantId,
        /// Its own name, and those of the credentials it was derived from.
        credentials: Box<[CredentialId]>,
        /// The principal, and the actors that act for it.
        principals: Box<[PrincipalId]>,
        issuer: Option<Arc<str>>,
        kid: Option<Arc<str>>,
        issued_at: UnixTime,
        expires_at: UnixTime,
    },
    ApiKey {
        tenant: TenantId,
        id: CredentialId,
    },
}

/// All that is revoked.
#[derive(Debug, Default)]
pub(crate) struct Set {
    tenants: HashMap<TenantId, OfTenant>,
    issuers: HashMap<Arc<str>, OfIssuer>,
    len: usize,
    next_sweep: UnixTime,
    /// When entries were last forgotten: a token that had expired by then is never accepted again,
    /// wherever the clock is set to.
    swept_at: UnixTime,
    /// The latest expiry and the latest issue of all tokens that were looked up.
    latest_expiry: UnixTime,
    latest_issue: UnixTime,
    full: bool,
}

/// All tokens issued before `before`; forgotten at `until`.
#[derive(Clone, Copy, Debug)]
struct Cut {
    before: UnixTime,
    until: UnixTime,
}

#[derive(Debug, Default)]
struct OfTenant {
    all: Option<Cut>,
    tokens: HashMap<CredentialId, UnixTime>,
    subjects: HashMap<PrincipalId, Cut>,
    api_keys: HashSet<CredentialId>,
}

#[derive(Debug, Default)]
struct OfIssuer {
    all: Option<Cut>,
    keys: HashSet<Arc<str>>,
}

/// Keeps the later of two cuts in each respect, and says whether there was none before.
fn widen(slot: &mut Option<Cut>, cut: Cut) -> bool {
    let new = slot.is_none();
    let known = slot.get_or_insert(cut);
    known.before = known.before.max(cut.before);
    known.until = known.until.max(cut.until);
    new
}

impl OfTenant {
    /// The entries that a cut of the whole tenant could stand for.
    fn narrow(&self) -> usize {
        self.tokens.len().saturating_add(self.subjects.len())
    }

    fn is_empty(&self) -> bool {
        self.all.is_none() && self.narrow() == 0 && self.api_keys.is_empty()
    }

    fn len(&self) -> usize {
        self.narrow()
            .saturating_add(self.api_keys.len())
            .saturating_add(usize::from(self.all.is_some()))
    }
}

impl Set {
    /// Adds a revocation. What does not fit widens what is revoked; nothing that was revoked is
    /// accepted again.
    pub(crate) fn insert(&mut self, target: &Target, now: UnixTime, bounds: &Bounds) {
        if now >= self.next_sweep {
            self.sweep(now, bounds);
        }
        if self.contains(target) {
            // Only its time can change, which takes no room.
        } else {
            self.make_room(target, now, bounds);
            if self.full {
                return;
            }
        }
        let until = now
            .saturating_add(bounds.lifetime())
            .max(self.latest_expiry);
        let added = self.put(target, until);
        self.len = self.len.saturating_add(usize::from(added));
    }

    fn put(&mut self, target: &Target, until: UnixTime) -> bool {
        match target {
            Target::Token { tenant, credential } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                of.tokens.insert(credential.clone(), until).is_none()
            }
            Target::Subject {
                tenant,
                subject,
                before,
            } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                let mut slot = of.subjects.get(subject).copied();
                let cut = Cut {
                    before: *before,
                    until,
                };
                let new = widen(&mut slot, cut);
                of.subjects.insert(subject.clone(), slot.unwrap_or(cut));
                new
            }
            Target::Tenant { tenant, before } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                let before = *before;
                widen(&mut of.all, Cut { before, until })
            }
            Target::Issuer { issuer, before } => {
                let of = self.issuers.entry(Arc::clone(issuer)).or_default();
                let before = *before;
                widen(&mut of.all, Cut { before, until })
            }
            Target::SigningKey { issuer, kid } => {
                let of = self.issuers.entry(Arc::clone(issuer)).or_default();
                of.keys.insert(Arc::clone(kid))
            }
            Target::ApiKey { tenant, id } => {
                let of = self.tenants.entry(tenant.clone()).or_default();
                of.api_keys.insert(id.clone())
            }
        }
    }

    fn contains(&self, target: &Target) -> bool {
        match target {
            Target::Token { tenant, credential } => self
                .tenants
                .get(tenant)
                .is_some_and(|of| of.tokens.contains_key(credential)),
            Target::Subject {
                tenant, subject, ..
            } => self
                .tenants
                .get(tenant)
                .is_some_and(|of| of.subjects.contains_key(subject)),
            Target::Tenant { tenant, .. } => {
                self.tenants.get(tenant).is_some_and(|of| of.all.is_some())
            }
            Target::Issuer { issuer, .. } => {
                self.issuers.get(issuer).is_some_and(|of| of.all.is_some())
            }
            Target::SigningKey { issuer, kid } => self
                .issuers
                .get(issuer)
                .is_some_and(|of| of.keys.contains(kid)),
            Target::ApiKey { tenant, id } => self
                .tenants
                .get(tenant)
                .is_some_and(|of| of.api_keys.contains(id)),
        }
    }

    /// At its bound a tenant's tokens and subjects become a cut of the whole tenant. At the bound of all,
    /// that befalls the tenant with the most of them. If there is none left to widen, the set is full.
    fn make_room(&mut self, target: &Target, now: UnixTime, bounds: &Bounds) {
        if let Target::Token { tenant, .. } | Target::Subject { tenant, .. } = target {
            let narrow = self.tenants.get(tenant).map_or(0, OfTenant::narrow);
            if narrow >= bounds.tenant_capacity {
                self.cut_tenant(&tenant.clone(), now, bounds);
            }
        }
        if self.len >= bounds.capacity {
            self.sweep(now, bounds);
        }
        while self.len >= bounds.capacity {
            let most = self
                .tenants
                .iter()
                .map(|(id, of)| (of.narrow(), id))
                .filter(|(narrow, _)| *narrow > 1)
                .max_by_key(|(narrow, _)| *narrow)
                .map(|(_, id)| id.clone());
            let Some(tenant) = most else {
                self.full = true;
                return;
            };
            self.cut_tenant(&tenant, now, bounds);
        }
    }

    fn cut_tenant(&mut self, tenant: &TenantId, now: UnixTime, bounds: &Bounds) {
        let Some(of) = self.tenants.get_mut(tenant) else {
            return;
        };
        let was = of.len();
        // Later than the issue of every token that can have been revoked.
        let issued = now
            .saturating_add(Issuer::MAX_LEEWAY)
            .max(self.latest_issue);
        let mut cut = Cut {
            before: issued.saturating_add(Duration::from_nanos(1)),
            until: now
                .saturating_add(bounds.lifetime())
                .max(self.latest_expiry),
        };
        for subject in of.subjects.values() {
            cut.before = cut.before.max(subject.before);
            cut.until = cut.until.max(subject.until);
        }
        for until in of.tokens.values() {
            cut.until = cut.until.max(*until);
        }
        of.subjects = HashMap::new();
        of.tokens = HashMap::new();
        widen(&mut of.all, cut);
        let now_is = of.len();
        self.len = self.len.saturating_sub(was).saturating_add(now_is);
        tracing::warn!(
            %tenant,
            "too many revocations: all tokens of the tenant that were issued until now are refused; raise the capacity"
        );
    }

    /// Forgets what no token can need any more.
    fn sweep(&mut self, now: UnixTime, bounds: &Bounds) {
        let pause = bounds.lifetime().checked_div(8).unwrap_or_default();
        self.next_sweep = now.saturating_add(pause);
        let was = self.len;
        let alive = |cut: &Cut| cut.until > now;
        for of in self.tenants.values_mut() {
            of.all = of.all.filter(alive);
            of.tokens.retain(|_, until| *until > now);
            of.subjects.retain(|_, cut| alive(cut));
        }
        self.tenants.retain(|_, of| !of.is_empty());
        for of in self.issuers.values_mut() {
            of.all = of.all.filter(alive);
        }
        self.issuers
            .retain(|_, of| of.all.is_some() || !of.keys.is_empty());
        let tenants = self.tenants.values().map(OfTenant::len);
        let issuers = self
            .issuers
            .values()
            .map(|of| of.keys.len().saturating_add(usize::from(of.all.is_some())));
        self.len = tenants.chain(issuers).fold(0, usize::saturating_add);
        if self.len < was {
            self.swept_at = self.swept_at.max(now);
        }
    }

    /// Notes the times of a token that is about to be used.
    pub(crate) fn note(&mut self, issued_at: UnixTime, expires_at: UnixTime) {
        self.latest_issue = self.latest_issue.max(issued_at);
        self.latest_expiry = self.latest_expiry.max(expires_at);
    }

    /// Whether [`note`](Self::note) would change anything.
    pub(crate) fn has_noted(&self, issued_at: UnixTime, expires_at: UnixTime) -> bool {
        issued_at <= self.latest_issue && expires_at <= self.latest_expiry
    }

    pub(crate) fn is_revoked(&self, subject: &Subject) -> bool {
        if self.full {
            return true;
        }
        match subject {
            Subject::ApiKey { tenant, id } => self
                .tenants
                .get(tenant)
                .is_some_and(|of| of.api_keys.contains(id)),
            Subject::Token {
                tenant,
                credentials,
                principals,
                issuer,
                kid,
                issued_at,
                expires_at,
            } => {
                let cut = |cut: &Cut| *issued_at < cut.before;
                let by_tenant = |of: &OfTenant| {
                    of.all.as_ref().is_some_and(cut)
                        || credentials.iter().any(|id| of.tokens.contains_key(id))
                        || principals
                            .iter()
                            .any(|id| of.subjects.get(id).is_some_and(cut))
                };
                let by_issuer = |of: &OfIssuer| {
                    of.all.as_ref().is_some_and(cut)
                        || kid.as_ref().is_some_and(|kid| of.keys.contains(kid))
                };
                *expires_at <= self.swept_at
                    || self.tenants.get(tenant).is_some_and(by_tenant)
                    || issuer
                        .as_ref()
                        .and_then(|name| self.issuers.get(name))
                        .is_some_and(by_issuer)
            }
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
