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

    /// The TAT after one more unit, or the wait.
    fn look(&self) -> Result<u64, Duration> {
        self.look_for(1)
    }

    fn look_for(&self, units: u64) -> Result<u64, Duration> {
        let now = Monotonic::from_nanos(self.now);
        let (ticks, cost) = (self.gcra.at(now), self.gcra.cost(units).unwrap());
        match self.gcra.decide(self.tat, ticks, cost) {
            Verdict::Admit { tat, left } => {
                assert_eq!(self.gcra.units(left), self.gcra.remaining(tat, now));
                Ok(tat)
            }
            Verdict::Refuse { conforms } => Err(self.gcra.wait(conforms, now)),
        }
    }

    fn spend(&mut self) -> Result<(), Duration> {
        self.tat = self.look()?;
        Ok(())
    }

    fn spend_all(&mut self) -> u64 {
        std::iter::from_fn(|| self.spend().ok()).map(|()| 1).sum()
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
            let said = ours.spend().err().map(|wait| wait.as_nanos());
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
            let said = ours.spend().err();
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
            while let Err(wait) = bucket.spend() {
                let wait = u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(wait > 0);
                bucket.now += wait - 1;
                let early = bucket.look() == Err(Duration::from_nanos(1));
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
            let Err(wait) = bucket.look() else { panic!("spent") };
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
            let (ticks, all) = (gcra.at(now), gcra.cost(burst).unwrap());
            prop_assert_eq!(gcra.cost(burst.saturating_add(1)).is_none(), burst < u64::MAX);
            let fresh = gcra.decide(0, ticks, all);
            prop_assert!(matches!(fresh, Verdict::Admit { left: 0, .. }), "a full cell admits its burst: {fresh:?}");
            let _any = (gcra.decide(tat, ticks, all), gcra.full_in(tat, now), gcra.carry(gcra, tat, tat, now));
            let _any = (gcra.owe(tat, ticks, requests), Gcra::give_back(tat, tat, ticks, all), gcra.convert(gcra, tat));
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
        bucket.spend().unwrap();
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
            bucket.spend().unwrap();
        }
        let next = Gcra::new(requests, period, burst).unwrap();
        bucket.tat = next
            .carry(
                bucket.gcra,
                bucket.tat,
                0,
                Monotonic::from_nanos(bucket.now),
            )
            .0;
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

#[test]
fn a_plan_down_and_up_again_forgets_no_debt() {
    let gcra = |burst| Gcra::new(10, 60 * SECOND, burst).unwrap();
    let at = |secs: u64| Monotonic::from_secs(3600 + secs);
    let spent = |units: u64| gcra(10).at(at(0)) + gcra(10).cost(units).unwrap();
    // 7 of 10 spent, then a burst of 5: none is left, and 2 wait behind it.
    let (tat, rest) = gcra(5).carry(gcra(10), spent(7), 0, at(0));
    assert_eq!(gcra(5).remaining(tat, at(0)), 0);
    assert_eq!(gcra(5).units(rest), 2);
    let (back, none) = gcra(10).carry(gcra(5), tat, rest, at(0));
    assert_eq!((gcra(10).remaining(back, at(0)), none), (3, 0));
}

#[test]
fn a_debt_is_bounded_by_one_burst() {
    let mut bucket = Bucket::new(10, 60 * SECOND, 10);
    let ticks = bucket.gcra.at(Monotonic::from_nanos(bucket.now));
    for _ in 0..3 {
        bucket.tat = bucket.gcra.owe(bucket.tat, ticks, u64::MAX);
        assert_eq!(bucket.look(), Err(Duration::from_secs(66)));
    }
}

proptest! {
    /// The same requests without the charge that is given back: never more is admitted with it.
    #[test]
    fn a_late_settlement_opens_no_second_burst(
        burst in 1..12_u64,
        reserved in 1..12_u64,
        actual in 0..12_u64,
        before in 0..12_u64,
        pauses in prop::collection::vec((0..40 * SECOND, 0..4_u64), 0..12),
        late in 0..300 * SECOND,
    ) {
        prop_assume!(reserved <= burst && actual <= reserved);
        let mut with = Bucket::new(6, 60 * SECOND, burst);
        for _ in 0..before.min(burst) { with.spend().unwrap(); }
        with.now += 20 * SECOND;
        let mut without = Bucket { gcra: with.gcra, tat: with.tat, now: with.now };
        let Ok(charged) = with.look_for(reserved) else { return Ok(()) };
        with.tat = charged;
        // What it cost was charged at once.
        without.tat = without.look_for(actual).unwrap();
        for (pause, requests) in pauses {
            with.now += pause;
            without.now = with.now;
            for _ in 0..requests {
                // Whatever the one admits the other does.
                if with.spend().is_ok() { prop_assert!(without.spend().is_ok()); }
            }
        }
        with.now += late;
        without.now = with.now;
        let ticks = with.gcra.at(Monotonic::from_nanos(with.now));
        let back = with.gcra.cost(reserved - actual).unwrap();
        with.tat = Gcra::give_back(with.tat, charged, ticks, back);
        prop_assert!(with.tat.max(ticks) >= without.tat.max(ticks));
        // At once it is exact.
        if late == 0 && with.now == without.now && charged - back >= ticks {
            prop_assert_eq!(with.tat, without.tat.max(with.tat));
        }
    }
}
