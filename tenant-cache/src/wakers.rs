//! Who waits: each holds one place, and gives it back when it leaves.

use std::task::Waker;

use slab::Slab;

/// The wakers of those who wait for one event.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Slab<Waker>);

impl Wakers {
    /// Takes a place, or changes the waker of the one that is held.
    pub(crate) fn register(&mut self, place: &mut Option<usize>, waker: &Waker) {
        match place.and_then(|place| self.0.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => *place = Some(self.0.insert(waker.clone())),
        }
    }

    /// Gives a place back. The waker is handed over: it may be anybody's code, to be dropped after the lock.
    #[must_use = "to be dropped after the lock"]
    pub(crate) fn leave(&mut self, place: Option<usize>) -> Option<Waker> {
        self.0.try_remove(place?)
    }

    /// Takes all out, to be woken after the lock. Who is polled again takes a place anew.
    #[must_use = "to be woken after the lock"]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn wake(self) {
        for (_, waker) in self.0 {
            waker.wake();
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
