//! The way of most requests: every budget is plain, and all is decided at the first look.
//!
//! It charges what [`charge`](crate::charge::charge) would, in the same order, refuses what it would, and does nothing else:
//! on a lost race, and whatever is not plain, it has written nothing, and all is decided anew there.

use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use tenant_context::Monotonic;

use crate::{
    Dimension,
    cells::{Level, Rate},
    charge::{Ask, Bound, Refusal, in_order, why},
    gcra::Verdict,
    keys::Slot,
    own::Own,
    partition::Part,
    rules::Rules,
    tenants::{Kept, Resolved},
};

/// As many of a tenant's own cells as most requests fall under.
const CELLS: usize = 6;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) own: &'a Own,
    pub(crate) resolved: &'a Resolved,
    pub(crate) endpoint: Option<usize>,
    /// In units.
    pub(crate) cost: u64,
    pub(crate) now: Monotonic,
}

/// What was decided.
pub(crate) enum Decided<'a> {
    Admitted(Least<'a>),
    /// Nothing was charged.
    Refused(Vec<Refusal>),
}

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
            quota: rate.quota,
            gcra: rate.gcra,
            left: self.left,
            tat: self.tat,
            now,
        })
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

/// One of a tenant's own cells.
struct Seen<'a> {
    dimension: &'a Dimension,
    rate: &'a Rate,
    level: &'a Level,
    part: Part,
}

/// The cell of an identity that is new, or whose cell was forgotten and made again.
#[cold]
fn find<'a>(own: &'a Own, kept: &Kept) -> Option<&'a Slot> {
    let at = own.find(kept.named.key)?;
    kept.hint.store(at, Ordering::Relaxed);
    own.slot(at, kept.named.key)
}

impl<'a> Request<'a> {
    /// Shows the tenant's own cells, the narrowest first, until one is not wanted; `None` then, and if they are not plain.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "on the way of every request: what is looked for stays in registers"
    )]
    fn each(&self, mut show: impl FnMut(Seen<'a>) -> Option<()>) -> Option<()> {
        let own = self.own;
        let rules = &*own.rules;
        let mut seen = |dimension, rate, level: &'a Level, part| {
            if level.waits() {
                return None;
            }
            show(Seen {
                dimension,
                rate,
                level,
                part,
            })
        };
        if let Some(at) = self.endpoint
            && let Some(rule) = rules.endpoints.get(at)?.own.as_ref()
            && let Some(rate) = &rule.rate
        {
            let level = own.endpoints.get(at)?;
            seen(&rule.terms.dimension, rate, level, Part::Endpoint(at))?;
        }
        for kept in &self.resolved.named {
            let hint = kept.hint.load(Ordering::Relaxed);
            let slot = match own.slot(hint, kept.named.key) {
                Some(slot) => slot,
                None => find(own, kept)?,
            };
            let rule = rules.keyed(slot.kind())?;
            if let Some(rate) = &rule.rate {
                seen(
                    &rule.terms.dimension,
                    rate,
                    &slot.level,
                    Part::Key(slot.key),
                )?;
            }
        }
        if rules.planned {
            seen(&Dimension::Tenant, own.rate()?, &own.tenant, Part::Whole)?;
        }
        Some(())
    }

    /// Charges the request if every budget admits it. `None`: it is to be decided anew.
    ///
    /// The tenant's lock is held, and its cells are under the present rules.
    #[inline]
    pub(crate) fn charge(&self) -> Option<Decided<'a>> {
        let rules = &*self.own.rules;
        if !rules.plain {
            return None;
        }
        let mut cells: ArrayVec<(&Level, u64), CELLS> = ArrayVec::new();
        let mut least = Least {
            of: None,
            left: u64::MAX,
            tat: 0,
        };
        let mut refused = false;
        // The TAT of a cell once it is charged.
        let mut look = |dimension, rate: &'a Rate, tat| {
            let gcra = &rate.gcra;
            let cost = gcra.cost(self.cost);
            let decided = cost.map(|cost| gcra.decide(tat, gcra.at(self.now), cost));
            let Some(Verdict::Admit { tat, left }) = decided else {
                refused = true;
                return None;
            };
            let left = gcra.units(left);
            if left < least.left {
                least = Least {
                    of: Some((dimension, rate)),
                    left,
                    tat,
                };
            }
            Some(tat)
        };
        let looked = self.each(|seen| {
            let tat = look(seen.dimension, seen.rate, seen.level.tat())?;
            cells.try_push((seen.level, tat)).ok()
        });
        let charged = looked.and_then(|()| {
            if let Some(global) = rules.global.as_deref() {
                let seen = global.tat().ok()?;
                let tat = look(&global.dimension, &global.rate, seen)?;
                global.replace(seen, tat, self.now).ok()?;
            }
            Some(())
        });
        if charged.is_none() {
            return if refused { self.refusals() } else { None };
        }
        for (level, tat) in &cells {
            level.set(*tat);
        }
        Some(Decided::Admitted(least))
    }

    /// All budgets that refuse.
    #[cold]
    fn refusals(&self) -> Option<Decided<'a>> {
        let mut all = Vec::with_capacity(1);
        let ask = Ask {
            cost: self.cost,
            peeks: false,
            enters: false,
            now: self.now,
        };
        let mut add = |dimension, rate: &Rate, tat, part| {
            if let Some(why) = why(rate.gcra, tat, ask) {
                all.push(Refusal {
                    dimension,
                    rate: Some(rate.clone()),
                    why,
                    source: None,
                    part,
                });
            }
        };
        self.each(|seen| {
            let tat = seen.level.tat();
            add(*seen.dimension, seen.rate, tat, Some(seen.part));
            Some(())
        })?;
        if let Some(global) = self.own.rules.global.as_deref() {
            add(global.dimension, &global.rate, global.tat().ok()?, None);
        }
        if all.is_empty() {
            // Another tenant's charge of the global budget came back meanwhile.
            return None;
        }
        in_order(&mut all);
        Some(Decided::Refused(all))
    }
}
