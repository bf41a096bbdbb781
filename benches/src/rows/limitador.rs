//! The same four budgets with `limitador`, in memory.

use std::{collections::HashMap, sync::Arc};

use limitador::{
    RateLimiter,
    limit::{Context, Limit, Namespace},
};

use super::{Definition, Shared};
use crate::{
    Result,
    row::{Operation, Row},
};

/// More than a run asks for in a second.
const ENOUGH: u64 = 1_000_000_000;

/// Four limits decided together, as its documentation has it: the request's values are made for each one.
pub(super) fn limitador_4(definition: &'static Definition, _: &Arc<Shared>) -> Result<Row> {
    let limits = RateLimiter::new(100_000);
    let counted = [
        &[][..],
        &["tenant"],
        &["tenant", "agent"],
        &["tenant", "route"],
    ];
    for variables in counted {
        let variables = variables.iter().map(|name| (*name).try_into());
        let variables = variables.collect::<std::result::Result<Vec<_>, _>>()?;
        limits.add_limit(Limit::new("api", ENOUGH, 1, vec![], variables));
    }
    let namespace = Namespace::from("api");
    Ok(definition.row(Operation::new(move || {
        let value = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let values = HashMap::from([
            value("tenant", "tenant-0"),
            value("agent", "agent-0"),
            value("route", "GET /invoices/{id}"),
        ]);
        let decided = limits.check_rate_limited_and_update(&namespace, &Context::from(values), 1);
        decided.is_ok_and(|decided| !decided.limited && decided.counters.len() == 4)
    })))
}
