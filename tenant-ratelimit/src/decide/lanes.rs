//! The lanes of one request: which cells it falls under, and by which budgets.

use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use tenant_context::{Monotonic, RequestHead, TenantContext};

use super::{Inner, MAX_CUSTOM};
use crate::{
    Denied,
    charge::{CrossLane, CrossLanes, Lane, Lanes, Source},
    key::Key,
    keys::Kind,
    own::{Named, Own, Place},
    partition::Part,
    tenants::Resolved,
};

/// The keyed cells that one request names.
pub(crate) type Placed = ArrayVec<(Place, Key), { crate::charge::OWN }>;

/// Which of a tenant's own cells it is.
pub(super) fn part_of(source: Source, placed: &Placed, endpoint: Option<usize>) -> Option<Part> {
    Some(match source {
        Source::Tenant => Part::Whole,
        Source::Endpoint => Part::Endpoint(endpoint?),
        Source::Keyed(at) => match *placed.get(usize::from(at))? {
            (Place::Slot(_), key) => Part::Key(key),
            (Place::Overflow(kind), _) => Part::Overflow(kind),
        },
    })
}

impl Inner {
    /// Keys of the application's own dimensions. Its code runs outside of the lock.
    pub(super) fn custom(
        &self,
        tenant: &TenantContext,
        head: &RequestHead<'_>,
        keys: &mut ArrayVec<Named, MAX_CUSTOM>,
    ) {
        let kinds = Kind::CUSTOM..;
        let named = self.custom.iter().zip(kinds).filter_map(|(custom, kind)| {
            Some(Named {
                key: (custom.key)(tenant, head)?.within(custom.dimension),
                kind: Kind(u16::try_from(kind).ok()?),
                carried: None,
            })
        });
        keys.extend(named.take(MAX_CUSTOM));
    }
}

/// The places of the keyed cells that a request names. Lists are filled where they stand: moved, they would be
/// copied whole.
#[inline]
pub(super) fn place(
    own: &mut Own,
    resolved: &Resolved,
    custom: &[Named],
    placed: &mut Placed,
    now: Monotonic,
) -> Result<(), Denied> {
    for named in custom {
        let place = own.find_or_make(named, placed, now);
        placed.push((place.ok_or_else(Denied::too_many_budgets)?, named.key));
    }
    for kept in &resolved.named {
        let hint = kept.hint.load(Ordering::Relaxed);
        let key = kept.named.key;
        if own.is_at(hint, &kept.named) {
            placed.push((Place::Slot(hint), key));
            continue;
        }
        let place = own
            .find_or_make(&kept.named, placed, now)
            .ok_or_else(Denied::too_many_budgets)?;
        match place {
            Place::Slot(at) => kept.hint.store(at, Ordering::Relaxed),
            // Two agents without cells of their own share one.
            Place::Overflow(_) if placed.iter().any(|(known, _)| *known == place) => continue,
            Place::Overflow(_) => {}
        }
        placed.push((place, key));
    }
    Ok(())
}

/// A tenant's own budgets that a request falls under, the narrowest first.
#[inline]
pub(super) fn fill<'a>(
    lanes: &mut Lanes<'a>,
    own: &'a Own,
    endpoint: Option<usize>,
    placed: &Placed,
) -> Result<(), Denied> {
    let rules = &*own.rules;
    if let Some(at) = endpoint
        && let Some(rule) = rules.endpoints.get(at).and_then(|rules| rules.own.as_ref())
        && let Some(level) = own.endpoints.get(at)
    {
        lanes.push(Lane::new(
            Source::Endpoint,
            &rule.terms,
            rule.rate.as_ref(),
            level,
        ));
    }
    for ((place, _), source) in placed.iter().zip(0..) {
        let Some((level, kind)) = own.keyed(*place) else {
            continue;
        };
        let source = Source::Keyed(source);
        if let Some(rate) = own.carried(kind) {
            if let Some(terms) = &rules.carried {
                lanes.push(Lane::new(source, terms, Some(rate), level));
            }
        } else if let Some(rule) = rules.keyed(kind) {
            lanes.push(Lane::new(source, &rule.terms, rule.rate.as_ref(), level));
        }
    }
    if let Some(terms) = &rules.tenant {
        let rate = own.rate();
        if rate.is_none() && rules.planned {
            return Err(Denied::misconfigured("quota_invalid"));
        }
        lanes.push(Lane::new(Source::Tenant, terms, rate, &own.tenant));
    }
    Ok(())
}

/// The budgets of all tenants that a request falls under. The one that all requests write comes last: what
/// was charged before it is given back if it refuses.
#[inline]
pub(super) fn fill_cross<'a>(lanes: &mut CrossLanes<'a>, own: &'a Own, endpoint: Option<usize>) {
    let rules = &*own.rules;
    if let Some(across) = endpoint.and_then(|at| rules.endpoints.get(at)?.across.as_deref()) {
        lanes.push(CrossLane::new(across, None));
    }
    if let Some(global) = rules.global.as_deref() {
        lanes.push(CrossLane::new(global, own.share()));
    }
}
