//! A request's way to its cells.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use arrayvec::ArrayVec;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tenant_context::{
    Clock, InstanceId, Monotonic, PrincipalKind, RequestHead, TenantContext, TenantId, TenantState,
};

use crate::{
    Denied, Quota, TenantQuota, carried,
    cells::{Cross, Rate},
    charge::{Ask, Bound, CrossLane, CrossLanes, Failed, Lane, Lanes, Least, Source, charge},
    counts::Tally,
    endpoints::Endpoints,
    floors::Seats,
    headers::Told,
    key::Key,
    keys::{Kind, Places},
    own::{Named, Own, Place},
    partition::{Part, Partition},
    quick::{self, Decided},
    rules::Rules,
    sync::MutexGuard,
    tenants::{Kept, Resolved, Tenants},
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

/// The most keyed cells that an identity names: its own, beside the application's, an endpoint's and its tenant's.
const MAX_NAMED: usize = crate::charge::OWN - MAX_CUSTOM - 2;

/// What an identity keeps does not go stale: quotas change in place.
const GENERATION: u64 = 0;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) endpoint: Option<usize>,
    pub(crate) cost: u64,
    pub(crate) head: Option<&'a RequestHead<'a>>,
    pub(crate) peeks: bool,
    pub(crate) enters: bool,
}

/// The keyed cells that one request names.
pub(crate) type Placed = ArrayVec<(Place, Key), { crate::charge::OWN }>;

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
        Some(Told::new(bound, Arc::clone(policy), partition))
    }
}

/// Which of a tenant's own cells it is.
fn part_of(source: Source, placed: &Placed, endpoint: Option<usize>) -> Option<Part> {
    Some(match source {
        Source::Tenant => Part::Whole,
        Source::Endpoint => Part::Endpoint(endpoint?),
        Source::Keyed(at) => match *placed.get(usize::from(at))? {
            (Place::Slot(_), key) => Part::Key(key),
            (Place::Overflow(kind), _) => Part::Overflow(kind),
        },
    })
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
        let resolved;
        let known = if let Some(known) = self.kept_by(tenant) {
            known
        } else {
            resolved = self.resolve(tenant, now)?;
            &*resolved
        };
        self.decide_resolved(known, tenant, wanted, now, answer)
    }

    /// Charges a tenant's request that holds nothing; `answer` is told the binding budget.
    #[inline]
    pub(crate) fn check<R>(
        &self,
        tenant: &TenantContext,
        wanted: Wanted<'_>,
        answer: impl FnOnce(&dyn Fn() -> Option<Bound>) -> R,
    ) -> Result<R, Denied> {
        let now = self.clock.monotonic();
        let made;
        let resolved = if let Some(resolved) = self.kept_by(tenant) {
            resolved
        } else {
            made = self.resolve(tenant, now)?;
            &*made
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
                        return Ok(answer(&|| least.bound(now)));
                    }
                    Some(Decided::Refused(refusals)) => {
                        own.counts.refuse(now);
                        drop(own);
                        return Err(self.refuse(Some(tenant.tenant_id()), refusals, false));
                    }
                    None => {}
                }
            }
        }
        let bound = self.decide_bound(resolved, tenant, wanted, now)?;
        Ok(answer(&|| bound))
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

    #[inline]
    pub(crate) fn kept_by<'a>(&self, tenant: &'a TenantContext) -> Option<&'a Resolved> {
        tenant.attachments().get(self.instance, GENERATION)
    }

    /// Finds the cells that this identity's requests always fall under, and has the identity keep them.
    #[cold]
    fn resolve(&self, tenant: &TenantContext, now: Monotonic) -> Result<Arc<Resolved>, Denied> {
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
        let resolved = Arc::new(Resolved { cells, named });
        tenant
            .attachments()
            .attach(self.instance, GENERATION, Arc::clone(&resolved));
        Ok(resolved)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock())
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
                    drop(own);
                    for refusal in &mut refusals {
                        let part = |source| part_of(source, &placed, wanted.endpoint);
                        refusal.part = refusal.source.and_then(part);
                    }
                    return Err(self.refuse(Some(tenant.tenant_id()), refusals, wanted.peeks));
                }
            }
        }
    }

    /// Under the present rules, and planned for the tenant's present record.
    #[inline]
    fn fresh<'a>(
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
    fn is_fresh(&self, own: &Own, state: &Arc<TenantState>) -> bool {
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
        // The application's code runs outside of the lock.
        drop(own);
        let planned = self.plan(state);
        own = resolved.cells.lock();
        own.plan(state, revision, planned, now);
        if let Some(seats) = &self.seats {
            own.floor = seats.seat(state, own.floor.take(), now);
        }
        own
    }

    /// Keys of the application's own dimensions. Its code runs outside of the lock.
    fn custom(
        &self,
        tenant: &TenantContext,
        head: &RequestHead<'_>,
        keys: &mut ArrayVec<Named, MAX_CUSTOM>,
    ) {
        let kinds = Kind::CUSTOM..;
        let named = self.custom.iter().zip(kinds).filter_map(|(custom, kind)| {
            Some(Named {
                key: (custom.key)(tenant, head)?.within(custom.dimension),
                kind: Kind(u16::try_from(kind).ok()?),
                carried: None,
            })
        });
        keys.extend(named.take(MAX_CUSTOM));
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

    /// Charges a request without a tenant.
    pub(crate) fn decide_public<R>(
        &self,
        cost: u64,
        answer: impl FnOnce(Option<(Bound, &Arc<str>)>) -> R,
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
                    return Ok(answer(bound.map(|bound| (bound, &public.rate.policy))));
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

/// The places of the keyed cells that a request names. Lists are filled where they stand: moved, they would be
/// copied whole.
#[inline]
fn place(
    own: &mut Own,
    resolved: &Resolved,
    custom: &[Named],
    placed: &mut Placed,
    now: Monotonic,
) -> Result<(), Denied> {
    for named in custom {
        let place = own.find_or_make(named, placed, now);
        placed.push((place.ok_or_else(Denied::too_many_budgets)?, named.key));
    }
    for kept in &resolved.named {
        let hint = kept.hint.load(Ordering::Relaxed);
        let key = kept.named.key;
        if own.is_at(hint, &kept.named) {
            placed.push((Place::Slot(hint), key));
            continue;
        }
        let place = own
            .find_or_make(&kept.named, placed, now)
            .ok_or_else(Denied::too_many_budgets)?;
        match place {
            Place::Slot(at) => kept.hint.store(at, Ordering::Relaxed),
            // Two agents without cells of their own share one.
            Place::Overflow(_) if placed.iter().any(|(known, _)| *known == place) => continue,
            Place::Overflow(_) => {}
        }
        placed.push((place, key));
    }
    Ok(())
}

/// A tenant's own budgets that a request falls under, the narrowest first.
#[inline]
fn fill<'a>(
    lanes: &mut Lanes<'a>,
    own: &'a Own,
    endpoint: Option<usize>,
    placed: &Placed,
) -> Result<(), Denied> {
    let rules = &*own.rules;
    if let Some(at) = endpoint
        && let Some(rule) = rules.endpoints.get(at).and_then(|rules| rules.own.as_ref())
        && let Some(level) = own.endpoints.get(at)
    {
        lanes.push(Lane::new(
            Source::Endpoint,
            &rule.terms,
            rule.rate.as_ref(),
            level,
        ));
    }
    for ((place, _), source) in placed.iter().zip(0..) {
        let Some((level, kind)) = own.keyed(*place) else {
            continue;
        };
        let source = Source::Keyed(source);
        if let Some(rate) = own.carried(kind) {
            if let Some(terms) = &rules.carried {
                lanes.push(Lane::new(source, terms, Some(rate), level));
            }
        } else if let Some(rule) = rules.keyed(kind) {
            lanes.push(Lane::new(source, &rule.terms, rule.rate.as_ref(), level));
        }
    }
    if let Some(terms) = &rules.tenant {
        let rate = own.rate();
        if rate.is_none() && rules.planned {
            return Err(Denied::misconfigured("quota_invalid"));
        }
        lanes.push(Lane::new(Source::Tenant, terms, rate, &own.tenant));
    }
    Ok(())
}

/// The budgets of all tenants that a request falls under. The one that all requests write comes last: what
/// was charged before it is given back if it refuses.
#[inline]
fn fill_cross<'a>(lanes: &mut CrossLanes<'a>, own: &'a Own, endpoint: Option<usize>) {
    let rules = &*own.rules;
    if let Some(across) = endpoint.and_then(|at| rules.endpoints.get(at)?.across.as_deref()) {
        lanes.push(CrossLane::new(across, None));
    }
    if let Some(global) = rules.global.as_deref() {
        lanes.push(CrossLane::new(global, own.share()));
    }
}
