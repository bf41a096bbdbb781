//! A tenant's part of a budget that tenants share: its guaranteed floor, and its fair part of the rest.
//!
//! *The floor.* The floors' bursts are kept back from everything else: a request above its tenant's
//! floor may drain the shared cell only down to them, one within its floor may drain it wholly. As all
//! floors together are at most the whole, in pace and in burst, a request within its floor finds the
//! cell never empty; and what nobody uses of a floor refills the cell for all.
//!
//! *The rest* is divided as switches divide a shared buffer (Choudhury and Hahne, Dynamic queue length
//! thresholds, 1998): the less of it is free, the less a tenant may hold. What it holds is what it was lately
//! admitted above its floor, forgotten evenly over the time in which the rest refills. Whoever asks for more than
//! there is comes to hold the same as everybody else who does, however loud it is; whoever asks for less gets all
//! it asks for; and one that asks alone gets all there is. The cell itself finds the level at which this holds:
//! while it fills more may be held, while it drains less.
//!
//! What may be held grows with the third power of what is free. In proportion to it, a few requests more or less
//! that are free at a moment would decide, and the loudest is there at every moment; the steeper it is, the less of
//! its burst a tenant alone gets at once: here two fifths.

use std::{cell::Cell, time::Duration};

use tenant_context::Monotonic;

use crate::{
    cells::{Cross, Level, Moved, Rate},
    charge::Ask,
    gcra::{Gcra, Verdict},
};

/// The rest of a shared budget: a span of ticks that can be free, held, or both.
#[derive(Clone, Copy, Debug)]
struct Rest {
    span: u64,
    /// By so many bits ticks are shortened to 31 bits.
    shift: u32,
}

impl Rest {
    /// What is not kept back for floors.
    const fn of(gcra: Gcra, kept: u64) -> Self {
        Self::new(gcra.capacity().saturating_sub(kept))
    }

    const fn new(span: u64) -> Self {
        let bits = u64::BITS.saturating_sub(span.leading_zeros());
        Self {
            span,
            shift: bits.saturating_sub(31),
        }
    }

    /// `ticks * part / span`, for a part of the span.
    fn part(self, ticks: u64, part: u64) -> u64 {
        let (ticks, part, span) = (
            ticks >> self.shift,
            part >> self.shift,
            self.span >> self.shift,
        );
        let scaled = ticks.saturating_mul(part).checked_div(span).unwrap_or(0);
        scaled << self.shift
    }

    /// What one tenant may hold when so much is free: twice the span, times the third power of the part that is
    /// free. One that asks alone needs four fifths free to use the whole pace, and n of them the n-th part of the third
    /// power.
    fn may_hold(self, free: u64) -> u64 {
        self.part(self.part(free, free), free).saturating_mul(2)
    }
}

/// What a tenant was lately admitted of the rest, in ticks of the shared quota.
#[derive(Debug, Default)]
pub(crate) struct Held {
    amount: Cell<u64>,
    at: Cell<u64>,
}

impl Held {
    /// What is still held: it goes down evenly, to nothing after the span.
    fn now(&self, ticks: u64, rest: Rest) -> u64 {
        let age = ticks.saturating_sub(self.at.get());
        let left = rest.span.saturating_sub(age);
        rest.part(self.amount.get(), left)
    }

    fn add(&self, cost: u64, ticks: u64, rest: Rest) {
        let held = self.now(ticks, rest).saturating_add(cost);
        self.amount.set(held.min(rest.span));
        self.at.set(ticks);
    }

    fn take(&self, cost: u64, ticks: u64, rest: Rest) {
        self.amount.set(self.now(ticks, rest).saturating_sub(cost));
        self.at.set(ticks);
    }

    /// Goes on in ticks of another quota. The floors kept so much of the one before.
    pub(crate) fn carry(&self, before: Gcra, kept: u64, gcra: Gcra, now: Monotonic) {
        let held = self.now(before.at(now), Rest::of(before, kept));
        self.amount.set(gcra.convert(before, held));
        self.at.set(gcra.at(now));
    }
}

/// One tenant's part of a shared budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<'a> {
    pub(crate) floor: Option<(&'a Rate, &'a Level)>,
    /// What all floors keep back, in ticks of the shared quota.
    pub(crate) kept: u64,
    pub(crate) held: &'a Held,
}

/// An admission by a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) tat: u64,
    /// In units.
    pub(crate) left: u64,
}

impl Share<'_> {
    const fn rest(&self, gcra: Gcra) -> Rest {
        Rest::of(gcra, self.kept)
    }

    /// Whether a request conforms.
    pub(crate) fn look(&self, gcra: Gcra, tat: u64, cost: u64, ask: Ask) -> Option<Part> {
        let (ticks, rest) = (gcra.at(ask.now), self.rest(gcra));
        if self.floor_admits(ask).is_some()
            && let Verdict::Admit { tat: next, .. } = gcra.decide(tat, ticks, cost)
        {
            let free = rest.span.saturating_sub(next.saturating_sub(ticks));
            return Some(Part {
                tat: next,
                left: gcra.units(free).max(self.left_of_floor(ask)),
            });
        }
        let free = self.free(rest, tat, cost, ticks)?;
        Some(Part {
            tat: tat.max(ticks).saturating_add(cost),
            left: gcra.units(free.saturating_sub(cost)),
        })
    }

    /// What is free of the rest at this time, if this tenant may take so much of it.
    fn free(&self, rest: Rest, tat: u64, cost: u64, ticks: u64) -> Option<u64> {
        let free = rest.span.saturating_sub(tat.saturating_sub(ticks));
        // Whoever holds nothing may take what is free.
        let held = self.held.now(ticks, rest);
        let may = held == 0 || held.saturating_add(cost) <= rest.may_hold(free);
        (cost <= free && may).then_some(free)
    }

    /// How long until a request that is refused conforms; `None`: it never will.
    #[cold]
    pub(crate) fn wait(&self, gcra: Gcra, tat: u64, cost: u64, ask: Ask) -> Option<Duration> {
        let by_floor = self.floor_wait(gcra, tat, cost, ask);
        let (ticks, rest) = (gcra.at(ask.now), self.rest(gcra));
        if cost > rest.span {
            return by_floor;
        }
        // Time only adds to what is free and only takes from what is held; at the end of this both are whole.
        let (mut refuses, mut admits) = (ticks, tat.max(ticks).saturating_add(rest.span));
        while admits.saturating_sub(refuses) > 1 {
            let middle = refuses.midpoint(admits);
            if self.free(rest, tat, cost, middle).is_some() {
                admits = middle;
            } else {
                refuses = middle;
            }
        }
        let by_rest = gcra.wait(admits, ask.now);
        Some(by_floor.map_or(by_rest, |wait| wait.min(by_rest)))
    }

    /// How long until the floor, and with it the whole, admits; `None` if it never does.
    fn floor_wait(&self, gcra: Gcra, tat: u64, cost: u64, ask: Ask) -> Option<Duration> {
        let (rate, level) = self.floor?;
        let floor = rate.gcra;
        let wait = |gcra: Gcra, tat, cost| match gcra.decide(tat, gcra.at(ask.now), cost) {
            Verdict::Admit { .. } => Duration::ZERO,
            Verdict::Refuse { conforms } => gcra.wait(conforms, ask.now),
        };
        let own = wait(floor, level.tat(), floor.cost(ask.cost)?);
        Some(own.max(wait(gcra, tat, cost)))
    }

    /// The floor's TAT once it is charged, if it has room.
    fn floor_admits(&self, ask: Ask) -> Option<u64> {
        let (rate, level) = self.floor?;
        let floor = rate.gcra;
        match floor.decide(level.tat(), floor.at(ask.now), floor.cost(ask.cost)?) {
            Verdict::Admit { tat, .. } => Some(tat),
            Verdict::Refuse { .. } => None,
        }
    }

    fn left_of_floor(&self, ask: Ask) -> u64 {
        self.room_of_floor(ask.now).saturating_sub(ask.cost)
    }

    /// In units.
    fn room_of_floor(&self, now: Monotonic) -> u64 {
        self.floor
            .map_or(0, |(rate, level)| rate.gcra.remaining(level.tat(), now))
    }

    /// Charges the floor if it has room, and answers its TAT; or else counts towards the fair part.
    pub(crate) fn charge(&self, gcra: Gcra, ask: Ask) -> Option<u64> {
        let by_floor = self.floor_admits(ask);
        if let (Some((rate, level)), Some(tat)) = (self.floor, by_floor) {
            level.charge(tat, rate, ask.now);
        } else if let Some(cost) = gcra.cost(ask.cost) {
            self.held.add(cost, gcra.at(ask.now), self.rest(gcra));
        }
        by_floor
    }

    /// Charges what was not asked for. The floor pays as far as it has room, the rest as far as it is free: what the
    /// floors keep back stays theirs. Whatever is more this tenant alone owes, to its own floor.
    pub(crate) fn owe(&self, cross: &Cross, units: u64, now: Monotonic) -> Result<(), Moved> {
        let gcra = cross.rate.gcra;
        let (ticks, rest) = (gcra.at(now), self.rest(gcra));
        let by_floor = self.room_of_floor(now).min(units);
        let above = units.saturating_sub(by_floor);
        let free = |tat: u64| {
            let tat = gcra.owe(tat, ticks, by_floor);
            (tat, rest.span.saturating_sub(tat.saturating_sub(ticks)))
        };
        let cost = |free: u64| gcra.ticks(above).min(free);
        let before = cross.update(now, |tat| {
            let (tat, free) = free(tat);
            tat.saturating_add(cost(free))
        })?;
        let charged = cost(free(before).1);
        if let Some((rate, level)) = self.floor {
            let unpaid = above.saturating_sub(gcra.units(charged));
            let owed = by_floor.saturating_add(unpaid);
            let tat = rate.gcra.owe(level.tat(), rate.gcra.at(now), owed);
            level.charge(tat, rate, now);
        }
        if above > 0 {
            self.held.add(gcra.ticks(above), ticks, rest);
        }
        Ok(())
    }

    /// Gives back what came back to the whole, in ticks: to the floor, which was at this TAT when it was charged, or to
    /// the fair part.
    pub(crate) fn give_back(
        &self,
        gcra: Gcra,
        back: u64,
        by_floor: Option<(Gcra, u64)>,
        now: Monotonic,
    ) {
        let Some((charged_by, charged)) = by_floor else {
            self.held.take(back, gcra.at(now), self.rest(gcra));
            return;
        };
        if let Some((rate, level)) = self.floor
            && rate.gcra == charged_by
            && let Some(cost) = rate.gcra.cost(gcra.units(back))
        {
            let ticks = rate.gcra.at(now);
            level.set(Gcra::give_back(level.tat(), charged, ticks, cost));
        }
    }
}
