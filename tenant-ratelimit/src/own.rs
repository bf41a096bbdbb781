//! One tenant's own cells.

use std::{
    cell::OnceCell,
    sync::{Arc, Weak},
};

use smallvec::SmallVec;
use tenant_context::{Monotonic, TenantId, TenantState};

use crate::{
    cells::{Level, Rate},
    charge::Refusal,
    counts::Counts,
    fair::{Held, Share},
    floors::Seat,
    key::Key,
    keys::{Keys, Kind, Places, Slot},
    partition::{Part, Partition},
    rules::{Rule, Rules},
};

/// The most different budgets that a tenant's delegations carry at a time.
const MAX_CARRIED: usize = 256;

/// A tenant's cells, and the quotas they count by. What every request writes comes first, so that it shares the lock's cache
/// line: each line more is one more to be fetched from the core that had the lock before.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Own {
    pub(crate) tenant: Level,
    pub(crate) counts: Counts,
    pub(crate) rules: Arc<Rules>,
    pub(crate) endpoints: Endpoints,
    keys: Keys,
    plan: Plan,
    /// By kind: shared by all keys beyond the tenant's share.
    overflow: Box<[Level]>,
    carried: Vec<Carried>,
    pub(crate) floor: Option<Box<Seat>>,
    pub(crate) held: Held,
    /// How often an operator made all cells whole: what was charged before does not come back.
    pub(crate) resets: u32,
    places: Arc<Places>,
    /// What names the tenant's own cell to clients, once it has refused.
    partition: OnceCell<Partition>,
}

/// Most declare one or two endpoints: their cells stand with the tenant's.
type Endpoints = SmallVec<[Level; 2]>;

/// The tenant's quota, and the revision of which record it was made from.
#[derive(Debug, Default)]
struct Plan {
    /// Revisions count within one state: another one begins anew. The reference keeps the address from
    /// being used again.
    state: Weak<TenantState>,
    revision: u64,
    rate: Option<Rate>,
    valid: bool,
    /// How often an operator had it forgotten.
    forgotten: u32,
}

/// A budget that delegations carry.
#[derive(Debug)]
struct Carried {
    rate: Rate,
    overflow: Level,
    slots: u32,
}

/// Where a keyed cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Slot(u32),
    Overflow(Kind),
}

impl Own {
    pub(crate) fn new(rules: Arc<Rules>, places: Arc<Places>) -> Self {
        let levels = |n: usize| (0..n).map(|_| Level::default());
        Self {
            plan: Plan::default(),
            tenant: Level::default(),
            endpoints: levels(rules.endpoints.len()).collect(),
            keys: Keys::default(),
            overflow: levels(rules.keyed.len()).collect(),
            carried: Vec::new(),
            floor: None,
            held: Held::default(),
            counts: Counts::default(),
            resets: 0,
            rules,
            places,
            partition: OnceCell::new(),
        }
    }

    /// Whether the quota was made from this revision of the tenant's record.
    #[inline]
    pub(crate) fn is_planned(&self, state: &Arc<TenantState>, revision: u64) -> bool {
        self.plan.revision == revision && self.is_state(state)
    }

    fn is_state(&self, state: &Arc<TenantState>) -> bool {
        std::ptr::eq(self.plan.state.as_ptr(), Arc::as_ptr(state))
    }

    /// Goes on under another quota and keeps what was spent. Without a valid one the tenant is refused,
    /// and its cell stays as it is for the next.
    ///
    /// Two registries that know the same tenant take turns here: slower, and nothing is forgotten.
    pub(crate) fn plan(
        &mut self,
        state: &Arc<TenantState>,
        revision: u64,
        planned: Option<Rate>,
        now: Monotonic,
    ) {
        if self.is_state(state) && self.plan.revision > revision {
            return; // Another request has planned for a newer record meanwhile.
        }
        let plan = &mut self.plan;
        if let (Some(before), Some(rate)) = (&plan.rate, &planned) {
            self.tenant.carry(before, rate, now);
        }
        plan.state = Arc::downgrade(state);
        plan.revision = revision;
        plan.valid = planned.is_some();
        plan.rate = planned.or(plan.rate.take());
    }

    /// Asks for the quota anew at the next request. What is being planned meanwhile is not kept.
    pub(crate) fn forget_plan(&mut self) {
        self.plan.state = Weak::new();
        self.plan.forgotten = self.plan.forgotten.wrapping_add(1);
    }

    /// How often the plan was forgotten.
    pub(crate) const fn forgotten_plans(&self) -> u32 {
        self.plan.forgotten
    }

    /// The tenant's rate; `None` if the application's quota is none.
    pub(crate) fn rate(&self) -> Option<&Rate> {
        self.plan.rate.as_ref().filter(|_| self.plan.valid)
    }

    /// Goes on under other rules.
    pub(crate) fn adopt(&mut self, rules: Arc<Rules>, now: Monotonic) {
        let old = std::mem::replace(&mut self.rules, rules);
        let carry = |level: &Level, before: Option<&Rule>, rule: Option<&Rule>| {
            if let (Some(before), Some(rate)) =
                (before.and_then(Rule::rate), rule.and_then(Rule::rate))
            {
                level.carry(before, rate, now);
            }
        };
        let endpoints = old.endpoints.iter().zip(&self.rules.endpoints);
        for (level, (before, rule)) in self.endpoints.iter().zip(endpoints) {
            carry(level, before.own.as_ref(), rule.own.as_ref());
        }
        for (level, kind) in self.overflow.iter().zip(0..) {
            let kind = Kind(kind);
            carry(level, old.keyed(kind), self.rules.keyed(kind));
        }
        for slot in self.keys.slots() {
            carry(
                &slot.level,
                old.keyed(slot.kind()),
                self.rules.keyed(slot.kind()),
            );
        }
        if let (Some(before), Some(global)) = (&old.global, &self.rules.global) {
            let kept = old.kept.unwrap_or(0);
            self.held
                .carry(before.rate.gcra, kept, global.rate.gcra, now);
        }
    }

    /// The cell at this place, if it is still this key's.
    #[inline]
    pub(crate) fn slot(&self, at: u32, key: Key) -> Option<&Slot> {
        self.keys.at(at, key)
    }

    /// Where this key's cell is, if it has one.
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        self.keys.find(key)
    }

    /// Whether this is the place of this cell, and it counts by the budget that it should.
    #[inline]
    pub(crate) fn is_at(&self, hint: u32, named: &Named) -> bool {
        match (self.keys.at(hint, named.key), &named.carried) {
            (Some(_), None) => true,
            (Some(slot), Some(rate)) => self.carried(slot.kind()) == Some(&**rate),
            (None, _) => false,
        }
    }

    /// A keyed cell's place, made if the tenant's share has room for it; the overflow cell if not. `None`: more carried
    /// budgets than may be.
    ///
    /// `placed` are those that the same request names besides: they are not forgotten for this one.
    #[cold]
    pub(crate) fn find_or_make(
        &mut self,
        named: &Named,
        placed: &[(Place, Key)],
        now: Monotonic,
    ) -> Option<Place> {
        let known = self.keys.find(named.key);
        if let (Some(place), None) = (known, &named.carried) {
            return Some(Place::Slot(place));
        }
        let kind = match &named.carried {
            None => named.kind,
            Some(rate) => self.carry_budget(rate, placed, now)?,
        };
        if let Some(place) = known {
            self.recarry(place, kind, now);
            return Some(Place::Slot(place));
        }
        // Whoever leaves the overflow cell takes along what it owes: room that comes up is no amnesty.
        let level = self
            .overflow(kind)
            .map_or_else(|| Level::full(kind), |overflow| overflow.split(kind));
        let (rules, carried) = (&self.rules, &self.carried);
        let forgettable = |slot: &Slot| {
            placed.iter().all(|(_, key)| *key != slot.key)
                && slot
                    .level
                    .is_idle(rate_of(rules, carried, slot.kind()), now)
        };
        let slot = Slot {
            key: named.key,
            level,
        };
        let placed = self
            .keys
            .place(slot, rules.share, &self.places, forgettable);
        let Some(placed) = placed else {
            return Some(Place::Overflow(kind));
        };
        if let Some(old) = placed.replaced {
            self.count_carried(old, |slots| slots.saturating_sub(1));
        }
        self.count_carried(kind, |slots| slots.saturating_add(1));
        Some(Place::Slot(placed.at))
    }

    /// The same delegation with another budget: what was spent stays spent.
    fn recarry(&mut self, place: u32, kind: Kind, now: Monotonic) {
        let slots = self.keys.slots();
        let Some(slot) = usize::try_from(place).ok().and_then(|at| slots.get(at)) else {
            return;
        };
        let old = slot.kind();
        if old == kind {
            return;
        }
        let rate = |kind| rate_of(&self.rules, &self.carried, kind);
        if let (Some(before), Some(rate)) = (rate(old), rate(kind)) {
            slot.level.carry(before, rate, now);
        }
        slot.level.set_kind(kind);
        self.count_carried(old, |slots| slots.saturating_sub(1));
        self.count_carried(kind, |slots| slots.saturating_add(1));
    }

    fn count_carried(&mut self, kind: Kind, change: impl Fn(u32) -> u32) {
        if let Some(at) = kind.0.checked_sub(Kind::CARRIED)
            && let Some(carried) = self.carried.get_mut(usize::from(at))
        {
            carried.slots = change(carried.slots);
        }
    }

    /// The kind of the cells that count by this budget.
    fn carry_budget(
        &mut self,
        rate: &Rate,
        placed: &[(Place, Key)],
        now: Monotonic,
    ) -> Option<Kind> {
        let kind_of = |at: usize| Some(Kind(Kind::CARRIED.saturating_add(u16::try_from(at).ok()?)));
        let unused = |(at, carried): (usize, &Carried)| {
            let used = kind_of(at).is_some_and(|kind| {
                placed
                    .iter()
                    .any(|(place, _)| *place == Place::Overflow(kind))
            });
            let idle = carried.overflow.is_idle(Some(&carried.rate), now);
            (carried.slots == 0 && idle && !used).then_some(at)
        };
        let known = self
            .carried
            .iter()
            .position(|carried| carried.rate == *rate);
        let at = match known.or_else(|| self.carried.iter().enumerate().find_map(unused)) {
            Some(at) => at,
            None if self.carried.len() < MAX_CARRIED => self.carried.len(),
            None => return None,
        };
        if known.is_none() {
            let carried = Carried {
                rate: rate.clone(),
                overflow: Level::default(),
                slots: 0,
            };
            match self.carried.get_mut(at) {
                Some(old) => *old = carried,
                None => self.carried.push(carried),
            }
        }
        kind_of(at)
    }

    fn overflow(&self, kind: Kind) -> Option<&Level> {
        match kind.0.checked_sub(Kind::CARRIED) {
            None => self.overflow.get(usize::from(kind.0)),
            Some(at) => self
                .carried
                .get(usize::from(at))
                .map(|carried| &carried.overflow),
        }
    }

    /// A keyed cell, and what it counts by.
    #[inline]
    pub(crate) fn keyed(&self, place: Place) -> Option<(&Level, Kind)> {
        match place {
            Place::Slot(at) => {
                let slot = self.keys.slots().get(usize::try_from(at).ok()?)?;
                Some((&slot.level, slot.kind()))
            }
            Place::Overflow(kind) => Some((self.overflow(kind)?, kind)),
        }
    }

    /// A keyed cell that is still this key's.
    pub(crate) fn still(&self, place: Place, key: Key) -> Option<(&Level, Kind)> {
        match place {
            Place::Slot(at) => self.keys.at(at, key).map(|slot| (&slot.level, slot.kind())),
            Place::Overflow(_) => self.keyed(place),
        }
    }

    /// A keyed cell and its rate, if it has one.
    pub(crate) fn rated(&self, place: Place) -> Option<(&Level, &Rate)> {
        let (level, kind) = self.keyed(place)?;
        Some((level, rate_of(&self.rules, &self.carried, kind)?))
    }

    /// An endpoint's cell and its rate, if it has one.
    pub(crate) fn endpoint(&self, at: usize) -> Option<(&Level, &Rate)> {
        let rule = self.rules.endpoints.get(at)?.own.as_ref()?;
        Some((self.endpoints.get(at)?, rule.rate.as_ref()?))
    }

    pub(crate) fn carried(&self, kind: Kind) -> Option<&Rate> {
        let at = kind.0.checked_sub(Kind::CARRIED)?;
        self.carried
            .get(usize::from(at))
            .map(|carried| &carried.rate)
    }

    pub(crate) fn keys(&self) -> &[Slot] {
        self.keys.slots()
    }

    /// All cells are full again, as if nothing had been spent. What is in flight stays so.
    pub(crate) fn reset(&mut self) {
        let levels = self.endpoints.iter().chain(&self.overflow);
        let carried = self.carried.iter().map(|carried| &carried.overflow);
        let slots = self.keys.slots().iter().map(|slot| &slot.level);
        for level in levels.chain(carried).chain(slots).chain([&self.tenant]) {
            level.clear();
        }
        if let Some(seat) = &self.floor {
            seat.level.clear();
        }
        self.held = Held::default();
        self.resets = self.resets.wrapping_add(1);
    }

    /// Names the tenant's own cell in refusals: one HMAC for each tenant, not for each refusal.
    pub(crate) fn name(&self, tenant: &TenantId, refusals: &mut [Refusal]) {
        let whole = |refusal: &&mut Refusal| refusal.part == Some(Part::Whole);
        for refusal in refusals.iter_mut().filter(whole) {
            let partition = self
                .partition
                .get_or_init(|| Partition::whole(refusal.dimension, tenant));
            refusal.part = Some(Part::Named(*partition));
        }
    }

    /// This tenant's part of the global budget, if there are floors.
    #[inline]
    pub(crate) fn share(&self) -> Option<Share<'_>> {
        let kept = self.rules.kept?;
        let floor = self.floor.as_deref().filter(|seat| seat.is_floor());
        Some(Share {
            floor: floor.map(|seat| (&seat.rate, &seat.level)),
            kept,
            held: &self.held,
        })
    }

    /// Whether forgetting these cells changes nothing.
    pub(crate) fn is_idle(&self, now: Monotonic) -> bool {
        let floor = self.floor.as_deref();
        self.tenant.is_idle(self.plan.rate.as_ref(), now)
            && floor.is_none_or(|seat| seat.level.is_idle(Some(&seat.rate), now))
            && self
                .endpoints
                .iter()
                .zip(&self.rules.endpoints)
                .all(|(level, rule)| {
                    let rule = rule.own.as_ref();
                    level.is_idle(rule.and_then(|rule| rule.rate.as_ref()), now)
                })
            && self.overflow.iter().zip(0..).all(|(level, kind)| {
                level.is_idle(rate_of(&self.rules, &self.carried, Kind(kind)), now)
            })
            && self
                .carried
                .iter()
                .all(|carried| carried.overflow.is_idle(Some(&carried.rate), now))
            && self.keys.slots().iter().all(|slot| {
                slot.level
                    .is_idle(rate_of(&self.rules, &self.carried, slot.kind()), now)
            })
    }
}

fn rate_of<'a>(rules: &'a Rules, carried: &'a [Carried], kind: Kind) -> Option<&'a Rate> {
    match kind.0.checked_sub(Kind::CARRIED) {
        None => rules.keyed(kind)?.rate.as_ref(),
        Some(at) => carried.get(usize::from(at)).map(|carried| &carried.rate),
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.keys.clear(&self.places);
    }
}

/// A keyed cell that an identity or a request names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    /// The budget that came with it.
    pub(crate) carried: Option<Box<Rate>>,
}
