//! Capacity, the identity of states, and what does not build.

use super::*;

#[test]
fn i6_at_capacity_only_states_nobody_refers_to_are_dropped() {
    let house = house_with([], |builder| builder.capacity(2));
    let found = |name: &str| {
        house
            .registry
            .set(Answer::found(TenantRecord::new(id(name))));
        house.get(name)
    };
    let held = found("held").unwrap();
    drop(found("idle"));
    let third = found("third").unwrap();
    assert_eq!(house.tenants.len(), 2);
    // All are in use.
    house.clock.advance(RETRY_AFTER);
    assert_eq!(kind(found("fourth")), LookupErrorKind::Full);
    assert_eq!(house.tenants.len(), 2);
    assert!(Arc::ptr_eq(&held, &house.get("held").unwrap()));
    drop(third);
    house.clock.advance(RETRY_AFTER);
    assert!(found("fourth").is_ok());
    assert!(Arc::ptr_eq(&held, &house.get("held").unwrap()));
}

#[test]
fn i6_made_up_tenants_do_not_grow_the_cache() {
    let house = house_with([Answer::missing()], |builder| builder.capacity(10));
    for n in 0..1_000 {
        house.clock.advance(RETRY_AFTER);
        assert!(house.get(&format!("made-up-{n}")).is_err());
        assert!(house.tenants.len() <= 10);
    }
}

#[test]
fn i5_no_eviction_forgets_a_suspension() {
    let house = house_with([], |builder| builder.capacity(2));
    house.registry.set(Answer::found(acme(1)));
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    for n in 0..10 {
        house.clock.advance(RETRY_AFTER);
        let name = format!("t{n}");
        house
            .registry
            .set(Answer::found(TenantRecord::new(id(&name))));
        assert!(house.get(&name).is_ok());
    }
    house.registry.set(Answer::found(acme(1)));
    assert_eq!(house.status(), TenantStatus::Suspended);
}

#[test]
fn a_state_is_one_while_anything_refers_to_it() {
    let house = house_with([Answer::found(acme(1)), Answer::missing()], |builder| {
        builder.capacity(1)
    });
    let state = house.acme().unwrap();
    for n in 0..5 {
        house.clock.advance(TTL);
        assert_eq!(kind(house.get(&format!("t{n}"))), LookupErrorKind::Full);
    }
    // Suspending reaches every holder of the only state.
    house.tenants.suspend(&id("acme"));
    assert_eq!(state.status(), TenantStatus::Suspended);
    house.tenants.resume(&id("acme"));
    drop(state);
    house.clock.advance(RETRY_AFTER);
    assert_eq!(kind(house.get("t5")), LookupErrorKind::Unknown);
}

#[test]
fn a_tenant_that_is_removed_and_inserted_again_is_found_again() {
    let registry = MemoryRegistry::new();
    let clock = ManualClock::new();
    let tenants = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .ttl(TTL)
        .negative_ttl(NEGATIVE_TTL)
        .build()
        .unwrap();
    let get = || tenants.get(&id("acme")).wait().now_or_never().unwrap();
    registry.insert(acme(0));
    registry.insert(acme(0).plan("pro"));
    assert_eq!(&*get().unwrap().plan(), "pro");
    registry.remove(&id("acme"));
    clock.advance(TTL);
    assert_eq!(kind(get()), LookupErrorKind::Unknown);
    registry.insert(acme(0).plan("free"));
    clock.advance(NEGATIVE_TTL);
    assert_eq!(&*get().unwrap().plan(), "free");
}

#[test]
fn a_configuration_that_cannot_work_says_what_to_do() {
    let build = |configure: fn(CachedRegistryBuilder) -> CachedRegistryBuilder| {
        let built = configure(CachedRegistry::builder(MemoryRegistry::new())).build();
        built.expect_err("it was built").to_string()
    };
    assert!(build(|b| b.ttl(Duration::ZERO)).contains("at least 1 ms"));
    assert!(build(|b| b.negative_ttl(Duration::ZERO)).contains("at least 1 ms"));
    assert!(build(|b| b.max_stale(Duration::from_secs(4))).contains("below `ttl`"));
    assert!(build(|b| b.capacity(0)).contains("the number of tenants"));
}

#[test]
fn a_time_out_that_nothing_ends_does_not_build() {
    let builder = CachedRegistry::builder(MemoryRegistry::new()).load_timeout(LOAD_TIMEOUT);
    assert!(
        builder
            .build()
            .unwrap_err()
            .to_string()
            .contains("add `.timer(")
    );
    let clock = ManualClock::new();
    let builder = CachedRegistry::builder(MemoryRegistry::new()).load_timeout(LOAD_TIMEOUT);
    assert!(builder.timer(clock).build().is_ok());
}
