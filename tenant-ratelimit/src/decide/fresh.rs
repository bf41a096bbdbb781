//! Rules and plans that change while requests come: a tenant's cells go on under the present ones.

use std::sync::{Arc, atomic::Ordering};

use tenant_context::{Monotonic, TenantContext, TenantState};

use super::Inner;
use crate::{
    cells::{Cross, Rate},
    own::Own,
    rules::Rules,
    sync::MutexGuard,
    tenants::Resolved,
};

impl Inner {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock())
    }

    /// Under the present rules, and planned for the tenant's present record.
    #[inline]
    pub(super) fn fresh<'a>(
        &self,
        own: MutexGuard<'a, Own>,
        resolved: &'a Resolved,
        tenant: &TenantContext,
        now: Monotonic,
    ) -> MutexGuard<'a, Own> {
        let state = tenant.tenant();
        if self.is_fresh(&own, state) {
            return own;
        }
        self.freshen(own, resolved, state, now)
    }

    #[inline]
    pub(super) fn is_fresh(&self, own: &Own, state: &Arc<TenantState>) -> bool {
        own.rules.generation == self.generation()
            && (!self.plans_tenants || own.is_planned(state, state.revision()))
    }

    #[cold]
    fn freshen<'a>(
        &self,
        mut own: MutexGuard<'a, Own>,
        resolved: &'a Resolved,
        state: &Arc<TenantState>,
        now: Monotonic,
    ) -> MutexGuard<'a, Own> {
        if own.rules.generation != self.generation() {
            own.adopt(self.current(), now);
        }
        // Read before the record is: a change that comes meanwhile is planned for by the next request.
        let revision = state.revision();
        if !self.plans_tenants || own.is_planned(state, revision) {
            return own;
        }
        let planned = loop {
            let forgotten = own.forgotten_plans();
            // The application's code runs outside of the lock.
            drop(own);
            let planned = self.plan(state);
            own = resolved.cells.lock();
            if own.forgotten_plans() == forgotten {
                break planned;
            }
        };
        own.plan(state, revision, planned, now);
        if let Some(seats) = &self.seats {
            own.floor = seats.seat(state, own.floor.take(), now);
        }
        own
    }

    #[cold]
    fn plan(&self, tenant: &TenantState) -> Option<Rate> {
        let source = self.plans.as_ref()?;
        let given = self.overrides.lock().get(tenant.id()).copied();
        match Rate::new(given.unwrap_or_else(|| source.quota(tenant))) {
            Ok(rate) => Some(rate),
            Err(error) => {
                tracing::error!(
                    tenant = %tenant.id(),
                    error = &error as &dyn std::error::Error,
                    "the tenant's quota is none: its requests are refused until its record changes"
                );
                None
            }
        }
    }

    /// Exchanges the rules.
    pub(crate) fn change<E>(
        &self,
        change: impl FnOnce(&Rules, &dyn Fn(&Cross, Rate) -> Cross) -> Result<Rules, E>,
    ) -> Result<(), E> {
        let mut rules = self.rules.lock();
        let now = self.clock.monotonic();
        let next = change(&rules, &|cross, rate| cross.moved(rate, now))?;
        let generation = next.generation;
        *rules = Arc::new(next);
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }
}
