//! What was charged and is not settled yet, and places in flight.

use std::sync::Arc;

use tenant_context::Monotonic;

use crate::{
    Dimension,
    cells::{Cross, Level, Moved, Rate},
    charge::Source,
    decide::{Granted, Inner},
    gcra::Gcra,
    own::{Named, Own, Place},
    tenants::TenantCells,
};

/// What one request was charged. Its places in flight are given back when this is dropped; what it was
/// charged stays charged unless it is settled.
pub(crate) struct Hold {
    inner: Arc<Inner>,
    cells: Arc<TenantCells>,
    /// In units; `None` once it is settled.
    charged: Option<u64>,
    enters: bool,
    endpoint: Option<usize>,
    /// How often the tenant's cells had been made whole by then.
    resets: u32,
    own: Box<[Held]>,
    cross: Box<[Shared]>,
}

/// One of the tenant's cells: by which rate it was charged, and its TAT right after.
struct Held {
    at: At,
    charged: Option<(Gcra, u64)>,
}

enum At {
    Endpoint(usize),
    Keyed(Place, Named),
    Tenant,
}

/// One of the cells that tenants share, and its TAT right after it was charged.
struct Shared {
    cross: Arc<Cross>,
    charged: u64,
    /// The tenant's floor and its TAT, if that was charged.
    by_floor: Option<(Gcra, u64)>,
}

impl Hold {
    pub(crate) fn new(inner: &Arc<Inner>, granted: &Granted<'_>) -> Self {
        let own = granted.lanes.iter().filter_map(|lane| {
            let at = match lane.source {
                Source::Tenant => At::Tenant,
                Source::Endpoint => At::Endpoint(granted.wanted.endpoint?),
                Source::Keyed(at) => {
                    let (place, key) = *granted.placed.get(usize::from(at))?;
                    let known = granted.resolved.named.iter();
                    let known = known.map(|kept| &kept.named).find(|named| named.key == key);
                    let kind = granted.own.keyed(place)?.1;
                    let custom = || Named {
                        key,
                        kind,
                        carried: None,
                    };
                    At::Keyed(place, known.cloned().unwrap_or_else(custom))
                }
            };
            let charged = lane.rate.filter(|_| !lane.skipped);
            Some(Held {
                at,
                charged: charged.map(|rate| (rate.gcra, lane.next())),
            })
        });
        let (endpoint, rules) = (granted.wanted.endpoint, &granted.own.rules);
        let across = endpoint.and_then(|at| rules.endpoints.get(at)?.across.as_ref());
        let known = [across, rules.global.as_ref()];
        let cross = granted.cross.iter().filter(|lane| !lane.skipped);
        let cross = cross.filter_map(|lane| {
            let mut known = known.into_iter().flatten();
            let cross = known.find(|cross| std::ptr::eq(Arc::as_ptr(cross), lane.cross))?;
            let floor = granted.own.floor.as_deref().map(|seat| seat.rate.gcra);
            Some(Shared {
                cross: Arc::clone(cross),
                charged: lane.next,
                by_floor: floor.zip(lane.by_floor),
            })
        });
        Self {
            inner: Arc::clone(inner),
            cells: Arc::clone(&granted.resolved.cells),
            charged: Some(granted.wanted.cost),
            enters: granted.wanted.enters,
            endpoint,
            resets: granted.own.resets,
            own: own.collect(),
            cross: cross.collect(),
        }
    }

    /// Charges what the request has cost instead of what was estimated. Only the first call counts.
    ///
    /// What was charged too much comes back, as far as it has not come back by itself. What was charged too little
    /// is owed, up to one burst of each budget.
    pub(crate) fn settle(&mut self, actual: u64) {
        let Some(charged) = self.charged.take().filter(|charged| *charged != actual) else {
            return;
        };
        let change = Change {
            more: actual.saturating_sub(charged),
            less: charged.saturating_sub(actual),
        };
        let mut own = self.cells.lock();
        let now = self.inner.clock.monotonic();
        if own.rules.generation != self.inner.generation() {
            own.adopt(self.inner.current(), now);
        }
        let whole = own.resets != self.resets;
        for held in self.own.iter().filter(|_| change.more > 0 || !whole) {
            change.own(&mut own, held, now);
        }
        for shared in &self.cross {
            if change.more == 0 {
                change.refund(&own, shared, whole, now);
                continue;
            }
            // Whoever changes a quota meanwhile moves the cell: what is owed goes to the new one.
            while change.owe(&own, shared, self.endpoint, now).is_err() {
                own.adopt(self.inner.current(), now);
            }
        }
    }
}

/// The difference between what was charged and what it cost, in units: one of them is 0.
#[derive(Clone, Copy)]
struct Change {
    more: u64,
    less: u64,
}

impl Change {
    fn own(self, own: &mut Own, held: &Held, now: Monotonic) {
        let Some((gcra, charged)) = held.charged else {
            return;
        };
        if self.more > 0
            && let At::Keyed(place, named) = &held.at
            && own.still(*place, named.key).is_none()
        {
            // It was forgotten, being full again; what is still owed needs a cell again.
            if let Some(place) = own.find_or_make(named, &[], now)
                && let Some((level, rate)) = own.rated(place)
            {
                self.level(level, rate, None, now);
            }
            return;
        }
        let found = match &held.at {
            At::Tenant => own.rate().map(|rate| (&own.tenant, rate)),
            At::Endpoint(at) => own.endpoint(*at),
            At::Keyed(place, named) => {
                let still = own.still(*place, named.key);
                still.and_then(|_| own.rated(*place))
            }
        };
        if let Some((level, present)) = found {
            // Under another quota nothing comes back: the time since then counted otherwise.
            let charged = (present.gcra == gcra).then_some(charged);
            self.level(level, present, charged, now);
        }
    }

    fn level(self, level: &Level, rate: &Rate, charged: Option<u64>, now: Monotonic) {
        let (gcra, tat) = (rate.gcra, level.tat());
        let ticks = gcra.at(now);
        if self.more > 0 {
            level.charge(gcra.owe(tat, ticks, self.more), rate, now);
        } else if let (Some(charged), Some(less)) = (charged, gcra.cost(self.less)) {
            level.set(Gcra::give_back(tat, charged, ticks, less));
        }
    }

    fn refund(self, own: &Own, shared: &Shared, whole: bool, now: Monotonic) {
        let gcra = shared.cross.rate.gcra;
        let less = gcra.cost(self.less).unwrap_or(0);
        let back = |tat| Gcra::give_back(tat, shared.charged, gcra.at(now), less);
        // If it has moved it was carried over as charged: under another quota nothing comes back.
        let Ok(before) = shared.cross.update(now, back) else {
            return;
        };
        if let Some(share) = own.share().filter(|_| !whole)
            && shared.cross.dimension == Dimension::Global
        {
            let back = before.saturating_sub(back(before));
            share.give_back(gcra, back, shared.by_floor, now);
        }
    }

    fn owe(
        self,
        own: &Own,
        shared: &Shared,
        endpoint: Option<usize>,
        now: Monotonic,
    ) -> Result<(), Moved> {
        let dimension = shared.cross.dimension;
        let Some(cross) = own.rules.shared(dimension, endpoint) else {
            return Ok(());
        };
        if let (Dimension::Global, Some(share)) = (dimension, own.share()) {
            return share.owe(cross, self.more, now);
        }
        let gcra = cross.rate.gcra;
        let owe = |tat| gcra.owe(tat, gcra.at(now), self.more);
        cross.update(now, owe).map(drop)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.enters {
            return;
        }
        let own = self.cells.lock();
        for held in &self.own {
            let level = match &held.at {
                At::Tenant => Some(&own.tenant),
                At::Endpoint(at) => own.endpoints.get(*at),
                // What is in flight keeps its cell from being forgotten.
                At::Keyed(place, named) => own.still(*place, named.key).map(|(level, _)| level),
            };
            if let Some(level) = level {
                level.leave();
            }
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold")
            .field("charged", &self.charged)
            .finish_non_exhaustive()
    }
}
