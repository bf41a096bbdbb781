//! Requests that wait for another's answer instead of asking the handler for the same (RFC 9111 §4).
//!
//! The first to miss goes to the handler. Those who come meanwhile wait until its answer is stored, or will not be, or it was
//! given up; then each looks again, and goes itself if there is nothing for it.

use std::{
    any::Any,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::partition::{Epoch, Partition};

/// Who waits for one answer.
struct Flock {
    epoch: Epoch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    over: bool,
    followers: usize,
    wakers: Vec<Waker>,
}

/// Goes to the handler for others too. They stop waiting when this is dropped.
pub(crate) struct Leader {
    flock: Arc<Flock>,
    partition: Arc<Partition>,
    key: Box<[u8]>,
}

/// Waits.
pub(crate) struct Follower(Arc<Flock>);

/// How a request that missed goes on.
pub(crate) enum Join {
    Lead(Leader),
    Follow(Follower),
    /// There are as many followers as may be, or what is under way is from before an invalidation.
    Alone,
}

/// Joins those who ask for this key of one tenant's partition, `most` at a time.
pub(crate) fn join(partition: &Arc<Partition>, epoch: Epoch, key: &[u8], most: usize) -> Join {
    let mut flights = partition.flights.lock();
    if let Some(known) = flights.get(key) {
        let Ok(flock) = Arc::clone(known).downcast::<Flock>() else {
            return Join::Alone;
        };
        let mut state = flock.state.lock();
        if flock.epoch != epoch || state.over || state.followers >= most {
            return Join::Alone;
        }
        state.followers = state.followers.saturating_add(1);
        drop(state);
        return Join::Follow(Follower(flock));
    }
    let flock = Arc::new(Flock {
        epoch,
        state: Mutex::default(),
    });
    let shared: Arc<dyn Any + Send + Sync> = Arc::clone(&flock) as _;
    flights.insert(key.into(), shared);
    Join::Lead(Leader {
        flock,
        partition: Arc::clone(partition),
        key: key.into(),
    })
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut flights = self.partition.flights.lock();
        let mine = flights
            .get(&self.key)
            .is_some_and(|known| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(&self.flock)));
        if mine {
            flights.remove(&self.key);
        }
        drop(flights);
        let wakers = {
            let mut state = self.flock.state.lock();
            state.over = true;
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Follower {
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.over {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|known| known.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.followers = state.followers.saturating_sub(1);
    }
}
