//! Floors, ceilings and the total: who has to give, and what comes back.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tenant_cache::{Bounds, Namespace, SystemContext, TenantCache, TenantContext};
use tenant_context::{CachedRegistry, TenantId, TenantRecord};
use tenant_testkit::{ManualClock, context, tenants};

struct House {
    clock: ManualClock,
    tenants: CachedRegistry,
    cache: TenantCache,
    values: Namespace<Vec<u8>>,
}

fn house(ids: &[&str], bytes: u64, floor: u64, ceiling: u64) -> House {
    let clock = ManualClock::new();
    let cache = TenantCache::builder()
        .clock(clock.clone())
        .max_bytes(bytes)
        .guaranteed_bytes_per_tenant(floor)
        .max_bytes_per_tenant(ceiling)
        .build()
        .unwrap();
    House {
        tenants: tenants(ids, &clock),
        values: cache.namespace("n").unwrap().weigh(Vec::len),
        cache,
        clock,
    }
}

impl House {
    fn of(&self, tenant: &str) -> TenantContext {
        context(&self.tenants, tenant, "ada")
    }

    fn fill(&self, tenant: &TenantContext, entries: u32, bytes: usize) {
        for n in 0..entries {
            self.values.insert(tenant, &n, vec![0; bytes]).unwrap();
        }
    }

    fn held(&self, tenant: &TenantContext, entries: u32) -> usize {
        (0..entries)
            .filter(|n| self.values.get(tenant, n).unwrap().is_some())
            .count()
    }

    fn bytes(&self, tenant: &TenantContext) -> u64 {
        self.cache.stats(tenant).unwrap().bytes
    }
}

#[test]
fn i6_a_tenant_that_writes_a_million_entries_leaves_anothers_floor_untouched() {
    let house = house(&["quiet", "noisy"], 1 << 20, 128 << 10, 1 << 20);
    let (quiet, noisy) = (house.of("quiet"), house.of("noisy"));
    house.fill(&quiet, 90, 1000);
    assert!(house.bytes(&quiet) <= 128 << 10);
    for n in 0..1_000_000_u32 {
        house.values.insert(&noisy, &n, Vec::new()).unwrap();
    }
    assert_eq!(house.held(&quiet, 90), 90);
    assert_eq!(house.cache.stats(&quiet).unwrap().evictions, 0);
    assert!(house.cache.stats(&noisy).unwrap().evictions > 900_000);
    assert!(house.cache.total_bytes() <= 1 << 20);
}

#[test]
fn i6_a_tenant_gets_its_floor_from_whoever_is_above_its_own() {
    let house = house(&["a", "b", "late"], 1 << 20, 256 << 10, 1 << 20);
    let (a, b, late) = (house.of("a"), house.of("b"), house.of("late"));
    house.fill(&a, 600, 1000);
    house.fill(&b, 600, 1000);
    house.fill(&late, 200, 1000);
    assert_eq!(house.held(&late, 200), 200);
    for tenant in [&a, &b] {
        assert!(house.bytes(tenant) >= (256 << 10) - 1300, "its floor stays");
    }
    assert!(house.cache.total_bytes() <= 1 << 20);
}

#[test]
fn i6_all_tenants_together_stay_within_the_bound_whatever_threads_do() {
    let ids = ["a", "b", "c", "d"];
    let house = house(&ids, 256 << 10, 16 << 10, 200 << 10);
    let callers = ids.map(|id| house.of(id));
    std::thread::scope(|scope| {
        for caller in &callers {
            scope.spawn(|| {
                for n in 0..3_000_u32 {
                    house
                        .values
                        .insert(caller, &(n % 300), vec![0; 1000])
                        .unwrap();
                    let held = house.cache.total_bytes();
                    assert!(held <= 256 << 10, "{held}");
                    if n % 500 == 0 {
                        house.cache.purge(caller).unwrap();
                    }
                }
            });
        }
    });
    while callers.iter().map(|it| house.bytes(it)).sum::<u64>() != house.cache.total_bytes() {
        house
            .values
            .insert(&callers[0], "unload", Vec::new())
            .unwrap();
    }
    assert!(house.cache.total_bytes() <= 256 << 10);
}

/// Overwrites what fits into a floor, over and over, while `meanwhile` is called by other threads.
fn overwrites(house: &House, quiet: &TenantContext, meanwhile: &[&(dyn Fn(u32) + Sync)]) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in meanwhile {
            scope.spawn(|| {
                for n in 0.. {
                    other(n);
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for _ in 0..300 {
            house.fill(quiet, 60, 1000);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(house.held(quiet, 60), 60);
    assert_eq!(house.cache.stats(quiet).unwrap().evictions, 0);
}

#[test]
fn i6_threads_of_a_neighbour_take_nothing_of_a_floor() {
    let house = house(&["quiet", "noisy"], 256 << 10, 80 << 10, 256 << 10);
    let (quiet, noisy) = (house.of("quiet"), house.of("noisy"));
    let load = |n: u32| {
        let bytes = [0, 3000, 40, 12_000, 700][n as usize % 5];
        house
            .values
            .insert(&noisy, &(n % 500), vec![0; bytes])
            .unwrap();
    };
    overwrites(&house, &quiet, &[&load, &load]);
    assert!(house.cache.total_bytes() <= 256 << 10);
}

#[test]
fn i6_floors_that_fill_the_cache_are_left_alone_by_each_other() {
    let floor = {
        let alone = house(&["quiet"], 1 << 20, 0, 1 << 20);
        alone.fill(&alone.of("quiet"), 60, 1000);
        alone.bytes(&alone.of("quiet"))
    };
    // With that of what serves all tenants.
    let house = house(&["quiet", "noisy"], 3 * floor, floor, floor);
    let (quiet, noisy) = (house.of("quiet"), house.of("noisy"));
    let system = SystemContext::begin("price list");
    house.fill(&noisy, 60, 1000);
    for n in 0..60_u32 {
        house.values.insert(&system, &n, vec![0; 1000]).unwrap();
    }
    let one = |_| house.fill(&noisy, 60, 1000);
    let other = |n| {
        house
            .values
            .insert(&system, &(n % 60), vec![0; 1000])
            .unwrap();
    };
    overwrites(&house, &quiet, &[&one, &other]);
    assert_eq!(house.held(&noisy, 60), 60);
    assert_eq!(house.cache.stats(&noisy).unwrap().evictions, 0);
    assert_eq!(house.cache.stats(&system).unwrap().evictions, 0);
}

#[test]
fn i6_a_change_of_plans_takes_nothing_of_a_floor_that_stays() {
    let house = house(&["quiet", "noisy"], 256 << 10, 80 << 10, 256 << 10);
    let (quiet, noisy) = (house.of("quiet"), house.of("noisy"));
    let load = |n: u32| house.values.insert(&noisy, &n, vec![0; 3000]).unwrap();
    let plan = |n: u32| {
        let ceiling = (200 << 10) + u64::from(n % 2);
        house
            .cache
            .set_bounds(move |_| Bounds::ceiling(ceiling).floor(80 << 10));
        house.cache.stats(&quiet).unwrap();
    };
    overwrites(&house, &quiet, &[&load, &plan]);
}

#[test]
fn i6_lower_bounds_hold_without_an_insertion_of_their_tenants() {
    let house = house(&["a", "b"], 1 << 20, 0, 1 << 20);
    let (a, b) = (house.of("a"), house.of("b"));
    let reads = || house.values.get(&a, &0_u32).unwrap();
    house
        .cache
        .set_bounds(|_| Bounds::ceiling(1 << 20).floor(1 << 20));
    house.fill(&a, 1000, 1000);
    assert!(house.bytes(&a) > 1_000_000);
    house.fill(&b, 50, 1000);
    assert!(house.held(&b, 50) < 5, "all of it is guaranteed to another");

    house.cache.set_bounds(|_| Bounds::ceiling(1 << 20));
    reads();
    house.fill(&b, 50, 1000);
    assert_eq!(house.held(&b, 50), 50);

    house.cache.set_bounds(|_| Bounds::ceiling(100 << 10));
    reads();
    assert!(house.bytes(&a) <= 100 << 10);
}

#[test]
fn i6_floors_that_do_not_fit_are_what_is_left() {
    let house = house(&["a", "b", "c"], 1 << 20, 512 << 10, 1 << 20);
    let floors = ["a", "b", "c"].map(|id| house.cache.stats(&house.of(id)).unwrap().floor);
    // What serves all tenants has a floor too.
    assert_eq!(floors, [512 << 10, 0, 0]);
}

#[test]
fn bounds_follow_the_plan_and_change_at_run_time() {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme"], &clock);
    let cache = TenantCache::builder()
        .clock(clock.clone())
        .bounds(|tenant| match &*tenant.plan() {
            "pro" => Bounds::ceiling(1 << 20).floor(64 << 10),
            _ => Bounds::ceiling(8 << 10),
        })
        .build()
        .unwrap();
    let values: Namespace<Vec<u8>> = cache.namespace("n").unwrap().weigh(Vec::len);
    let ada = context(&tenants, "acme", "ada");
    for n in 0..100_u32 {
        values.insert(&ada, &n, vec![0; 1000]).unwrap();
    }
    let stats = cache.stats(&ada).unwrap();
    assert_eq!(
        (stats.floor, stats.ceiling, stats.entries),
        (64 << 10, 1 << 20, 100)
    );

    let id = TenantId::parse("acme").unwrap();
    tenants.apply(TenantRecord::new(id).plan("free").version(9));
    values.insert(&ada, "one more", vec![0; 1000]).unwrap();
    let stats = cache.stats(&ada).unwrap();
    assert_eq!((stats.floor, stats.ceiling), (0, 8 << 10));
    assert!(stats.bytes <= 8 << 10, "{stats:?}");

    cache.set_bounds(|_| Bounds::ceiling(16 << 10));
    assert_eq!(cache.stats(&ada).unwrap().ceiling, 16 << 10);
}

#[test]
fn bounds_follow_the_region() {
    let clock = ManualClock::new();
    let tenants = tenants(&["here", "there"], &clock);
    let (here, there) = (
        context(&tenants, "here", "ada"),
        context(&tenants, "there", "ada"),
    );
    let record = |of: &TenantContext| TenantRecord::new(of.tenant_id().clone()).version(8);
    tenants.apply(record(&here).region("eu"));
    tenants.apply(record(&there).region("us"));
    let cache = TenantCache::builder()
        .clock(clock)
        .bounds(|tenant| match tenant.region().as_deref() {
            Some("eu") => Bounds::ceiling(1 << 20).floor(64 << 10),
            _ => Bounds::ceiling(16 << 10),
        })
        .build()
        .unwrap();
    let of = |tenant| cache.stats(tenant).unwrap();
    assert_eq!((of(&here).floor, of(&here).ceiling), (64 << 10, 1 << 20));
    assert_eq!((of(&there).floor, of(&there).ceiling), (0, 16 << 10));
}

#[test]
fn i6_a_tenant_that_goes_idle_gives_its_memory_and_its_place_back() {
    let house = house(&["a", "b"], 1 << 20, 0, 1 << 20);
    house.fill(&house.of("a"), 100, 1000);
    assert_eq!(house.cache.tenants(), 1);
    house.clock.advance(Duration::from_secs(61));
    // Another tenant's insertions find what has expired.
    for n in 0..200_u32 {
        house.values.insert(&house.of("b"), &n, Vec::new()).unwrap();
    }
    assert_eq!(house.cache.tenants(), 1, "the idle one is gone");
    assert_eq!(house.cache.total_bytes(), house.bytes(&house.of("b")));
}

fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn i6_the_worker_gives_memory_back_within_its_period() {
    let house = house(&["a"], 1 << 20, 0, 1 << 20);
    let a = house.of("a");
    let mut worker = std::pin::pin!(
        house
            .cache
            .maintenance(house.clock.clone(), Duration::from_secs(10))
    );
    house.fill(&a, 50, 1000);
    assert!(poll(&mut worker).is_pending());
    house.cache.purge(&a).unwrap();
    assert!(house.cache.total_bytes() > 50_000, "not yet");
    house.clock.advance(Duration::from_secs(10));
    assert!(poll(&mut worker).is_pending());
    assert_eq!(house.cache.total_bytes(), 0);
    house.fill(&a, 50, 1000);
    house.clock.advance(Duration::from_secs(61));
    assert!(poll(&mut worker).is_pending());
    assert_eq!((house.cache.total_bytes(), house.bytes(&a)), (0, 0));
    drop((house.cache, house.values));
    house.clock.advance(Duration::from_secs(10));
    assert!(poll(&mut worker).is_ready());
}

#[test]
fn i2_a_tenant_that_was_closed_and_came_back_finds_nothing_of_before() {
    let house = house(&["acme"], 1 << 20, 0, 1 << 20);
    let id = TenantId::parse("acme").unwrap();
    let record = |version| TenantRecord::new(id.clone()).plan("pro").version(version);
    let before = house.of("acme");
    house.fill(&before, 3, 10);
    house
        .tenants
        .apply(record(8).status(tenant_context::TenantStatus::Closed));
    assert!(house.values.get(&before, &1_u32).is_err());
    house.tenants.apply(record(9));
    let after = house.of("acme");
    assert_eq!(house.held(&after, 3), 0);
    house.fill(&after, 3, 10);
    assert_eq!(house.held(&after, 3), 3);

    // A registry of another deployment that knows the same id.
    let other = tenants(&["acme"], &house.clock);
    assert_eq!(house.held(&context(&other, "acme", "ada"), 3), 0);
}

#[test]
fn what_serves_all_tenants_is_met_by_none_of_them() {
    let house = house(&["acme"], 1 << 20, 0, 1 << 20);
    let (ada, system) = (house.of("acme"), SystemContext::begin("price list"));
    house.values.insert(&system, "eur", vec![1]).unwrap();
    assert_eq!(house.values.get(&ada, "eur").unwrap(), None);
    house.values.insert(&ada, "usd", vec![2]).unwrap();
    assert_eq!(house.values.get(&system, "usd").unwrap(), None);
    assert_eq!(house.values.get(&system, "eur").unwrap(), Some(vec![1]));
    house.cache.purge(&ada).unwrap();
    assert_eq!(house.values.get(&system, "eur").unwrap(), Some(vec![1]));
    house.cache.purge(&system).unwrap();
    assert_eq!(house.values.get(&system, "eur").unwrap(), None);
}

#[test]
fn stats_and_keys_are_one_tenants_alone() {
    let house = house(&["acme", "globex"], 1 << 20, 0, 1 << 20);
    let (ada, eve) = (house.of("acme"), house.of("globex"));
    house.fill(&ada, 2, 10);
    house.values.get(&ada, &0_u32).unwrap();
    house.values.get(&ada, &9_u32).unwrap();
    let stats = house.cache.stats(&ada).unwrap();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 1, 2));
    let other = house.cache.stats(&eve).unwrap();
    assert_eq!((other.hits, other.misses, other.bytes), (0, 0, 0));
    let keys = house.cache.export_keys(&ada).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .all(|key| key.namespace == "n" && key.bytes > 10)
    );
    assert_eq!(keys.iter().map(|key| key.bytes).sum::<u64>(), stats.bytes);
    assert!(house.cache.export_keys(&eve).unwrap().is_empty());
    house.clock.advance(Duration::from_secs(61));
    assert!(house.cache.export_keys(&ada).unwrap().is_empty());
}
