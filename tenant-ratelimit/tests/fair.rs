//! Fair when it hurts: floors of the global budget, and the rest divided evenly.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::doc_markdown,
    reason = "tests"
)]

use std::time::Duration;

use proptest::prelude::*;
use tenant_context::{
    CachedRegistry, MemoryRegistry, SystemContext, TenantContext, TenantId, TenantRecord,
};
use tenant_ratelimit::{Budget, Denied, Dimension, Floors, Limits, Quota, Reservation, layer};
use tenant_testkit::{ManualClock, context};

const MS: Duration = Duration::from_millis(1);

struct World {
    clock: ManualClock,
    registry: CachedRegistry,
    limits: Limits,
    tenants: Vec<TenantContext>,
}

impl World {
    /// So many tenants, the first one on the plan `pro`.
    fn new(n: usize, global: Quota, floors: Option<Floors>) -> Self {
        let clock = ManualClock::new();
        let registry = MemoryRegistry::new();
        let id = |at: usize| TenantId::parse(format!("tenant-{at}")).unwrap();
        for at in 0..n {
            let plan = if at == 0 { "pro" } else { "free" };
            registry.insert(TenantRecord::new(id(at)).plan(plan).version(1));
        }
        let day = Duration::from_secs(86_400);
        let registry = CachedRegistry::builder(registry)
            .clock(clock.clone())
            .ttl(day)
            .max_stale(day)
            .build()
            .unwrap();
        let tenants = (0..n)
            .map(|at| context(&registry, id(at).as_str(), "ada"))
            .collect();
        let builder = layer().global(global).clock(clock.clone());
        let builder = match floors {
            None => builder,
            Some(floors) => builder.floors(floors),
        };
        let limits = builder.build().unwrap().limits().clone();
        Self {
            clock,
            registry,
            limits,
            tenants,
        }
    }

    fn reserve(&self, at: usize, estimate: u64) -> Result<Reservation, Denied> {
        self.limits.reserve(&self.tenants[at], None, estimate)
    }

    /// How many requests a tenant has admitted at once.
    fn takes(&self, at: usize) -> usize {
        (0..10_000).take_while(|_| self.ask(at)).count()
    }

    fn ask(&self, at: usize) -> bool {
        self.limits.check(&self.tenants[at], None, 1).is_ok()
    }
}

/// Of each tenant: how many requests it made and how many were admitted.
#[derive(Clone, Copy, Default)]
struct Served {
    asked: u64,
    admitted: u64,
}

/// Runs for so many ms: tenant `at` asks each time `every[at]` µs have passed, spread over the ms.
fn run(world: &World, ms: u64, every: &[u64]) -> Vec<Served> {
    let mut served = vec![Served::default(); every.len()];
    for round in 0..ms {
        world.clock.advance(MS);
        let now = (round + 1) * 1_000;
        // Whoever asks first is another one each time.
        for turn in 0..every.len() {
            let at = (turn + usize::try_from(round).unwrap() * 7) % every.len();
            let asks = now / every[at] - (now - 1_000) / every[at];
            for _ in 0..asks {
                served[at].asked += 1;
                served[at].admitted += u64::from(world.ask(at));
            }
        }
    }
    served
}

/// Jain's index: 1 if all are equal, 1/n if one has all.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares
        .iter()
        .fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    sum * sum / (shares.len() as f64 * squares)
}

/// 1,000 a second in all; 51 tenants with a floor of 10 a second each; 490 a second are shared.
fn crowd() -> World {
    let floors = Floors::each(Quota::per_second(10), 51);
    World::new(51, Quota::per_second(1_000).burst(2_000), Some(floors))
}

#[test]
fn one_loud_tenant_at_a_hundred_times_its_share_takes_nothing_from_fifty_quiet_ones() {
    let world = crowd();
    // 19.6 a second would be everybody's share: 2,000 a second against 8 a second each.
    let mut every = vec![125_000; 51];
    every[0] = 500;
    run(&world, 10_000, &every);
    let served = run(&world, 30_000, &every);
    for quiet in &served[1..] {
        assert_eq!(
            (quiet.admitted, quiet.asked),
            (240, 240),
            "every one within its floor"
        );
    }
    // And it gets all that they leave: work is conserved.
    let all: u64 = served.iter().map(|served| served.admitted).sum();
    assert!(all as f64 >= 0.99 * 30_000.0, "{all}");
    assert!(all <= 30_000 + 2_000, "{all}");
}

#[test]
fn without_floors_the_loudest_wins() {
    // What the test above would see without the code under test.
    let world = World::new(51, Quota::per_second(1_000).burst(2_000), None);
    let mut every = vec![125_000; 51];
    every[0] = 500;
    run(&world, 10_000, &every);
    let served = run(&world, 30_000, &every);
    let refused: u64 = served[1..]
        .iter()
        .map(|quiet| quiet.asked - quiet.admitted)
        .sum();
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn the_shared_part_is_divided_evenly_among_all_who_ask_for_more() {
    let world = crowd();
    // All ask for more than their share, one a hundred times as much, some twice, some ten times as much.
    let every: Vec<u64> = (0..51)
        .map(|at| match at {
            0 => 500,
            1..=25 => 25_000,
            _ => 5_000,
        })
        .collect();
    run(&world, 10_000, &every);
    let served = run(&world, 60_000, &every);
    let shared: Vec<f64> = served
        .iter()
        .map(|served| served.admitted as f64 - 600.0)
        .collect();
    let index = jain(&shared);
    assert!(index >= 0.99, "{index}: {shared:?}");
    let all: u64 = served.iter().map(|served| served.admitted).sum();
    assert!(all as f64 >= 0.99 * 60_000.0, "{all}");
}

#[test]
fn who_asks_for_less_than_an_even_part_of_the_rest_gets_all_of_it() {
    let world = crowd();
    // Ten of them ask for 15 a second, 5 above their floor; two are loud.
    let every: Vec<u64> = (0..51)
        .map(|at| match at {
            0 => 500,
            1 => 1_000,
            2..=11 => 66_667,
            _ => 200_000,
        })
        .collect();
    run(&world, 20_000, &every);
    let served = run(&world, 60_000, &every);
    for modest in &served[2..] {
        assert!(
            modest.admitted as f64 >= 0.99 * modest.asked as f64,
            "{} of {}",
            modest.admitted,
            modest.asked
        );
    }
    let (one, two) = (served[0].admitted as f64, served[1].admitted as f64);
    assert!(jain(&[one, two]) >= 0.99, "{one} {two}");
    let all: u64 = served.iter().map(|served| served.admitted).sum();
    assert!(all as f64 >= 0.99 * 60_000.0, "{all}");
}

#[test]
fn a_tenant_alone_gets_all_there_is() {
    let world = crowd();
    let served = run(&world, 20_000, &[500]);
    let all = served[0].admitted;
    assert!((20_000..=22_000).contains(&all), "{all}");
}

#[test]
fn the_stated_wait_is_true_in_a_share_too() {
    let world = crowd();
    let mut waited = 0;
    for round in 0..2_000_u64 {
        let at = usize::try_from(round % 3).unwrap();
        let Err(denied) = world.limits.check(&world.tenants[at], None, 1 + round % 5) else {
            continue;
        };
        assert_eq!(denied.dimension(), Some(Dimension::Global));
        let wait = denied.wait().unwrap();
        if round % 4 != 0 {
            world.clock.advance(wait / 3);
            continue;
        }
        waited += 1;
        world
            .clock
            .advance(wait.saturating_sub(Duration::from_nanos(1)));
        assert!(
            world
                .limits
                .peek(&world.tenants[at], None, 1 + round % 5)
                .is_err(),
            "{wait:?}, early"
        );
        world.clock.advance(Duration::from_nanos(1));
        assert!(
            world
                .limits
                .check(&world.tenants[at], None, 1 + round % 5)
                .is_ok(),
            "{wait:?}"
        );
    }
    assert!(waited > 100, "{waited}");
}

#[test]
fn i4_floors_and_the_rest_are_never_more_than_the_whole() {
    let world = crowd();
    // All at once, with bursts of floors in it.
    let mut admitted = 0;
    for round in 0..10_u64 {
        for at in 0..51 {
            admitted += (0..200).filter(|_| world.ask(at)).count();
        }
        world
            .clock
            .advance(Duration::from_millis(500 * (round % 3)));
    }
    // 2,000 at first, and 1,000 in each of the 4.5 s between the rounds.
    assert!(admitted <= 2_000 + 4_500, "{admitted}");
    assert!(admitted >= 6_000, "{admitted}");
}

#[test]
fn floors_go_by_plan_and_weight_and_only_as_many_tenants_have_one_as_were_declared() {
    let floor = |world: &World, at: usize| {
        let left = world.limits.peek(&world.tenants[at], None, 1).ok();
        left.and_then(|decision| decision.remaining()).unwrap_or(0)
    };
    let floors = Floors::by_weight(50, [("pro", 4, 1), ("*", 1, 6)]);
    let world = World::new(8, Quota::per_second(100).burst(100), Some(floors));
    // Half of it is for floors: 20 for the one, 5 for each of six others; 50 are shared.
    for at in 0..8 {
        assert!(
            world.limits.peek(&world.tenants[at], None, 1).is_ok(),
            "each takes its floor"
        );
    }
    while world.ask(7) {}
    assert_eq!(
        floor(&world, 7),
        0,
        "the seventh other one has none, and has taken of the rest what it may"
    );
    for (at, expected) in [(0, 20), (1, 5), (6, 5)] {
        let admitted = (0..1_000).take_while(|_| world.ask(at)).count();
        assert!(admitted >= expected, "{at}: {admitted}");
    }
}

#[test]
fn what_one_settles_above_its_estimate_takes_nothing_from_anothers_floor() {
    let world = crowd();
    for round in 0..20 {
        // One estimates 1 and settles as much as is ever owed.
        if let Ok(reserved) = world.reserve(0, 1) {
            reserved.settle(1_000_000);
            assert!(world.reserve(0, 1).is_err(), "it owes");
        }
        // The others take their floors: 10 a second.
        for at in 1..51 {
            for n in 0..10 {
                assert!(world.ask(at), "round {round}, tenant {at}, request {n}");
            }
        }
        world.clock.advance(Duration::from_secs(1));
    }
}

/// What anybody can see of a world's budgets, in half a second.
fn seen(world: &World) -> Vec<usize> {
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend([0, 2, 1].map(|at| world.takes(at)));
        world.clock.advance(Duration::from_millis(167));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_settled_counts_as_if_so_much_had_been_asked_for(actual in 1..400_u64, late in 0..400_u64) {
        let (settled, asked) = (crowd(), crowd());
        let reserved = settled.reserve(1, 1).unwrap();
        prop_assert!(asked.ask(1));
        for world in [&settled, &asked] {
            world.clock.advance(Duration::from_millis(late));
        }
        reserved.settle(actual);
        // Its floor pays as far as it has room, the rest what is more: as if it had come one by one.
        for _ in 1..actual {
            prop_assert!(asked.ask(1));
        }
        prop_assert_eq!(seen(&settled), seen(&asked));
    }

    #[test]
    fn what_came_back_counts_as_if_it_had_not_been_asked_for(
        (estimate, actual) in prop_oneof![
            (0..=10_u64, 0..=10_u64).prop_filter("by the floor", |(estimate, actual)| estimate >= actual),
            (11..=400_u64, 11..=400_u64).prop_filter("by the rest", |(estimate, actual)| estimate >= actual),
        ],
    ) {
        let (settled, asked) = (crowd(), crowd());
        settled.reserve(1, estimate).unwrap().settle(actual);
        drop(asked.reserve(1, actual).unwrap());
        prop_assert_eq!(seen(&settled), seen(&asked));
    }
}

/// Ten floors of 10 a second, and one request is shared.
fn all_in_floors() -> World {
    let floors = Floors::each(Quota::per_second(10), 10);
    World::new(10, Quota::per_second(100).burst(101), Some(floors))
}

#[test]
fn what_the_rest_does_not_pay_is_owed_to_ones_own_floor() {
    let world = all_in_floors();
    // Ten by its floor; then nothing is left to be shared, and ten are owed.
    world.reserve(1, 1).unwrap().settle(20);
    for expected in [0, 0, 10] {
        assert_eq!(world.takes(0), 10);
        assert_eq!(world.takes(1), expected);
        world.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn an_estimate_that_has_come_back_to_the_whole_does_not_come_back_to_a_floor() {
    let world = all_in_floors();
    let reserved = world.reserve(1, 10).unwrap();
    for at in (0..10).filter(|at| *at != 1) {
        for _ in 0..10 {
            assert!(world.ask(at));
        }
    }
    // By now the whole has as much again, and needs it: each floor has one.
    world.clock.advance(Duration::from_millis(100));
    reserved.settle(0);
    world.takes(1);
    for at in (0..10).filter(|at| *at != 1) {
        assert!(world.ask(at), "tenant {at}'s floor");
    }
}

#[test]
fn of_a_floor_that_was_made_whole_by_hand_nothing_comes_back_again() {
    let world = all_in_floors();
    let reserved = world.reserve(1, 10).unwrap();
    let system = SystemContext::begin("support");
    world.limits.reset(&system, world.tenants[1].tenant_id());
    assert_eq!(world.takes(1), 10);
    reserved.settle(0);
    // The whole has them back, and with them the one that is shared.
    assert_eq!(world.takes(1), 0, "its floor has not");
}

#[test]
fn of_what_another_plans_floor_was_charged_nothing_comes_back() {
    let floors = Floors::plan("pro", Quota::per_second(10), 1).others(Quota::per_second(5), 18);
    let world = World::new(3, Quota::per_second(100).burst(101), Some(floors));
    let reserved = world.reserve(0, 5).unwrap();
    let record = TenantRecord::new(world.tenants[0].tenant_id().clone());
    world.registry.apply(record.plan("free").version(2));
    assert_eq!(world.takes(0), 0, "five are spent, of five");
    reserved.settle(0);
    assert_eq!(world.takes(0), 1, "the one that is shared");
    for at in 1..3 {
        assert!(world.takes(at) >= 5);
    }
}

#[test]
fn a_floor_of_another_plan_has_spent_what_the_one_before_has() {
    let floors = Floors::plan("pro", Quota::per_second(10), 1).others(Quota::per_second(5), 18);
    let world = World::new(3, Quota::per_second(100).burst(101), Some(floors));
    assert_eq!(world.takes(1), 5);
    let id = world.tenants[1].tenant_id().clone();
    for (version, plan, left) in [(2, "pro", 5), (3, "free", 0), (4, "pro", 0)] {
        // The one tenant of that plan leaves it first.
        let other = TenantRecord::new(world.tenants[0].tenant_id().clone());
        world.registry.apply(other.plan("free").version(version));
        world.ask(0);
        let record = TenantRecord::new(id.clone()).plan(plan).version(version);
        world.registry.apply(record);
        assert_eq!(world.takes(1), left, "{plan}");
    }
}

#[test]
fn who_finds_all_floors_of_another_plan_taken_has_still_spent_its_own() {
    for plan in ["pro", "none"] {
        let floors = Floors::plan("pro", Quota::per_second(10), 1).and_plan(
            "free",
            Quota::per_second(5),
            18,
        );
        let world = World::new(2, Quota::per_second(100).burst(101), Some(floors));
        assert!(world.ask(0), "the one floor of that plan is taken");
        assert_eq!(world.takes(1), 5);
        let id = world.tenants[1].tenant_id().clone();
        let moves = |plan: &str, version| {
            let record = TenantRecord::new(id.clone()).plan(plan).version(version);
            world.registry.apply(record);
        };
        moves(plan, 2);
        assert_eq!(
            world.takes(1),
            0,
            "there is no floor, and one unit to be shared"
        );
        moves("free", 3);
        assert_eq!(world.takes(1), 0, "back from {plan}: all five are spent");
        // What was spent comes back at the pace of the floor, with or without one.
        moves(plan, 4);
        assert!(!world.ask(1));
        world.clock.advance(Duration::from_millis(400));
        moves("free", 5);
        assert_eq!(world.takes(1), 2, "back from {plan}");
    }
}

#[test]
fn under_another_global_quota_who_holds_much_of_the_rest_still_does() {
    // Three quarters are kept for a floor: what is held of the rest comes back in half a second.
    let world = || {
        let floors = Floors::plan("pro", Quota::per_second(10).burst(1_500), 1);
        World::new(2, Quota::per_second(1_000).burst(2_000), Some(floors))
    };
    let set = |world: &World, quota| world.limits.set_quota(Budget::Global, quota).unwrap();
    let [changed, same, slower] = [world(), world(), world()];
    for world in [&changed, &same, &slower] {
        assert!(world.takes(1) > 150, "a part of the rest, without a floor");
    }
    set(&slower, Quota::per_second(250).burst(2_000));
    assert_eq!(slower.takes(1), 0, "it holds as much as before");
    for round in 0..20 {
        for world in [&changed, &same] {
            world.clock.advance(Duration::from_millis(100));
        }
        if round == 0 {
            set(&changed, Quota::per_second(1_000).burst(2_001));
        }
        let (one, other) = (changed.takes(1), same.takes(1));
        assert!(one.abs_diff(other) <= 1, "{one} {other}");
    }
}

#[test]
fn what_comes_back_of_an_estimate_comes_back_to_the_floor_it_was_charged_to() {
    // Ten floors of 10, and one request is shared.
    let floors = Floors::each(Quota::per_second(10), 10);
    let world = World::new(10, Quota::per_second(100).burst(101), Some(floors));
    let reserved = world.limits.reserve(&world.tenants[1], None, 10).unwrap();
    assert_eq!((0..100).filter(|_| world.ask(0)).count(), 10);
    assert!(!world.ask(1), "its floor is spent, and nothing is shared");
    reserved.settle(4);
    assert_eq!((0..100).filter(|_| world.ask(1)).count(), 6);
    for at in 2..10 {
        let admitted = (0..100).filter(|_| world.ask(at)).count();
        assert_eq!(admitted, 10, "the others' floors are whole: {at}");
    }
}
