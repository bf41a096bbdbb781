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
use crate::Quota;

const DIMENSIONS: [Dimension; 5] = [
    Dimension::Endpoint,
    Dimension::Agent,
    Dimension::Tenant,
    Dimension::EndpointAcross,
    Dimension::Global,
];

fn rate(interval: u64, burst: u64) -> Rate {
    Rate::new(Quota::per(1, Duration::from_nanos(interval)).burst(burst)).unwrap()
}

fn terms(dimension: Dimension) -> &'static Terms {
    Box::leak(Box::new(Terms {
        dimension,
        most: None,
        shadow: false,
    }))
}

const fn ask(cost: u64, now: Monotonic) -> Ask {
    Ask {
        cost,
        peeks: false,
        enters: false,
        now,
    }
}

/// Three cells of a tenant and two that tenants share.
struct Five {
    rates: [Option<Rate>; 5],
    own: [Level; 3],
    cross: [Option<Cross>; 2],
}

impl Five {
    fn new(steps: &[Option<(u64, u64)>; 5]) -> Self {
        let rates = steps.map(|step| step.map(|(interval, burst)| rate(interval, burst)));
        let cross = [3, 4].map(|at| {
            let rate: Option<Rate> = rates[at].clone();
            rate.map(|rate| Cross::new(DIMENSIONS[at], rate, false))
        });
        Self {
            rates,
            own: Default::default(),
            cross,
        }
    }

    fn ask(&self, ask: Ask) -> Result<Option<Bound>, Failed> {
        let mut own = Lanes::new();
        for ((rate, level), dimension) in self.rates.iter().zip(&self.own).zip(DIMENSIONS) {
            if rate.is_some() {
                own.push(Lane::new(
                    Source::Tenant,
                    terms(dimension),
                    rate.as_ref(),
                    level,
                ));
            }
        }
        let cross = self.cross.iter().flatten();
        let mut cross = cross.map(|cross| CrossLane::new(cross, None)).collect();
        let charged = charge(&mut own, &mut cross, ask, || ask.now)?;
        Ok(charged.bound(&own, &cross, ask.now))
    }

    fn tats(&self) -> [u64; 5] {
        std::array::from_fn(|at| match at {
            0..3 => self.own[at].tat(),
            _ => self.cross[at - 3]
                .as_ref()
                .map_or(0, |cross| cross.tat().unwrap()),
        })
    }

    fn set(&self, tats: [u64; 5]) {
        for (at, tat) in tats.into_iter().enumerate() {
            match at {
                0..3 => self.own[at].set(tat),
                _ => {
                    if let Some(cross) = &self.cross[at - 3] {
                        cross.update(Monotonic::default(), |_| tat).unwrap();
                    }
                }
            }
        }
    }

    fn left(&self, now: Monotonic) -> Option<u64> {
        let left = self.rates.iter().zip(self.tats());
        left.filter_map(|(rate, tat)| Some(rate.as_ref()?.gcra.remaining(tat, now)))
            .min()
    }
}

/// All five budgets on whole nanoseconds, without bounds: either all are charged or none.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    tats: [u128; 5],
}

/// The binding dimension and the wait; no wait if the cost is above its burst.
type Refused = (Dimension, Option<u128>);

impl Model {
    fn charge(
        &mut self,
        steps: &[Option<(u64, u64)>; 5],
        cost: u64,
        now: u64,
    ) -> Result<(), Refused> {
        let (now, cost) = (u128::from(now), u128::from(cost));
        let mut next = self.tats;
        let mut refused: Option<Refused> = None;
        for (at, step) in steps.iter().enumerate() {
            let Some((interval, burst)) = step.map(|(i, b)| (u128::from(i), u128::from(b))) else {
                continue;
            };
            next[at] = self.tats[at].max(now) + interval * cost;
            let wait = next[at]
                .saturating_sub(interval * burst)
                .saturating_sub(now);
            let never = cost > burst;
            let binds = match refused {
                None => never || wait > 0,
                Some((_, None)) => false,
                Some((_, Some(known))) => never || wait > known,
            };
            if binds {
                refused = Some((DIMENSIONS[at], (!never).then_some(wait)));
            }
        }
        if let Some(binding) = refused {
            return Err(binding);
        }
        self.tats = next;
        Ok(())
    }
}

fn binding(failed: &Failed) -> Refused {
    let Failed::Refused(refusals) = failed else {
        panic!("{failed:?}")
    };
    let wait = match refusals[0].why {
        Why::Spent(wait) => Some(wait.as_nanos()),
        _ => None,
    };
    (refusals[0].dimension, wait)
}

fn steps() -> impl Strategy<Value = [Option<(u64, u64)>; 5]> {
    let step = prop_oneof![1..50_u64, 1..2_000_000_000_u64];
    let one = move || prop::option::weighted(0.8, (step.clone(), 1..6_u64));
    [one(), one(), one(), one(), one()]
}

fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 1 => 0..100_u64, 1 => 0..4_000_000_000_u64]
}

proptest! {
    #[test]
    fn i4_the_joint_decision_is_the_models_and_a_denial_consumes_nothing(
        steps in steps(),
        requests in prop::collection::vec((pause(), prop_oneof![4 => Just(1), 1 => 0..8_u64]), 1..120),
    ) {
        let five = Five::new(&steps);
        let mut model = Model::default();
        let mut now = 0;
        for (pause, cost) in requests {
            now += pause;
            let (before, reading) = (five.tats(), Monotonic::from_nanos(now));
            let peeked = five.ask(Ask { peeks: true, ..ask(cost, reading) });
            prop_assert_eq!(five.tats(), before, "a look charges nothing");
            let expected = model.charge(&steps, cost, now);
            let charged = five.ask(ask(cost, reading));
            prop_assert_eq!(&charged, &peeked, "and answers the same");
            match charged {
                Ok(bound) => {
                    prop_assert_eq!(expected, Ok(()));
                    prop_assert_eq!(bound.map(|bound| bound.left), five.left(reading));
                    for (at, before) in before.into_iter().enumerate() {
                        let charged = five.tats()[at] > before;
                        prop_assert!(charged || cost == 0 || steps[at].is_none(), "every budget was charged");
                    }
                }
                Err(failed) => {
                    let said = binding(&failed);
                    prop_assert_eq!(expected, Err(said));
                    prop_assert_eq!(five.tats(), before);
                    let Some(wait) = said.1 else { continue };
                    // All of them admit after this wait, and not a nanosecond earlier.
                    let wait = u64::try_from(wait).unwrap();
                    let later = |nanos: u64| ask(cost, Monotonic::from_nanos(now + nanos));
                    prop_assert!(five.ask(later(wait - 1)).is_err());
                    prop_assert_eq!(five.tats(), before);
                    prop_assert_eq!(model.clone().charge(&steps, cost, now + wait), Ok(()));
                    prop_assert!(five.ask(later(wait)).is_ok());
                    five.set(before);
                }
            }
        }
    }
}

#[test]
fn of_equal_waits_the_narrowest_binds_and_all_are_named() {
    let five = Five::new(&[Some((10, 1)), None, Some((20, 1)), None, Some((10, 1))]);
    let ask = ask(1, Monotonic::from_secs(1));
    assert_eq!(
        five.ask(ask).unwrap().unwrap().dimension,
        Dimension::Endpoint
    );
    let Err(Failed::Refused(refusals)) = five.ask(ask) else {
        panic!("spent")
    };
    let dimensions: Vec<Dimension> = refusals.iter().map(|refusal| refusal.dimension).collect();
    assert_eq!(
        dimensions,
        [Dimension::Tenant, Dimension::Endpoint, Dimension::Global]
    );
}

#[test]
fn a_cost_above_the_burst_binds_whatever_is_spent_besides() {
    let five = Five::new(&[Some((1_000_000, 9)), None, Some((10, 5)), None, None]);
    let now = Monotonic::from_secs(1);
    for _ in 0..5 {
        five.ask(ask(1, now)).unwrap();
    }
    assert_eq!(
        binding(&five.ask(ask(6, now)).unwrap_err()),
        (Dimension::Tenant, None)
    );
}

#[test]
fn without_a_budget_everything_is_admitted() {
    let none = Five::new(&[None; 5]);
    assert_eq!(none.ask(ask(7, Monotonic::from_secs(1))), Ok(None));
}

#[test]
fn i4_a_shadow_counts_and_refuses_nothing_and_what_it_would_refuse_is_not_charged_to_it() {
    let (narrow, wide) = (rate(1_000_000_000, 1), rate(1_000_000_000, 3));
    let (level, tenant) = (Level::default(), Level::default());
    let shadow = &Terms {
        shadow: true,
        ..*terms(Dimension::Agent)
    };
    let global = Cross::new(Dimension::Global, narrow.clone(), true);
    let now = Monotonic::from_secs(1);
    let spent = |rate: &Rate, tat: u64| rate.gcra.units(rate.gcra.spent(tat, now));
    for (skipped, charged) in [(false, 1), (true, 1), (true, 1)] {
        let mut own: Lanes<'_> = [
            Lane::new(Source::Keyed(0), shadow, Some(&narrow), &level),
            Lane::new(
                Source::Tenant,
                terms(Dimension::Tenant),
                Some(&wide),
                &tenant,
            ),
        ]
        .into_iter()
        .collect();
        let mut cross: CrossLanes<'_> = [CrossLane::new(&global, None)].into_iter().collect();
        charge(&mut own, &mut cross, ask(1, now), || now).unwrap();
        assert_eq!(
            (own[0].skipped, own[1].skipped, cross[0].skipped),
            (skipped, false, skipped)
        );
        assert_eq!(spent(&narrow, level.tat()), charged);
        assert_eq!(spent(&narrow, global.tat().unwrap()), charged);
    }
    assert_eq!(spent(&wide, tenant.tat()), 3);
}

#[test]
fn requests_in_flight_are_decided_together_with_the_rates() {
    let rate = rate(1_000_000_000, 10);
    let (agent, tenant) = (Level::default(), Level::default());
    let most = |dimension, most| -> &'static Terms {
        Box::leak(Box::new(Terms {
            most: Some(most),
            ..*terms(dimension)
        }))
    };
    let now = Monotonic::from_secs(1);
    let enter = || {
        let mut own: Lanes<'_> = [
            Lane::new(Source::Keyed(0), most(Dimension::Agent, 2), None, &agent),
            Lane::new(
                Source::Tenant,
                most(Dimension::Tenant, 9),
                Some(&rate),
                &tenant,
            ),
        ]
        .into_iter()
        .collect();
        let ask = Ask {
            enters: true,
            ..ask(1, now)
        };
        charge(&mut own, &mut CrossLanes::new(), ask, || now)
    };
    assert!(enter().is_ok() && enter().is_ok());
    let before = (tenant.tat(), tenant.in_flight(), agent.in_flight());
    let Err(Failed::Refused(refusals)) = enter() else {
        panic!("two are in flight")
    };
    assert_eq!(refusals[0].why, Why::InFlight(2));
    assert_eq!(
        (tenant.tat(), tenant.in_flight(), agent.in_flight()),
        before
    );
    agent.leave();
    assert!(enter().is_ok());
}

#[test]
fn i4_read_compute_set_races_never_over_admit_at_limit_1() {
    const THREADS: usize = 4;
    let (tenant, one) = (rate(1_000_000_000, 1_000_000), rate(1_000_000_000, 1));
    for round in 1..=500 {
        let now = Monotonic::from_secs(round);
        let global = Cross::new(Dimension::Global, one.clone(), false);
        let (admitted, charged) = (AtomicU32::new(0), AtomicU32::new(0));
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let level = Level::default();
                    let own = Lane::new(
                        Source::Tenant,
                        terms(Dimension::Tenant),
                        Some(&tenant),
                        &level,
                    );
                    let mut own: Lanes<'_> = [own].into_iter().collect();
                    let mut cross: CrossLanes<'_> =
                        [CrossLane::new(&global, None)].into_iter().collect();
                    start.wait();
                    let yes = charge(&mut own, &mut cross, ask(1, now), || now).is_ok();
                    admitted.fetch_add(u32::from(yes), StdOrdering::SeqCst);
                    charged.fetch_add(u32::from(level.tat() > 0), StdOrdering::SeqCst);
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1);
        assert_eq!(charged.into_inner(), 1, "the others were not charged");
    }
}

#[test]
fn i4_threads_on_two_shared_cells_never_over_admit_and_leave_what_they_lost_as_it_was() {
    const THREADS: usize = 4;
    let (wide, narrow) = (rate(1_000_000_000, 100), rate(1_000_000_000, 2));
    for round in 1..=500 {
        let now = Monotonic::from_secs(round);
        let across = Cross::new(Dimension::EndpointAcross, wide.clone(), false);
        let global = Cross::new(Dimension::Global, narrow.clone(), false);
        let (admitted, start) = (AtomicU32::new(0), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let lanes = [&across, &global].map(|cross| CrossLane::new(cross, None));
                    let mut cross: CrossLanes<'_> = lanes.into_iter().collect();
                    start.wait();
                    let yes = charge(&mut Lanes::new(), &mut cross, ask(1, now), || now).is_ok();
                    admitted.fetch_add(u32::from(yes), StdOrdering::SeqCst);
                });
            }
        });
        assert_eq!(admitted.into_inner(), 2);
        let spent = |cross: &Cross| {
            cross
                .rate
                .gcra
                .units(cross.rate.gcra.spent(cross.tat().unwrap(), now))
        };
        assert_eq!((spent(&across), spent(&global)), (2, 2));
    }
}

#[test]
fn a_charge_that_is_given_back_late_gives_back_no_more_than_is_still_there() {
    // Charged at 1 s; while it was on its way, the cell refilled and others spent it.
    let rate = rate(1_000_000_000, 2);
    let cross = Cross::new(Dimension::Global, rate, false);
    let mut lane = CrossLane::new(&cross, None);
    let first = ask(2, Monotonic::from_secs(1));
    lane.look(first).unwrap();
    lane.charge(first).unwrap();
    let later = Monotonic::from_secs(10);
    let other = |lane: &mut CrossLane<'_>| {
        lane.seen = cross.tat().unwrap();
        lane.look(ask(1, later)).is_some() && lane.charge(ask(1, later)).is_ok()
    };
    let mut others = CrossLane::new(&cross, None);
    assert!(other(&mut others) && other(&mut others));
    lane.give_back(2, later);
    assert!(!other(&mut others));
}
