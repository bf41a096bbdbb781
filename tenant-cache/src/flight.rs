//! One load for many callers: the first leads, the others follow.
//!
//! The leader's load runs inside of the leader's own future. If that is dropped or panics, the flight is abandoned, and the first
//! follower that is polled leads instead, with a load of its own.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::partition::Epoch;

/// A load under way.
pub(crate) struct Flight<T> {
    /// When it began: who comes after an invalidation does not join.
    pub(crate) epoch: Epoch,
    state: Mutex<State<T>>,
}

struct State<T> {
    phase: Phase<T>,
    wakers: Vec<Waker>,
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

/// Waits for what the leader finds.
pub(crate) struct Follow<T: Clone>(Arc<Flight<T>>);

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
                wakers: Vec::new(),
            }),
        });
        let lead = Lead {
            flight: Some(Arc::clone(&flight)),
        };
        (flight, lead)
    }

    pub(crate) const fn follow(self: Arc<Self>) -> Follow<T> {
        Follow(self)
    }

    fn end(&self, phase: Phase<T>) {
        let wakers = {
            let mut state = self.state.lock();
            state.phase = phase;
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
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
        let mut state = self.0.state.lock();
        match &state.phase {
            Phase::Done(outcome) => Poll::Ready(Followed::Landed(outcome.clone())),
            Phase::Abandoned => {
                state.phase = Phase::Led;
                drop(state);
                Poll::Ready(Followed::Lead(Lead {
                    flight: Some(Arc::clone(&self.0)),
                }))
            }
            Phase::Led => {
                // A waker of a follower that is gone wakes nobody; the list goes with the flight.
                if !state.wakers.iter().any(|known| known.will_wake(cx.waker())) {
                    state.wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
