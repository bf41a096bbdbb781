//! The joint charge of several cells: all of them, or none.

use std::{cmp::Reverse, time::Duration};

use arrayvec::ArrayVec;
use tenant_context::Monotonic;

use crate::{
    Dimension,
    cells::{Cross, Level, Moved, Rate},
    fair::Share,
    gcra::{Gcra, Verdict},
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
    /// The TAT once it is charged, and what is left then, in units: of the last decision.
    pub(crate) next: u64,
    left: u64,
    pub(crate) skipped: bool,
}

/// The binding budget of an admission, after it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) dimension: Dimension,
    pub(crate) rate: Rate,
    /// In units.
    pub(crate) left: u64,
    pub(crate) tat: u64,
    pub(crate) now: Monotonic,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) dimension: Dimension,
    pub(crate) rate: Option<Rate>,
    pub(crate) why: Why,
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
pub(crate) fn charge(
    own: &mut Lanes<'_>,
    cross: &mut CrossLanes<'_>,
    ask: Ask,
    clock: impl Fn() -> Monotonic,
) -> Result<Option<Bound>, Failed> {
    let mut least = Least(None);
    let mut refused = false;
    for lane in own.iter_mut() {
        match lane.decide(ask) {
            Ok(left) => least.or(left, || (lane.terms.dimension, lane.rate, lane.next)),
            Err(_) if lane.terms.shadow => lane.skipped = true,
            Err(_) => refused = true,
        }
    }
    let mut seen = [0; CROSS];
    for (lane, seen) in cross.iter_mut().zip(&mut seen) {
        *seen = lane.cross.tat()?;
        match lane.decide(*seen, ask) {
            Ok(_) => {}
            Err(_) if lane.cross.shadow => lane.skipped = true,
            Err(_) => refused = true,
        }
    }
    if refused {
        return Err(Failed::Refused(refusals(own, cross, &seen, ask)));
    }
    if ask.peeks {
        for (lane, seen) in cross.iter_mut().zip(seen) {
            if let Ok(left) = lane.decide(seen, ask) {
                least.or(left, || {
                    (lane.cross.dimension, Some(&lane.cross.rate), lane.next)
                });
            }
        }
        return Ok(least.bound(ask.now));
    }
    for at in 0..cross.len() {
        let (before, rest) = cross.split_at_mut(at);
        let (Some(lane), Some(seen)) = (rest.first_mut(), seen.get(at)) else {
            continue;
        };
        if lane.skipped {
            continue;
        }
        match lane.charge(*seen, ask) {
            Ok(Some(left)) => least.or(left, || {
                let cross = lane.cross;
                (cross.dimension, Some(&cross.rate), lane.next)
            }),
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
        if !lane.skipped {
            lane.level.set(lane.next);
        }
        if ask.enters {
            lane.level.enter();
        }
    }
    for lane in cross {
        if !lane.skipped
            && let Some(share) = &lane.share
        {
            share.charge(lane.cross.rate.gcra, ask);
        }
    }
    Ok(least.bound(ask.now))
}

/// The budget with the fewest units left, so far.
struct Least<'a>(Option<(u64, Dimension, &'a Rate, u64)>);

impl<'a> Least<'a> {
    #[inline]
    fn or(&mut self, left: u64, budget: impl FnOnce() -> (Dimension, Option<&'a Rate>, u64)) {
        if self.0.is_none_or(|least| left < least.0)
            && let (dimension, Some(rate), tat) = budget()
        {
            self.0 = Some((left, dimension, rate, tat));
        }
    }

    fn bound(self, now: Monotonic) -> Option<Bound> {
        self.0.map(|(left, dimension, rate, tat)| Bound {
            dimension,
            rate: *rate,
            left,
            tat,
            now,
        })
    }
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
            next: level.tat(),
            skipped: false,
        }
    }

    /// The TAT once it is charged.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// How many units are left if it is charged.
    #[inline]
    fn decide(&mut self, ask: Ask) -> Result<u64, Why> {
        if ask.enters
            && let Some(most) = self.terms.most
            && self.level.in_flight() >= most
        {
            return Err(Why::InFlight(most));
        }
        let Some(rate) = self.rate else {
            return Ok(u64::MAX);
        };
        let gcra = rate.gcra;
        let cost = gcra.cost(ask.cost).ok_or(Why::AboveBurst)?;
        match gcra.decide(self.level.tat(), gcra.at(ask.now), cost, 0) {
            Verdict::Admit { tat, left } => {
                self.next = tat;
                Ok(gcra.units(left))
            }
            Verdict::Refuse { conforms } => Err(Why::Spent(gcra.wait(conforms, ask.now))),
        }
    }
}

impl<'a> CrossLane<'a> {
    #[inline]
    pub(crate) const fn new(cross: &'a Cross, share: Option<Share<'a>>) -> Self {
        Self {
            cross,
            share,
            next: 0,
            left: 0,
            skipped: false,
        }
    }

    /// How many units are left if it is charged.
    #[inline]
    fn decide(&mut self, tat: u64, ask: Ask) -> Result<u64, Why> {
        let gcra = self.cross.rate.gcra;
        let cost = gcra.cost(ask.cost).ok_or(Why::AboveBurst)?;
        if let Some(share) = &self.share {
            let part = share.decide(gcra, tat, cost, ask);
            let part = part.map_err(|wait| wait.map_or(Why::AboveBurst, Why::Spent))?;
            (self.next, self.left) = (part.tat, part.left);
            return Ok(part.left);
        }
        match gcra.decide(tat, gcra.at(ask.now), cost, 0) {
            Verdict::Admit { tat, left } => {
                (self.next, self.left) = (tat, gcra.units(left));
                Ok(self.left)
            }
            Verdict::Refuse { conforms } => Err(Why::Spent(gcra.wait(conforms, ask.now))),
        }
    }

    /// Charges what was decided about `seen`; if the cell is another by now, what is decided about that. `None`:
    /// a shadow that would refuse by now.
    #[inline]
    fn charge(&mut self, mut seen: u64, ask: Ask) -> Result<Option<u64>, Failed> {
        loop {
            match self.cross.replace(seen, self.next) {
                Ok(()) => return Ok(Some(self.left)),
                Err(other) => seen = other?,
            }
            match self.decide(seen, ask) {
                Ok(_) => {}
                Err(_) if self.cross.shadow => return Ok(None),
                Err(why) => return Err(Failed::Refused(vec![self.refusal(why)])),
            }
        }
    }

    fn refusal(&self, why: Why) -> Refusal {
        Refusal {
            dimension: self.cross.dimension,
            rate: Some(self.cross.rate),
            why,
        }
    }

    fn give_back(&self, units: u64, now: Monotonic) {
        let gcra = self.cross.rate.gcra;
        if let (false, Some(cost)) = (self.skipped, gcra.cost(units)) {
            let back = |tat| Gcra::give_back(tat, self.next, gcra.at(now), cost);
            // If it has moved, it was carried over as charged: less is admitted, not more.
            self.cross.update(back).ok();
        }
    }
}

/// All budgets that refuse, the binding one first.
#[cold]
fn refusals(
    own: &mut Lanes<'_>,
    cross: &mut CrossLanes<'_>,
    seen: &[u64; CROSS],
    ask: Ask,
) -> Vec<Refusal> {
    let mut all = Vec::with_capacity(2);
    for lane in own.iter_mut().filter(|lane| !lane.terms.shadow) {
        if let Err(why) = lane.decide(ask) {
            all.push(Refusal {
                dimension: lane.terms.dimension,
                rate: lane.rate.copied(),
                why,
            });
        }
    }
    for (lane, seen) in cross.iter_mut().zip(seen) {
        if !lane.cross.shadow
            && let Err(why) = lane.decide(*seen, ask)
        {
            all.push(lane.refusal(why));
        }
    }
    // Stable: of equal ones the narrowest stays first.
    all.sort_by_key(|refusal| Reverse(refusal.why));
    all
}

#[cfg(all(test, not(loom)))]
#[path = "charge_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "charge_loom.rs"]
mod loom_tests;
