//! Values: expiry, purging, bounds.

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

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use support::House;
use tenant_cache::{Keep, Namespace, TenantCache, TenantContext};
use tenant_testkit::{ManualClock, context, tenants};

#[test]
fn values_expire_by_the_given_clock() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    values.insert(&ada, "key", 1).unwrap();
    house.clock.advance(Duration::from_nanos(59_999_999_999));
    assert_eq!(values.get(&ada, "key").unwrap(), Some(1));
    house.clock.advance(Duration::from_nanos(1));
    assert_eq!(values.get(&ada, "key").unwrap(), None);
    let forever = Keep::new().ttl(Duration::MAX);
    values.insert_with(&ada, "key", 2, &forever).unwrap();
    house.clock.advance(Duration::from_secs(1 << 30));
    assert_eq!(values.get(&ada, "key").unwrap(), Some(2));
}

#[test]
fn a_value_replaces_and_a_time_of_zero_removes() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    values.insert(&ada, "key", 1).unwrap();
    values.insert(&ada, "key", 2).unwrap();
    assert_eq!(values.get(&ada, "key").unwrap(), Some(2));
    let never = Keep::new().ttl(Duration::ZERO);
    values.insert_with(&ada, "key", 3, &never).unwrap();
    assert_eq!(values.get(&ada, "key").unwrap(), None);
    values.insert(&ada, "key", 4).unwrap();
    values.remove(&ada, "key").unwrap();
    assert_eq!(values.get(&ada, "key").unwrap(), None);
}

#[test]
fn namespaces_keep_apart_and_have_one_type() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let one = house.cache.namespace::<u32>("one").unwrap();
    let two = house.cache.namespace::<u32>("two").unwrap();
    one.insert(&ada, "key", 1).unwrap();
    assert_eq!(two.get(&ada, "key").unwrap(), None);
    let again: Namespace<u32> = house.cache.clone().namespace("one").unwrap();
    assert_eq!(again.get(&ada, "key").unwrap(), Some(1));
    let error = house.cache.namespace::<u64>("one").unwrap_err().to_string();
    assert!(error.contains("u32") && error.contains("u64"), "{error}");
    assert!(house.cache.namespace::<u32>("").is_err());
    assert!(house.cache.namespace::<u32>(&"n".repeat(65)).is_err());
}

#[test]
fn keys_of_every_type_and_length_find_their_value() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    let long = "x".repeat(10_000);
    values.insert(&ada, &7_u32, 1).unwrap();
    values.insert(&ada, &7_u64, 2).unwrap();
    values.insert(&ada, "7", 3).unwrap();
    values.insert(&ada, &[7_u8; 16], 4).unwrap();
    values.insert(&ada, &("a:b", "c"), 5).unwrap();
    values.insert(&ada, &("a", "b:c"), 6).unwrap();
    values.insert(&ada, &long, 7).unwrap();
    assert_eq!(values.get(&ada, &7_u32).unwrap(), Some(1));
    assert_eq!(values.get(&ada, &7_u64).unwrap(), Some(2));
    assert_eq!(values.get(&ada, "7").unwrap(), Some(3));
    assert_eq!(values.get(&ada, &[7_u8; 16]).unwrap(), Some(4));
    assert_eq!(values.get(&ada, &("a:b", "c")).unwrap(), Some(5));
    assert_eq!(values.get(&ada, &("a", "b:c")).unwrap(), Some(6));
    assert_eq!(values.get(&ada, long.as_str()).unwrap(), Some(7));
}

#[test]
fn many_are_found_at_once_in_the_order_of_their_keys() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    for key in 1..=3_u32 {
        values.insert(&ada, &key, 10 * key).unwrap();
    }
    house.clock.advance(Duration::from_secs(59));
    values.insert(&ada, &4_u32, 40).unwrap();
    let many = |keys: &[u32]| values.get_many(&ada, keys).unwrap();
    assert_eq!(many(&[3, 9, 1, 3]), [Some(30), None, Some(10), Some(30)]);
    assert_eq!(many(&[]), []);
    let stats = house.cache.stats(&ada).unwrap();
    assert_eq!((stats.hits, stats.misses), (3, 1));
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(many(&[4, 3]), [Some(40), None]);
}

/// The weigher runs in the middle of `insert`: a purge from inside of it races by construction.
#[test]
fn a_purge_that_races_with_an_insertion_takes_the_value_with_it() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let armed = Arc::new(AtomicBool::new(true));
    let (cache, caller, once) = (house.cache.clone(), ada.clone(), Arc::clone(&armed));
    let values = house.cache.namespace::<u32>("n").unwrap().weigh(move |_| {
        if once.swap(false, Ordering::SeqCst) {
            cache.purge(&caller).unwrap();
        }
        4
    });
    values.insert(&ada, "key", 1).unwrap();
    assert!(!armed.load(Ordering::SeqCst));
    assert_eq!(values.get(&ada, "key").unwrap(), None);
    values.insert(&ada, "key", 2).unwrap();
    assert_eq!(values.get(&ada, "key").unwrap(), Some(2));
}

#[test]
fn a_purge_holds_for_the_next_read_whatever_other_threads_do() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house.cache.namespace::<u32>("n").unwrap();
    std::thread::scope(|scope| {
        for key in 0..4_u32 {
            let (values, cache, ada) = (&values, &house.cache, &ada);
            scope.spawn(move || {
                for round in 0..1_000 {
                    values.insert(ada, &key, round).unwrap();
                    cache.purge(ada).unwrap();
                    assert_eq!(values.get(ada, &key).unwrap(), None);
                }
            });
        }
    });
}

fn small() -> (TenantCache, Vec<TenantContext>) {
    let clock = ManualClock::new();
    let tenants = tenants(&["acme", "globex"], &clock);
    let cache = TenantCache::builder()
        .clock(clock)
        .max_bytes(1 << 20)
        .max_bytes_per_tenant(64 << 10)
        .build()
        .unwrap();
    let callers = ["acme", "globex"].map(|id| context(&tenants, id, "ada"));
    (cache, callers.into())
}

#[test]
fn i6_a_tenant_at_its_ceiling_evicts_its_own_oldest_and_nobody_elses() {
    let (cache, callers) = small();
    let values = cache.namespace::<Vec<u8>>("n").unwrap().weigh(Vec::len);
    values.insert(&callers[1], "quiet", vec![0; 100]).unwrap();
    for n in 0..10_000_u32 {
        values.insert(&callers[0], &n, vec![0; 1000]).unwrap();
        assert!(cache.stats(&callers[0]).unwrap().bytes <= 64 << 10);
    }
    assert!(cache.stats(&callers[0]).unwrap().bytes > 56 << 10);
    assert!(
        values.get(&callers[0], &9_999_u32).unwrap().is_some(),
        "the newest stays"
    );
    assert!(
        values.get(&callers[0], &0_u32).unwrap().is_none(),
        "the oldest went"
    );
    assert!(values.get(&callers[1], "quiet").unwrap().is_some());
}

#[test]
fn i6_a_value_above_the_ceiling_is_not_stored_and_leaves_no_older_one() {
    let (cache, callers) = small();
    let values = cache.namespace::<Vec<u8>>("n").unwrap().weigh(Vec::len);
    values.insert(&callers[0], "key", vec![0; 10]).unwrap();
    values
        .insert(&callers[0], "key", vec![0; 64 << 10])
        .unwrap();
    assert_eq!(values.get(&callers[0], "key").unwrap(), None);
    assert_eq!(cache.stats(&callers[0]).unwrap().bytes, 0);
}

#[test]
fn i6_keys_and_tags_are_charged_with_their_values() {
    let (cache, callers) = small();
    let values = cache.namespace::<u32>("n").unwrap().weigh(|_| 0);
    let charged = |key: &str, keep: &Keep| {
        values.insert_with(&callers[0], key, 1, keep).unwrap();
        let bytes = cache.stats(&callers[0]).unwrap().bytes;
        values.remove(&callers[0], key).unwrap();
        bytes
    };
    let plain = charged("", &Keep::new());
    assert_eq!(charged(&"k".repeat(1000), &Keep::new()), plain + 1000);
    let tagged = charged("", &Keep::new().tag("a"));
    assert!(tagged > plain + 8, "when it began is kept too");
    assert_eq!(charged("", &Keep::new().tag("a").tag("b")), tagged + 8);
}

#[test]
fn a_partition_full_of_dead_entries_takes_new_ones() {
    let (cache, callers) = small();
    let values = cache.namespace::<Vec<u8>>("n").unwrap().weigh(Vec::len);
    for round in 0..3 {
        for n in 0..100_u32 {
            values.insert(&callers[0], &n, vec![0; 1000]).unwrap();
        }
        cache.purge(&callers[0]).unwrap();
        values.insert(&callers[0], "new", vec![round]).unwrap();
        assert_eq!(values.get(&callers[0], "new").unwrap(), Some(vec![round]));
    }
}

#[test]
fn purged_memory_comes_back_as_others_insert() {
    let (cache, callers) = small();
    let values = cache.namespace::<Vec<u8>>("n").unwrap().weigh(Vec::len);
    for n in 0..40_u32 {
        values.insert(&callers[0], &n, vec![0; 1000]).unwrap();
    }
    cache.purge(&callers[0]).unwrap();
    assert_eq!(cache.stats(&callers[0]).unwrap().bytes, 0);
    assert!(cache.total_bytes() > 40_000);
    for n in 0..10_u32 {
        values.insert(&callers[1], &n, vec![0; 10]).unwrap();
    }
    assert_eq!(cache.total_bytes(), cache.stats(&callers[1]).unwrap().bytes);
}

#[test]
fn i6_tenants_beyond_the_bound_go_uncached_and_idle_ones_make_room() {
    let clock = ManualClock::new();
    let names: Vec<String> = (0..6).map(|n| format!("t{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let tenants = tenants(&ids, &clock);
    let cache = TenantCache::builder()
        .clock(clock.clone())
        .max_tenants(2)
        .build()
        .unwrap();
    let values = cache.namespace::<u32>("n").unwrap();
    let callers: Vec<_> = ids.iter().map(|id| context(&tenants, id, "ada")).collect();
    for caller in &callers {
        values.insert(caller, "key", 1).unwrap();
    }
    let cached = |caller: &TenantContext| values.get(caller, "key").unwrap().is_some();
    assert_eq!(callers.iter().filter(|caller| cached(caller)).count(), 2);
    values.remove(&callers[0], "key").unwrap();
    drop(callers);
    clock.advance(Duration::from_secs(2));
    // The first tenant holds nothing and nobody refers to it; the second holds a value.
    let late = context(&tenants, "t5", "bob");
    values.insert(&late, "key", 5).unwrap();
    assert_eq!(values.get(&late, "key").unwrap(), Some(5));
    assert_eq!(
        values.get(&context(&tenants, "t1", "ada"), "key").unwrap(),
        Some(1)
    );
}

/// A tenant that holds nothing and that nobody refers to is dropped: as others insert, or when one more than there may be comes.
#[test]
fn i6_the_floor_of_a_tenant_that_went_idle_is_there_for_another() {
    const FLOOR: u64 = 400 << 10;
    for most in [2, 100] {
        let clock = ManualClock::new();
        let tenants = tenants(&["idle", "busy", "late"], &clock);
        let cache = TenantCache::builder()
            .clock(clock.clone())
            .max_bytes(1 << 20)
            .max_bytes_per_tenant(1 << 20)
            .guaranteed_bytes_per_tenant(FLOOR)
            .max_tenants(most)
            .build()
            .unwrap();
        let values = cache.namespace::<u32>("n").unwrap();
        let floor = |tenant: &TenantContext| cache.stats(tenant).unwrap().floor;
        let idle = context(&tenants, "idle", "ada");
        values.insert(&idle, "key", 1).unwrap();
        assert_eq!(floor(&idle), FLOOR);
        values.remove(&idle, "key").unwrap();
        drop(idle);
        let busy = context(&tenants, "busy", "ada");
        // What serves all tenants has one too.
        assert_eq!(floor(&busy), (1 << 20) - 2 * FLOOR);
        if most > 2 {
            values.insert(&busy, "key", 1).unwrap();
        }
        clock.advance(Duration::from_secs(2));
        assert_eq!(floor(&context(&tenants, "late", "ada")), FLOOR, "{most}");
    }
}

#[test]
fn bounds_that_cannot_be_meant_are_refused() {
    for builder in [
        TenantCache::builder().max_bytes(0),
        TenantCache::builder()
            .max_bytes(1 << 20)
            .max_bytes_per_tenant(2 << 20),
        TenantCache::builder().max_bytes_per_tenant(100),
        TenantCache::builder().max_tenants(0),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.contains("set it") || error.contains("lower it"),
            "{error}"
        );
    }
}
