#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::num::NonZeroU32;

use governor::{
    RateLimiter,
    clock::{Clock as _, FakeRelativeClock},
};
use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400 * SECOND;

/// A cell and its clock.
struct Bucket {
    gcra: Gcra,
    tat: u64,
    now: u64,
}

impl Bucket {
    fn new(requests: u64, period: u64, burst: u64) -> Self {
        Self {
            gcra: Gcra::new(requests, period, burst).unwrap(),
            tat: 0,
            now: 3600 * SECOND,
        }
    }

    fn look(&self) -> Verdict {
        self.gcra.decide(self.tat, Monotonic::from_nanos(self.now))
    }

    fn spend(&mut self) -> Verdict {
        let verdict = self.look();
        if let Verdict::Admit { tat } = verdict {
            self.tat = tat;
        }
        verdict
    }

    fn spend_all(&mut self) -> u64 {
        let admitted = |verdict| matches!(verdict, Verdict::Admit { .. });
        std::iter::from_fn(|| admitted(self.spend()).then_some(()))
            .map(|()| 1)
            .sum()
    }

    fn remaining(&self) -> u64 {
        self.gcra
            .remaining(self.tat, Monotonic::from_nanos(self.now))
    }
}

/// The algorithm as textbooks have it: whole nanoseconds, no bounds.
#[derive(Default)]
struct Textbook {
    tat: u128,
}

impl Textbook {
    fn spend(&mut self, interval: u64, burst: u64, now: u64) -> Option<u128> {
        let (interval, burst, now) = (u128::from(interval), u128::from(burst), u128::from(now));
        let tat = self.tat.max(now);
        let earliest = (tat + interval).saturating_sub(interval * burst);
        if earliest > now {
            return Some(earliest - now);
        }
        self.tat = tat + interval;
        None
    }
}

/// Steps of whole nanoseconds: how many, and how the quota says it.
fn whole_steps() -> impl Strategy<Value = (u64, u64, u64)> {
    let interval = prop_oneof![
        1..100_u64,
        1..10 * SECOND,
        Just(250_000),
        Just(SECOND),
        1..DAY
    ];
    (interval, 1..1000_u64, 1..200_u64)
}

/// When the process is young, and when it is fifty years old.
fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..DAY, 0..20_000 * DAY]
}

/// Pauses that meet the edges: none, a nanosecond, about a step, long.
fn pauses(interval: u64) -> impl Strategy<Value = Vec<u64>> {
    let pause = prop_oneof![
        3 => Just(0),
        1 => Just(1),
        2 => Just(interval),
        1 => Just(interval.saturating_sub(1)),
        2 => 0..interval.saturating_mul(3).max(2),
        1 => 0..interval.saturating_mul(300).max(2),
    ];
    prop::collection::vec(pause, 1..200)
}

proptest! {
    #[test]
    fn whole_steps_are_decided_as_the_textbook_does(
        ((interval, requests, burst), pauses) in whole_steps().prop_flat_map(|steps| (Just(steps), pauses(steps.0))),
        start in starts(),
    ) {
        let mut ours = Bucket::new(requests, requests * interval, burst);
        ours.now = start;
        let mut textbook = Textbook::default();
        for pause in pauses {
            ours.now += pause;
            let said = match ours.spend() {
                Verdict::Admit { .. } => None,
                Verdict::Refuse { wait } => Some(wait.as_nanos()),
            };
            prop_assert_eq!(said, textbook.spend(interval, burst, ours.now));
        }
    }

    #[test]
    fn one_cell_is_decided_as_governor_does(
        ((interval, _, burst), pauses) in whole_steps().prop_flat_map(|steps| (Just(steps), pauses(steps.0))),
        start in starts(),
    ) {
        let clock = FakeRelativeClock::default();
        let quota = governor::Quota::with_period(Duration::from_nanos(interval)).unwrap()
            .allow_burst(NonZeroU32::new(u32::try_from(burst).unwrap()).unwrap());
        let governor = RateLimiter::direct_with_clock(quota, clock.clone());
        let mut ours = Bucket::new(1, interval, burst);
        ours.now = start;
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            ours.now += pause;
            let said = match ours.spend() {
                Verdict::Admit { .. } => None,
                Verdict::Refuse { wait } => Some(wait),
            };
            prop_assert_eq!(said, governor.check().err().map(|not_until| not_until.wait_time_from(clock.now())));
        }
    }

    #[test]
    fn waiting_exactly_the_stated_wait_is_admitted_and_a_nanosecond_less_is_not(
        requests in 1..2_000_000_u64,
        period in prop_oneof![Just(SECOND), Just(60 * SECOND), 2_000_000..DAY, 1..400 * DAY],
        burst in 1..50_u64,
        start in starts(),
        pauses in prop::collection::vec(prop_oneof![Just(0), 0..1000_u64, 0..DAY], 1..60),
    ) {
        prop_assume!(requests <= period);
        let mut bucket = Bucket::new(requests, period, burst);
        bucket.now = start;
        for pause in pauses {
            bucket.now += pause;
            while let Verdict::Refuse { wait } = bucket.spend() {
                let wait = u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(wait > 0);
                bucket.now += wait - 1;
                let early = matches!(bucket.look(), Verdict::Refuse { wait } if wait == Duration::from_nanos(1));
                prop_assert!(early, "a nanosecond early: {:?}", bucket.look());
                bucket.now += 1;
            }
        }
    }

    #[test]
    fn the_pace_is_kept_exactly_however_long_it_runs(
        requests in 1..100_000_u64,
        period in prop_oneof![Just(SECOND), Just(60 * SECOND), 100_000..DAY],
        burst in 2..20_u64,
        rounds in 1..200_u64,
    ) {
        // Spent whenever something is there, for many periods: no drift to either side. (A burst of 1
        // is whole when it is spent, and time in which a cell is whole is lost.)
        let mut bucket = Bucket::new(requests, period, burst);
        prop_assert_eq!(bucket.spend_all(), burst);
        let start = bucket.now;
        for round in 1..=rounds {
            let Verdict::Refuse { wait } = bucket.look() else { panic!("spent") };
            bucket.now += u64::try_from(wait.as_nanos()).unwrap();
            prop_assert_eq!(bucket.spend_all(), 1);
            let due = (u128::from(round) * u128::from(period)).div_ceil(u128::from(requests));
            let late = i128::from(bucket.now - start) - i128::try_from(due).unwrap();
            prop_assert!((-1..=0).contains(&late), "request {round} came {late} ns late");
        }
    }

    #[test]
    fn no_legal_number_overflows(
        requests in any::<u64>(), period in any::<u64>(), burst in any::<u64>(), tat in any::<u64>(), now in any::<u64>()
    ) {
        let now = Monotonic::from_nanos(now);
        for (requests, period, burst) in [
            (requests, period, burst),
            (requests % 1000 + 1, period % MAX_REFILL_NANOS + 1, burst % 1000 + 1),
            (period % MAX_REFILL_NANOS + 1, period % MAX_REFILL_NANOS + 1, burst % MAX_REFILL_NANOS + 1),
        ] {
            let Some(gcra) = Gcra::new(requests, period, burst) else { continue };
            prop_assert!(gcra.ticks_per_nano >= 1 << 63, "in [2, 4)");
            prop_assert!(gcra.capacity < 1 << 62);
            prop_assert_eq!(gcra.remaining(0, now), burst);
            let fresh = gcra.decide(0, now);
            prop_assert!(matches!(fresh, Verdict::Admit { .. }), "a full cell admits: {fresh:?}");
            let _any = (gcra.decide(tat, now), gcra.full_in(tat, now), gcra.carry(gcra, tat, now));
        }
    }
}

#[test]
fn per_second_4000_means_4000_in_each_second() {
    let mut bucket = Bucket::new(4000, SECOND, 4000);
    assert_eq!(bucket.spend_all(), 4000);
    bucket.now += SECOND;
    assert_eq!(bucket.spend_all(), 4000);
    bucket.now += 250_000;
    assert_eq!(bucket.spend_all(), 1);
}

#[test]
fn a_step_that_is_no_whole_number_comes_back_in_its_period() {
    for requests in [3, 7, 999_983] {
        let mut bucket = Bucket::new(requests, SECOND, requests);
        assert_eq!(bucket.spend_all(), requests);
        bucket.now += SECOND - 2;
        assert_eq!(bucket.spend_all(), requests - 1, "two nanoseconds early");
        bucket.now += 2;
        assert_eq!(bucket.spend_all(), 1);
    }
}

#[test]
fn what_is_left_and_when_it_is_whole_again() {
    let mut bucket = Bucket::new(10, 60 * SECOND, 10);
    let full_in = |bucket: &Bucket| {
        bucket
            .gcra
            .full_in(bucket.tat, Monotonic::from_nanos(bucket.now))
    };
    assert_eq!((bucket.remaining(), full_in(&bucket)), (10, Duration::ZERO));
    for _ in 0..7 {
        bucket.spend();
    }
    assert_eq!(
        (bucket.remaining(), full_in(&bucket)),
        (3, Duration::from_secs(42))
    );
    bucket.now += 42 * SECOND - 1;
    assert!(
        !bucket
            .gcra
            .is_full(bucket.tat, Monotonic::from_nanos(bucket.now))
    );
    bucket.now += 1;
    assert!(
        bucket
            .gcra
            .is_full(bucket.tat, Monotonic::from_nanos(bucket.now))
    );
}

#[test]
fn changing_a_quota_keeps_what_was_spent() {
    for (requests, period, burst, left) in [
        (10, 60 * SECOND, 20, 13),
        (20, SECOND, 20, 13),
        (1, 3600 * SECOND, 8, 1),
        (10, 60 * SECOND, 5, 0),
    ] {
        let mut bucket = Bucket::new(10, 60 * SECOND, 10);
        for _ in 0..7 {
            bucket.spend();
        }
        let next = Gcra::new(requests, period, burst).unwrap();
        bucket.tat = next.carry(bucket.gcra, bucket.tat, Monotonic::from_nanos(bucket.now));
        bucket.gcra = next;
        assert_eq!(bucket.remaining(), left);
        assert_eq!(bucket.spend_all(), left);
        bucket.now += period / requests;
        assert_eq!(bucket.spend_all(), 1, "it refills at the new pace");
    }
}

#[test]
fn what_is_no_quota_has_no_arithmetic() {
    for (requests, period, burst) in [
        (0, SECOND, 1),
        (1, 0, 1),
        (1, SECOND, 0),
        (SECOND + 1, SECOND, 1),
        (1, MAX_REFILL_NANOS + 1, 1),
        (1, MAX_REFILL_NANOS, 2),
        (1, u64::MAX, u64::MAX),
    ] {
        assert_eq!(Gcra::new(requests, period, burst), None);
    }
    assert!(Gcra::new(1, MAX_REFILL_NANOS, 1).is_some());
    assert!(Gcra::new(u64::MAX, u64::MAX, 1).is_none());
    assert!(Gcra::new(SECOND, SECOND, MAX_REFILL_NANOS).is_some());
}
