//! Suspending and resuming, against loads in flight.

use super::*;

#[test]
fn i5_a_suspension_holds_when_suspend_returns() {
    let house = house([Answer::found(acme(1))]);
    let auth = TestAuth::new(house.tenants.clone()).accept("ada", claims("acme", "ada"));
    let context = admit(&auth).unwrap();
    house.tenants.suspend(&id("acme"));
    assert_eq!(
        context.check().unwrap_err().kind(),
        RejectionKind::TenantSuspended
    );
    assert_eq!(
        admit(&auth).unwrap_err().kind(),
        RejectionKind::TenantSuspended
    );
    // No refresh of the same record lifts it.
    for _ in 0..3 {
        house.clock.advance(TTL);
        assert_eq!(
            admit(&auth).unwrap_err().kind(),
            RejectionKind::TenantSuspended
        );
    }
    assert_eq!(house.registry.calls(), 4);
}

#[test]
fn i5_a_load_in_flight_does_not_undo_a_suspension_even_with_a_newer_record() {
    let house = house([
        Answer::found(acme(1)),
        Answer::Hang,
        Answer::found(acme(2).plan("pro")),
        Answer::found(acme(2).plan("pro")),
        Answer::found(acme(3)),
    ]);
    drop(house.acme());
    house.clock.advance(TTL);
    let mut in_flight = house.begin("acme");
    assert!((&mut in_flight).now_or_never().is_none());
    house.tenants.suspend(&id("acme"));
    house.registry.release();
    let state = in_flight.now_or_never().unwrap().unwrap();
    assert_eq!(state.status(), TenantStatus::Suspended);
    // What it read is no fresh look: the next request asks again, and sees the same row.
    assert_eq!(house.status(), TenantStatus::Suspended);
    assert_eq!((house.registry.calls(), &*state.plan()), (3, "pro"));
    // A change after the suspension lifts it.
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Active);
}

#[test]
fn i5_a_first_load_does_not_undo_a_suspension() {
    let house = house([Answer::found(acme(7)), Answer::found(acme(8))]);
    house.tenants.suspend(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Active);
}

#[test]
fn i5_a_first_load_in_flight_does_not_undo_a_suspension() {
    let house = house([Answer::Hang, Answer::found(acme(7)), Answer::found(acme(7))]);
    let mut in_flight = house.begin("acme");
    assert!((&mut in_flight).now_or_never().is_none());
    house.tenants.suspend(&id("acme"));
    house.registry.release();
    let state = in_flight.now_or_never().unwrap().unwrap();
    assert_eq!(state.status(), TenantStatus::Suspended);
    assert_eq!(house.status(), TenantStatus::Suspended);
}

#[test]
fn i5_a_record_that_vanishes_and_returns_does_not_undo_a_suspension() {
    let house = house([
        Answer::found(acme(1)),
        Answer::missing(),
        Answer::found(acme(1)),
    ]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.clock.advance(TTL);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unknown);
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Suspended);
}

#[test]
fn a_newer_record_lifts_a_suspension() {
    let house = house([Answer::found(acme(1)), Answer::found(acme(2))]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Active);
}

#[test]
fn resume_reads_the_record_again_before_the_next_request() {
    let house = house([
        Answer::found(acme(1)),
        Answer::found(acme(1)),
        Answer::found(suspended(2)),
    ]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.tenants.resume(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Active);
    assert_eq!(house.registry.calls(), 2);
    // The registry's own status counts.
    house.tenants.suspend(&id("acme"));
    house.tenants.resume(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
}

#[test]
fn i7_a_resumed_tenant_is_refused_while_its_record_cannot_be_read() {
    let house = house([Answer::found(acme(1)), Answer::Fail]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.tenants.resume(&id("acme"));
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
}

#[test]
fn a_load_that_began_before_resume_is_no_look() {
    let house = house([
        Answer::found(acme(1)),
        Answer::Hang,
        Answer::found(acme(1)),
        Answer::found(suspended(2)),
    ]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.clock.advance(TTL);
    let mut in_flight = house.begin("acme");
    assert!((&mut in_flight).now_or_never().is_none());
    house.tenants.resume(&id("acme"));
    house.registry.release();
    drop(in_flight.now_or_never().unwrap());
    assert_eq!(
        house.status(),
        TenantStatus::Suspended,
        "the old row was believed"
    );
    assert_eq!(house.registry.calls(), 3);
}

#[test]
fn a_request_after_resume_does_not_wait_for_a_load_that_began_before() {
    let house = house([
        Answer::found(acme(1)),
        Answer::Hang,
        Answer::found(suspended(2)),
    ]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    house.clock.advance(TTL);
    let mut in_flight = house.begin("acme");
    assert!((&mut in_flight).now_or_never().is_none());
    house.tenants.resume(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
    assert_eq!((house.registry.calls(), house.registry.hanging()), (3, 1));
}
