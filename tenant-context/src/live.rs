//! The one word that says whether a tenant may act, and the list of those to wake when it changes.
//!
//! Protocol: whoever waits registers a waker and *then* reads the word; whoever ends writes the word
//! and *then* wakes. The list's lock orders the two, so no end is missed (`tests::loom`).
//!
//! Revocations go through the same word: whoever revokes records it and *then* moves the word; an
//! identity reads the word, *then* asks what was recorded, and keeps the word it read ([`Checked`]). As
//! long as the two are equal nothing has happened since.

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

/// A reading: the standing, how often the cell has ceased to be active, and how often its identities
/// were told to look again. The counts wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) standing: Standing,
    pub(crate) epoch: u32,
    checks: u32,
}

/// Two bits of standing, 30 of ends, 32 of checks.
const STANDING_MASK: u64 = 0b11;
const EPOCH_SHIFT: u32 = 2;
const EPOCH_MASK: u32 = u32::MAX >> EPOCH_SHIFT;
const CHECKS_SHIFT: u32 = 32;

impl Reading {
    const fn new(standing: Standing) -> Self {
        Self {
            standing,
            epoch: 0,
            checks: 0,
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of a word are taken apart"
    )]
    const fn decode(word: u64) -> Self {
        let standing = match word & STANDING_MASK {
            0 => Standing::Active,
            1 => Standing::Suspended,
            _ => Standing::Absent,
        };
        Self {
            standing,
            epoch: (word as u32) >> EPOCH_SHIFT,
            checks: (word >> CHECKS_SHIFT) as u32,
        }
    }

    const fn encode(self) -> u64 {
        let standing = match self.standing {
            Standing::Active => 0,
            Standing::Suspended => 1,
            Standing::Absent => 2,
        };
        let low = (self.epoch & EPOCH_MASK) << EPOCH_SHIFT;
        ((self.checks as u64) << CHECKS_SHIFT) | low as u64 | standing
    }

    const fn then(self, standing: Standing) -> Self {
        let ends =
            matches!(self.standing, Standing::Active) && !matches!(standing, Standing::Active);
        Self {
            standing,
            epoch: if ends {
                self.epoch.wrapping_add(1) & EPOCH_MASK
            } else {
                self.epoch
            },
            checks: self.checks,
        }
    }

    const fn checked_again(self) -> Self {
        Self {
            checks: self.checks.wrapping_add(1),
            ..self
        }
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
            word: AtomicU64::new(Reading::new(standing).encode()),
            wakers: Wakers::new(),
        }
    }

    pub(crate) fn read(&self) -> Reading {
        Reading::decode(self.word.load(Ordering::Acquire))
    }

    /// Sets the standing. When this returns, every later [`read`](Self::read) sees it. Everybody who waited is
    /// woken when what it returns is dropped, if the cell ceased to be active: after the caller's locks, for
    /// wakers are anybody's code.
    pub(crate) fn set(&self, standing: Standing) -> Ending<'_> {
        let old = self.change(|old| old.then(standing));
        let ends = old.standing == Standing::Active && standing != Standing::Active;
        Ending(ends.then_some(&self.wakers))
    }

    /// Makes every identity look again whether it was revoked, and wakes those who wait for their end.
    pub(crate) fn recheck(&self) {
        self.change(Reading::checked_again);
        self.wakers.wake_all();
    }

    fn change(&self, to: impl Fn(Reading) -> Reading) -> Reading {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let old = Reading::decode(word);
            let new = to(old).encode();
            match self
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return old,
                Err(seen) => word = seen,
            }
        }
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.wakers.is_empty()
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

/// Those to wake after a change.
pub(crate) struct Ending<'a>(Option<&'a Wakers>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(wakers) = self.0 {
            wakers.wake_all();
        }
    }
}

/// The word of its tenant under which an identity was last found to stand.
#[derive(Debug)]
pub(crate) struct Checked(AtomicU64);

/// No cell's word has these two lowest bits.
const NEVER: u64 = 0b011;
const REVOKED: u64 = 0b111;

impl Checked {
    pub(crate) fn never() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    /// From now on the identity is refused.
    pub(crate) fn revoke(&self) {
        self.0.swap(REVOKED, Ordering::AcqRel);
    }

    /// Whether the tenant is active and nothing was revoked in it since the last look. Two loads.
    pub(crate) fn holds(&self, cell: &LiveCell) -> bool {
        // Only the words of active cells are kept.
        cell.word.load(Ordering::Acquire) == self.0.load(Ordering::Acquire)
    }

    /// Looks again: the standing, or `None` if the identity was revoked. `revoked` reads what was
    /// recorded, after the word was read.
    pub(crate) fn look(&self, cell: &LiveCell, revoked: impl FnOnce() -> bool) -> Option<Standing> {
        let kept = self.0.load(Ordering::Acquire);
        let word = cell.word.load(Ordering::Acquire);
        let standing = Reading::decode(word).standing;
        if standing != Standing::Active {
            return Some(standing);
        }
        if kept == REVOKED {
            return None;
        }
        if revoked() {
            self.revoke();
            return None;
        }
        match self
            .0
            .compare_exchange(kept, word, Ordering::AcqRel, Ordering::Acquire)
        {
            Err(REVOKED) => None,
            // Whoever else has looked meanwhile has kept a word of its own look.
            Ok(_) | Err(_) => Some(standing),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_counts_wrap_each_in_its_own_bits() {
        let last = Reading {
            standing: Standing::Active,
            epoch: EPOCH_MASK,
            checks: u32::MAX,
        };
        assert_eq!(Reading::decode(last.encode()), last);
        let ended = Reading::decode(last.then(Standing::Suspended).encode());
        assert_eq!((ended.epoch, ended.checks), (0, u32::MAX));
        assert_eq!(ended.standing, Standing::Suspended);
        let checked = Reading::decode(last.checked_again().encode());
        assert_eq!((checked.epoch, checked.checks), (EPOCH_MASK, 0));
        assert_eq!(checked.standing, Standing::Active);
    }

    #[test]
    fn i5_an_identity_looks_again_whenever_the_word_has_moved() {
        let (cell, checked) = (LiveCell::new(Standing::Active), Checked::never());
        assert!(!checked.holds(&cell), "it has never looked");
        assert_eq!(checked.look(&cell, || false), Some(Standing::Active));
        assert!(checked.holds(&cell));
        cell.recheck();
        assert!(!checked.holds(&cell));
        assert_eq!(checked.look(&cell, || false), Some(Standing::Active));
        cell.set(Standing::Suspended);
        assert!(!checked.holds(&cell));
        assert_eq!(checked.look(&cell, || false), Some(Standing::Suspended));
        assert!(
            !checked.holds(&cell),
            "the word of a suspended cell is not kept"
        );
        cell.set(Standing::Active);
        assert!(!checked.holds(&cell), "a suspension was in between");
        assert_eq!(checked.look(&cell, || true), None);
        assert_eq!(
            checked.look(&cell, || false),
            None,
            "revoked once, revoked for good"
        );
    }

    #[test]
    fn the_epoch_counts_ends_not_writes() {
        let cell = LiveCell::new(Standing::Absent);
        cell.set(Standing::Active);
        assert_eq!(cell.read(), Reading::new(Standing::Active));
        cell.set(Standing::Suspended);
        cell.set(Standing::Suspended);
        cell.set(Standing::Absent);
        assert_eq!(
            cell.read(),
            Reading {
                epoch: 1,
                ..Reading::new(Standing::Absent)
            }
        );
        cell.set(Standing::Active);
        assert_eq!(
            cell.read(),
            Reading {
                epoch: 1,
                ..Reading::new(Standing::Active)
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
                thread::spawn(move || drop(cell.set(Standing::Suspended)))
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
                    thread::spawn(move || drop(cell.set(standing)))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cell.read().epoch, 1);
            assert_ne!(cell.read().standing, Standing::Active);
        });
    }

    #[test]
    fn i5_loom_a_revocation_is_seen_by_whoever_comes_after_it() {
        loom::model(|| {
            let cell = Arc::new(LiveCell::new(Standing::Active));
            let checked = Arc::new(Checked::never());
            let recorded = Arc::new(crate::sync::AtomicU64::new(0));
            let look = {
                let recorded = Arc::clone(&recorded);
                move |cell: &LiveCell, checked: &Checked| {
                    checked.holds(cell)
                        || checked
                            .look(cell, || recorded.load(Ordering::Acquire) == 1)
                            .is_some()
                }
            };
            let other = {
                let (cell, checked, look) = (Arc::clone(&cell), Arc::clone(&checked), look.clone());
                thread::spawn(move || look(&cell, &checked))
            };
            // Revokes while another request's look may have begun, and then comes itself.
            recorded.store(1, Ordering::Release);
            cell.recheck();
            assert!(
                !look(&cell, &checked),
                "a request after the revocation was admitted"
            );
            other.join().unwrap();
            assert!(
                !look(&cell, &checked),
                "the other's look undid the revocation"
            );
        });
    }

    #[test]
    fn i5_loom_no_look_that_is_under_way_undoes_an_identitys_end() {
        loom::model(|| {
            let cell = Arc::new(LiveCell::new(Standing::Active));
            let checked = Arc::new(Checked::never());
            let other = {
                let (cell, checked) = (Arc::clone(&cell), Arc::clone(&checked));
                thread::spawn(move || checked.look(&cell, || false))
            };
            checked.revoke();
            other.join().unwrap();
            assert!(!checked.holds(&cell));
            assert_eq!(checked.look(&cell, || false), None);
        });
    }
}
