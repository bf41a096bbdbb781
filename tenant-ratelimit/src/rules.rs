//! What is limited: one consistent set of budgets, exchanged whole when a quota changes.

use std::sync::Arc;

use tenant_context::ConfigError;

use crate::{
    Dimension, Quota,
    cells::{Cross, Rate},
    charge::Terms,
    floors::pace_of,
    keys::Kind,
};

/// All budgets of one limiter at one time.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Which exchange they came with.
    pub(crate) generation: u64,
    pub(crate) global: Option<Arc<Cross>>,
    /// Requests without a tenant.
    pub(crate) public: Option<Arc<Cross>>,
    pub(crate) tenant: Option<Terms>,
    /// Whether each tenant has a rate, its plan's.
    pub(crate) planned: bool,
    /// Whether any of them is a shadow.
    pub(crate) shadows: bool,
    /// See [`are_plain`](Self::are_plain).
    pub(crate) plain: bool,
    /// By [`Kind`]: agents, principals, then the application's own.
    pub(crate) keyed: Box<[Option<Rule>]>,
    pub(crate) carried: Option<Terms>,
    pub(crate) endpoints: Box<[EndpointRules]>,
    /// The most keyed cells of a tenant.
    pub(crate) share: usize,
    /// What the floors keep back of the global budget, in ticks of its quota.
    pub(crate) kept: Option<u64>,
    /// The pace of all floors together.
    pub(crate) floors_pace: u128,
}

impl Kind {
    /// Agents, by their ids.
    pub(crate) const AGENT: Self = Self(0);
    /// Principals, by kind and id.
    pub(crate) const PRINCIPAL: Self = Self(1);
    /// The first of the application's own.
    pub(crate) const CUSTOM: usize = 2;
    /// From here on: budgets that delegations carry.
    pub(crate) const CARRIED: u16 = 1 << 15;
}

/// One budget, without its cells.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) terms: Terms,
    pub(crate) rate: Option<Rate>,
}

impl Rule {
    pub(crate) const fn rate(&self) -> Option<&Rate> {
        self.rate.as_ref()
    }
}

/// An endpoint's budgets.
#[derive(Clone, Debug)]
pub(crate) struct EndpointRules {
    /// Of each tenant.
    pub(crate) own: Option<Rule>,
    /// Of all tenants together.
    pub(crate) across: Option<Arc<Cross>>,
}

impl Rules {
    /// The dimensions of all budgets.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = Dimension> {
        let cross = [&self.global, &self.public].into_iter().flatten();
        let cross = cross.chain(
            self.endpoints
                .iter()
                .filter_map(|rules| rules.across.as_ref()),
        );
        let own = self.endpoints.iter().filter_map(|rules| rules.own.as_ref());
        let own = own
            .chain(self.keyed.iter().flatten())
            .map(|rule| rule.terms);
        let own = own.chain(self.tenant).chain(self.carried);
        own.map(|terms| terms.dimension)
            .chain(cross.map(|cross| cross.dimension))
    }

    pub(crate) fn keyed(&self, kind: Kind) -> Option<&Rule> {
        self.keyed.get(usize::from(kind.0))?.as_ref()
    }
}

impl Rules {
    /// The budget of this dimension that tenants share.
    pub(crate) fn shared(&self, dimension: Dimension, endpoint: Option<usize>) -> Option<&Cross> {
        match dimension {
            Dimension::Global => self.global.as_deref(),
            _ => self.endpoints.get(endpoint?)?.across.as_deref(),
        }
    }
}

/// A budget that was declared, and so may be given another quota while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Global,
    Public,
    Keyed(Dimension),
    Endpoint(usize),
    Across(usize),
}

impl Rules {
    /// The same with another quota for one budget.
    pub(crate) fn with(
        &self,
        declared: Declared,
        quota: Quota,
        moved: impl Fn(&Cross, Rate) -> Cross,
    ) -> Result<Self, ConfigError> {
        let rate = Rate::new(quota)?;
        let mut next = self.clone();
        next.generation = self.generation.saturating_add(1);
        let cross = |budget: &mut Option<Arc<Cross>>| {
            let old = budget.as_ref()?;
            *budget = Some(Arc::new(moved(old, rate.clone())));
            Some(())
        };
        let keyed = |rules: &mut [Option<Rule>], dimension| {
            let mut rules = rules.iter_mut().flatten();
            let rule = rules.find(|rule| rule.terms.dimension == dimension)?;
            rule.rate.as_mut().map(|old| *old = rate.clone())
        };
        let changed = match declared {
            Declared::Global => {
                if let (Some(kept), Some(global)) = (self.kept, &self.global) {
                    // The same units, in ticks of the new quota.
                    let kept = rate.gcra.convert(global.rate.gcra, kept);
                    if self.floors_pace > pace_of(quota) {
                        return Err(ConfigError::new(
                            "the floors add up to more requests than this quota allows; give it a faster pace",
                        ));
                    }
                    if kept >= rate.gcra.capacity() {
                        return Err(ConfigError::new(
                            "the floors' bursts add up to this quota's burst or more; give it a larger burst",
                        ));
                    }
                    next.kept = Some(kept);
                }
                cross(&mut next.global)
            }
            Declared::Public => cross(&mut next.public),
            Declared::Keyed(dimension) => keyed(&mut next.keyed, dimension),
            Declared::Endpoint(at) => next
                .endpoints
                .get_mut(at)
                .and_then(|endpoint| endpoint.own.as_mut()?.rate.as_mut())
                .map(|old| *old = rate.clone()),
            Declared::Across(at) => next
                .endpoints
                .get_mut(at)
                .and_then(|endpoint| cross(&mut endpoint.across)),
        };
        changed.map(|()| next).ok_or_else(|| {
            ConfigError::new("no such budget was declared; declare it to the builder, with any quota, so that it can be changed")
        })
    }
}
