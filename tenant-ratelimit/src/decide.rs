//! The decision on one request: from its context to its budgets, and to an answer.

mod fresh;
mod lanes;
mod resolve;

use std::sync::{Arc, atomic::AtomicU64};

use arrayvec::ArrayVec;
use parking_lot::Mutex;
use tenant_context::{Clock, InstanceId, Monotonic, RequestHead, TenantContext, TenantId};

use self::lanes::{Placed, fill, fill_cross, part_of, place};
use crate::{
    Denied, Quota, TenantQuota,
    charge::{Ask, Bound, CrossLane, CrossLanes, Failed, Lanes, Least, charge},
    counts::Tally,
    endpoints::Endpoints,
    floors::Seats,
    headers::{Policy, Told},
    key::Key,
    keys::Places,
    own::Own,
    partition::Partition,
    quick::{self, Decided},
    rules::Rules,
    tenants::{Resolved, Tenants},
};

/// The most dimensions of the application's own.
pub(crate) const MAX_CUSTOM: usize = 4;

type KeyOf = dyn Fn(&TenantContext, &RequestHead<'_>) -> Option<Key> + Send + Sync;
pub(crate) type CostOf = dyn Fn(&TenantContext, &RequestHead<'_>) -> u64 + Send + Sync;

/// A dimension of the application's own.
pub(crate) struct Custom {
    pub(crate) name: &'static str,
    pub(crate) dimension: Key,
    pub(crate) key: Box<KeyOf>,
}

/// Which keyed budgets identities fall under. They are declared once; only their quotas change.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) agents: Option<Key>,
    pub(crate) principals: Option<Key>,
    pub(crate) delegations: Option<Key>,
}

/// What a builder has gathered.
pub(crate) struct Inner {
    pub(crate) instance: InstanceId,
    pub(crate) clock: Arc<dyn Clock>,
    /// Locked to change them, and to take up the change: not for a request that finds nothing changed.
    pub(crate) rules: Mutex<Arc<Rules>>,
    pub(crate) generation: AtomicU64,
    pub(crate) plans: Option<Box<dyn TenantQuota>>,
    /// Quotas that an operator gave single tenants.
    pub(crate) overrides: Mutex<std::collections::HashMap<TenantId, Quota>>,
    /// Whether tenants have a quota or a floor by their records.
    pub(crate) plans_tenants: bool,
    pub(crate) max_tenants: usize,
    pub(crate) keyed: Keyed,
    pub(crate) custom: Vec<Custom>,
    /// Whether keys or costs are read from the request's head.
    pub(crate) reads_head: bool,
    pub(crate) cost: Option<Box<CostOf>>,
    pub(crate) endpoints: Endpoints,
    pub(crate) seats: Option<Seats>,
    pub(crate) places: Arc<Places>,
    pub(crate) tenants: Tenants,
    pub(crate) tally: Tally,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) endpoint: Option<usize>,
    pub(crate) cost: u64,
    pub(crate) head: Option<&'a RequestHead<'a>>,
    pub(crate) peeks: bool,
    pub(crate) enters: bool,
}

/// What was charged, while the tenant's lock is held.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    least: Least,
    now: Monotonic,
    pub(crate) own: &'a Own,
    pub(crate) resolved: &'a Resolved,
    pub(crate) lanes: &'a Lanes<'a>,
    pub(crate) cross: &'a CrossLanes<'a>,
    pub(crate) placed: &'a Placed,
    pub(crate) wanted: Wanted<'a>,
}

impl Granted<'_> {
    /// The binding budget.
    #[inline]
    pub(crate) fn bound(&self) -> Option<Bound> {
        self.least.bound(self.lanes, self.cross, self.now)
    }

    /// What clients are told of the binding budget.
    pub(crate) fn told(&self, tenant: &TenantId) -> Option<Told> {
        let (bound, policy) = (self.bound()?, self.least.policy(self.lanes, self.cross)?);
        let part = self.least.source(self.lanes);
        let part = part.and_then(|source| part_of(source, self.placed, self.wanted.endpoint));
        let partition = part.and_then(|part| Partition::of(bound.dimension, Some(tenant), part));
        Some(Told::new(bound, policy, partition))
    }
}

impl Inner {
    /// Charges a tenant's request; `answer` reads what was charged.
    #[inline]
    pub(crate) fn decide<R>(
        &self,
        tenant: &TenantContext,
        wanted: Wanted<'_>,
        answer: impl FnOnce(Granted<'_>) -> R,
    ) -> Result<R, Denied> {
        let now = self.clock.monotonic();
        let found;
        let known = if let Some(known) = self.kept_by(tenant) {
            known
        } else {
            found = self.find(tenant, now)?;
            &*found
        };
        self.decide_resolved(known, tenant, wanted, now, answer)
    }

    /// Charges a tenant's request that holds nothing; `answer` is told the binding budget.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "on the way of every request: its answer is written once, where the caller wants it"
    )]
    pub(crate) fn check<R>(
        &self,
        tenant: &TenantContext,
        wanted: Wanted<'_>,
        answer: impl FnOnce(Option<Bound>) -> R,
    ) -> Result<R, Denied> {
        let now = self.clock.monotonic();
        let found;
        let resolved = if let Some(resolved) = self.kept_by(tenant) {
            resolved
        } else {
            found = self.find(tenant, now)?;
            &*found
        };
        if wanted.head.is_none() {
            let own = resolved.cells.lock();
            if self.is_fresh(&own, tenant.tenant()) {
                let request = quick::Request {
                    own: &own,
                    resolved,
                    endpoint: wanted.endpoint,
                    cost: wanted.cost,
                    now,
                };
                match request.charge() {
                    Some(Decided::Admitted(least)) => {
                        own.counts.admit(now);
                        self.tally.admit();
                        return Ok(answer(least.bound(now)));
                    }
                    Some(Decided::Refused(mut refusals)) => {
                        own.counts.refuse(now);
                        own.name(tenant.tenant_id(), &mut refusals);
                        drop(own);
                        return Err(self.refuse(Some(tenant.tenant_id()), refusals, false));
                    }
                    None => {}
                }
            }
        }
        let bound = self.decide_bound(resolved, tenant, wanted, now)?;
        Ok(answer(bound))
    }

    /// [`decide`](Self::decide), out of the way of most requests.
    #[cold]
    fn decide_bound(
        &self,
        resolved: &Resolved,
        tenant: &TenantContext,
        wanted: Wanted<'_>,
        now: Monotonic,
    ) -> Result<Option<Bound>, Denied> {
        self.decide_resolved(resolved, tenant, wanted, now, |granted| granted.bound())
    }

    fn decide_resolved<R>(
        &self,
        resolved: &Resolved,
        tenant: &TenantContext,
        wanted: Wanted<'_>,
        now: Monotonic,
        answer: impl FnOnce(Granted<'_>) -> R,
    ) -> Result<R, Denied> {
        let mut custom = ArrayVec::new();
        if let Some(head) = wanted.head {
            self.custom(tenant, head, &mut custom);
        }
        let ask = Ask {
            cost: wanted.cost,
            peeks: wanted.peeks,
            enters: wanted.enters,
            now,
        };
        let mut own = resolved.cells.lock();
        loop {
            own = self.fresh(own, resolved, tenant, now);
            let mut placed = Placed::new();
            place(&mut own, resolved, &custom, &mut placed, now)?;
            let failed = {
                let own = &*own;
                let (mut lanes, mut cross) = (Lanes::new(), CrossLanes::new());
                fill(&mut lanes, own, wanted.endpoint, &placed)?;
                fill_cross(&mut cross, own, wanted.endpoint);
                match charge(&mut lanes, &mut cross, ask, || self.clock.monotonic()) {
                    Ok(least) => {
                        if !wanted.peeks {
                            own.counts.admit(now);
                            self.tally.admit();
                            if own.rules.shadows {
                                self.report_shadows(tenant, &lanes, &cross);
                            }
                        }
                        return Ok(answer(Granted {
                            least,
                            now,
                            own,
                            resolved,
                            lanes: &lanes,
                            cross: &cross,
                            placed: &placed,
                            wanted,
                        }));
                    }
                    Err(failed) => failed,
                }
            };
            match failed {
                // Whoever changes it holds the lock until the new rules stand.
                Failed::Moved => own.adopt(self.current(), now),
                Failed::Refused(mut refusals) => {
                    if !wanted.peeks {
                        own.counts.refuse(now);
                    }
                    for refusal in &mut refusals {
                        let part = |source| part_of(source, &placed, wanted.endpoint);
                        refusal.part = refusal.source.and_then(part);
                    }
                    own.name(tenant.tenant_id(), &mut refusals);
                    drop(own);
                    return Err(self.refuse(Some(tenant.tenant_id()), refusals, wanted.peeks));
                }
            }
        }
    }

    /// Charges a request without a tenant.
    pub(crate) fn decide_public<R>(
        &self,
        cost: u64,
        answer: impl FnOnce(Option<(Bound, Policy)>) -> R,
    ) -> Result<R, Denied> {
        let now = self.clock.monotonic();
        loop {
            let rules = self.current();
            let Some(public) = rules.public.as_deref() else {
                return Ok(answer(None));
            };
            let mut cross = CrossLanes::new();
            cross.push(CrossLane::new(public, None));
            let ask = Ask {
                cost,
                peeks: false,
                enters: false,
                now,
            };
            match charge(&mut Lanes::new(), &mut cross, ask, || {
                self.clock.monotonic()
            }) {
                Ok(least) => {
                    self.tally.admit();
                    let bound = least.bound(&Lanes::new(), &cross, now);
                    return Ok(answer(bound.map(|bound| (bound, public.rate.policy))));
                }
                Err(Failed::Refused(refusals)) => return Err(self.refuse(None, refusals, false)),
                Err(Failed::Moved) => {}
            }
        }
    }

    #[cold]
    fn refuse(
        &self,
        tenant: Option<&TenantId>,
        refusals: Vec<crate::charge::Refusal>,
        peeks: bool,
    ) -> Denied {
        if let (false, Some(binding)) = (peeks, refusals.first()) {
            self.tally.refuse(binding.dimension, tenant);
        }
        Denied::refused(refusals, tenant.cloned())
    }

    fn report_shadows(&self, tenant: &TenantContext, lanes: &Lanes<'_>, cross: &CrossLanes<'_>) {
        let own = lanes.iter().filter(|lane| lane.skipped);
        let cross = cross.iter().filter(|lane| lane.skipped);
        let dimensions = own.map(|lane| lane.terms.dimension);
        for dimension in dimensions.chain(cross.map(|lane| lane.cross.dimension)) {
            self.tally.shadow(dimension, tenant.tenant_id());
        }
    }
}
