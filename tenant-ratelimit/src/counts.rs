//! What was decided, counted.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use tenant_context::{Monotonic, TenantId};

use crate::{
    Dimension,
    cells::Rate,
    meters::{DimensionMeters, Meters},
};

/// One tenant's counts, kept under its lock.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    admitted: Cell<u64>,
    refused: Cell<u64>,
    window: Cell<u64>,
    current: Cell<u32>,
    before: Cell<u32>,
}

/// Windows of about 69 s: their number is a shift of the clock's reading.
const WINDOW_BITS: u32 = 36;

impl Counts {
    #[inline]
    pub(crate) fn admit(&self, now: Monotonic) {
        self.admitted.set(self.admitted.get().saturating_add(1));
        self.ask(now);
    }

    pub(crate) fn refuse(&self, now: Monotonic) {
        self.refused.set(self.refused.get().saturating_add(1));
        self.ask(now);
    }

    pub(crate) const fn admitted(&self) -> u64 {
        self.admitted.get()
    }

    pub(crate) const fn refused(&self) -> u64 {
        self.refused.get()
    }

    #[inline]
    fn ask(&self, now: Monotonic) {
        let window = now.as_nanos() >> WINDOW_BITS;
        if window != self.window.get() {
            let next = self.window.get().saturating_add(1) == window;
            self.before.set(if next { self.current.get() } else { 0 });
            self.current.set(0);
            self.window.set(window);
        }
        self.current.set(self.current.get().saturating_add(1));
    }

    /// How many requests were asked for in the last 69 s, about: the windows' counts, as if the requests of
    /// the earlier one had come evenly.
    pub(crate) fn recent(&self, now: Monotonic) -> u64 {
        let window = now.as_nanos() >> WINDOW_BITS;
        let into = now.as_nanos() & (1_u64 << WINDOW_BITS).saturating_sub(1);
        let (current, before) = match window.saturating_sub(self.window.get()) {
            0 => (self.current.get(), self.before.get()),
            1 => (0, self.current.get()),
            _ => (0, 0),
        };
        let left = (1_u64 << WINDOW_BITS).saturating_sub(into);
        let before = u128::from(before).saturating_mul(u128::from(left)) >> WINDOW_BITS;
        u64::try_from(before)
            .unwrap_or(u64::MAX)
            .saturating_add(current.into())
    }
}

/// What one dimension's budgets have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DimensionCounts {
    /// Which.
    pub dimension: Dimension,
    /// Requests that it refused, being the binding one.
    pub refused: u64,
    /// Requests that it would have refused, but is a [shadow](crate::RateLimitLayerBuilder::shadow).
    pub shadowed: u64,
}

/// A limiter's counts by dimension: as many as were declared.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Box<[Count]>,
    meters: Meters,
}

#[derive(Debug)]
struct Count {
    dimension: Dimension,
    refused: AtomicU64,
    shadowed: AtomicU64,
    meters: DimensionMeters,
}

impl Tally {
    pub(crate) fn new(dimensions: impl IntoIterator<Item = Dimension>) -> Self {
        let mut counts: Vec<Count> = Vec::new();
        for dimension in dimensions {
            if counts.iter().all(|known| known.dimension != dimension) {
                counts.push(Count {
                    dimension,
                    refused: AtomicU64::new(0),
                    shadowed: AtomicU64::new(0),
                    meters: DimensionMeters::new(dimension),
                });
            }
        }
        Self {
            counts: counts.into(),
            meters: Meters::new(),
        }
    }

    fn of(&self, dimension: Dimension) -> Option<&Count> {
        self.counts
            .iter()
            .find(|count| count.dimension == dimension)
    }

    #[inline]
    pub(crate) fn admit(&self) {
        self.meters.admit();
    }

    /// Counts and tells a refusal by its binding dimension.
    pub(crate) fn refuse(&self, dimension: Dimension, tenant: Option<&TenantId>) {
        let Some(count) = self.of(dimension) else {
            return;
        };
        count.meters.refuse();
        let refused = add(&count.refused);
        tracing::debug!(
            target: "tenant_ratelimit",
            tenant = tenant.map(tracing::field::display),
            dimension = dimension.as_str(),
            refused,
            "refused"
        );
    }

    /// Counts and tells what a shadow would have refused.
    pub(crate) fn shadow(&self, dimension: Dimension, tenant: &TenantId) {
        let Some(count) = self.of(dimension) else {
            return;
        };
        count.meters.shadow();
        // Before the event, whose fields are read only if somebody listens.
        let shadowed = add(&count.shadowed);
        tracing::debug!(
            target: "tenant_ratelimit",
            %tenant,
            dimension = dimension.as_str(),
            shadowed,
            "would have been refused"
        );
    }

    pub(crate) fn read(&self) -> Vec<DimensionCounts> {
        let read = |count: &Count| DimensionCounts {
            dimension: count.dimension,
            refused: count.refused.load(Ordering::Relaxed),
            shadowed: count.shadowed.load(Ordering::Relaxed),
        };
        self.counts.iter().map(read).collect()
    }
}

/// The count, this one included.
fn add(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

/// What one tenant has spent, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests that were admitted since the limiter first knew the tenant.
    pub admitted: u64,
    /// Requests that were refused since then.
    pub refused: u64,
    /// Requests in the last minute, about.
    pub recent: u64,
    /// Its requests in flight, if they are limited or reserved.
    pub in_flight: u32,
    /// Its budgets: the tenant's own, and each endpoint's.
    pub budgets: Vec<BudgetUsage>,
    /// How many agents, principals and other keys have a cell of their own.
    pub keys: usize,
}

/// What is spent of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetUsage {
    /// Of which dimension.
    pub dimension: Dimension,
    /// Of which endpoint, if it is one's.
    pub endpoint: Option<String>,
    /// By which quota.
    pub quota: crate::Quota,
    /// How many units conform at once, now.
    pub remaining: u64,
    /// How long until it is whole again.
    pub reset: std::time::Duration,
}

impl BudgetUsage {
    pub(crate) fn new(
        dimension: Dimension,
        endpoint: Option<String>,
        rate: &Rate,
        tat: u64,
        now: Monotonic,
    ) -> Self {
        Self {
            dimension,
            endpoint,
            quota: rate.quota,
            remaining: rate.gcra.remaining(tat, now),
            reset: rate.gcra.full_in(tat, now),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn recent_requests_are_forgotten_within_two_windows() {
        let window = |n: u64| Monotonic::from_nanos(n << WINDOW_BITS);
        let counts = Counts::default();
        for _ in 0..100 {
            counts.admit(window(3));
        }
        assert_eq!(counts.recent(window(3)), 100);
        let half = Monotonic::from_nanos((4 << WINDOW_BITS) + (1 << (WINDOW_BITS - 1)));
        assert_eq!(counts.recent(half), 50);
        counts.refuse(half);
        assert_eq!(counts.recent(half), 51);
        assert_eq!(counts.recent(window(6)), 0);
        assert_eq!((counts.admitted(), counts.refused()), (100, 1));
    }
}
