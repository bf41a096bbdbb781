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
        let replaced = match key.and_then(|key| list.get_mut(key)) {
            Some(known) if known.will_wake(waker) => None,
            Some(known) => Some(std::mem::replace(known, waker.clone())),
            None => {
                *key = Some(list.insert(waker.clone()));
                None
            }
        };
        drop(list);
        drop(replaced);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(crate) fn remove(&self, key: &mut Option<usize>) {
        if let Some(key) = key.take() {
            let removed = self.0.lock().try_remove(key);
            drop(removed);
        }
    }

    /// Wakes everybody. Wakers are woken and dropped outside the lock: they may be anybody's code, and the last of a
    /// task's drops the task, which takes its own out of here.
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
    use std::{sync::Arc, task::Wake};

    use super::*;

    /// A waker whose end takes another one out, as that of a task's last does.
    struct Last {
        wakers: Arc<Wakers>,
        other: Option<usize>,
    }

    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Last {
        fn drop(&mut self) {
            self.wakers.remove(&mut self.other);
        }
    }

    #[test]
    fn a_waker_that_is_dropped_may_come_back() {
        let wakers = Arc::new(Wakers::new());
        let last = || {
            let mut other = None;
            wakers.register(&mut other, Waker::noop());
            Waker::from(Arc::new(Last {
                wakers: Arc::clone(&wakers),
                other,
            }))
        };
        let mut key = None;
        wakers.register(&mut key, &last());
        wakers.register(&mut key, &last());
        assert_eq!(wakers.0.lock().len(), 2, "the first took its own out");
        wakers.remove(&mut key);
        assert_eq!(wakers.0.lock().len(), 0);
    }

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
