//! One tenant's cells, and all tenants'.

use std::sync::{Arc, OnceLock, Weak};

use tenant_context::{Monotonic, PrincipalId, TenantId, TenantState};

use crate::{
    cells::{Budget, Cell},
    endpoints::Endpoints,
    sync::{Mutex, MutexGuard},
    table::Table,
};

/// How many agents' cells are looked at for each newcomer when a tenant's share is used up.
const AGENT_LOOKS: usize = 16;
/// How many tenants' cells are looked at for each newcomer when all places are taken.
const TENANT_LOOKS: usize = 256;

/// All tenants that are known to one limiter: at most so many, and only those whose cells are all full
/// again, and which nothing refers to, are forgotten.
#[derive(Debug)]
pub(crate) struct Tenants(Mutex<Table<TenantId, Arc<TenantCells>>>);

impl Tenants {
    pub(crate) fn new(max: usize) -> Self {
        Self(Mutex::new(Table::new(max, TENANT_LOOKS)))
    }

    /// A tenant's cells; `None` if there is no place for them.
    pub(crate) fn cells(
        &self,
        id: &TenantId,
        shape: &Shape<'_>,
        now: Monotonic,
    ) -> Option<Arc<TenantCells>> {
        let mut table = self.0.lock();
        // Counted under the table's lock: nobody can come to refer to them meanwhile.
        let forgettable = |cells: &Arc<TenantCells>| {
            Arc::strong_count(cells) == 1 && cells.lock().is_full(shape, now)
        };
        table
            .get_or_make(id, forgettable, || Arc::new(TenantCells::new(shape)))
            .cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().values().count()
    }
}

/// What the layer knows of the dimensions inside a tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) agent: Option<&'a Budget>,
    pub(crate) max_agents: usize,
    pub(crate) endpoints: &'a Endpoints,
}

/// One tenant's own cells, behind one short lock.
#[derive(Debug)]
pub(crate) struct TenantCells(Mutex<Own>);

impl TenantCells {
    fn new(shape: &Shape<'_>) -> Self {
        Self(Mutex::new(Own::new(shape)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Own> {
        self.0.lock()
    }
}

/// What an identity keeps, so that its next request needs no look-up.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) cells: Arc<TenantCells>,
    /// The acting agent's own cell, once it has one.
    agent: OnceLock<Arc<Cell>>,
}

impl Resolved {
    pub(crate) const fn new(cells: Arc<TenantCells>) -> Self {
        Self {
            cells,
            agent: OnceLock::new(),
        }
    }

    /// Gives the acting agent a cell of its own, if it has none yet and the tenant's share has room.
    pub(crate) fn settle(&self, own: &mut Own, id: &PrincipalId, budget: &Budget, now: Monotonic) {
        if self.agent.get().is_none()
            && let Some(cell) = own.agent(id, budget, now)
        {
            self.agent.get_or_init(|| cell);
        }
    }

    /// The acting agent's cell: the overflow cell while it has none of its own.
    pub(crate) fn agent<'a>(&'a self, own: &'a Own) -> &'a Cell {
        self.agent.get().map_or(&own.overflow, Arc::as_ref)
    }
}

/// A tenant's cells and the quota they count by.
#[derive(Debug)]
pub(crate) struct Own {
    plan: Plan,
    pub(crate) tenant: Cell,
    pub(crate) endpoints: Box<[Cell]>,
    agents: Table<PrincipalId, Arc<Cell>>,
    /// Shared by all agents beyond the tenant's share.
    pub(crate) overflow: Cell,
}

/// The tenant's quota, and the revision of which record it was made from.
#[derive(Debug)]
struct Plan {
    /// Revisions count within one state: another one begins anew. The reference keeps the address from
    /// being used again.
    state: Weak<TenantState>,
    revision: u64,
    budget: Option<Budget>,
    valid: bool,
}

impl Own {
    fn new(shape: &Shape<'_>) -> Self {
        Self {
            plan: Plan {
                state: Weak::new(),
                revision: 0,
                budget: None,
                valid: false,
            },
            tenant: Cell::new(0),
            endpoints: (0..shape.endpoints.len()).map(|_| Cell::new(0)).collect(),
            agents: Table::new(shape.max_agents, AGENT_LOOKS),
            overflow: Cell::new(0),
        }
    }

    /// Whether the quota was made from this revision of the tenant's record.
    pub(crate) fn is_planned(&self, state: &Arc<TenantState>, revision: u64) -> bool {
        self.plan.revision == revision && self.is_state(state)
    }

    fn is_state(&self, state: &Arc<TenantState>) -> bool {
        std::ptr::eq(self.plan.state.as_ptr(), Arc::as_ptr(state))
    }

    /// Goes on under another quota and keeps what was spent. Without a valid one the tenant is refused,
    /// and its cell stays as it is for the next.
    pub(crate) fn plan(
        &mut self,
        state: &Arc<TenantState>,
        revision: u64,
        planned: Option<Budget>,
        now: Monotonic,
    ) {
        if self.is_state(state) && self.plan.revision > revision {
            return; // Another request has planned for a newer record meanwhile.
        }
        if let (Some(before), Some(budget)) = (&self.plan.budget, &planned)
            && before.gcra != budget.gcra
        {
            let tat = budget.gcra.carry(before.gcra, self.tenant.tat(), now);
            self.tenant.set(tat);
        }
        self.plan.state = Arc::downgrade(state);
        self.plan.revision = revision;
        self.plan.valid = planned.is_some();
        if planned.is_some() {
            self.plan.budget = planned;
        }
    }

    /// The tenant's budget; `None` if the application's quota is none.
    pub(crate) fn budget(&self) -> Option<&Budget> {
        self.plan.budget.as_ref().filter(|_| self.plan.valid)
    }

    /// An agent's own cell, made if the tenant's share has room for it.
    fn agent(&mut self, id: &PrincipalId, budget: &Budget, now: Monotonic) -> Option<Arc<Cell>> {
        let forgettable =
            |cell: &Arc<Cell>| Arc::strong_count(cell) == 1 && budget.gcra.is_full(cell.tat(), now);
        // Whoever leaves the overflow cell takes along what it owes: room that comes up is no amnesty.
        let overflow = self.overflow.tat();
        self.agents
            .get_or_make(id, forgettable, || Arc::new(Cell::new(overflow)))
            .cloned()
    }

    /// Whether forgetting these cells changes nothing.
    fn is_full(&self, shape: &Shape<'_>, now: Monotonic) -> bool {
        let full = |budget: Option<&Budget>, cell: &Cell| {
            budget.is_none_or(|budget| budget.gcra.is_full(cell.tat(), now))
        };
        full(self.plan.budget.as_ref(), &self.tenant)
            && full(shape.agent, &self.overflow)
            && self
                .endpoints
                .iter()
                .zip(shape.endpoints.budgets())
                .all(|(cell, budget)| full(Some(budget), cell))
            && self.agents.values().all(|cell| full(shape.agent, cell))
    }
}

#[cfg(all(test, not(loom)))]
#[path = "tenants_tests.rs"]
mod tests;
