//! Guaranteed floors of the global budget.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tenant_context::{ConfigError, Monotonic, TenantState};

use crate::{
    Quota,
    cells::{Level, Rate},
};

/// How much of the global budget each tenant is guaranteed, by its plan; the rest is shared fairly.
///
/// A request within its tenant's floor is never refused by the global budget, however loud the others
/// are. What nobody uses of a floor goes to whoever asks for more, each of them getting the same. All
/// floors together are at most the whole, in pace and in burst: the builder refuses others.
///
/// A plan's floors are for so many tenants; a further tenant of that plan has none until one of them is
/// forgotten, with a warning in the log.
///
/// ```
/// use tenant_ratelimit::{Floors, Quota};
///
/// let limits = tenant_ratelimit::layer()
///     .global(Quota::per_second(1_000).burst(2_000))
///     .floors(
///         Floors::plan("pro", Quota::per_second(20), 20)      // 20 tenants with at least 20 a second: 400
///             .others(Quota::per_second(2), 200),             // 200 others with at least 2: 400; 200 are shared
///     )
///     .build()?;
/// # Ok::<(), tenant_ratelimit::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "floors guarantee nothing until they are given to a builder"]
pub struct Floors(Vec<Class>);

#[derive(Clone, Debug)]
struct Class {
    /// `None`: every other one.
    plan: Option<Box<str>>,
    floor: Floor,
    tenants: u32,
}

#[derive(Clone, Copy, Debug)]
enum Floor {
    Quota(Quota),
    /// So many parts of so many percent of the whole.
    Weight {
        weight: u32,
        percent: u32,
    },
}

impl Floors {
    /// A floor for each of so many tenants.
    pub fn each(floor: Quota, tenants: u32) -> Self {
        Self(Vec::new()).others(floor, tenants)
    }

    /// A floor for each of so many tenants of this plan.
    pub fn plan(plan: impl Into<Box<str>>, floor: Quota, tenants: u32) -> Self {
        Self(Vec::new()).and_plan(plan, floor, tenants)
    }

    /// A floor for each of so many tenants of one more plan.
    pub fn and_plan(mut self, plan: impl Into<Box<str>>, floor: Quota, tenants: u32) -> Self {
        self.0.push(Class {
            plan: Some(plan.into()),
            floor: Floor::Quota(floor),
            tenants,
        });
        self
    }

    /// A floor for each of so many tenants of all other plans.
    pub fn others(mut self, floor: Quota, tenants: u32) -> Self {
        self.0.push(Class {
            plan: None,
            floor: Floor::Quota(floor),
            tenants,
        });
        self
    }

    /// Floors by weight: so many percent of the global budget are divided among all the tenants that are
    /// declared as (plan, weight, how many tenants); the plan `"*"` stands for all others.
    ///
    /// ```
    /// # use tenant_ratelimit::Floors;
    /// // Half of the whole: a "pro" tenant has four times the floor of another.
    /// let floors = Floors::by_weight(50, [("pro", 4, 10), ("*", 1, 100)]);
    /// ```
    pub fn by_weight<P: Into<Box<str>>>(
        percent: u32,
        weights: impl IntoIterator<Item = (P, u32, u32)>,
    ) -> Self {
        let class = |(plan, weight, tenants): (P, u32, u32)| {
            let plan = plan.into();
            Class {
                plan: (&*plan != "*").then_some(plan),
                floor: Floor::Weight { weight, percent },
                tenants,
            }
        };
        Self(weights.into_iter().map(class).collect())
    }

    pub(crate) fn build(&self, global: Quota) -> Result<Seats, ConfigError> {
        let wrong = |says: String| ConfigError::new(format!("`floors`: {says}"));
        if self.0.is_empty() {
            return Err(wrong(
                "none is declared; add one, or leave it out".to_owned(),
            ));
        }
        let parts = self.0.iter().map(|class| match class.floor {
            Floor::Quota(_) => 0,
            Floor::Weight { weight, .. } => u64::from(weight).saturating_mul(class.tenants.into()),
        });
        let parts = parts.fold(0_u64, u64::saturating_add);
        let mut seats = Vec::with_capacity(self.0.len());
        let (mut pace, mut burst) = (0_u128, 0_u64);
        for class in &self.0 {
            let quota = class.quota(global, parts).ok_or_else(|| {
                wrong("a weight is too small to be a floor; use a larger percentage, or fewer tenants".to_owned())
            })?;
            let rate = Rate::new(quota).map_err(|error| wrong(error.to_string()))?;
            let tenants = u64::from(class.tenants);
            pace = pace.saturating_add(pace_of(quota).saturating_mul(tenants.into()));
            burst = burst.saturating_add(quota.max_burst().saturating_mul(tenants));
            seats.push(Seating {
                plan: class.plan.clone(),
                rate,
                tenants: class.tenants,
                taken: AtomicU32::new(0),
            });
        }
        // Paces are rounded down, each by less than one part of 10^18.
        let pace = pace.saturating_sub(u128::from(parts).max(1));
        if pace > pace_of(global) {
            return Err(wrong(
                "they add up to more requests than the global quota allows; lower them, or declare fewer tenants".to_owned(),
            ));
        }
        if burst >= global.max_burst() {
            return Err(wrong(format!(
                "their bursts add up to {burst} of the global burst of {}; lower them, declare fewer tenants, or give the global quota a larger burst, so that something is left to be shared",
                global.max_burst()
            )));
        }
        Ok(Seats {
            classes: seats.into(),
            pace,
            burst,
        })
    }
}

/// Units in 10^9 s.
pub(crate) fn pace_of(quota: Quota) -> u128 {
    u128::from(quota.requests())
        .saturating_mul(1_000_000_000_000_000_000)
        .checked_div(quota.period().as_nanos())
        .unwrap_or(0)
}

impl Class {
    fn quota(&self, global: Quota, parts: u64) -> Option<Quota> {
        let (weight, percent) = match self.floor {
            Floor::Quota(quota) => return Some(quota),
            Floor::Weight { weight, percent } => (u64::from(weight), u64::from(percent)),
        };
        // requests * percent * weight in period * 100 * parts.
        let part = weight.checked_mul(percent)?;
        let of = u128::from(parts).checked_mul(100)?;
        let burst = u128::from(global.max_burst())
            .checked_mul(part.into())?
            .checked_div(of)?;
        let period = global.period().as_nanos().checked_mul(of)?;
        let requests = u128::from(global.requests()).checked_mul(part.into())?;
        let common = common(requests, period);
        let requests = u64::try_from(requests.checked_div(common)?).ok()?;
        let period = u64::try_from(period.checked_div(common)?).ok()?;
        let period = std::time::Duration::from_nanos(period);
        let burst = u64::try_from(burst).ok().filter(|burst| *burst > 0)?;
        Some(Quota::per(requests, period).burst(burst))
    }
}

/// The greatest common divisor; of a number and 0 that number.
fn common(mut one: u128, mut other: u128) -> u128 {
    while let Some(rest) = one.checked_rem(other) {
        (one, other) = (other, rest);
    }
    one
}

#[derive(Debug)]
struct Seating {
    plan: Option<Box<str>>,
    rate: Rate,
    tenants: u32,
    taken: AtomicU32,
}

/// The floors that are there to be taken.
#[derive(Debug)]
pub(crate) struct Seats {
    classes: Arc<[Seating]>,
    /// Of all of them, as [`pace_of`] a quota.
    pub(crate) pace: u128,
    /// Of all of them, in units.
    pub(crate) burst: u64,
}

/// A tenant's floor, or what it has spent of the one it had.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Option<Taken>,
    pub(crate) rate: Rate,
    pub(crate) level: Level,
}

impl Seat {
    /// Whether it guarantees anything.
    pub(crate) const fn is_floor(&self) -> bool {
        self.taken.is_some()
    }
}

/// One of the floors that were declared. It is free again when this is dropped.
#[derive(Debug)]
struct Taken {
    classes: Arc<[Seating]>,
    class: usize,
}

impl Seats {
    /// The floor of a tenant's plan, if one is free; `held` is the one it has, and what is spent of it
    /// stays spent, also if there is none for it now.
    pub(crate) fn seat(
        &self,
        tenant: &TenantState,
        held: Option<Box<Seat>>,
        now: Monotonic,
    ) -> Option<Box<Seat>> {
        let class = self.class(&tenant.plan());
        let taken = held.as_ref().and_then(|held| held.taken.as_ref());
        if class.is_some() && class == taken.map(|taken| taken.class) {
            return held;
        }
        let (taken, rate) = class
            .and_then(|class| self.take(class, tenant))
            .map_or((None, None), |(taken, rate)| (Some(taken), Some(rate)));
        match (held, rate) {
            (None, None) => None,
            (None, Some(rate)) => Some(Box::new(Seat {
                taken,
                rate: rate.clone(),
                level: Level::default(),
            })),
            (Some(mut held), rate) => {
                if let Some(rate) = rate {
                    held.level.carry(&held.rate, rate, now);
                    held.rate = rate.clone();
                }
                held.taken = taken;
                Some(held)
            }
        }
    }

    fn class(&self, plan: &str) -> Option<usize> {
        let mut classes = self.classes.iter();
        let own = classes.position(|class| class.plan.as_deref() == Some(plan));
        own.or_else(|| self.classes.iter().position(|class| class.plan.is_none()))
    }

    fn take(&self, class: usize, tenant: &TenantState) -> Option<(Taken, &Rate)> {
        let found = self.classes.get(class)?;
        let more = |taken: u32| taken.checked_add(1).filter(|taken| *taken <= found.tenants);
        let taken = found
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_err() {
            tracing::warn!(
                tenant = %tenant.id(),
                tenants = found.tenants,
                "all floors of this tenant's plan are taken: it shares the rest; declare more tenants in `Floors`"
            );
            return None;
        }
        let classes = Arc::clone(&self.classes);
        Some((Taken { classes, class }, &found.rate))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(class) = self.classes.get(self.class) {
            class.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
