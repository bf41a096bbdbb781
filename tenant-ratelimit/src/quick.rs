//! The way of most requests: every budget admits, at the first look.
//!
//! It charges what [`charge`](crate::charge::charge) would, in the same order, and does nothing else: on any refusal, any
//! lost race, and whatever is not plain it has written nothing, and all is decided anew there.

use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use tenant_context::Monotonic;

use crate::{
    Dimension,
    cells::{Level, Rate},
    charge::Bound,
    gcra::Verdict,
    keys::Slot,
    own::Own,
    rules::Rules,
    tenants::{Kept, Resolved},
};

/// As many of a tenant's own cells as most requests fall under.
const CELLS: usize = 6;

/// The budget with the fewest units left.
#[derive(Debug)]
pub(crate) struct Least<'a> {
    of: Option<(&'a Dimension, &'a Rate)>,
    left: u64,
    tat: u64,
}

impl Least<'_> {
    #[inline]
    pub(crate) fn bound(&self, now: Monotonic) -> Option<Bound> {
        let (dimension, rate) = self.of?;
        Some(Bound {
            dimension: *dimension,
            rate: *rate,
            left: self.left,
            tat: self.tat,
            now,
        })
    }
}

struct Look<'a> {
    units: u64,
    now: Monotonic,
    least: Least<'a>,
    /// What is to be charged, and the TATs then.
    cells: ArrayVec<(&'a Level, u64), CELLS>,
}

impl<'a> Look<'a> {
    /// The TAT of a cell once it is charged; `None` if it refuses.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "four times on the way of every request: what is looked for stays in registers"
    )]
    fn at(&mut self, dimension: &'a Dimension, rate: &'a Rate, tat: u64) -> Option<u64> {
        let gcra = &rate.gcra;
        let cost = gcra.cost(self.units)?;
        let Verdict::Admit { tat, left } = gcra.decide(tat, gcra.at(self.now), cost) else {
            return None;
        };
        let left = gcra.units(left);
        if left < self.least.left {
            self.least = Least {
                of: Some((dimension, rate)),
                left,
                tat,
            };
        }
        Some(tat)
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `at`")]
    fn own(&mut self, dimension: &'a Dimension, rate: &'a Rate, level: &'a Level) -> Option<()> {
        if level.waits() {
            return None;
        }
        let tat = self.at(dimension, rate, level.tat())?;
        self.cells.try_push((level, tat)).ok()
    }
}

impl Rules {
    /// Whether no budget is anything but a rate: none is a shadow, or a tenant's part of a whole, and of those that
    /// tenants share there is none but the global one.
    pub(crate) fn are_plain(&self) -> bool {
        let across = |endpoint: &crate::rules::EndpointRules| endpoint.across.is_some();
        !self.shadows && self.kept.is_none() && !self.endpoints.iter().any(across)
    }
}

/// The cell of an identity that is new, or whose cell was forgotten and made again.
#[cold]
fn find<'a>(own: &'a Own, kept: &Kept) -> Option<&'a Slot> {
    let at = own.find(kept.named.key)?;
    kept.hint.store(at, Ordering::Relaxed);
    own.slot(at, kept.named.key)
}

/// Charges a request that every budget admits.
///
/// The tenant's lock is held, and its cells are under the present rules.
#[inline]
pub(crate) fn charge<'a>(
    own: &'a Own,
    resolved: &Resolved,
    endpoint: Option<usize>,
    units: u64,
    now: Monotonic,
) -> Option<Least<'a>> {
    let rules = &*own.rules;
    if !rules.plain {
        return None;
    }
    let mut look = Look {
        units,
        now,
        least: Least {
            of: None,
            left: u64::MAX,
            tat: 0,
        },
        cells: ArrayVec::new(),
    };
    if let Some(at) = endpoint
        && let Some(rule) = rules.endpoints.get(at)?.own.as_ref()
        && let Some(rate) = &rule.rate
    {
        look.own(&rule.terms.dimension, rate, own.endpoints.get(at)?)?;
    }
    for kept in &resolved.named {
        let hint = kept.hint.load(Ordering::Relaxed);
        let slot = match own.slot(hint, kept.named.key) {
            Some(slot) => slot,
            None => find(own, kept)?,
        };
        let rule = rules.keyed(slot.kind())?;
        if let Some(rate) = &rule.rate {
            look.own(&rule.terms.dimension, rate, &slot.level)?;
        }
    }
    if rules.planned {
        look.own(&Dimension::Tenant, own.rate()?, &own.tenant)?;
    }
    if let Some(global) = rules.global.as_deref() {
        let seen = global.tat().ok()?;
        let tat = look.at(&global.dimension, &global.rate, seen)?;
        global.replace(seen, tat, now).ok()?;
    }
    for (level, tat) in &look.cells {
        level.set(*tat);
    }
    Some(look.least)
}
