//! How long a record is believed, and what a pushed one changes.

use super::*;

#[test]
fn a_record_is_used_for_its_time_to_live_and_then_looked_up_again() {
    let house = house([
        Answer::found(acme(1).plan("free")),
        Answer::found(acme(2).plan("pro")),
    ]);
    assert_eq!(&*house.acme().unwrap().plan(), "free");
    house.clock.advance(TTL.saturating_sub(TICK));
    assert_eq!(&*house.acme().unwrap().plan(), "free");
    assert_eq!(house.registry.calls(), 1);
    house.clock.advance(TICK);
    assert_eq!(&*house.acme().unwrap().plan(), "pro");
    assert_eq!(house.registry.calls(), 2);
}

#[test]
fn an_unknown_tenant_is_remembered_for_its_own_time_to_live() {
    let house = house([Answer::missing(), Answer::found(acme(1))]);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unknown);
    house.clock.advance(NEGATIVE_TTL.saturating_sub(TICK));
    assert_eq!(kind(house.acme()), LookupErrorKind::Unknown);
    assert_eq!(house.registry.calls(), 1);
    house.clock.advance(TICK);
    assert!(house.acme().is_ok());
}

#[test]
fn a_tenant_that_has_left_is_unknown_and_can_come_back() {
    let house = house([
        Answer::found(acme(1)),
        Answer::missing(),
        Answer::found(acme(1)),
        Answer::found(acme(2).status(TenantStatus::Closed)),
        Answer::found(acme(3)),
    ]);
    let state = house.acme().unwrap();
    house.clock.advance(TTL);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unknown);
    assert_eq!(state.status(), TenantStatus::Closed);
    house.clock.advance(NEGATIVE_TTL);
    assert_eq!(house.status(), TenantStatus::Active);
    house.clock.advance(TTL);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unknown);
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Active);
    assert!(Arc::ptr_eq(&state, &house.acme().unwrap()));
}

#[test]
fn refresh_looks_again_before_the_time_to_live_is_over() {
    let house = house([Answer::found(acme(1)), Answer::found(suspended(2))]);
    assert_eq!(house.status(), TenantStatus::Active);
    house.tenants.refresh(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
    assert_eq!(house.registry.calls(), 2);
}

#[test]
fn tenants_that_differ_in_case_are_two() {
    let house = house([
        Answer::found(acme(1)),
        Answer::found(TenantRecord::new(id("Acme")).plan("other")),
    ]);
    let (lower, upper) = (house.get("acme").unwrap(), house.get("Acme").unwrap());
    assert_eq!((&*lower.plan(), &*upper.plan()), ("", "other"));
    house.tenants.suspend(&id("Acme"));
    assert_eq!(lower.status(), TenantStatus::Active);
}

#[test]
fn a_pushed_record_counts_at_once_if_it_is_newer() {
    let house = house([Answer::found(acme(2))]);
    let state = house.acme().unwrap();
    house.tenants.apply(suspended(3));
    assert_eq!(state.status(), TenantStatus::Suspended);
    house.tenants.apply(acme(2));
    assert_eq!(state.status(), TenantStatus::Suspended);
    house.tenants.apply(acme(4));
    assert_eq!(state.status(), TenantStatus::Active);
    house.tenants.apply(TenantRecord::new(id("globex")));
    assert_eq!((house.tenants.len(), house.registry.calls()), (1, 1));
}

#[test]
fn i5_a_pushed_record_that_is_old_news_is_no_look() {
    let house = house([Answer::found(acme(2)), Answer::found(suspended(3))]);
    assert_eq!(house.status(), TenantStatus::Active);
    // A feed that replays what is long known.
    for _ in 0..4 {
        house.clock.advance(TTL / 2);
        house.tenants.apply(acme(1));
    }
    assert_eq!(
        house.status(),
        TenantStatus::Suspended,
        "the registry was not asked for {:?}",
        TTL * 2
    );
}

#[test]
fn a_registry_without_versions_is_believed_too() {
    let house = house([
        Answer::found(acme(0)),
        Answer::found(acme(0).plan("free")),
        Answer::found(suspended(0)),
        Answer::found(acme(0)),
    ]);
    let plans = [
        ("", TenantStatus::Active),
        ("free", TenantStatus::Active),
        ("", TenantStatus::Suspended),
    ];
    for (plan, status) in plans {
        let state = house.acme().unwrap();
        assert_eq!((&*state.plan(), state.status()), (plan, status));
        house.clock.advance(TTL);
    }
    assert_eq!(house.status(), TenantStatus::Active);
    // A suspension by hand is lifted by a newer record only, or by hand.
    house.tenants.suspend(&id("acme"));
    house.registry.set(Answer::found(acme(0).plan("pro")));
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Suspended);
}
