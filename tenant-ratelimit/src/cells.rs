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
    in_flight: Cell<u32>,
    /// Of a keyed cell: it stands here because there is room.
    kind: Cell<Kind>,
}

impl Level {
    pub(crate) const fn new(tat: u64, kind: Kind) -> Self {
        Self {
            tat: Cell::new(tat),
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

    pub(crate) fn set(&self, tat: u64) {
        self.tat.set(tat);
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

    /// Goes on under another quota.
    pub(crate) fn carry(&self, before: Rate, rate: Rate, now: Monotonic) {
        if before.gcra != rate.gcra {
            self.set(rate.gcra.carry(before.gcra, self.tat(), 0, now).0);
        }
    }

    /// Whether forgetting it changes nothing.
    pub(crate) fn is_idle(&self, rate: Option<Rate>, now: Monotonic) -> bool {
        self.in_flight() == 0 && rate.is_none_or(|rate| rate.gcra.is_full(self.tat(), now))
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

    /// Changes the TAT, unless the budget has moved.
    pub(crate) fn update(&self, change: impl Fn(u64) -> u64) -> Result<(), Moved> {
        let mut seen = self.tat()?;
        loop {
            match self.replace(seen, change(seen)) {
                Ok(()) => return Ok(()),
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
