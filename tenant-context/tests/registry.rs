//! The cache in front of a registry: how long it believes, whom it asks how often, and what it does
//! when the registry fails, hangs, panics, lies or goes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tenant_context::{
    Authenticate, CachedRegistry, CachedRegistryBuilder, LookupError, LookupErrorKind,
    MemoryRegistry, Rejection, RejectionKind, RequestHead, TenantContext, TenantId, TenantRecord,
    TenantState, TenantStatus,
};
use tenant_testkit::{
    ManualClock, TestAuth, claims,
    stores::{Answer, ScriptedRegistry},
};

const TTL: Duration = Duration::from_secs(5);
const NEGATIVE_TTL: Duration = Duration::from_secs(3);
const MAX_STALE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_nanos(1);

type Found = Result<Arc<TenantState>, LookupError>;

struct House {
    clock: ManualClock,
    registry: ScriptedRegistry,
    tenants: CachedRegistry,
}

fn house(answers: impl IntoIterator<Item = Answer<Option<TenantRecord>>>) -> House {
    house_with(answers, |builder| builder)
}

fn house_with(
    answers: impl IntoIterator<Item = Answer<Option<TenantRecord>>>,
    configure: impl FnOnce(CachedRegistryBuilder) -> CachedRegistryBuilder,
) -> House {
    let clock = ManualClock::new();
    let registry = ScriptedRegistry::new(answers);
    let builder = CachedRegistry::builder(registry.clone())
        .clock(clock.clone())
        .ttl(TTL)
        .negative_ttl(NEGATIVE_TTL)
        .max_stale(MAX_STALE)
        .retry_after(RETRY_AFTER)
        .load_timeout(LOAD_TIMEOUT);
    House {
        clock,
        registry,
        tenants: configure(builder).build().unwrap(),
    }
}

impl House {
    fn begin(&self, id: &str) -> BoxFuture<'static, Found> {
        self.tenants
            .get(&TenantId::parse(id).unwrap())
            .wait()
            .boxed()
    }

    fn get(&self, id: &str) -> Found {
        self.begin(id).now_or_never().expect("the look-up waits")
    }

    fn acme(&self) -> Found {
        self.get("acme")
    }

    fn status(&self) -> TenantStatus {
        self.acme().unwrap().status()
    }
}

fn id(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn acme(version: u64) -> TenantRecord {
    TenantRecord::new(id("acme")).version(version)
}

fn suspended(version: u64) -> TenantRecord {
    acme(version).status(TenantStatus::Suspended)
}

#[track_caller]
fn kind(found: Found) -> LookupErrorKind {
    found.expect_err("it was found").kind()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::<Count>::default();
    (Arc::clone(&count), count.into())
}

// Time to live

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

// One flight

#[test]
fn concurrent_look_ups_are_one_call() {
    let house = house([Answer::Hang, Answer::found(acme(1))]);
    let mut waiting: Vec<_> = (0..100).map(|_| house.begin("acme")).collect();
    for look_up in &mut waiting {
        assert!(look_up.now_or_never().is_none());
    }
    assert_eq!((house.registry.calls(), house.registry.hanging()), (1, 1));
    house.registry.release();
    let states: Vec<_> = waiting
        .into_iter()
        .map(|look_up| look_up.now_or_never().unwrap().unwrap())
        .collect();
    assert!(states.iter().all(|state| Arc::ptr_eq(state, &states[0])));
    assert_eq!(house.registry.calls(), 1);
}

#[test]
fn whoever_waits_goes_on_when_the_leader_is_dropped() {
    let house = house([Answer::Hang, Answer::found(acme(1))]);
    let (mut leader, mut next) = (house.begin("acme"), house.begin("acme"));
    let (count, waker) = counting();
    assert!((&mut leader).now_or_never().is_none());
    assert!(
        next.poll_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(leader);
    let woken = count.0.load(Ordering::SeqCst);
    house.registry.release();
    assert!(
        count.0.load(Ordering::SeqCst) > woken,
        "nobody drives the look-up any more"
    );
    assert!(next.now_or_never().unwrap().is_ok());
    assert_eq!(house.registry.calls(), 1);
}

#[test]
fn a_look_up_nobody_waits_for_ends_and_the_next_asks_anew() {
    let house = house([Answer::Hang, Answer::found(acme(1))]);
    let mut waiting: Vec<_> = (0..3).map(|_| house.begin("acme")).collect();
    for look_up in &mut waiting {
        assert!(look_up.now_or_never().is_none());
    }
    drop(waiting);
    assert_eq!(house.registry.hanging(), 0, "without a timer, too");
    assert!(house.acme().is_ok());
    assert_eq!(house.registry.calls(), 2);
}

#[test]
fn a_look_up_never_polled_holds_nobody_up() {
    let house = house([Answer::found(acme(1))]);
    let idle = house.begin("acme");
    assert!(house.acme().is_ok());
    drop(idle);
    assert_eq!(house.registry.calls(), 1);
}

#[test]
fn while_one_looks_again_the_others_go_on() {
    let house = house([
        Answer::found(acme(1).plan("free")),
        Answer::Hang,
        Answer::found(acme(2).plan("pro")),
    ]);
    drop(house.acme());
    house.clock.advance(TTL);
    let mut leader = house.begin("acme");
    assert!((&mut leader).now_or_never().is_none());
    for _ in 0..10 {
        assert_eq!(&*house.acme().unwrap().plan(), "free");
    }
    assert_eq!(house.registry.calls(), 2);
    house.registry.release();
    assert_eq!(&*leader.now_or_never().unwrap().unwrap().plan(), "pro");
}

#[test]
fn i5_beyond_the_maximum_staleness_nobody_goes_on_while_one_looks() {
    let house = house([Answer::found(acme(1)), Answer::Hang, Answer::found(acme(2))]);
    drop(house.acme());
    house.clock.advance(MAX_STALE);
    let (mut leader, mut other) = (house.begin("acme"), house.begin("acme"));
    assert!((&mut leader).now_or_never().is_none());
    assert!((&mut other).now_or_never().is_none());
    house.registry.release();
    assert!(leader.now_or_never().unwrap().is_ok());
    assert!(other.now_or_never().unwrap().is_ok());
    assert_eq!(house.registry.calls(), 2);
}

#[test]
fn racing_threads_see_one_state() {
    let house = house([Answer::found(acme(1))]);
    let states: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| house.acme().unwrap()))
            .collect();
        let states = threads.into_iter().map(|thread| thread.join().unwrap());
        states.collect()
    });
    assert!(states.iter().all(|state| Arc::ptr_eq(state, &states[0])));
}

// A registry that fails

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

fn admit(auth: &impl Authenticate) -> Result<TenantContext, Rejection> {
    let request = http::Request::builder().header("authorization", "Test ada");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let admitted = TenantContext::admit(auth, &RequestHead::new(&head));
    admitted.wait().now_or_never().expect("the look-up waits")
}

// A registry that hangs, panics, lies, goes back

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

// Suspension

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

// Records that are pushed

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

// Capacity and identity

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

// Configuration

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
