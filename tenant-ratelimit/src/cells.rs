//! The cells, and the joint charge of several of them.

use std::time::Duration;

use http::HeaderValue;
use tenant_context::{ConfigError, Monotonic};

use crate::{
    Dimension, Quota,
    decision::{Bound, Spent},
    gcra::{Gcra, Verdict},
    headers,
    sync::{AtomicU64, Ordering},
};

/// A quota that was checked, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) dimension: Dimension,
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
    /// `RateLimit-Policy`, prepared.
    pub(crate) policy: Option<HeaderValue>,
}

impl Budget {
    pub(crate) fn new(dimension: Dimension, quota: Quota) -> Result<Self, ConfigError> {
        Ok(Self {
            dimension,
            quota,
            gcra: quota.gcra()?,
            policy: headers::policy(dimension, quota),
        })
    }
}

/// One bucket's state: its TAT. New cells are full.
///
/// A tenant's own cells are stored to under that tenant's lock only. The global cell is changed by
/// compare-and-swap only. The number stands for itself, nothing is published with it: relaxed orderings
/// suffice.
#[derive(Debug)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn new(tat: u64) -> Self {
        Self(AtomicU64::new(tat))
    }

    pub(crate) fn tat(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, tat: u64) {
        self.0.store(tat, Ordering::Relaxed);
    }

    fn replace(&self, seen: u64, tat: u64) -> Result<(), u64> {
        let swapped = self
            .0
            .compare_exchange_weak(seen, tat, Ordering::Relaxed, Ordering::Relaxed);
        swapped.map(drop)
    }
}

/// The global cell: the one that all cores write, alone in its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct GlobalCell(pub(crate) Cell);

/// One budget that a request falls under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) cell: &'a Cell,
}

/// The most budgets of one tenant that one request falls under: endpoint, agent, tenant.
pub(crate) const OWN: usize = 3;

/// Charges all budgets, or none.
///
/// `own` are cells of one tenant, the narrowest first, and the caller holds that tenant's lock.
/// `global` is charged last, by compare-and-swap: until it succeeds nothing has been written, so a
/// refusal, and a race that is lost, leave every cell as it was and nothing has to be given back.
///
/// The answer is the binding budget: of an admission the one with the fewest requests left, of a
/// refusal the one with the longest wait, and of equal ones the narrowest.
pub(crate) fn charge<'a>(
    own: [Option<Lane<'a>>; OWN],
    global: Option<Lane<'a>>,
    now: Monotonic,
) -> Result<Option<Bound<'a>>, Spent> {
    let mut least = None;
    let mut longest = None;
    let mut tats = [0; OWN];
    for (lane, charged) in own.iter().zip(&mut tats) {
        if let Some(lane) = lane {
            match lane.budget.gcra.decide(lane.cell.tat(), now) {
                Verdict::Admit { tat } => {
                    *charged = tat;
                    least = Some(lane.or_less(least, tat, now));
                }
                Verdict::Refuse { wait } => longest = Some(lane.or_longer(longest, wait)),
            }
        }
    }
    if let Some(lane) = global {
        let mut seen = lane.cell.tat();
        loop {
            match lane.budget.gcra.decide(seen, now) {
                Verdict::Refuse { wait } => longest = Some(lane.or_longer(longest, wait)),
                Verdict::Admit { .. } if longest.is_some() => {}
                Verdict::Admit { tat } => match lane.cell.replace(seen, tat) {
                    Ok(()) => least = Some(lane.or_less(least, tat, now)),
                    Err(other) => {
                        seen = other;
                        continue;
                    }
                },
            }
            break;
        }
    }
    if let Some((wait, lane)) = longest {
        return Err(Spent::new(lane.budget, wait));
    }
    for (lane, tat) in own.iter().zip(tats) {
        if let Some(lane) = lane {
            lane.cell.set(tat);
        }
    }
    Ok(least.map(|(_, bound)| bound))
}

impl<'a> Lane<'a> {
    fn or_less(
        self,
        least: Option<(u64, Bound<'a>)>,
        tat: u64,
        now: Monotonic,
    ) -> (u64, Bound<'a>) {
        let remaining = self.budget.gcra.remaining(tat, now);
        match least {
            Some(least) if least.0 <= remaining => least,
            _ => (
                remaining,
                Bound {
                    budget: self.budget,
                    tat,
                    now,
                },
            ),
        }
    }

    fn or_longer(self, longest: Option<(Duration, Self)>, wait: Duration) -> (Duration, Self) {
        match longest {
            Some(longest) if longest.0 >= wait => longest,
            _ => (wait, self),
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "cells_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "cells_loom.rs"]
mod loom_tests;
