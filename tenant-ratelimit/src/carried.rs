//! Budgets that a delegation carries.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use tenant_context::{ConfigError, TenantContext};

use crate::{Quota, cells::Rate, key::Key};

/// The claim: `{"requests": 100, "seconds": 3600, "burst": 10}`, `burst` may be left out.
///
/// For a chain of agents it is a list: the current actor's first, then that of whoever delegated to it, and so
/// on, the principal's own last; `null` stands for none.
const CLAIM: &str = "budget";

type Fields = BTreeMap<String, u64>;

/// Each carried budget with the key of its cell: the principal, and the chain of actors from the one that
/// it was given to. So a budget that a sub-agent's credential repeats is its parent's cell.
pub(crate) fn budgets(
    tenant: &TenantContext,
    dimension: Key,
) -> Result<Vec<(Key, Rate)>, ConfigError> {
    let actors = tenant.actors();
    let claimed = match tenant.claim::<Fields>(CLAIM) {
        Some(one) => vec![Some(one)],
        None => match tenant.claim::<Vec<Option<Fields>>>(CLAIM) {
            Some(list) => list,
            None if tenant.claim::<IgnoredAny>(CLAIM).is_none() => return Ok(Vec::new()),
            None => {
                return Err(ConfigError::new(
                    "the claim `budget` is no object, and no list of objects, with whole numbers",
                ));
            }
        },
    };
    // The last may be the principal's own, from before it delegated.
    if claimed.len() > actors.len().saturating_add(1) {
        return Err(ConfigError::new(
            "the claim `budget` has more budgets than the chain has actors, and one for the principal",
        ));
    }
    let mut budgets = Vec::with_capacity(claimed.len());
    for (at, fields) in claimed.into_iter().enumerate() {
        let Some(fields) = fields else { continue };
        let rate = Rate::new(quota(&fields)?)?;
        let chain = actors.get(at..).unwrap_or_default().iter();
        let key = chain.fold(Key::principal(tenant), |key, actor| {
            key.and(Key::of_principal(actor))
        });
        budgets.push((key.within(dimension), rate));
    }
    Ok(budgets)
}

fn quota(fields: &Fields) -> Result<Quota, ConfigError> {
    let known = |name: &String| matches!(name.as_str(), "requests" | "seconds" | "burst");
    let (Some(requests), Some(seconds), true) = (
        fields.get("requests"),
        fields.get("seconds"),
        fields.keys().all(known),
    ) else {
        return Err(ConfigError::new(
            "a carried budget has `requests` and `seconds`, may have `burst`, and nothing else",
        ));
    };
    let quota = Quota::per(*requests, std::time::Duration::from_secs(*seconds));
    Ok(fields
        .get("burst")
        .map_or(quota, |burst| quota.burst(*burst)))
}
