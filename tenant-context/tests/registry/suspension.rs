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
}

#[test]
fn i5_a_first_load_does_not_undo_a_suspension() {
    let house = house([Answer::found(acme(7)), Answer::found(acme(7))]);
    house.tenants.suspend(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
    house.tenants.resume(&id("acme"));
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
fn i5_a_change_of_another_kind_does_not_lift_a_suspension() {
    let house = house([Answer::found(acme(1)), Answer::found(acme(2).plan("pro"))]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    // Made before the suspension, perhaps, and read after it.
    house.clock.advance(TTL);
    assert_eq!(house.status(), TenantStatus::Suspended);
    house.tenants.apply(acme(3).plan("free"));
    assert_eq!(house.status(), TenantStatus::Suspended, "queued before it");
}

#[test]
fn a_suspension_that_the_registry_has_taken_over_is_the_registrys_to_lift() {
    let house = house([
        Answer::found(acme(1)),
        Answer::found(suspended(2)),
        Answer::found(acme(3)),
    ]);
    drop(house.acme());
    house.tenants.suspend(&id("acme"));
    for status in [TenantStatus::Suspended, TenantStatus::Active] {
        house.clock.advance(TTL);
        assert_eq!(house.status(), status);
    }
    house.tenants.suspend(&id("acme"));
    house.tenants.apply(suspended(4));
    house.tenants.apply(acme(5));
    assert_eq!(house.status(), TenantStatus::Active, "pushed");
}

#[test]
fn i5_a_record_that_refuses_is_believed_under_the_known_version_too() {
    for version in [0, 7] {
        let house = house([Answer::found(acme(version))]);
        drop(house.acme());
        house.tenants.apply(suspended(version));
        assert_eq!(house.status(), TenantStatus::Suspended);
        house.tenants.apply(acme(version));
        assert_eq!(house.status(), TenantStatus::Suspended);
    }
}

#[test]
fn i5_a_load_that_began_before_refresh_is_no_look() {
    for version in [0, 2] {
        let house = house([
            Answer::found(acme(1.min(version))),
            Answer::Hang,
            Answer::found(acme(1.min(version))),
            Answer::found(suspended(version)),
        ]);
        drop(house.acme());
        house.clock.advance(MAX_STALE);
        let mut in_flight = house.begin("acme");
        assert!((&mut in_flight).now_or_never().is_none());
        // The row has changed now; what the load in flight has read is older.
        house.tenants.refresh(&id("acme"));
        house.registry.release();
        drop(in_flight.now_or_never().unwrap());
        assert_eq!(house.status(), TenantStatus::Suspended, "{version}");
        assert_eq!(house.registry.calls(), 3);
    }
}

#[test]
fn i5_without_versions_a_load_from_before_refresh_does_not_undo_a_later_one() {
    let house = house([
        Answer::found(acme(0)),
        Answer::Hang,
        Answer::found(suspended(0)),
        Answer::found(acme(0)),
    ]);
    drop(house.acme());
    house.clock.advance(MAX_STALE);
    let mut in_flight = house.begin("acme");
    assert!((&mut in_flight).now_or_never().is_none());
    house.tenants.refresh(&id("acme"));
    assert_eq!(house.status(), TenantStatus::Suspended);
    house.registry.release();
    drop(in_flight.now_or_never().unwrap());
    assert_eq!(house.status(), TenantStatus::Suspended);
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

/// A credential that its test revokes, and that says how often it was asked.
#[derive(Default)]
struct Credential {
    revoked: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
}

impl tenant_context::Revocable for Credential {
    fn is_revoked(&self, _: &tenant_context::Identity) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.revoked.load(Ordering::SeqCst)
    }
}

struct Sessions(tenant_context::Resolver, Arc<Credential>);

impl Authenticate for Sessions {
    fn authenticate(
        &self,
        _: &RequestHead<'_>,
    ) -> tenant_context::Lookup<Result<Arc<tenant_context::Identity>, Rejection>> {
        let credential = Arc::clone(&self.1);
        self.0
            .resolve_revocable(claims("acme", "ada"), Arc::new(credential))
    }
}

#[test]
fn i5_a_revocation_holds_when_recheck_returns_and_nobody_asks_in_between() {
    let house = house([Answer::found(acme(1))]);
    let credential = Arc::<Credential>::default();
    let sessions = Sessions(
        tenant_context::Resolver::new(house.tenants.clone()),
        Arc::clone(&credential),
    );
    let context = admit(&sessions).unwrap();
    let asked = || credential.asked.load(Ordering::SeqCst);
    for _ in 0..10 {
        context.check().unwrap();
    }
    assert_eq!(asked(), 1, "once, before the first use");
    house.tenants.recheck(&id("globex"));
    context.check().unwrap();
    assert_eq!(asked(), 1, "another tenant's revocations cost nothing");
    house.tenants.recheck_all();
    context.check().unwrap();
    assert_eq!(asked(), 2, "not revoked: it goes on");

    let mut ended = context.ended();
    let (woken, waker) = counting();
    let poll = |ended: &mut tenant_context::Ended| {
        let ended = std::pin::Pin::new(ended);
        Future::poll(ended, &mut Context::from_waker(&waker))
    };
    assert_eq!(poll(&mut ended), Poll::Pending);
    credential.revoked.store(true, Ordering::SeqCst);
    house.tenants.recheck(&id("acme"));
    assert_eq!(context.check().unwrap_err().reason(), "revoked");
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(
        poll(&mut ended),
        Poll::Ready(tenant_context::EndReason::Revoked)
    );
    assert_eq!(admit(&sessions).unwrap_err().reason(), "revoked");
    credential.revoked.store(false, Ordering::SeqCst);
    house.tenants.recheck(&id("acme"));
    assert_eq!(
        context.check().unwrap_err().reason(),
        "revoked",
        "an identity that was revoked stays so"
    );
}

#[test]
fn a_waker_may_ask_for_the_tenant_that_ends() {
    struct Asks(CachedRegistry, AtomicUsize);
    impl Wake for Asks {
        fn wake(self: Arc<Self>) {
            self.0.refresh(&id("acme"));
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let house = house([
        Answer::found(acme(1)),
        Answer::found(acme(2)),
        Answer::missing(),
    ]);
    let auth = TestAuth::new(house.tenants.clone()).accept("ada", claims("acme", "ada"));
    let asks = Arc::new(Asks(house.tenants.clone(), AtomicUsize::new(0)));
    let woken = || asks.1.load(Ordering::SeqCst);
    let waker = Waker::from(Arc::clone(&asks));
    let mut cx = Context::from_waker(&waker);

    let context = admit(&auth).unwrap();
    let mut ended = context.ended();
    assert!(ended.poll_unpin(&mut cx).is_pending());
    house.tenants.suspend(&id("acme"));
    assert_eq!(woken(), 1, "by hand");
    drop(ended);
    house.tenants.resume(&id("acme"));

    let context = admit(&auth).unwrap();
    let mut ended = context.ended();
    assert!(ended.poll_unpin(&mut cx).is_pending());
    house.tenants.apply(suspended(3));
    assert_eq!(woken(), 2, "by a record that is pushed");
}
