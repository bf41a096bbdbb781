//! Loading through the cache: once for all who ask, whatever becomes of the one who loads.

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
    cell::Cell,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use proptest::prelude::*;
use support::House;
use tenant_cache::{Keep, Namespace, Rejection, TenantContext};

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it does not wait")
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn values(house: &House) -> Namespace<u32> {
    house.cache.namespace::<u32>("n").unwrap()
}

/// A load that ends when it is told to.
async fn when(told: &Cell<Option<Result<u32, Rejection>>>) -> Result<u32, Rejection> {
    poll_fn(|_| told.take().map_or(Poll::Pending, Poll::Ready)).await
}

fn unused() -> impl Future<Output = Result<u32, Rejection>> {
    poll_fn(|_| panic!("another's load runs"))
}

#[test]
fn one_loads_and_all_get_it() {
    let house = House::new();
    let (ada, values) = (house.of("acme", "ada"), values(&house));
    let told = Cell::new(None);
    let mut leader = Box::pin(values.get_or_try_insert_with(&ada, "k", when(&told)));
    assert!(poll(&mut leader).is_pending());
    let mut followers: Vec<_> = (0..3)
        .map(|_| Box::pin(values.get_or_try_insert_with(&ada, "k", unused())))
        .collect();
    for follower in &mut followers {
        assert!(poll(follower).is_pending());
    }
    told.set(Some(Ok(7)));
    assert_eq!(poll(&mut leader).map(Result::unwrap), Poll::Ready(7));
    for follower in &mut followers {
        assert_eq!(poll(follower).map(Result::unwrap), Poll::Ready(7));
    }
    assert_eq!(values.get(&ada, "k").unwrap(), Some(7));
    assert_eq!(
        now(values.get_or_try_insert_with(&ada, "k", unused())).unwrap(),
        7
    );
    let stats = house.cache.stats(&ada).unwrap();
    assert_eq!((stats.hits, stats.misses), (2, 4));
}

#[test]
fn single_flight_never_joins_two_tenants() {
    let house = House::new();
    let values = values(&house);
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    let mut leader = Box::pin(values.get_or_try_insert_with::<_, Rejection>(&ada, "k", pending()));
    assert!(poll(&mut leader).is_pending());
    let load = async { Ok::<_, Rejection>(2) };
    assert_eq!(
        now(values.get_or_try_insert_with(&eve, "k", load)).unwrap(),
        2
    );
}

#[test]
fn a_follower_takes_over_from_a_leader_that_is_cancelled_or_panics() {
    for panics in [false, true] {
        let house = House::new();
        let (ada, values) = (house.of("acme", "ada"), values(&house));
        let told = Cell::new(false);
        let load = async {
            poll_fn(|_| {
                if told.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            panic!("the load failed badly")
        };
        let mut leader = Box::pin(values.get_or_try_insert_with::<_, Rejection>(&ada, "k", load));
        assert!(poll(&mut leader).is_pending());
        let mut dropped = Box::pin(values.get_or_try_insert_with(&ada, "k", unused()));
        let load = async { Ok::<_, Rejection>(8) };
        let mut follower = Box::pin(values.get_or_try_insert_with(&ada, "k", load));
        assert!(poll(&mut dropped).is_pending());
        assert!(poll(&mut follower).is_pending());
        drop(dropped);
        if panics {
            told.set(true);
            assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut leader))).is_err());
        }
        drop(leader);
        assert_eq!(poll(&mut follower).map(Result::unwrap), Poll::Ready(8));
        assert_eq!(values.get(&ada, "k").unwrap(), Some(8));
    }
}

#[test]
fn followers_are_woken_when_their_leader_is_gone() {
    let house = House::new();
    let (ada, values) = (house.of("acme", "ada"), values(&house));
    let mut leader = Box::pin(values.get_or_try_insert_with::<_, Rejection>(&ada, "k", pending()));
    assert!(poll(&mut leader).is_pending());
    let woken = std::sync::Arc::new(Woken::default());
    let waker = Waker::from(std::sync::Arc::clone(&woken));
    let load = async { Ok::<_, Rejection>(1) };
    let mut follower = pin!(values.get_or_try_insert_with(&ada, "k", load));
    assert!(
        follower
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(leader);
    assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn an_error_goes_to_all_who_waited_and_is_not_kept() {
    let house = House::new();
    let (ada, values) = (house.of("acme", "ada"), values(&house));
    let told = Cell::new(None);
    let mut leader = Box::pin(values.get_or_try_insert_with(&ada, "k", when(&told)));
    assert!(poll(&mut leader).is_pending());
    let mut follower = Box::pin(values.get_or_try_insert_with(&ada, "k", unused()));
    assert!(poll(&mut follower).is_pending());
    told.set(Some(Err(Rejection::not_found())));
    assert!(matches!(poll(&mut leader), Poll::Ready(Err(_))));
    assert!(matches!(poll(&mut follower), Poll::Ready(Err(_))));
    let load = async { Ok::<_, Rejection>(3) };
    assert_eq!(
        now(values.get_or_try_insert_with(&ada, "k", load)).unwrap(),
        3
    );
}

#[test]
fn an_error_is_kept_where_the_namespace_says_so() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = house
        .cache
        .namespace::<Result<u32, &'static str>>("outcomes")
        .unwrap()
        .keep(|outcome| match outcome {
            Ok(_) => Keep::new(),
            Err(_) => Keep::new().ttl(Duration::from_secs(5)),
        });
    let ask = |outcome| {
        let load = async move { Ok::<_, Rejection>(outcome) };
        now(values.get_or_try_insert_with(&ada, "k", load)).unwrap()
    };
    assert_eq!(ask(Err("no such rate")), Err("no such rate"));
    house.pass(4);
    assert_eq!(ask(Ok(1)), Err("no such rate"));
    house.pass(1);
    assert_eq!(ask(Ok(2)), Ok(2));
    house.pass(59);
    assert_eq!(ask(Ok(3)), Ok(2));
}

#[test]
fn that_there_is_none_is_remembered_only_if_asked() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let (forgets, remembers) = (
        values(&house),
        values(&house).negative_ttl(Duration::from_secs(5)),
    );
    let none = || async { Ok::<_, Rejection>(None) };
    let some = || async { Ok::<_, Rejection>(Some(1)) };
    assert_eq!(
        now(forgets.get_or_try_find_with(&ada, "a", none())).unwrap(),
        None
    );
    assert_eq!(
        now(forgets.get_or_try_find_with(&ada, "a", some())).unwrap(),
        Some(1)
    );
    assert_eq!(
        now(remembers.get_or_try_find_with(&ada, "b", none())).unwrap(),
        None
    );
    assert_eq!(
        now(remembers.get_or_try_find_with(&ada, "b", some())).unwrap(),
        None
    );
    house.pass(5);
    assert_eq!(
        now(remembers.get_or_try_find_with(&ada, "b", some())).unwrap(),
        Some(1)
    );
    // Who needs a value loads it although it is known that there was none.
    assert_eq!(
        now(remembers.get_or_try_find_with(&ada, "c", none())).unwrap(),
        None
    );
    let load = async { Ok::<_, Rejection>(4) };
    assert_eq!(
        now(remembers.get_or_try_insert_with(&ada, "c", load)).unwrap(),
        4
    );
}

#[test]
fn while_one_revalidates_the_others_get_the_stale_value() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = values(&house)
        .ttl(Duration::from_secs(10))
        .stale_while_revalidate(Duration::from_secs(20));
    values.insert(&ada, "k", 1).unwrap();
    house.pass(10);
    assert_eq!(
        values.get(&ada, "k").unwrap(),
        None,
        "a look-up without a load is strict"
    );
    let told = Cell::new(None);
    let mut leader = Box::pin(values.get_or_try_insert_with(&ada, "k", when(&told)));
    assert!(poll(&mut leader).is_pending());
    assert_eq!(
        now(values.get_or_try_insert_with(&ada, "k", unused())).unwrap(),
        1
    );
    told.set(Some(Ok(2)));
    assert_eq!(poll(&mut leader).map(Result::unwrap), Poll::Ready(2));
    assert_eq!(
        now(values.get_or_try_insert_with(&ada, "k", unused())).unwrap(),
        2
    );
    house.pass(30);
    let mut late = Box::pin(values.get_or_try_insert_with(&ada, "k", when(&told)));
    assert!(poll(&mut late).is_pending());
    let mut other = Box::pin(values.get_or_try_insert_with(&ada, "k", unused()));
    assert!(poll(&mut other).is_pending(), "too stale to serve");
}

#[test]
fn a_tag_is_one_tenants_alone_and_versions_keep_apart() {
    let house = House::new();
    let (ada, eve) = (house.of("acme", "ada"), house.of("globex", "eve"));
    let values = values(&house).keep(|_| Keep::new().tag("t"));
    values.insert(&ada, "k", 1).unwrap();
    values.insert(&eve, "k", 2).unwrap();
    house.cache.invalidate_tag(&ada, "t").unwrap();
    assert_eq!(values.get(&ada, "k").unwrap(), None);
    assert_eq!(values.get(&eve, "k").unwrap(), Some(2));
    assert_eq!(values.clone().version(2).get(&eve, "k").unwrap(), None);
}

#[test]
fn i6_loads_that_are_given_up_leave_nothing_behind() {
    let house = House::new();
    let (ada, values) = (house.of("acme", "ada"), values(&house));
    let mut leader = Box::pin(values.get_or_try_insert_with::<_, Rejection>(&ada, "k", pending()));
    let mut follower =
        Box::pin(values.get_or_try_insert_with::<_, Rejection>(&ada, "k", pending()));
    assert!(poll(&mut leader).is_pending());
    assert!(poll(&mut follower).is_pending());
    assert_eq!(house.cache.loads(&ada).unwrap(), 1);
    drop(leader);
    drop(follower);
    assert_eq!(house.cache.loads(&ada).unwrap(), 0);
}

#[test]
fn a_context_that_has_ended_loads_nothing() {
    let house = House::new();
    let (ada, values) = (house.of("acme", "ada"), values(&house));
    house.tenants.suspend(ada.tenant_id());
    assert!(now(values.get_or_try_insert_with(&ada, "k", unused())).is_err());
}

/// What happens to one key, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody asks; the load reads the data when it is polled first.
    Ask,
    /// The n-th caller goes on.
    Go(usize),
    /// The n-th caller is dropped.
    Cancel(usize),
    /// The data changes, and what is cached of it is forgotten in one of the ways there are.
    Change(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Ask),
        4 => (0..4_usize).prop_map(Step::Go),
        1 => (0..4_usize).prop_map(Step::Cancel),
        2 => (0..4_u8).prop_map(Step::Change),
    ]
}

type Call<'a> = (
    u32,
    Pin<Box<dyn Future<Output = Result<u32, Rejection>> + 'a>>,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Nobody who asks after a change sees what was there before it, whatever was under way.
    #[test]
    fn a_purge_racing_with_a_load_never_lets_the_old_value_in(steps in prop::collection::vec(step(), 0..40)) {
        let house = House::new();
        let ada: &TenantContext = &house.of("acme", "ada");
        let values = &values(&house).keep(|_| Keep::new().tag("t"));
        let data = &Cell::new(0_u32);
        let mut calls: Vec<Call<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask => {
                    let load = async move {
                        let read = data.get();
                        tokio::task::yield_now().await;
                        Ok(read)
                    };
                    let asked = data.get();
                    let mut call: Pin<Box<dyn Future<Output = _>>> =
                        Box::pin(values.get_or_try_insert_with(ada, "k", load));
                    match poll(&mut call) {
                        Poll::Ready(found) => prop_assert!(found.unwrap() >= asked),
                        Poll::Pending => calls.push((asked, call)),
                    }
                }
                Step::Go(n) if n < calls.len() => {
                    if let Poll::Ready(found) = poll(&mut calls[n].1) {
                        prop_assert!(found.unwrap() >= calls[n].0);
                        drop(calls.remove(n));
                    }
                }
                Step::Cancel(n) if n < calls.len() => drop(calls.remove(n)),
                Step::Change(how) => {
                    data.set(data.get() + 1);
                    match how {
                        0 => house.cache.purge(ada).unwrap(),
                        1 => values.remove(ada, "k").unwrap(),
                        2 => house.cache.invalidate_tag(ada, "t").unwrap(),
                        _ => values.insert(ada, "k", data.get()).unwrap(),
                    }
                }
                Step::Go(_) | Step::Cancel(_) => {}
            }
            if let Some(found) = values.get(ada, "k").unwrap() {
                prop_assert_eq!(found, data.get());
            }
        }
        drop(calls);
        prop_assert_eq!(house.cache.loads(ada).unwrap(), 0);
    }
}
