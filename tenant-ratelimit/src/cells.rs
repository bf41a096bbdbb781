//! The cells: what is counted, and by which quota.

use std::cell::Cell;

use tenant_context::{ConfigError, Monotonic};

use crate::{
    Dimension, Quota,
    gcra::Gcra,
    headers::{self, Policy},
    keys::Kind,
    sync::{AtomicU64, Mutex, MutexGuard, Ordering},
};

/// A quota that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
    /// As clients are told it.
    pub(crate) policy: Policy,
}

impl PartialEq for Rate {
    /// All else is made from the quota.
    fn eq(&self, other: &Self) -> bool {
        self.quota == other.quota
    }
}

impl Eq for Rate {}

impl Rate {
    pub(crate) fn new(quota: Quota) -> Result<Self, ConfigError> {
        Ok(Self {
            quota,
            gcra: quota.gcra()?,
            policy: headers::policy(quota),
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

    /// Whether something waits behind one burst, since the quota shrank.
    #[inline]
    pub(crate) const fn waits(&self) -> bool {
        self.rest.get() > 0
    }

    /// Charges it: what was decided about it now.
    #[inline]
    pub(crate) fn charge(&self, tat: u64, rate: &Rate, now: Monotonic) {
        if self.waits() {
            self.rest.set(self.rest(rate.gcra.at(now)));
        }
        self.tat.set(tat);
    }

    /// Changes the TAT: not to before now, or where nothing waits.
    #[inline]
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
    pub(crate) fn carry(&self, before: &Rate, rate: &Rate, now: Monotonic) {
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
    behind: Option<Box<Behind>>,
    cell: Alone,
}

/// Spent beyond one burst when the quota shrank, in ticks: as in a [`Level`] it stands in nobody's way, comes back while
/// the cell is whole, and counts again under a larger quota.
///
/// It changes together with the TAT, which takes a lock; but only until nothing is left, and none where no quota shrank
/// below what was spent of it.
#[derive(Debug)]
struct Behind {
    /// It only goes down, under the lock.
    left: AtomicU64,
    lock: Mutex<()>,
}

impl Behind {
    fn new(left: u64) -> Option<Box<Self>> {
        (left > 0).then(|| {
            Box::new(Self {
                left: AtomicU64::new(left),
                lock: Mutex::default(),
            })
        })
    }

    /// To be held while the cell changes; `None` once nothing is left.
    fn lock(&self) -> Option<MutexGuard<'_, ()>> {
        (self.left.load(Ordering::Relaxed) > 0).then(|| self.lock.lock())
    }

    /// What is left after the cell was whole for so many ticks.
    fn after(&self, whole: u64) -> u64 {
        self.left.load(Ordering::Relaxed).saturating_sub(whole)
    }
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
            behind: None,
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
    #[inline]
    pub(crate) fn replace(
        &self,
        seen: u64,
        tat: u64,
        now: Monotonic,
    ) -> Result<(), Result<u64, Moved>> {
        match &self.behind {
            None => self.swap(seen, tat),
            Some(behind) => self.replace_before(behind, seen, tat, now),
        }
    }

    #[cold]
    fn replace_before(
        &self,
        behind: &Behind,
        seen: u64,
        tat: u64,
        now: Monotonic,
    ) -> Result<(), Result<u64, Moved>> {
        let held = behind.lock();
        self.swap(seen, tat)?;
        if held.is_some() {
            // Not until now, if what was charged is given back.
            let whole = self.rate.gcra.at(now).min(tat).saturating_sub(seen);
            behind.left.store(behind.after(whole), Ordering::Relaxed);
        }
        Ok(())
    }

    #[inline]
    fn swap(&self, seen: u64, tat: u64) -> Result<(), Result<u64, Moved>> {
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
    pub(crate) fn update(&self, now: Monotonic, change: impl Fn(u64) -> u64) -> Result<u64, Moved> {
        let mut seen = self.tat()?;
        loop {
            match self.replace(seen, change(seen), now) {
                Ok(()) => return Ok(seen),
                Err(other) => seen = other?,
            }
        }
    }

    /// The same budget under another quota, with what was spent. This one admits no more.
    pub(crate) fn moved(&self, rate: Rate, now: Monotonic) -> Self {
        let before = self.rate.gcra;
        let held = self.behind.as_deref().and_then(Behind::lock);
        let tat = self.cell.0.swap(MOVED, Ordering::Relaxed);
        let whole = before.at(now).saturating_sub(tat);
        let behind = self.behind.as_deref();
        let rest = behind.map_or(0, |behind| behind.after(whole));
        drop(held);
        let (tat, rest) = rate.gcra.carry(before, tat, rest, now);
        Self {
            dimension: self.dimension,
            rate,
            shadow: self.shadow,
            behind: Behind::new(rest),
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

    fn left_of(shared: &Cross, now: Monotonic) -> u64 {
        shared.rate.gcra.remaining(shared.tat().unwrap(), now)
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
            let shared = Cross::new(Dimension::Global, wide.clone(), false);
            let tat = wide.gcra.owe(0, wide.gcra.at(now), spent);
            level.charge(tat, &wide, now);
            shared.update(now, |_| tat).unwrap();
            level.carry(&wide, &narrow, now);
            let shared = shared.moved(narrow.clone(), now);
            let (mut counted, mut rest) = (spent.min(small), spent.saturating_sub(small));
            for (pause, units) in pauses.into_iter().zip(charges) {
                now = now.saturating_add(Duration::from_secs(pause));
                rest = rest.saturating_sub(pause.saturating_sub(counted));
                counted = counted.saturating_sub(pause);
                // What comes back too late changes nothing.
                let late = |tat| Gcra::give_back(tat, 0, narrow.gcra.at(now), narrow.gcra.ticks(1));
                shared.update(now, late).unwrap();
                prop_assert_eq!(left(&level, &narrow, now), small - counted);
                prop_assert_eq!(left_of(&shared, now), small - counted);
                if units <= small - counted {
                    let next = |tat: u64| tat.max(narrow.gcra.at(now)) + narrow.gcra.ticks(units);
                    level.charge(next(level.tat()), &narrow, now);
                    let charged = next(shared.update(now, next).unwrap());
                    counted += units;
                    // More was charged than it cost, and comes back: nothing waits the less for it.
                    let more = narrow.gcra.ticks(2);
                    shared.update(now, |tat| tat + more).unwrap();
                    let back = |tat| Gcra::give_back(tat, charged + more, narrow.gcra.at(now), more);
                    shared.update(now, back).unwrap();
                }
            }
            prop_assert_eq!(level.is_idle(Some(&narrow), now), counted + rest == 0);
            let owed = counted + rest;
            level.carry(&narrow, &wide, now);
            prop_assert_eq!(left(&level, &wide, now), 20 - owed.min(20));
            let shared = shared.moved(wide.clone(), now);
            prop_assert_eq!(left_of(&shared, now), 20 - owed.min(20));
        }
    }
}
