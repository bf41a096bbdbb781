//! Every interleaving of a few threads.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::time::Duration;

use loom::{sync::Arc, thread};

use super::*;
use crate::sync::Mutex;

const NOW: Monotonic = Monotonic::from_secs(1);

fn budget(dimension: Dimension, burst: u64) -> Budget {
    Budget::new(
        dimension,
        Quota::per(1, Duration::from_secs(60)).burst(burst),
    )
    .unwrap()
}

fn lane<'a>(budget: &'a Budget, cell: &'a Cell) -> Lane<'a> {
    Lane { budget, cell }
}

/// The cells of one tenant behind its lock, and the budgets.
struct Tenant {
    own: Mutex<[Cell; 2]>,
    budgets: [Budget; 2],
}

impl Tenant {
    fn new(agent: u64, tenant: u64) -> Self {
        Self {
            own: Mutex::new([Cell::new(0), Cell::new(0)]),
            budgets: [
                budget(Dimension::Agent, agent),
                budget(Dimension::Tenant, tenant),
            ],
        }
    }

    fn charge(&self, global: &(Budget, Cell)) -> bool {
        let own = self.own.lock();
        let [agent, tenant] = &*own;
        let lanes = [
            None,
            Some(lane(&self.budgets[0], agent)),
            Some(lane(&self.budgets[1], tenant)),
        ];
        charge(lanes, Some(lane(&global.0, &global.1)), NOW).is_ok()
    }

    /// How many requests each of the cells was charged.
    fn charged(&self) -> [u64; 2] {
        let own = self.own.lock();
        std::array::from_fn(|at| spent(&self.budgets[at], &own[at]))
    }
}

fn spent(budget: &Budget, cell: &Cell) -> u64 {
    budget.quota.max_burst() - budget.gcra.remaining(cell.tat(), NOW)
}

#[test]
fn i4_loom_the_global_cell_at_limit_1_admits_exactly_one() {
    loom::model(|| {
        let global = Arc::new((budget(Dimension::Global, 1), Cell::new(0)));
        let tenants = [Arc::new(Tenant::new(5, 5)), Arc::new(Tenant::new(5, 5))];
        let threads = tenants.clone().map(|tenant| {
            let global = Arc::clone(&global);
            thread::spawn(move || tenant.charge(&global))
        });
        let admitted = threads.map(|thread| thread.join().unwrap());
        assert!(admitted[0] ^ admitted[1], "exactly one");
        for (tenant, admitted) in tenants.iter().zip(admitted) {
            assert_eq!(
                tenant.charged(),
                [u64::from(admitted); 2],
                "who lost the race was not charged"
            );
        }
        assert_eq!(spent(&global.0, &global.1), 1);
    });
}

#[test]
fn i4_loom_one_tenants_cells_are_decided_as_one_step() {
    loom::model(|| {
        let global = Arc::new((budget(Dimension::Global, 5), Cell::new(0)));
        let tenant = Arc::new(Tenant::new(5, 1));
        let threads = [(); 2].map(|()| {
            let (global, tenant) = (Arc::clone(&global), Arc::clone(&tenant));
            thread::spawn(move || tenant.charge(&global))
        });
        let admitted = threads.map(|thread| thread.join().unwrap());
        assert!(admitted[0] ^ admitted[1], "exactly one");
        assert_eq!(tenant.charged(), [1, 1]);
        assert_eq!(
            spent(&global.0, &global.1),
            1,
            "the refused one did not drain the global budget"
        );
    });
}

#[test]
fn i4_loom_every_cell_counts_exactly_the_admitted() {
    loom::model(|| {
        let global = Arc::new((budget(Dimension::Global, 2), Cell::new(0)));
        let tenants = [Arc::new(Tenant::new(1, 5)), Arc::new(Tenant::new(5, 5))];
        let threads = [0, 1, 1].map(|at: usize| {
            let (global, tenant) = (Arc::clone(&global), Arc::clone(&tenants[at]));
            thread::spawn(move || (at, tenant.charge(&global)))
        });
        let mut admitted = [0; 2];
        for thread in threads {
            let (at, yes) = thread.join().unwrap();
            admitted[at] += u64::from(yes);
        }
        assert_eq!(admitted.iter().sum::<u64>(), 2);
        for (tenant, admitted) in tenants.iter().zip(admitted) {
            assert_eq!(tenant.charged(), [admitted; 2]);
        }
        assert_eq!(spent(&global.0, &global.1), 2);
    });
}
