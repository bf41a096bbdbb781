//! The cells: what is counted, and by which quota.

use std::cell::Cell;

use tenant_context::{ConfigError, Monotonic};

use crate::{
    Dimension, Quota,
    gcra::Gcra,
    keys::Kind,
    sync::{AtomicU64, Ordering},
};

/// A quota that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
}

impl Rate {
    pub(crate) fn new(quota: Quota) -> Result<Self, ConfigError> {
        Ok(Self {
            quota,
            gcra: quota.gcra()?,
        })
    }
}

/// One of a tenant's own cells: its TAT, and how many requests it has in flight. New ones are full.
///
/// It is read and written under that tenant's lock only, so it needs no atomics.
#[derive(Debug, Default)]
pub(crate) struct Level {
    tat: Cell<u64>,
    /// Spent beyond one burst when the quota shrank, in ticks: it stands in nobody's way, comes back once the
    /// cell is whole, and counts again under a larger quota.
    rest: Cell<u64>,
    in_flight: Cell<u32>,
    /// Of a keyed cell: it stands here because there is room.
    kind: Cell<Kind>,
}

impl Level {
    /// A new one, with what this one has spent.
    pub(crate) const fn split(&self, kind: Kind) -> Self {
        Self {
            tat: Cell::new(self.tat.get()),
            rest: Cell::new(self.rest.get()),
            in_flight: Cell::new(0),
            kind: Cell::new(kind),
        }
    }

    /// A new one.
    pub(crate) const fn full(kind: Kind) -> Self {
        Self {
            tat: Cell::new(0),
            rest: Cell::new(0),
            in_flight: Cell::new(0),
            kind: Cell::new(kind),
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind.get()
    }

    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.set(kind);
    }

    pub(crate) const fn tat(&self) -> u64 {
        self.tat.get()
    }

    /// Charges it: what was decided about it now.
    #[inline]
    pub(crate) fn charge(&self, tat: u64, rate: &Rate, now: Monotonic) {
        if self.rest.get() > 0 {
            self.rest.set(self.rest(rate.gcra.at(now)));
        }
        self.tat.set(tat);
    }

    /// Changes the TAT: not to before now.
    pub(crate) fn set(&self, tat: u64) {
        self.tat.set(tat);
    }

    /// Nothing is spent.
    pub(crate) fn clear(&self) {
        self.tat.set(0);
        self.rest.set(0);
    }

    /// What is left of the rest: it comes back from when the cell was whole.
    const fn rest(&self, ticks: u64) -> u64 {
        let idle = ticks.saturating_sub(self.tat.get());
        self.rest.get().saturating_sub(idle)
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    pub(crate) fn enter(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
    }

    pub(crate) fn leave(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Goes on under another quota, with all that was spent.
    pub(crate) fn carry(&self, before: Rate, rate: Rate, now: Monotonic) {
        if before.gcra != rate.gcra {
            let rest = self.rest(before.gcra.at(now));
            let (tat, rest) = rate.gcra.carry(before.gcra, self.tat(), rest, now);
            self.tat.set(tat);
            self.rest.set(rest);
        }
    }

    /// Whether forgetting it changes nothing.
    pub(crate) fn is_idle(&self, rate: Option<&Rate>, now: Monotonic) -> bool {
        let all = self.tat().saturating_add(self.rest.get());
        self.in_flight() == 0 && rate.is_none_or(|rate| rate.gcra.is_full(all, now))
    }
}

/// A cell that tenants share, and its quota. Changed by compare-and-swap only. The number stands for
/// itself, nothing is published with it: relaxed orderings suffice.
///
/// Here a budget that several processes share will be charged: a process then spends what it has leased.
#[derive(Debug)]
pub(crate) struct Cross {
    pub(crate) dimension: Dimension,
    pub(crate) rate: Rate,
    pub(crate) shadow: bool,
    /// Spent beyond one burst when the quota shrank: the tick at which it will have come back.
    rest: u64,
    cell: Alone,
}

/// The cell that all cores write, alone in its cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Alone(AtomicU64);

/// The budget goes on in another cell: its quota was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved;

/// No TAT: the clock stands still before.
const MOVED: u64 = u64::MAX;

impl Cross {
    pub(crate) fn new(dimension: Dimension, rate: Rate, shadow: bool) -> Self {
        Self {
            dimension,
            rate,
            shadow,
            rest: 0,
            cell: Alone(AtomicU64::new(0)),
        }
    }

    pub(crate) fn tat(&self) -> Result<u64, Moved> {
        match self.cell.0.load(Ordering::Relaxed) {
            MOVED => Err(Moved),
            tat => Ok(tat),
        }
    }

    /// Puts `tat` in the place of `seen`; if it is another by now, that one.
    pub(crate) fn replace(&self, seen: u64, tat: u64) -> Result<(), Result<u64, Moved>> {
        let swapped =
            self.cell
                .0
                .compare_exchange_weak(seen, tat, Ordering::Relaxed, Ordering::Relaxed);
        match swapped {
            Ok(_) => Ok(()),
            Err(MOVED) => Err(Err(Moved)),
            Err(other) => Err(Ok(other)),
        }
    }

    /// Changes the TAT, unless the budget has moved, and answers what it was.
    pub(crate) fn update(&self, change: impl Fn(u64) -> u64) -> Result<u64, Moved> {
        let mut seen = self.tat()?;
        loop {
            match self.replace(seen, change(seen)) {
                Ok(()) => return Ok(seen),
                Err(other) => seen = other?,
            }
        }
    }

    /// The same budget under another quota, with what was spent. This one admits no more.
    pub(crate) fn moved(&self, rate: Rate, now: Monotonic) -> Self {
        let tat = self.cell.0.swap(MOVED, Ordering::Relaxed);
        let before = self.rate.gcra;
        let rest = before.spent(self.rest, now);
        let (tat, rest) = rate.gcra.carry(before, tat, rest, now);
        Self {
            dimension: self.dimension,
            rate,
            shadow: self.shadow,
            rest: rate.gcra.at(now).saturating_add(rest),
            cell: Alone(AtomicU64::new(tat)),
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// One unit a second.
    fn rate(burst: u64) -> Rate {
        Rate::new(Quota::per_second(1).burst(burst)).unwrap()
    }

    fn left(level: &Level, rate: &Rate, now: Monotonic) -> u64 {
        rate.gcra.remaining(level.tat(), now)
    }

    proptest! {
        #[test]
        fn a_quota_down_and_up_again_forgets_nothing_and_gives_nothing_back_twice(
            spent in 0..=20_u64,
            small in 1..20_u64,
            pauses in prop::collection::vec(0..6_u64, 1..6),
            charges in prop::collection::vec(0..4_u64, 6),
        ) {
            let (wide, narrow) = (rate(20), rate(small));
            let (level, mut now) = (Level::default(), Monotonic::from_secs(100));
            level.charge(wide.gcra.owe(0, wide.gcra.at(now), spent), &wide, now);
            level.carry(wide, narrow, now);
            let (mut counted, mut rest) = (spent.min(small), spent.saturating_sub(small));
            for (pause, units) in pauses.into_iter().zip(charges) {
                now = now.saturating_add(Duration::from_secs(pause));
                rest = rest.saturating_sub(pause.saturating_sub(counted));
                counted = counted.saturating_sub(pause);
                prop_assert_eq!(left(&level, &narrow, now), small - counted);
                if units <= small - counted {
                    let ticks = narrow.gcra.at(now);
                    level.charge(level.tat().max(ticks) + narrow.gcra.ticks(units), &narrow, now);
                    counted += units;
                }
            }
            prop_assert_eq!(level.is_idle(Some(&narrow), now), counted + rest == 0);
            let owed = counted + rest;
            level.carry(narrow, wide, now);
            prop_assert_eq!(left(&level, &wide, now), 20 - owed.min(20));
        }
    }
}
