//! The decision on one cell: pure, without a clock and without I/O.
//!
//! GCRA (ITU-T I.371, the virtual scheduling algorithm): a cell holds one number, the theoretical
//! arrival time (TAT) of the next request if all came at the even pace of the quota. A request conforms
//! if the TAT lies at most one burst ahead of now, and moves it one step further.
//!
//! `n` requests in a period of `p` ns are a step of `p/n` ns, which is no whole number for most
//! quotas (3 a second), and a step that is rounded drifts. So each quota measures time in *ticks* of
//! its own: a power of two of them make up one step, 2 to 4 of them a nanosecond. Steps, bursts and
//! TATs are then whole numbers of ticks, and only the reading of the clock is rounded: a quota whose
//! step is a whole number of ns is decided exactly, any other at most 1 ns early, however long it runs.

use std::time::Duration;

use tenant_context::Monotonic;

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

/// The fraction bits of [`Gcra::ticks_per_nano`].
const FRACTION: u32 = 62;

/// The clock stands still from here on, 73 years after its origin: so many ticks fit into 63 bits.
const LAST_NANO: u64 = (1 << 61) - 1;

/// The longest time in which a spent burst comes back: ten years. In ticks it fits into 62 bits.
pub(crate) const MAX_REFILL_NANOS: u64 = 10 * 365 * 86_400 * SECOND;

/// One quota's arithmetic. A state (TAT) that it made means nothing to another one, except through
/// [`carry`](Self::carry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Fixed point, in `[2, 4)`, rounded up.
    ticks_per_nano: u64,
    /// A step is `1 << step_bits` ticks.
    step_bits: u32,
    /// What a full cell allows at once, in ticks.
    capacity: u64,
}

/// What a cell says to one more request. All in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It conforms; charging it means to store this TAT, and so much is then left.
    Admit { tat: u64, left: u64 },
    /// It would conform from this tick on, and not one earlier.
    Refuse { conforms: u64 },
}

impl Gcra {
    /// `requests` in `period` ns, at most `burst` at once. `None` if a number is 0, the pace is above
    /// one request per nanosecond, or a spent burst takes longer than [`MAX_REFILL_NANOS`] to come back.
    pub(crate) fn new(requests: u64, period: u64, burst: u64) -> Option<Self> {
        if requests == 0 || period == 0 || burst == 0 || requests > period {
            return None;
        }
        let (n, p) = (u128::from(requests), u128::from(period));
        let refill = u128::from(burst).checked_mul(p)?.div_ceil(n);
        if p > u128::from(MAX_REFILL_NANOS) || refill > u128::from(MAX_REFILL_NANOS) {
            return None;
        }
        // The smallest power of two for which a step has at least two ticks for each of its ns.
        let mut step_bits = 1;
        while n.checked_shl(step_bits)? < p.checked_mul(2)? {
            step_bits = step_bits.checked_add(1)?;
        }
        let ticks_per_nano = n.checked_shl(step_bits.checked_add(FRACTION)?)?.div_ceil(p);
        Some(Self {
            ticks_per_nano: u64::try_from(ticks_per_nano).ok()?,
            step_bits,
            capacity: burst.checked_mul(1_u64.checked_shl(step_bits)?)?,
        })
    }

    /// The clock's reading in ticks, rounded down.
    #[inline]
    pub(crate) fn at(self, now: Monotonic) -> u64 {
        let nanos = u128::from(now.as_nanos().min(LAST_NANO));
        // Two numbers of 64 bits: it does not wrap, and to say so saves a check in 128.
        let ticks = nanos.wrapping_mul(u128::from(self.ticks_per_nano)) >> FRACTION;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "61 bits times 64, without 62, fit into 63"
        )]
        {
            ticks as u64
        }
    }

    /// The first reading that is at or after `ticks`: the exact inverse of [`at`](Self::at).
    fn when(self, ticks: u64) -> Monotonic {
        let (ticks, per_nano) = (u128::from(ticks) << FRACTION, self.ticks_per_nano.max(1));
        // One division in 128 bits, where `div_ceil` takes two.
        let nanos = ticks.checked_div(per_nano.into()).unwrap_or(0);
        let partial = nanos.wrapping_mul(per_nano.into()) < ticks;
        let nanos = nanos.saturating_add(partial.into());
        Monotonic::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    const fn step(self) -> u64 {
        1 << self.step_bits
    }

    /// So many units in ticks; `None` if they are more than a full cell allows at once.
    #[inline]
    pub(crate) const fn cost(self, units: u64) -> Option<u64> {
        if units <= self.burst() {
            Some(units << self.step_bits)
        } else {
            None
        }
    }

    /// What a full cell allows at once, in units.
    pub(crate) const fn burst(self) -> u64 {
        self.capacity >> self.step_bits
    }

    /// What a full cell allows at once, in ticks.
    pub(crate) const fn capacity(self) -> u64 {
        self.capacity
    }

    /// Whether a request of this cost conforms. Nothing is charged.
    #[inline]
    pub(crate) const fn decide(self, tat: u64, ticks: u64, cost: u64) -> Verdict {
        // Times are at most 63 bits of ticks, and capacities 61: nothing wraps, nor takes a check.
        let next = (if tat > ticks { tat } else { ticks }).wrapping_add(cost);
        let limit = ticks.wrapping_add(self.capacity);
        if next <= limit {
            return Verdict::Admit {
                tat: next,
                left: limit.wrapping_sub(next),
            };
        }
        Verdict::Refuse {
            conforms: next.saturating_sub(self.capacity),
        }
    }

    /// How long until the clock reads so many ticks.
    pub(crate) fn wait(self, conforms: u64, now: Monotonic) -> Duration {
        self.when(conforms).saturating_since(now)
    }

    /// So many ticks in whole units.
    #[inline]
    pub(crate) const fn units(self, ticks: u64) -> u64 {
        ticks >> self.step_bits
    }

    /// How many units conform at once.
    pub(crate) fn remaining(self, tat: u64, now: Monotonic) -> u64 {
        self.units(self.capacity.saturating_sub(self.spent(tat, now)))
    }

    /// How long until the cell is full, if nothing is charged meanwhile.
    pub(crate) fn full_in(self, tat: u64, now: Monotonic) -> Duration {
        self.when(tat).saturating_since(now)
    }

    /// Whether the cell is full: it is then like one that was never used, and may be forgotten.
    pub(crate) fn is_full(self, tat: u64, now: Monotonic) -> bool {
        self.spent(tat, now) == 0
    }

    /// What has not come back yet, in ticks: more than a burst if there is a debt.
    pub(crate) fn spent(self, tat: u64, now: Monotonic) -> u64 {
        tat.saturating_sub(self.at(now))
    }

    /// The TAT after a charge that is not asked for: what cannot be undone is owed, up to one burst
    /// beyond an empty cell.
    pub(crate) fn owe(self, tat: u64, ticks: u64, units: u64) -> u64 {
        let cost = self.ticks(units.min(self.burst().saturating_mul(2)));
        let most = ticks.saturating_add(self.capacity.saturating_mul(2));
        tat.max(ticks).saturating_add(cost).min(most.max(tat))
    }

    /// So many units in ticks, as many as they may be.
    pub(crate) fn ticks(self, units: u64) -> u64 {
        u64::try_from(u128::from(units) << self.step_bits).unwrap_or(u64::MAX)
    }

    /// The TAT after a part of an earlier charge is given back. `charged` is the TAT which that charge
    /// left behind: what has come back by itself since then is not given a second time.
    pub(crate) fn give_back(tat: u64, charged: u64, ticks: u64, cost: u64) -> u64 {
        tat.saturating_sub(cost.min(charged.saturating_sub(ticks)))
    }

    /// Ticks of another quota in ticks of this one, by units. Rounded up: a fraction of a unit is never
    /// given back.
    pub(crate) fn convert(self, before: Self, ticks: u64) -> u64 {
        let converted = (u128::from(ticks) << self.step_bits).div_ceil(u128::from(before.step()));
        u64::try_from(converted).unwrap_or(u64::MAX)
    }

    /// A cell that was charged under `before` and goes on under this quota: what was spent stays spent,
    /// in units. At most one whole burst of it stands in the way at once; the rest is returned, in
    /// ticks of this quota, and is to be given with the next change.
    pub(crate) fn carry(self, before: Self, tat: u64, rest: u64, now: Monotonic) -> (u64, u64) {
        let spent = before.spent(tat, now).saturating_add(rest);
        let spent = self.convert(before, spent);
        let counted = spent.min(self.capacity);
        (
            self.at(now).saturating_add(counted),
            spent.saturating_sub(counted),
        )
    }
}

#[cfg(all(test, not(loom)))]
#[path = "gcra_tests.rs"]
mod tests;
