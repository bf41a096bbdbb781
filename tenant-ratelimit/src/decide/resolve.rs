//! From an identity to its cells, once for each.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicU32},
};

use smallvec::SmallVec;
use tenant_context::{Monotonic, PrincipalKind, TenantContext};

use super::{Inner, MAX_CUSTOM};
use crate::{
    Denied, carried,
    cells::Rate,
    key::Key,
    keys::Kind,
    own::{Named, Own},
    tenants::{Kept, Resolved},
};

/// The most keyed cells that an identity names: its own, beside the application's, an endpoint's and its tenant's.
const MAX_NAMED: usize = crate::charge::OWN - MAX_CUSTOM - 2;

/// What an identity keeps does not go stale: quotas change in place.
const GENERATION: u64 = 0;

/// An identity's cells.
pub(super) enum Found<'a> {
    Kept(&'a Resolved),
    /// The identity had no room for them.
    Made(Box<Resolved>),
}

impl Deref for Found<'_> {
    type Target = Resolved;

    fn deref(&self) -> &Resolved {
        match self {
            Self::Kept(kept) => kept,
            Self::Made(made) => made,
        }
    }
}

impl Inner {
    #[inline]
    pub(crate) fn kept_by<'a>(&self, tenant: &'a TenantContext) -> Option<&'a Resolved> {
        tenant.attachments().get(self.instance, GENERATION)
    }

    /// Finds an identity's cells and has it keep them.
    #[cold]
    pub(super) fn find<'a>(
        &self,
        tenant: &'a TenantContext,
        now: Monotonic,
    ) -> Result<Found<'a>, Denied> {
        let resolved = Arc::new(self.resolve(tenant, now)?);
        tenant
            .attachments()
            .attach(self.instance, GENERATION, resolved);
        match self.kept_by(tenant) {
            // Its own, or another request's of the same identity that came first.
            Some(kept) => Ok(Found::Kept(kept)),
            None => Ok(Found::Made(Box::new(self.resolve(tenant, now)?))),
        }
    }

    /// Finds the cells that this identity's requests always fall under.
    fn resolve(&self, tenant: &TenantContext, now: Monotonic) -> Result<Resolved, Denied> {
        let carried = match self.keyed.delegations {
            Some(dimension) => carried(tenant, dimension)?,
            None => Vec::new(),
        };
        let make = || Own::new(self.current(), Arc::clone(&self.places));
        let cells = self
            .tenants
            .cells(tenant.tenant_id(), now, make)
            .ok_or_else(Denied::too_many_tenants)?;
        let mut named = SmallVec::new();
        let mut add = |key: Key, kind: Kind, carried: Option<Rate>| {
            // A cell that is named twice is one cell.
            if named.iter().all(|known: &Kept| known.named.key != key) {
                let carried = carried.map(Box::new);
                named.push(Kept {
                    named: Named { key, kind, carried },
                    hint: AtomicU32::new(u32::MAX),
                });
            }
        };
        for (key, rate) in carried {
            add(key, Kind(Kind::CARRIED), Some(rate));
        }
        if let Some(dimension) = self.keyed.agents {
            let chain = tenant.actors().iter().chain([tenant.principal()]);
            for agent in chain.filter(|actor| actor.kind() == PrincipalKind::Agent) {
                add(
                    Key::of_principal(agent).within(dimension),
                    Kind::AGENT,
                    None,
                );
            }
        }
        if let Some(dimension) = self.keyed.principals {
            add(
                Key::principal(tenant).within(dimension),
                Kind::PRINCIPAL,
                None,
            );
        }
        if named.len() > MAX_NAMED {
            return Err(Denied::misconfigured("chain_too_long"));
        }
        Ok(Resolved { cells, named })
    }
}

/// The budgets that a credential carries.
fn carried(tenant: &TenantContext, dimension: Key) -> Result<Vec<(Key, Rate)>, Denied> {
    carried::budgets(tenant, dimension).map_err(|error| {
        tracing::warn!(
            tenant = %tenant.tenant_id(),
            error = &error as &dyn std::error::Error,
            "a credential carries a budget that is none: its requests are refused"
        );
        Denied::carried_budget_invalid()
    })
}
