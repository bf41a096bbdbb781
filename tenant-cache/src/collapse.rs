//! Requests that wait for another's answer instead of asking the handler for the same (RFC 9111 §4).
//!
//! The first to miss goes to the handler. Those who come meanwhile wait until its answer is stored, or will not be: then
//! each looks again, and goes itself if there is nothing for it. If the first one was given up before it was answered, another
//! goes in its place.

use std::{
    any::Any,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;

use crate::{
    partition::{Epoch, Partition},
    wakers::Wakers,
};

/// Who waits for one answer.
struct Flock {
    epoch: Epoch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    end: Option<End>,
    followers: usize,
    wakers: Wakers,
}

/// How the wait for an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The handler has answered.
    Answered,
    /// Whoever asked it is gone.
    Abandoned,
}

/// Goes to the handler for others too. They stop waiting when this is dropped.
pub(crate) struct Leader {
    flock: Arc<Flock>,
    partition: Arc<Partition>,
    key: Box<[u8]>,
    answered: bool,
}

/// Waits.
pub(crate) struct Follower {
    flock: Arc<Flock>,
    place: Option<usize>,
}

/// How a request that missed goes on.
pub(crate) enum Join {
    Lead(Leader),
    Follow(Follower),
    /// There are as many followers as may be.
    Alone,
}

/// Joins those who ask for this key of one tenant's partition, `most` at a time.
pub(crate) fn join(partition: &Arc<Partition>, epoch: Epoch, key: &[u8], most: usize) -> Join {
    let mut flights = partition.flights.lock();
    if let Some(known) = flights.get(key) {
        let Ok(flock) = Arc::clone(known).downcast::<Flock>() else {
            return Join::Alone;
        };
        // What was begun before an invalidation is nothing to wait for: whoever comes now leads anew.
        if flock.epoch == epoch {
            let mut state = flock.state.lock();
            if state.end.is_some() || state.followers >= most {
                return Join::Alone;
            }
            state.followers = state.followers.saturating_add(1);
            drop(state);
            return Join::Follow(Follower { flock, place: None });
        }
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
        answered: false,
    })
}

impl Leader {
    /// The handler has answered: whether or not that is stored, nobody has to ask in this one's place.
    pub(crate) const fn answered(&mut self) {
        self.answered = true;
    }
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
            state.end = Some(if self.answered {
                End::Answered
            } else {
                End::Abandoned
            });
            state.wakers.take()
        };
        wakers.wake();
    }
}

impl Follower {
    pub(crate) fn poll_end(&mut self, cx: &Context<'_>) -> Poll<End> {
        let mut state = self.flock.state.lock();
        if let Some(end) = state.end {
            return Poll::Ready(end);
        }
        state.wakers.register(&mut self.place, cx.waker());
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.flock.state.lock();
        state.followers = state.followers.saturating_sub(1);
        // At the end all places were given up together.
        let left = state
            .end
            .is_none()
            .then(|| state.wakers.leave(self.place))
            .flatten();
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn i6_who_leaves_leaves_no_waker_behind() {
        let partition = Arc::new(Partition::new());
        let epoch = partition.epoch();
        let Join::Lead(leader) = join(&partition, epoch, b"k", 8) else {
            panic!("nobody leads");
        };
        let cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            let Join::Follow(mut follower) = join(&partition, epoch, b"k", 8) else {
                panic!("there is room for one");
            };
            assert!(follower.poll_end(&cx).is_pending());
            assert!(follower.poll_end(&cx).is_pending());
            assert_eq!(leader.flock.state.lock().wakers.len(), 1);
        }
        assert_eq!(leader.flock.state.lock().wakers.len(), 0);
    }
}
