//! The one word that says whether a tenant may act, and the list of those to wake when it changes.
//!
//! Protocol: whoever waits registers a waker and *then* reads the word; whoever ends writes the word
//! and *then* wakes. The list's lock orders the two, so no end is missed (`tests::loom`).

use std::task::Waker;

use crate::{
    sync::{AtomicU64, Ordering},
    wakers::Wakers,
};

/// What the word says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Suspended,
    /// Unknown to the registry, closed, or not loaded yet.
    Absent,
}

/// A reading: the standing, and how often the cell has ceased to be active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) standing: Standing,
    pub(crate) epoch: u64,
}

const STANDING_BITS: u32 = 2;
const STANDING_MASK: u64 = 0b11;

impl Reading {
    const fn decode(word: u64) -> Self {
        let standing = match word & STANDING_MASK {
            0 => Standing::Active,
            1 => Standing::Suspended,
            _ => Standing::Absent,
        };
        Self {
            standing,
            epoch: word >> STANDING_BITS,
        }
    }

    const fn encode(self) -> u64 {
        let standing = match self.standing {
            Standing::Active => 0,
            Standing::Suspended => 1,
            Standing::Absent => 2,
        };
        (self.epoch << STANDING_BITS) | standing
    }
}

#[derive(Debug)]
pub(crate) struct LiveCell {
    word: AtomicU64,
    wakers: Wakers,
}

impl LiveCell {
    pub(crate) fn new(standing: Standing) -> Self {
        Self {
            word: AtomicU64::new(Reading { standing, epoch: 0 }.encode()),
            wakers: Wakers::new(),
        }
    }

    pub(crate) fn read(&self) -> Reading {
        Reading::decode(self.word.load(Ordering::Acquire))
    }

    /// Sets the standing. When this returns, every later [`read`](Self::read) sees it, and everybody
    /// who waited has been woken if the cell ceased to be active.
    pub(crate) fn set(&self, standing: Standing) {
        let mut word = self.word.load(Ordering::Relaxed);
        let ends = loop {
            let old = Reading::decode(word);
            let ends = old.standing == Standing::Active && standing != Standing::Active;
            let epoch = if ends {
                old.epoch.wrapping_add(1)
            } else {
                old.epoch
            };
            let new = Reading { standing, epoch }.encode();
            match self
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break ends,
                Err(seen) => word = seen,
            }
        };
        if ends {
            self.wakers.wake_all();
        }
    }

    pub(crate) fn register(&self, key: &mut Option<usize>, waker: &Waker) {
        self.wakers.register(key, waker);
    }

    pub(crate) fn deregister(&self, key: &mut Option<usize>) {
        self.wakers.remove(key);
    }

    /// Wakes everybody who waits, without a change of standing: a credential was revoked.
    pub(crate) fn wake_all(&self) {
        self.wakers.wake_all();
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_counts_ends_not_writes() {
        let cell = LiveCell::new(Standing::Absent);
        cell.set(Standing::Active);
        assert_eq!(
            cell.read(),
            Reading {
                standing: Standing::Active,
                epoch: 0
            }
        );
        cell.set(Standing::Suspended);
        cell.set(Standing::Suspended);
        cell.set(Standing::Absent);
        assert_eq!(
            cell.read(),
            Reading {
                standing: Standing::Absent,
                epoch: 1
            }
        );
        cell.set(Standing::Active);
        assert_eq!(
            cell.read(),
            Reading {
                standing: Standing::Active,
                epoch: 1
            }
        );
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};
    use std::{
        sync::atomic::{AtomicBool, Ordering as StdOrdering},
        task::Wake,
    };

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, StdOrdering::SeqCst);
        }
    }

    #[test]
    fn i5_a_waiter_sees_the_end_or_is_woken() {
        loom::model(|| {
            let cell = Arc::new(LiveCell::new(Standing::Active));
            let flag = std::sync::Arc::new(Flag::default());
            let ender = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.set(Standing::Suspended))
            };
            let mut key = None;
            cell.register(&mut key, &flag.clone().into());
            let seen = cell.read().standing != Standing::Active;
            ender.join().unwrap();
            assert!(
                seen || flag.0.load(StdOrdering::SeqCst),
                "the end was neither seen nor signalled"
            );
        });
    }

    #[test]
    fn i5_suspension_holds_when_set_returns_and_a_resume_hides_no_end() {
        loom::model(|| {
            let cell = Arc::new(LiveCell::new(Standing::Active));
            let before = cell.read().epoch;
            let other = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || {
                    cell.set(Standing::Suspended);
                    assert_ne!(cell.read().epoch, 0);
                    cell.set(Standing::Active);
                })
            };
            let middle = cell.read();
            other.join().unwrap();
            if middle.standing == Standing::Suspended {
                assert_ne!(middle.epoch, before);
            }
            assert_ne!(
                cell.read().epoch,
                before,
                "a stream admitted before the suspension could live on"
            );
        });
    }

    #[test]
    fn i5_concurrent_ends_count_at_least_once() {
        loom::model(|| {
            let cell = Arc::new(LiveCell::new(Standing::Active));
            let threads: Vec<_> = [Standing::Suspended, Standing::Absent]
                .into_iter()
                .map(|standing| {
                    let cell = Arc::clone(&cell);
                    thread::spawn(move || cell.set(standing))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cell.read().epoch, 1);
            assert_ne!(cell.read().standing, Standing::Active);
        });
    }
}
