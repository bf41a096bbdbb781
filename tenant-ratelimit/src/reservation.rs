//! A charge whose cost is known only afterwards.

use crate::{Decision, hold::Hold};

/// An estimate that was charged by [`Limits::reserve`](crate::Limits::reserve), and a place in flight.
///
/// [`settle`](Self::settle) charges the true cost instead. Dropped without it, the estimate stays charged.
/// Either way the place in flight is free again.
#[derive(Debug)]
#[must_use = "dropped at once it charges the estimate, and is in flight no longer"]
pub struct Reservation {
    hold: Hold,
    decision: Decision,
}

impl Reservation {
    pub(crate) const fn new(hold: Hold, decision: Decision) -> Self {
        Self { hold, decision }
    }

    /// What was decided about the estimate.
    pub const fn decision(&self) -> Decision {
        self.decision
    }

    /// Charges `actual` units instead of the estimate, to every budget that was charged.
    ///
    /// What was estimated too much is given back, but only as far as it has not come back by itself
    /// meanwhile: a late settlement opens no second burst. Under a quota that was changed meanwhile
    /// nothing is given back. What was estimated too little is owed: up to one burst of each budget, which
    /// then refuses until the debt is paid. Of the global budget it takes nothing that other tenants'
    /// [`Floors`](crate::Floors) keep back.
    pub fn settle(mut self, actual: u64) {
        self.hold.settle(actual);
    }
}
