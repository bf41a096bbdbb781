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

/// What a cell says to one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It conforms; charging it means to store this TAT.
    Admit { tat: u64 },
    /// It would conform after this wait, and not a nanosecond earlier.
    Refuse { wait: Duration },
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
    pub(crate) fn at(self, now: Monotonic) -> u64 {
        let nanos = u128::from(now.as_nanos().min(LAST_NANO));
        let ticks = nanos.saturating_mul(u128::from(self.ticks_per_nano)) >> FRACTION;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The first reading that is at or after `ticks`: the exact inverse of [`at`](Self::at).
    fn when(self, ticks: u64) -> Monotonic {
        let nanos =
            (u128::from(ticks) << FRACTION).div_ceil(u128::from(self.ticks_per_nano.max(1)));
        Monotonic::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    const fn step(self) -> u64 {
        1 << self.step_bits
    }

    /// Whether one more request conforms. Nothing is charged.
    pub(crate) fn decide(self, tat: u64, now: Monotonic) -> Verdict {
        let ticks = self.at(now);
        let next = tat.max(ticks).saturating_add(self.step());
        let limit = ticks.saturating_add(self.capacity);
        if next <= limit {
            return Verdict::Admit { tat: next };
        }
        let conforms = self.when(next.saturating_sub(self.capacity));
        Verdict::Refuse {
            wait: conforms.saturating_since(now),
        }
    }

    /// How many requests conform at once.
    pub(crate) fn remaining(self, tat: u64, now: Monotonic) -> u64 {
        self.capacity.saturating_sub(self.spent(tat, now)) >> self.step_bits
    }

    /// How long until the cell is full, if nothing is charged meanwhile.
    pub(crate) fn full_in(self, tat: u64, now: Monotonic) -> Duration {
        self.when(tat).saturating_since(now)
    }

    /// Whether the cell is full: it is then like one that was never used, and may be forgotten.
    pub(crate) fn is_full(self, tat: u64, now: Monotonic) -> bool {
        self.spent(tat, now) == 0
    }

    fn spent(self, tat: u64, now: Monotonic) -> u64 {
        tat.saturating_sub(self.at(now))
    }

    /// The TAT of a cell that was charged under `before` and goes on under this quota: what was spent
    /// stays spent, in requests, up to one whole burst of the new quota.
    pub(crate) fn carry(self, before: Self, tat: u64, now: Monotonic) -> u64 {
        let spent = u128::from(before.spent(tat, now)) << self.step_bits;
        // Rounded up: a fraction of a request is never given back.
        let spent = spent.div_ceil(u128::from(before.step()));
        let spent = u64::try_from(spent).map_or(self.capacity, |ticks| ticks.min(self.capacity));
        self.at(now).saturating_add(spent)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "gcra_tests.rs"]
mod tests;
