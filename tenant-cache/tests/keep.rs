//! How long a value is kept and by what tag it goes: as its namespace, the value itself or its entry says.

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
    future::{Future, pending},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use support::House;
use tenant_cache::{Keep, Namespace, Rejection};

const SECOND: Duration = Duration::from_secs(1);

fn values(house: &House) -> Namespace<u32> {
    house.cache.namespace::<u32>("n").unwrap()
}

fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn times_and_tags_are_the_namespaces_the_values_or_the_entrys() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = values(&house).ttl(Duration::from_secs(10)).keep(|value| {
        let keep = Keep::new().tag(format!("customer:{}", value % 10));
        if *value > 100 {
            keep.ttl(Duration::from_secs(1))
        } else {
            keep
        }
    });
    for (key, value) in [("a", 7), ("b", 8), ("c", 107)] {
        values.insert(&ada, key, value).unwrap();
    }
    house.pass(1);
    assert_eq!(values.get(&ada, "c").unwrap(), None);
    house.cache.invalidate_tag(&ada, "customer:7").unwrap();
    let got = values.get_many(&ada, ["a", "b", "c"]).unwrap();
    assert_eq!(got, [None, Some(8), None]);
    values.insert(&ada, "a", 7).unwrap();
    assert_eq!(values.get(&ada, "a").unwrap(), Some(7));

    let idle = Keep::new()
        .ttl(Duration::from_secs(100))
        .idle(Duration::from_secs(5));
    values.insert_with(&ada, "i", 1, &idle).unwrap();
    for _ in 0..3 {
        house.pass(4);
        assert_eq!(values.get(&ada, "i").unwrap(), Some(1));
    }
    house.pass(5);
    assert_eq!(values.get(&ada, "i").unwrap(), None);

    let many = (0..=Keep::MAX_TAGS).fold(Keep::new(), |keep, n| keep.tag(n.to_string()));
    values.insert_with(&ada, "m", 1, &many).unwrap();
    assert_eq!(values.get(&ada, "m").unwrap(), None);
}

#[test]
fn what_nobody_reads_is_forgotten_as_its_namespace_or_its_entry_says() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = values(&house).ttl(100 * SECOND).idle(5 * SECOND);
    let longer = Keep::new().idle(20 * SECOND);
    values.insert(&ada, "read", 1).unwrap();
    values.insert(&ada, "unread", 2).unwrap();
    values.insert_with(&ada, "longer", 3, &longer).unwrap();
    for _ in 0..4 {
        house.pass(4);
        assert_eq!(values.get(&ada, "read").unwrap(), Some(1));
    }
    assert_eq!(values.get(&ada, "unread").unwrap(), None);
    assert_eq!(values.get(&ada, "longer").unwrap(), Some(3));
    house.pass(5);
    assert_eq!(values.get(&ada, "read").unwrap(), None);
    // Reading it makes nothing last longer than it is fresh.
    for _ in 0..16 {
        house.pass(5);
        values.get(&ada, "longer").unwrap();
    }
    assert_eq!(values.get(&ada, "longer").unwrap(), None);
}

#[test]
fn an_entry_may_be_stale_for_longer_or_shorter_than_its_namespace_says() {
    let house = House::new();
    let ada = house.of("acme", "ada");
    let values = values(&house)
        .ttl(10 * SECOND)
        .stale_while_revalidate(5 * SECOND);
    let longer = Keep::new().stale_while_revalidate(20 * SECOND);
    let never = Keep::new().stale_while_revalidate(Duration::ZERO);
    values.insert(&ada, "as the namespace", 1).unwrap();
    values.insert_with(&ada, "longer", 2, &longer).unwrap();
    values.insert_with(&ada, "never", 3, &never).unwrap();
    let served = |key: &str| {
        // The first to ask loads, and is not answered; what another gets meanwhile is what may still be served.
        let mut leader = pin!(values.get_or_try_insert_with::<_, Rejection>(&ada, key, pending()));
        assert!(poll(&mut leader).is_pending());
        let mut other = pin!(values.get_or_try_insert_with::<_, Rejection>(&ada, key, pending()));
        match poll(&mut other) {
            Poll::Ready(found) => Some(found.unwrap()),
            Poll::Pending => None,
        }
    };
    house.pass(10);
    let keys = ["as the namespace", "longer", "never"];
    assert_eq!(keys.map(served), [Some(1), Some(2), None]);
    house.pass(5);
    assert_eq!(keys.map(served), [None, Some(2), None]);
    house.pass(15);
    assert_eq!(keys.map(served), [None, None, None]);
}
