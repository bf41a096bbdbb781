//! A registry that fails, hangs, panics, lies or goes back.

use super::*;

#[test]
fn a_failing_registry_is_left_alone_for_a_while() {
    let house = house([Answer::Fail]);
    for _ in 0..10 {
        assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
    }
    assert_eq!(house.registry.calls(), 1);
    house.clock.advance(RETRY_AFTER.saturating_sub(TICK));
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
    assert_eq!(house.registry.calls(), 1);
    house.clock.advance(TICK);
    house.registry.set(Answer::found(acme(1)));
    assert!(house.acme().is_ok());
    assert_eq!(house.registry.calls(), 2);
}

#[test]
fn the_registrys_error_is_kept_as_the_source() {
    let house = house([Answer::Fail]);
    for _ in 0..2 {
        let error = house.acme().unwrap_err();
        let source = std::error::Error::source(&error).expect("a source");
        assert_eq!(source.to_string(), "the store fails, as its script says");
    }
}

#[test]
fn a_stale_record_serves_while_the_registry_fails_until_the_maximum_staleness() {
    let house = house([Answer::found(acme(1)), Answer::Fail]);
    drop(house.acme());
    house.clock.advance(TTL);
    // Whoever finds out is served as everybody else.
    assert_eq!(house.status(), TenantStatus::Active);
    assert_eq!(house.registry.calls(), 2);
    for _ in 0..10 {
        assert_eq!(house.status(), TenantStatus::Active);
    }
    assert_eq!(house.registry.calls(), 2);
    house.clock.advance(MAX_STALE.saturating_sub(TTL + TICK));
    assert_eq!(house.status(), TenantStatus::Active);
    house.clock.advance(TICK);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
}

#[test]
fn i5_a_feed_staler_than_the_maximum_refuses_with_503() {
    let house = house([Answer::found(acme(1)), Answer::Fail]);
    let auth = TestAuth::new(house.tenants.clone()).accept("ada", claims("acme", "ada"));
    assert!(admit(&auth).is_ok());
    house.clock.advance(MAX_STALE);
    for _ in 0..3 {
        let rejection = admit(&auth).unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::StoreUnavailable);
        assert_eq!(rejection.status(), 503);
    }
    house.registry.set(Answer::found(acme(1)));
    house.clock.advance(RETRY_AFTER);
    assert!(admit(&auth).is_ok());
}

#[test]
fn i5_the_maximum_staleness_holds_while_a_failing_registry_is_left_alone() {
    let house = house_with([Answer::Fail, Answer::found(acme(1))], |builder| {
        builder
            .ttl(Duration::from_secs(1))
            .max_stale(Duration::from_secs(1))
            .retry_after(Duration::from_secs(10))
    });
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
    house.tenants.apply(acme(1));
    assert_eq!(house.status(), TenantStatus::Active);
    house.clock.advance(Duration::from_secs(2));
    let found = house.acme();
    assert!(
        found.is_err() || house.registry.calls() == 2,
        "a record of 2 s ago was used without a look, where 1 s is the most"
    );
}

#[test]
fn a_hung_registry_is_given_up_when_there_is_a_timer() {
    let clock = ManualClock::new();
    let registry = ScriptedRegistry::new([Answer::Hang]);
    let tenants = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .timer(clock.clone())
        .load_timeout(LOAD_TIMEOUT)
        .retry_after(RETRY_AFTER)
        .build()
        .unwrap();
    let (count, waker) = counting();
    let mut look_up = tenants.get(&id("acme")).wait().boxed();
    let mut cx = Context::from_waker(&waker);
    assert!(look_up.poll_unpin(&mut cx).is_pending());
    assert_eq!(clock.sleeping(), 1);
    clock.advance(LOAD_TIMEOUT.saturating_sub(TICK));
    assert!(look_up.poll_unpin(&mut cx).is_pending());
    let woken = count.0.load(Ordering::SeqCst);
    clock.advance(TICK);
    assert!(count.0.load(Ordering::SeqCst) > woken);
    let Poll::Ready(found) = look_up.poll_unpin(&mut cx) else {
        panic!("the look-up goes on waiting")
    };
    assert_eq!(kind(found), LookupErrorKind::Unavailable);
    drop(look_up);
    assert_eq!((registry.hanging(), clock.sleeping()), (0, 0));
    // It is left alone as after any failure.
    assert!(
        tenants
            .get(&id("acme"))
            .wait()
            .now_or_never()
            .unwrap()
            .is_err()
    );
    assert_eq!(registry.calls(), 1);
}

#[test]
fn a_stale_record_serves_while_the_registry_hangs() {
    let clock = ManualClock::new();
    let registry = ScriptedRegistry::new([Answer::found(acme(1)), Answer::Hang]);
    let tenants = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .timer(clock.clone())
        .ttl(TTL)
        .load_timeout(LOAD_TIMEOUT)
        .build()
        .unwrap();
    let get = || tenants.get(&id("acme")).wait().boxed();
    assert!(get().now_or_never().unwrap().is_ok());
    clock.advance(TTL);
    let mut leader = get();
    assert!((&mut leader).now_or_never().is_none());
    assert!(get().now_or_never().unwrap().is_ok());
    clock.advance(LOAD_TIMEOUT);
    assert!(
        leader.now_or_never().unwrap().is_ok(),
        "one request is refused where all others are served"
    );
}

#[test]
fn a_panicking_registry_is_an_unavailable_one() {
    let house = house([Answer::Panic, Answer::found(acme(1))]);
    let (leader, other) = (house.begin("acme"), house.begin("acme"));
    assert_eq!(
        kind(leader.now_or_never().unwrap()),
        LookupErrorKind::Unavailable
    );
    assert_eq!(
        kind(other.now_or_never().unwrap()),
        LookupErrorKind::Unavailable
    );
    house.clock.advance(RETRY_AFTER);
    assert!(house.acme().is_ok());
}

#[test]
fn another_tenants_record_is_no_answer() {
    let globex = TenantRecord::new(id("globex"))
        .plan("enterprise")
        .version(9);
    let house = house([Answer::found(globex), Answer::found(acme(1).plan("free"))]);
    assert_eq!(kind(house.acme()), LookupErrorKind::Unavailable);
    assert_eq!(house.tenants.len(), 1);
    house.clock.advance(RETRY_AFTER);
    assert_eq!(&*house.acme().unwrap().plan(), "free");
}

#[test]
fn a_record_that_goes_back_is_ignored() {
    let house = house([
        Answer::found(suspended(2)),
        Answer::found(acme(1)),
        Answer::found(acme(2)),
        Answer::found(acme(3)),
    ]);
    let revision = house.acme().unwrap().revision();
    for _older_then_equal in 0..2 {
        house.clock.advance(TTL);
        assert_eq!(house.status(), TenantStatus::Suspended);
    }
    assert_eq!(house.acme().unwrap().revision(), revision);
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Active);
    assert!(house.acme().unwrap().revision() > revision);
    assert_eq!(house.registry.calls(), 4);
}
