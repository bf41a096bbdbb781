//! One load for many callers: the first leads, the others follow.
//!
//! The leader's load runs inside of the leader's own future. If that is dropped or panics, the flight is abandoned, and the first
//! follower that is polled leads instead, with a load of its own.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;

use crate::{partition::Epoch, wakers::Wakers};

/// A load under way.
pub(crate) struct Flight<T> {
    /// When it began: who comes after an invalidation does not join.
    pub(crate) epoch: Epoch,
    state: Mutex<State<T>>,
}

struct State<T> {
    phase: Phase<T>,
    /// Counts the phases that ended: a place among the wakers is of one phase.
    turn: u64,
    wakers: Wakers,
}

enum Phase<T> {
    Led,
    Abandoned,
    Done(T),
}

/// Leads a flight. Dropped without [`land`](Self::land), it abandons it.
pub(crate) struct Lead<T: Clone> {
    flight: Option<Arc<Flight<T>>>,
}

/// Waits for what the leader finds. Dropped, it leaves nothing behind.
pub(crate) struct Follow<T: Clone> {
    flight: Arc<Flight<T>>,
    /// Its place among the wakers, and whose turn that was of.
    place: Option<usize>,
    turn: u64,
}

/// What a follower gets.
pub(crate) enum Followed<T: Clone> {
    Landed(T),
    /// The leader is gone: lead.
    Lead(Lead<T>),
}

impl<T: Clone> Flight<T> {
    /// Begins a flight, and leads it.
    pub(crate) fn begin(epoch: Epoch) -> (Arc<Self>, Lead<T>) {
        let flight = Arc::new(Self {
            epoch,
            state: Mutex::new(State {
                phase: Phase::Led,
                turn: 0,
                wakers: Wakers::default(),
            }),
        });
        let lead = Lead {
            flight: Some(Arc::clone(&flight)),
        };
        (flight, lead)
    }

    pub(crate) const fn follow(self: Arc<Self>) -> Follow<T> {
        Follow {
            flight: self,
            place: None,
            turn: 0,
        }
    }

    fn end(&self, phase: Phase<T>) {
        let wakers = {
            let mut state = self.state.lock();
            state.phase = phase;
            state.turn = state.turn.wrapping_add(1);
            state.wakers.take()
        };
        wakers.wake();
    }
}

impl<T: Clone> Lead<T> {
    /// When the flight began.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.flight.as_ref().map(|flight| flight.epoch)
    }

    /// Hands the outcome to all followers.
    pub(crate) fn land(mut self, outcome: T) {
        if let Some(flight) = self.flight.take() {
            flight.end(Phase::Done(outcome));
        }
    }
}

impl<T: Clone> Drop for Lead<T> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            flight.end(Phase::Abandoned);
        }
    }
}

impl<T: Clone> Future for Follow<T> {
    type Output = Followed<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Followed<T>> {
        let this = self.get_mut();
        let mut state = this.flight.state.lock();
        if this.turn != state.turn {
            (this.place, this.turn) = (None, state.turn);
        }
        match &state.phase {
            Phase::Done(outcome) => Poll::Ready(Followed::Landed(outcome.clone())),
            Phase::Abandoned => {
                state.phase = Phase::Led;
                drop(state);
                Poll::Ready(Followed::Lead(Lead {
                    flight: Some(Arc::clone(&this.flight)),
                }))
            }
            Phase::Led => {
                state.wakers.register(&mut this.place, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl<T: Clone> Drop for Follow<T> {
    fn drop(&mut self) {
        let mut state = self.flight.state.lock();
        if self.turn == state.turn {
            let left = state.wakers.leave(self.place);
            drop(state);
            drop(left);
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn i6_a_follower_that_leaves_leaves_no_waker_behind() {
        let epoch = Epoch {
            generation: 0,
            marks: 0,
        };
        let (flight, lead) = Flight::<u8>::begin(epoch);
        let mut cx = Context::from_waker(Waker::noop());
        let mut stays = Arc::clone(&flight).follow();
        assert!(Pin::new(&mut stays).poll(&mut cx).is_pending());
        for _ in 0..100 {
            let mut leaves = Arc::clone(&flight).follow();
            assert!(Pin::new(&mut leaves).poll(&mut cx).is_pending());
            assert!(Pin::new(&mut leaves).poll(&mut cx).is_pending());
            assert_eq!(flight.state.lock().wakers.len(), 2);
        }
        // A place of an earlier turn is nobody's any more.
        drop(lead);
        let mut next = Arc::clone(&flight).follow();
        let Poll::Ready(Followed::Lead(lead)) = Pin::new(&mut next).poll(&mut cx) else {
            panic!("nobody leads");
        };
        let mut late = Arc::clone(&flight).follow();
        assert!(Pin::new(&mut late).poll(&mut cx).is_pending());
        drop(stays);
        assert_eq!(flight.state.lock().wakers.len(), 1);
        lead.land(7);
        assert!(matches!(
            Pin::new(&mut late).poll(&mut cx),
            Poll::Ready(Followed::Landed(7))
        ));
    }
}
