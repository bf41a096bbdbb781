//! What the application's own code may do inside of the cache: panic, and use the cache while a value is dropped.

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
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use support::House;
use tenant_cache::{Namespace, Rejection, TenantContext};

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Weighing is the application's code: when it panics, whoever waits goes on, and the key is not lost.
#[test]
fn what_panics_beside_the_load_wedges_nothing() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let heavy = house.cache.namespace::<u32>("n").unwrap().weigh(|value| {
        assert_ne!(*value, 13, "too heavy to be weighed");
        4
    });
    let told = Cell::new(None);
    let mut leader = Box::pin(heavy.get_or_try_insert_with(&ada, "k", async {
        poll_fn(|_| told.take().map_or(Poll::Pending, Poll::Ready)).await
    }));
    let seven = async { Ok::<_, Rejection>(7) };
    let mut follower = Box::pin(heavy.get_or_try_insert_with(&ada, "k", seven));
    assert!(poll(&mut leader).is_pending());
    assert!(poll(&mut follower).is_pending());
    told.set(Some(Ok::<_, Rejection>(13)));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut leader).is_ready())).is_err());
    drop(leader);
    assert!(matches!(poll(&mut follower), Poll::Ready(Ok(7))));
    assert!(catch_unwind(AssertUnwindSafe(|| heavy.insert(&ada, "k", 13).is_ok())).is_err());
    assert_eq!(heavy.get(&ada, "k").unwrap(), Some(7));
    assert_eq!(house.cache.loads(&ada).unwrap(), 0);
}

/// A value that uses the cache when it is dropped.
#[derive(Clone)]
struct Tidy(#[allow(dead_code, reason = "it is there to be dropped")] Arc<Leftover>);

struct Leftover {
    values: Namespace<Tidy>,
    caller: TenantContext,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.values.remove(&self.caller, "other").unwrap();
        assert!(self.values.get(&self.caller, "none").unwrap().is_none());
        let failing = async { Err(Rejection::overloaded(Duration::from_secs(1))) };
        let load = self
            .values
            .get_or_try_insert_with(&self.caller, "none", failing);
        assert!(load.now_or_never().unwrap().is_err());
    }
}

#[test]
fn no_lock_is_held_while_a_value_is_dropped() {
    let house = House::new();
    let values: Namespace<Tidy> = house.cache.namespace("tidy").unwrap();
    let ada = house.of("acme", "ada");
    let tidy = || {
        Tidy(Arc::new(Leftover {
            values: values.clone(),
            caller: ada.clone(),
        }))
    };
    values.insert(&ada, "key", tidy()).unwrap();
    values.insert(&ada, "key", tidy()).unwrap();
    values.remove(&ada, "key").unwrap();
    values.insert(&ada, "key", tidy()).unwrap();
    house.cache.purge(&ada).unwrap();
    for n in 0..100_u32 {
        values.insert(&ada, &n, tidy()).unwrap();
    }
    let small = values.clone().weigh(|_| 7 << 20);
    for n in 0..4_u32 {
        small.insert(&ada, &n, tidy()).unwrap();
    }
}
