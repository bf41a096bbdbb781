//! Every interleaving of a few threads.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use loom::{sync::Arc, thread};

use super::*;
use crate::{Quota, sync::Mutex};

const NOW: Monotonic = Monotonic::from_secs(1);

fn rate(burst: u64) -> Rate {
    Rate::new(Quota::per(1, Duration::from_secs(60)).burst(burst)).unwrap()
}

fn cross(dimension: Dimension, burst: u64) -> Arc<Cross> {
    Arc::new(Cross::new(dimension, rate(burst), false))
}

fn terms(dimension: Dimension) -> &'static Terms {
    Box::leak(Box::new(Terms {
        dimension,
        most: None,
        shadow: false,
    }))
}

const ASK: Ask = Ask {
    cost: 1,
    peeks: false,
    enters: false,
    now: NOW,
};

/// The cells of one tenant behind its lock, and their rates.
struct Tenant {
    own: Mutex<[Level; 2]>,
    rates: [Rate; 2],
}

impl Tenant {
    fn new(agent: u64, tenant: u64) -> Self {
        Self {
            own: Mutex::new(Default::default()),
            rates: [rate(agent), rate(tenant)],
        }
    }

    fn charge(&self, shared: &[&Cross]) -> bool {
        let own = self.own.lock();
        let dimensions = [Dimension::Agent, Dimension::Tenant].map(terms);
        let lanes = (0..2).map(|at| {
            Lane::new(
                Source::Tenant,
                dimensions[at],
                Some(&self.rates[at]),
                &own[at],
            )
        });
        let mut cross = shared
            .iter()
            .map(|cross| CrossLane::new(cross, None))
            .collect();
        charge(&mut lanes.collect(), &mut cross, ASK, || NOW).is_ok()
    }

    /// How many requests each of the cells was charged.
    fn charged(&self) -> [u64; 2] {
        let own = self.own.lock();
        std::array::from_fn(|at| units(&self.rates[at], own[at].tat()))
    }
}

fn units(rate: &Rate, tat: u64) -> u64 {
    rate.gcra.units(rate.gcra.spent(tat, NOW))
}

fn spent(cross: &Cross) -> u64 {
    units(&cross.rate, cross.tat().unwrap())
}

#[test]
fn i4_loom_the_global_cell_at_limit_1_admits_exactly_one() {
    loom::model(|| {
        let global = cross(Dimension::Global, 1);
        let tenants = [Arc::new(Tenant::new(5, 5)), Arc::new(Tenant::new(5, 5))];
        let threads = tenants.clone().map(|tenant| {
            let global = Arc::clone(&global);
            thread::spawn(move || tenant.charge(&[&global]))
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
        assert_eq!(spent(&global), 1);
    });
}

#[test]
fn i4_loom_one_tenants_cells_are_decided_as_one_step() {
    loom::model(|| {
        let global = cross(Dimension::Global, 5);
        let tenant = Arc::new(Tenant::new(5, 1));
        let threads = [(); 2].map(|()| {
            let (global, tenant) = (Arc::clone(&global), Arc::clone(&tenant));
            thread::spawn(move || tenant.charge(&[&global]))
        });
        let admitted = threads.map(|thread| thread.join().unwrap());
        assert!(admitted[0] ^ admitted[1], "exactly one");
        assert_eq!(tenant.charged(), [1, 1]);
        assert_eq!(
            spent(&global),
            1,
            "the refused one did not drain the global budget"
        );
    });
}

#[test]
fn i4_loom_every_cell_counts_exactly_the_admitted() {
    loom::model(|| {
        let global = cross(Dimension::Global, 2);
        let tenants = [Arc::new(Tenant::new(1, 5)), Arc::new(Tenant::new(5, 5))];
        let threads = [0, 1, 1].map(|at: usize| {
            let (global, tenant) = (Arc::clone(&global), Arc::clone(&tenants[at]));
            thread::spawn(move || (at, tenant.charge(&[&global])))
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
        assert_eq!(spent(&global), 2);
    });
}

#[test]
fn i4_loom_two_shared_cells_admit_never_more_and_give_back_what_was_lost() {
    loom::model(|| {
        // Each of the two may be the one that refuses: only one request passes both.
        let (across, global) = (
            cross(Dimension::EndpointAcross, 2),
            cross(Dimension::Global, 1),
        );
        let tenants = [Arc::new(Tenant::new(5, 5)), Arc::new(Tenant::new(5, 5))];
        let threads = tenants.clone().map(|tenant| {
            let (across, global) = (Arc::clone(&across), Arc::clone(&global));
            thread::spawn(move || tenant.charge(&[&across, &global]))
        });
        let admitted = threads.map(|thread| thread.join().unwrap());
        assert!(admitted[0] ^ admitted[1], "exactly one");
        assert_eq!((spent(&across), spent(&global)), (1, 1));
        for (tenant, admitted) in tenants.iter().zip(admitted) {
            assert_eq!(tenant.charged(), [u64::from(admitted); 2]);
        }
    });
}

#[test]
fn i4_loom_a_quota_that_changes_under_load_loses_no_charge() {
    loom::model(|| {
        let old = cross(Dimension::Global, 2);
        let (tenant, charged) = (Arc::new(Tenant::new(5, 5)), Arc::clone(&old));
        let charging = thread::spawn(move || tenant.charge(&[&charged]));
        let new = old.moved(rate(4), NOW);
        // What was not charged before is to be decided anew.
        let before = charging.join().unwrap();
        assert_eq!(spent(&new), u64::from(before));
        assert_eq!(old.tat(), Err(Moved));
    });
}

#[test]
fn i4_loom_what_waits_behind_a_smaller_quota_changes_with_its_cell() {
    // A minute after the one unit that counted is back, one of the two behind it is back too.
    let later = NOW.saturating_add(Duration::from_secs(120));
    loom::model(move || {
        let wide = cross(Dimension::Global, 4);
        wide.update(NOW, |_| rate(4).gcra.owe(0, rate(4).gcra.at(NOW), 3))
            .unwrap();
        let narrow = Arc::new(wide.moved(rate(1), NOW));
        let threads = [(); 2].map(|()| {
            let narrow = Arc::clone(&narrow);
            thread::spawn(move || {
                let mut cross = [CrossLane::new(&narrow, None)].into_iter().collect();
                let ask = Ask { now: later, ..ASK };
                charge(&mut Lanes::new(), &mut cross, ask, || later).is_ok()
            })
        });
        let wide = narrow.moved(rate(4), later);
        let admitted = threads.map(|thread| u64::from(thread.join().unwrap()));
        let admitted: u64 = admitted.into_iter().sum();
        assert!(admitted <= 1);
        let gcra = wide.rate.gcra;
        let spent = gcra.units(gcra.spent(wide.tat().unwrap(), later));
        assert_eq!(spent, 1 + admitted);
    });
}
