#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::sync::{
    Barrier,
    atomic::{AtomicU32, Ordering as StdOrdering},
};

use proptest::prelude::*;

use super::*;

const DIMENSIONS: [Dimension; 4] = [
    Dimension::Endpoint,
    Dimension::Agent,
    Dimension::Tenant,
    Dimension::Global,
];

fn budget(dimension: Dimension, interval: u64, burst: u64) -> Budget {
    let quota = Quota::per(1, Duration::from_nanos(interval)).burst(burst);
    Budget::new(dimension, quota).unwrap()
}

fn lane<'a>(budget: &'a Budget, cell: &'a Cell) -> Lane<'a> {
    Lane { budget, cell }
}

/// All four budgets on whole nanoseconds, without bounds: either all are charged or none.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    tats: [u128; 4],
}

impl Model {
    fn charge(
        &mut self,
        steps: &[Option<(u64, u64)>; 4],
        now: u64,
    ) -> Result<(), (Dimension, u128)> {
        let now = u128::from(now);
        let mut next = self.tats;
        let mut longest: Option<(Dimension, u128)> = None;
        for (at, step) in steps.iter().enumerate() {
            let Some((interval, burst)) = step.map(|(i, b)| (u128::from(i), u128::from(b))) else {
                continue;
            };
            next[at] = self.tats[at].max(now) + interval;
            let wait = next[at]
                .saturating_sub(interval * burst)
                .saturating_sub(now);
            if wait > 0 && longest.is_none_or(|(_, known)| wait > known) {
                longest = Some((DIMENSIONS[at], wait));
            }
        }
        if let Some(binding) = longest {
            return Err(binding);
        }
        self.tats = next;
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = [Option<(u64, u64)>; 4]> {
    let step = prop_oneof![1..50_u64, 1..2_000_000_000_u64];
    let one = move || prop::option::weighted(0.8, (step.clone(), 1..6_u64));
    [one(), one(), one(), one()]
}

proptest! {
    #[test]
    fn i4_the_joint_decision_is_the_models_and_a_denial_consumes_nothing(
        steps in steps(),
        pauses in prop::collection::vec(prop_oneof![2 => Just(0), 1 => 0..100_u64, 1 => 0..4_000_000_000_u64], 1..120),
    ) {
        let budgets: Vec<Option<Budget>> = steps.iter().zip(DIMENSIONS)
            .map(|(step, dimension)| step.map(|(interval, burst)| budget(dimension, interval, burst)))
            .collect();
        let cells: [Cell; 4] = std::array::from_fn(|_| Cell::new(0));
        let lanes: Vec<Option<Lane<'_>>> = budgets.iter().zip(&cells)
            .map(|(budget, cell)| budget.as_ref().map(|budget| lane(budget, cell)))
            .collect();
        let own = [lanes[0], lanes[1], lanes[2]];
        let tats = || cells.each_ref().map(Cell::tat);
        let ask = |now| charge(own, lanes[3], Monotonic::from_nanos(now));
        let mut model = Model::default();
        let mut now = 0;
        for pause in pauses {
            now += pause;
            let before = tats();
            let expected = model.charge(&steps, now);
            match ask(now) {
                Ok(bound) => {
                    prop_assert_eq!(expected, Ok(()));
                    let least = lanes.iter().flatten()
                        .map(|lane| lane.budget.gcra.remaining(lane.cell.tat(), Monotonic::from_nanos(now))).min();
                    prop_assert_eq!(bound.map(|bound| bound.budget.gcra.remaining(bound.tat, bound.now)), least);
                    for (cell, (lane, before)) in cells.iter().zip(lanes.iter().zip(before)) {
                        prop_assert_eq!(cell.tat() > before, lane.is_some(), "every budget was charged");
                    }
                }
                Err(spent) => {
                    prop_assert_eq!(expected, Err((spent.dimension, spent.wait.as_nanos())));
                    prop_assert_eq!(tats(), before);
                    // All of them admit after this wait, and not a nanosecond earlier.
                    let wait = u64::try_from(spent.wait.as_nanos()).unwrap();
                    prop_assert!(ask(now + wait - 1).is_err());
                    prop_assert_eq!(tats(), before);
                    let mut later = model.clone();
                    prop_assert_eq!(later.charge(&steps, now + wait), Ok(()));
                    prop_assert!(ask(now + wait).is_ok());
                    cells.iter().zip(before).for_each(|(cell, tat)| cell.set(tat));
                }
            }
        }
    }
}

#[test]
fn of_equal_waits_the_narrowest_binds() {
    let (endpoint, global) = (
        budget(Dimension::Endpoint, 10, 1),
        budget(Dimension::Global, 10, 1),
    );
    let cells = [Cell::new(0), Cell::new(0)];
    let ask = || {
        charge(
            [Some(lane(&endpoint, &cells[0])), None, None],
            Some(lane(&global, &cells[1])),
            Monotonic::from_secs(1),
        )
    };
    assert_eq!(
        ask().unwrap().unwrap().budget.dimension,
        Dimension::Endpoint
    );
    assert_eq!(ask().unwrap_err().dimension, Dimension::Endpoint);
}

#[test]
fn without_a_budget_everything_is_admitted() {
    assert_eq!(charge([None; OWN], None, Monotonic::from_secs(1)), Ok(None));
}

#[test]
fn i4_read_compute_set_races_never_over_admit_at_limit_1() {
    const THREADS: usize = 4;
    let (tenant, global) = (
        budget(Dimension::Tenant, 1_000_000_000, 1_000_000),
        budget(Dimension::Global, 1_000_000_000, 1),
    );
    for round in 1..=500 {
        let now = Monotonic::from_secs(round);
        let cells: [Cell; THREADS] = std::array::from_fn(|_| Cell::new(0));
        let shared = Cell::new(0);
        let (admitted, start) = (AtomicU32::new(0), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for cell in &cells {
                let (tenant, global, shared, admitted, start) =
                    (&tenant, &global, &shared, &admitted, &start);
                scope.spawn(move || {
                    start.wait();
                    if charge(
                        [None, None, Some(lane(tenant, cell))],
                        Some(lane(global, shared)),
                        now,
                    )
                    .is_ok()
                    {
                        admitted.fetch_add(1, StdOrdering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1);
        assert_eq!(
            cells.iter().filter(|cell| cell.tat() > 0).count(),
            1,
            "the others were not charged"
        );
    }
}
