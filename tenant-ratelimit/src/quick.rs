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

/// Looks at a tenant's own cells, the narrowest first, until it answers `None`.
trait Look<'a> {
    fn see(
        &mut self,
        dimension: &'a Dimension,
        rate: &'a Rate,
        level: &'a Level,
        part: Part,
    ) -> Option<()>;
}

/// The cell of an identity that is new, or whose cell was forgotten and made again.
#[cold]
fn find<'a>(own: &'a Own, kept: &Kept) -> Option<&'a Slot> {
    let at = own.find(kept.named.key)?;
    kept.hint.store(at, Ordering::Relaxed);
    own.slot(at, kept.named.key)
}

impl<'a> Request<'a> {
    /// Shows the tenant's own cells; `None` if one was not wanted, or they are not plain.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "on the way of every request: what is looked for stays in registers"
    )]
    fn each(&self, look: &mut impl Look<'a>) -> Option<()> {
        let own = self.own;
        let rules = &*own.rules;
        if let Some(at) = self.endpoint
            && let Some(rule) = rules.endpoints.get(at)?.own.as_ref()
            && let Some(rate) = &rule.rate
        {
            let level = own.endpoints.get(at)?;
            look.see(&rule.terms.dimension, rate, level, Part::Endpoint(at))?;
        }
        for kept in &self.resolved.named {
            let key = kept.named.key;
            let slot = match own.slot(kept.hint.load(Ordering::Relaxed), key) {
                Some(slot) => slot,
                None => find(own, kept)?,
            };
            let rule = rules.keyed(slot.kind())?;
            if let Some(rate) = &rule.rate {
                look.see(&rule.terms.dimension, rate, &slot.level, Part::Key(key))?;
            }
        }
        if rules.planned {
            look.see(&Dimension::Tenant, own.rate()?, &own.tenant, Part::Whole)?;
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
        let mut charging = Charging {
            cost: self.cost,
            now: self.now,
            least: Least {
                of: None,
                left: u64::MAX,
                tat: 0,
            },
            cells: ArrayVec::new(),
            refused: false,
        };
        if self.charge_all(rules, &mut charging).is_none() {
            return if charging.refused {
                self.refusals()
            } else {
                None
            };
        }
        for (level, tat) in &charging.cells {
            level.set(*tat);
        }
        Some(Decided::Admitted(charging.least))
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `each`")]
    fn charge_all(&self, rules: &'a Rules, charging: &mut Charging<'a>) -> Option<()> {
        self.each(charging)?;
        if let Some(global) = rules.global.as_deref() {
            let seen = global.tat().ok()?;
            let tat = charging.next(&global.dimension, &global.rate, seen)?;
            global.replace(seen, tat, self.now).ok()?;
        }
        Some(())
    }

    /// All budgets that refuse.
    #[cold]
    fn refusals(&self) -> Option<Decided<'a>> {
        let mut refusing = Refusing {
            ask: Ask {
                cost: self.cost,
                peeks: false,
                enters: false,
                now: self.now,
            },
            all: Vec::with_capacity(1),
        };
        self.each(&mut refusing)?;
        if let Some(global) = self.own.rules.global.as_deref() {
            let tat = global.tat().ok()?;
            refusing.add(global.dimension, &global.rate, tat, None);
        }
        let mut all = refusing.all;
        if all.is_empty() {
            // Another tenant's charge of the global budget came back meanwhile.
            return None;
        }
        in_order(&mut all);
        Some(Decided::Refused(all))
    }
}

/// Whether all admit, and what is to be charged.
struct Charging<'a> {
    /// In units.
    cost: u64,
    now: Monotonic,
    least: Least<'a>,
    /// The TATs once they are charged.
    cells: ArrayVec<(&'a Level, u64), CELLS>,
    refused: bool,
}

impl<'a> Charging<'a> {
    /// The TAT of a cell once it is charged; `None` if it refuses.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `each`")]
    fn next(&mut self, dimension: &'a Dimension, rate: &'a Rate, tat: u64) -> Option<u64> {
        let gcra = &rate.gcra;
        let Some(cost) = gcra.cost(self.cost) else {
            self.refused = true;
            return None;
        };
        let Verdict::Admit { tat, left } = gcra.decide(tat, gcra.at(self.now), cost) else {
            self.refused = true;
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
}

impl<'a> Look<'a> for Charging<'a> {
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `each`")]
    fn see(
        &mut self,
        dimension: &'a Dimension,
        rate: &'a Rate,
        level: &'a Level,
        _: Part,
    ) -> Option<()> {
        if level.waits() {
            return None;
        }
        let tat = self.next(dimension, rate, level.tat())?;
        self.cells.try_push((level, tat)).ok()
    }
}

/// Which refuse, and why.
struct Refusing {
    ask: Ask,
    all: Vec<Refusal>,
}

impl Refusing {
    fn add(&mut self, dimension: Dimension, rate: &Rate, tat: u64, part: Option<Part>) {
        if let Some(why) = why(rate.gcra, tat, self.ask) {
            self.all.push(Refusal {
                dimension,
                rate: Some(rate.clone()),
                why,
                source: None,
                part,
            });
        }
    }
}

impl<'a> Look<'a> for Refusing {
    fn see(
        &mut self,
        dimension: &'a Dimension,
        rate: &'a Rate,
        level: &'a Level,
        part: Part,
    ) -> Option<()> {
        self.add(*dimension, rate, level.tat(), Some(part));
        Some(())
    }
}
