//! Who waits for the end of a tenant's or a credential's validity.

use std::task::Waker;

use slab::Slab;

use crate::sync::Mutex;

/// Wakers by key. A key stays valid until its owner takes it out, so waking loses nobody.
#[derive(Debug)]
pub(crate) struct Wakers(Mutex<Slab<Waker>>);

impl Wakers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Slab::new()))
    }

    /// Registers or replaces the waker under `key`.
    pub(crate) fn register(&self, key: &mut Option<usize>, waker: &Waker) {
        let mut list = self.0.lock();
        match key.and_then(|key| list.get_mut(key)) {
            Some(known) => known.clone_from(waker),
            None => *key = Some(list.insert(waker.clone())),
        }
    }

    pub(crate) fn remove(&self, key: &mut Option<usize>) {
        if let Some(key) = key.take() {
            drop(self.0.lock().try_remove(key));
        }
    }

    /// Wakes everybody. Wakers run outside the lock: they may be anybody's code.
    pub(crate) fn wake_all(&self) {
        let waiting: Vec<Waker> = self
            .0
            .lock()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        for waker in waiting {
            waker.wake();
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn i6_a_waiter_takes_one_place_and_gives_it_back() {
        let (wakers, waker) = (Wakers::new(), Waker::noop());
        let (mut one, mut two) = (None, None);
        for _ in 0..10 {
            wakers.register(&mut one, waker);
            wakers.register(&mut two, waker);
        }
        assert_eq!(wakers.0.lock().len(), 2);
        wakers.remove(&mut one);
        wakers.remove(&mut one);
        assert_eq!((wakers.0.lock().len(), one), (1, None));
        wakers.wake_all();
        assert_eq!(wakers.0.lock().len(), 1, "waking keeps the keys valid");
    }
}
