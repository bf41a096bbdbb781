//! The queue's counters under every interleaving, on loom's atomics.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "tests, and a file of the crate that is used in part"
)]

use std::sync::atomic::AtomicUsize as Inside;

use loom::{
    sync::{Arc, Mutex},
    thread,
};

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/queue/counts.rs"]
mod counts;

use self::{
    counts::{Bounds, Counts},
    sync::Ordering,
};

const ONE: Bounds = Bounds {
    in_flight: 1,
    waiting: 100,
};

#[derive(Default)]
struct Shared {
    counts: Counts,
    inside: Inside,
    admitted: Inside,
    lock: Mutex<()>,
}

fn request(shared: &Shared) {
    if !shared.counts.enter(ONE) {
        return;
    }
    assert_eq!(shared.inside.fetch_add(1, Ordering::SeqCst), 0);
    shared.admitted.fetch_add(1, Ordering::SeqCst);
    thread::yield_now();
    shared.inside.fetch_sub(1, Ordering::SeqCst);
    let _lane = shared.lock.lock().unwrap();
    shared.counts.end();
}

#[test]
fn i4_loom_no_more_are_in_flight_than_the_bound_and_every_place_comes_back() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || request(&shared))
            })
            .collect();
        request(&shared);
        for other in others {
            other.join().unwrap();
        }
        let ended = u64::try_from(shared.admitted.load(Ordering::SeqCst)).unwrap();
        assert_eq!((shared.counts.in_flight(), shared.counts.waiting()), (0, ended));
        assert!(shared.counts.enter(ONE));
        assert!(!shared.counts.enter(ONE));
    });
}
