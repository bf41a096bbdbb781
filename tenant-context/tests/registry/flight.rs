//! Concurrent look-ups are one call.

use super::*;

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
    // Whoever comes while another looks waits for its answer.
    let look_up = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(house.begin("acme")).unwrap()
    };
    let states: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(look_up)).collect();
        let states = threads.into_iter().map(|thread| thread.join().unwrap());
        states.collect()
    });
    assert!(states.iter().all(|state| Arc::ptr_eq(state, &states[0])));
}
