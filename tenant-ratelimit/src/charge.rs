//! The joint charge of several cells: all of them, or none.

use std::{cmp::Reverse, time::Duration};

use arrayvec::ArrayVec;
use tenant_context::Monotonic;

use crate::{
    Dimension, Quota,
    cells::{Cross, Level, Moved, Rate},
    fair::Share,
    gcra::{Gcra, Verdict},
    headers::Policy,
    partition::Part,
};

/// The most cells of one tenant that one request falls under: its endpoint, four of the application's own
/// dimensions, eight delegations, nine agents, the principal, the tenant.
pub(crate) const OWN: usize = 24;
/// The most cells that tenants share: the endpoint's, the global one.
pub(crate) const CROSS: usize = 2;

pub(crate) type Lanes<'a> = ArrayVec<Lane<'a>, OWN>;
pub(crate) type CrossLanes<'a> = ArrayVec<CrossLane<'a>, CROSS>;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// In units.
    pub(crate) cost: u64,
    /// Whether it only looks.
    pub(crate) peeks: bool,
    /// Whether it will be in flight, and tell when it no longer is.
    pub(crate) enters: bool,
    pub(crate) now: Monotonic,
}

/// What a budget is for, besides its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) dimension: Dimension,
    /// The most requests in flight.
    pub(crate) most: Option<u32>,
    /// It counts and tells, and refuses nothing.
    pub(crate) shadow: bool,
}

/// Which of a tenant's own cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Endpoint,
    /// The request's keyed cell of this number.
    Keyed(u8),
    Tenant,
}

/// One budget of the tenant's own that a request falls under.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) source: Source,
    pub(crate) terms: &'a Terms,
    pub(crate) rate: Option<&'a Rate>,
    pub(crate) level: &'a Level,
    /// The TAT once it is charged.
    next: u64,
    /// A shadow that would refuse: it is not charged.
    pub(crate) skipped: bool,
}

/// One budget that tenants share.
#[derive(Debug)]
pub(crate) struct CrossLane<'a> {
    pub(crate) cross: &'a Cross,
    /// How this tenant may use it, if that is not left to who comes first.
    pub(crate) share: Option<Share<'a>>,
    /// The TAT that was decided about.
    seen: u64,
    /// The TAT once it is charged, and what is left then, in units: of the last decision.
    pub(crate) next: u64,
    left: u64,
    pub(crate) skipped: bool,
    /// The floor's TAT, if the floor was charged.
    pub(crate) by_floor: Option<u64>,
}

/// The binding budget of an admission, after it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) dimension: Dimension,
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
    /// In units.
    pub(crate) left: u64,
    pub(crate) tat: u64,
    pub(crate) now: Monotonic,
}

/// Which budget has the fewest units left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    /// In units.
    left: u64,
    lane: Option<Which>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Own(usize),
    Cross(usize),
}

impl Least {
    const NONE: Self = Self {
        left: u64::MAX,
        lane: None,
    };

    #[inline]
    const fn or(&mut self, left: u64, lane: Which) {
        if left < self.left {
            *self = Self {
                left,
                lane: Some(lane),
            };
        }
    }

    /// Which of the tenant's own cells it is.
    pub(crate) fn source(self, own: &Lanes<'_>) -> Option<Source> {
        match self.lane? {
            Which::Own(at) => own.get(at).map(|lane| lane.source),
            Which::Cross(_) => None,
        }
    }

    /// How clients are told of the budget's quota.
    pub(crate) fn policy(self, own: &Lanes<'_>, cross: &CrossLanes<'_>) -> Option<Policy> {
        let rate = match self.lane? {
            Which::Own(at) => own.get(at)?.rate?,
            Which::Cross(at) => &cross.get(at)?.cross.rate,
        };
        Some(rate.policy)
    }

    /// The budget, of the lanes that were charged.
    pub(crate) fn bound(
        self,
        own: &Lanes<'_>,
        cross: &CrossLanes<'_>,
        now: Monotonic,
    ) -> Option<Bound> {
        let (dimension, rate, tat) = match self.lane? {
            Which::Own(at) => {
                let lane = own.get(at)?;
                (lane.terms.dimension, lane.rate?, lane.next)
            }
            Which::Cross(at) => {
                let lane = cross.get(at)?;
                (lane.cross.dimension, &lane.cross.rate, lane.next)
            }
        };
        Some(Bound {
            dimension,
            quota: rate.quota,
            gcra: rate.gcra,
            left: self.left,
            tat,
            now,
        })
    }
}

/// Why a budget refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It admits after this time, and not a nanosecond earlier.
    Spent(Duration),
    /// As many requests as it allows are in flight.
    InFlight(u32),
    /// The request costs more than it ever allows at once.
    AboveBurst,
}

/// One budget that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) dimension: Dimension,
    pub(crate) rate: Option<Rate>,
    pub(crate) why: Why,
    /// Which of the tenant's own cells; `None`: one that tenants share.
    pub(crate) source: Option<Source>,
    /// The same, to name it to clients.
    pub(crate) part: Option<Part>,
}

/// Nothing was charged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// By these budgets, the binding one first: of those that are only spent the one with the longest
    /// wait, and of equal ones the narrowest.
    Refused(Vec<Refusal>),
    /// A quota was changed meanwhile: to be decided anew under the new one.
    Moved,
}

impl From<Moved> for Failed {
    fn from(Moved: Moved) -> Self {
        Self::Moved
    }
}

/// Charges all budgets, or none.
///
/// `own` are cells of one tenant, the narrowest first, and the caller holds that tenant's lock; no cell
/// is named twice. `cross` are charged before them, by compare-and-swap, in the order given. With one
/// of them nothing has been written until it succeeds, so a refusal, and a race that is lost, leave
/// every cell as it was. With several, what was charged is given back when a later one refuses in a race:
/// a refusal of others may reflect a charge that is on its way back, an admission never does.
///
/// The answer is the binding budget: of an admission the one with the fewest units left.
#[inline]
pub(crate) fn charge(
    own: &mut Lanes<'_>,
    cross: &mut CrossLanes<'_>,
    ask: Ask,
    clock: impl Fn() -> Monotonic,
) -> Result<Least, Failed> {
    let mut least = Least::NONE;
    let mut refused = false;
    for (at, lane) in own.iter_mut().enumerate() {
        match lane.look(ask) {
            Some(left) => least.or(left, Which::Own(at)),
            None if lane.terms.shadow => lane.skipped = true,
            None => refused = true,
        }
    }
    for (at, lane) in cross.iter_mut().enumerate() {
        lane.seen = lane.cross.tat()?;
        match lane.look(ask) {
            Some(left) if ask.peeks => least.or(left, Which::Cross(at)),
            Some(_) => {}
            None if lane.cross.shadow => lane.skipped = true,
            None => refused = true,
        }
    }
    if refused {
        return Err(Failed::Refused(refusals(own, cross, ask)));
    }
    if ask.peeks {
        return Ok(least);
    }
    for at in 0..cross.len() {
        let (before, rest) = cross.split_at_mut(at);
        let Some(lane) = rest.first_mut().filter(|lane| !lane.skipped) else {
            continue;
        };
        match lane.charge(ask) {
            Ok(Some(left)) => least.or(left, Which::Cross(at)),
            Ok(None) => lane.skipped = true,
            Err(failed) => {
                for lane in before {
                    lane.give_back(ask.cost, clock());
                }
                return Err(failed);
            }
        }
    }
    for lane in own {
        if let Some(rate) = lane.rate
            && !lane.skipped
        {
            lane.level.charge(lane.next, rate, ask.now);
        }
        if ask.enters {
            lane.level.enter();
        }
    }
    for lane in cross {
        if let Some(share) = &lane.share
            && !lane.skipped
        {
            lane.by_floor = share.charge(lane.cross.rate.gcra, ask);
        }
    }
    Ok(least)
}

impl<'a> Lane<'a> {
    #[inline]
    pub(crate) const fn new(
        source: Source,
        terms: &'a Terms,
        rate: Option<&'a Rate>,
        level: &'a Level,
    ) -> Self {
        Self {
            source,
            terms,
            rate,
            level,
            next: 0,
            skipped: false,
        }
    }

    /// The TAT once it is charged.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The most in flight, if as many are.
    #[inline]
    fn in_flight(&self, ask: Ask) -> Option<u32> {
        let most = self.terms.most.filter(|_| ask.enters)?;
        (self.level.in_flight() >= most).then_some(most)
    }

    /// How many units are left if it is charged; `None`: it refuses.
    #[inline]
    fn look(&mut self, ask: Ask) -> Option<u64> {
        if self.in_flight(ask).is_some() {
            return None;
        }
        let Some(rate) = self.rate else {
            return Some(u64::MAX);
        };
        let gcra = rate.gcra;
        let cost = gcra.cost(ask.cost)?;
        match gcra.decide(self.level.tat(), gcra.at(ask.now), cost) {
            Verdict::Admit { tat, left } => {
                self.next = tat;
                Some(gcra.units(left))
            }
            Verdict::Refuse { .. } => None,
        }
    }

    /// Why it refuses, if it does.
    fn why(&self, ask: Ask) -> Option<Why> {
        if let Some(most) = self.in_flight(ask) {
            return Some(Why::InFlight(most));
        }
        why(self.rate?.gcra, self.level.tat(), ask)
    }
}

/// Why a cell refuses, if it does.
pub(crate) fn why(gcra: Gcra, tat: u64, ask: Ask) -> Option<Why> {
    let Some(cost) = gcra.cost(ask.cost) else {
        return Some(Why::AboveBurst);
    };
    match gcra.decide(tat, gcra.at(ask.now), cost) {
        Verdict::Admit { .. } => None,
        Verdict::Refuse { conforms } => Some(Why::Spent(gcra.wait(conforms, ask.now))),
    }
}

impl<'a> CrossLane<'a> {
    #[inline]
    pub(crate) const fn new(cross: &'a Cross, share: Option<Share<'a>>) -> Self {
        Self {
            cross,
            share,
            seen: 0,
            next: 0,
            left: 0,
            skipped: false,
            by_floor: None,
        }
    }

    /// How many units are left if what was seen is charged; `None`: it refuses.
    #[inline]
    fn look(&mut self, ask: Ask) -> Option<u64> {
        let gcra = self.cross.rate.gcra;
        let cost = gcra.cost(ask.cost)?;
        if let Some(share) = &self.share {
            let part = share.look(gcra, self.seen, cost, ask)?;
            (self.next, self.left) = (part.tat, part.left);
            return Some(part.left);
        }
        match gcra.decide(self.seen, gcra.at(ask.now), cost) {
            Verdict::Admit { tat, left } => {
                (self.next, self.left) = (tat, gcra.units(left));
                Some(self.left)
            }
            Verdict::Refuse { .. } => None,
        }
    }

    /// Why it refuses, if it does.
    fn why(&self, ask: Ask) -> Option<Why> {
        let gcra = self.cross.rate.gcra;
        let Some(share) = &self.share else {
            return why(gcra, self.seen, ask);
        };
        let Some(cost) = gcra.cost(ask.cost) else {
            return Some(Why::AboveBurst);
        };
        match share.look(gcra, self.seen, cost, ask) {
            Some(_) => None,
            None => Some(
                share
                    .wait(gcra, self.seen, cost, ask)
                    .map_or(Why::AboveBurst, Why::Spent),
            ),
        }
    }

    /// Charges what was decided about what was seen; if the cell is another by now, what is decided about
    /// that. `None`: a shadow that would refuse by now.
    #[inline]
    fn charge(&mut self, ask: Ask) -> Result<Option<u64>, Failed> {
        loop {
            match self.cross.replace(self.seen, self.next, ask.now) {
                Ok(()) => return Ok(Some(self.left)),
                Err(other) => self.seen = other?,
            }
            if self.look(ask).is_none() {
                if self.cross.shadow {
                    return Ok(None);
                }
                return Err(Failed::Refused(self.refusal(ask).into_iter().collect()));
            }
        }
    }

    fn refusal(&self, ask: Ask) -> Option<Refusal> {
        Some(Refusal {
            dimension: self.cross.dimension,
            rate: Some(self.cross.rate.clone()),
            why: self.why(ask)?,
            source: None,
            part: None,
        })
    }

    fn give_back(&self, units: u64, now: Monotonic) {
        let gcra = self.cross.rate.gcra;
        if let (false, Some(cost)) = (self.skipped, gcra.cost(units)) {
            let back = |tat| Gcra::give_back(tat, self.next, gcra.at(now), cost);
            // If it has moved, it was carried over as charged: less is admitted, not more.
            self.cross.update(now, back).ok();
        }
    }
}

/// All budgets that refuse, the binding one first.
#[cold]
fn refusals(own: &Lanes<'_>, cross: &CrossLanes<'_>, ask: Ask) -> Vec<Refusal> {
    let mut all = Vec::with_capacity(1);
    for lane in own.iter().filter(|lane| !lane.terms.shadow) {
        if let Some(why) = lane.why(ask) {
            all.push(Refusal {
                dimension: lane.terms.dimension,
                rate: lane.rate.cloned(),
                why,
                source: Some(lane.source),
                part: None,
            });
        }
    }
    let cross = cross.iter().filter(|lane| !lane.cross.shadow);
    all.extend(cross.filter_map(|lane| lane.refusal(ask)));
    in_order(&mut all);
    all
}

/// The binding one first; of equal ones, the narrowest stays first.
pub(crate) fn in_order(refusals: &mut [Refusal]) {
    refusals.sort_by_key(|refusal| Reverse(refusal.why));
}

#[cfg(all(test, not(loom)))]
#[path = "charge_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "charge_loom.rs"]
mod loom_tests;
