//! Invalidation by tag: what was begun before its tag was marked is dead.

use std::collections::HashMap;

use crate::sync::{AtomicU64, Mutex, Ordering};

/// The keyed hash of a tag's bytes.
pub(crate) type Tag = u64;

/// The most tags whose latest mark is remembered, in some two KiB. Beyond it the older half is forgotten, and with it whatever
/// carries a tag and was begun before: none ever stays that should have gone.
const MOST: usize = 112;

#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// How many marks there were. Raised while `recent` is locked, after the mark is in it.
    count: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    marks: HashMap<Tag, u64>,
    /// What carries a tag and was begun before this is dead.
    floor: u64,
}

impl Marks {
    /// The count that what begins now keeps. Read before the data is.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Kills what carries the tag and began before. When this returns, every later read sees it.
    pub(crate) fn mark(&self, tag: Tag) {
        let mut recent = self.recent.lock();
        let number = self.count.load(Ordering::Relaxed).saturating_add(1);
        recent.marks.insert(tag, number);
        if recent.marks.len() > MOST {
            recent.forget_half();
        }
        self.count.store(number, Ordering::Release);
    }

    /// Whether one of the tags was marked since `begun`. Without tags, and without a mark since then, it takes no lock.
    pub(crate) fn hit(&self, begun: u64, tags: &[Tag]) -> bool {
        if tags.is_empty() || self.count() <= begun {
            return false;
        }
        let recent = self.recent.lock();
        begun < recent.floor
            || tags.iter().any(|tag| {
                let mark = recent.marks.get(tag);
                mark.is_some_and(|number| *number > begun)
            })
    }

    /// Nothing is left that a mark could kill.
    pub(crate) fn clear(&self) {
        let mut recent = self.recent.lock();
        recent.marks = HashMap::new();
        recent.floor = self.count.load(Ordering::Relaxed);
    }
}

impl Recent {
    fn forget_half(&mut self) {
        let mut numbers: Vec<u64> = self.marks.values().copied().collect();
        numbers.sort_unstable();
        let floor = numbers.get(numbers.len() / 2).copied().unwrap_or(0);
        self.marks.retain(|_, number| *number > floor);
        self.floor = floor;
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mark_kills_what_began_before_it_and_nothing_that_begins_after() {
        let marks = Marks::default();
        let before = marks.count();
        assert!(!marks.hit(before, &[1]));
        marks.mark(1);
        assert!(marks.hit(before, &[1]));
        assert!(marks.hit(before, &[9, 1]));
        assert!(!marks.hit(before, &[2]));
        assert!(!marks.hit(before, &[]));
        let after = marks.count();
        assert!(!marks.hit(after, &[1]));
        marks.mark(2);
        assert!(!marks.hit(after, &[1]));
        assert!(marks.hit(after, &[2]));
        marks.clear();
        assert!(
            marks.hit(after, &[2]),
            "what it was is forgotten, not that it was"
        );
    }

    #[test]
    fn i6_marks_are_bounded_and_forgetting_some_revives_nothing() {
        let marks = Marks::default();
        let begun = marks.count();
        for tag in 0..10_000 {
            marks.mark(tag);
            assert!(marks.hit(begun, &[tag / 2]), "{tag}");
        }
        assert!(marks.recent.lock().marks.len() <= MOST);
        let now = marks.count();
        assert!(!marks.hit(now, &[9_999]));
        marks.clear();
        assert!(marks.hit(begun, &[1]));
    }

    proptest! {
        /// Against a model that forgets nothing: what it says is dead is dead.
        #[test]
        fn what_was_marked_since_is_dead(steps in prop::collection::vec((any::<bool>(), 0..300_u64), 0..600)) {
            let marks = Marks::default();
            let mut model: HashMap<u64, u64> = HashMap::new();
            let mut begun: Vec<(u64, u64)> = Vec::new();
            for (marked, tag) in steps {
                if marked {
                    marks.mark(tag);
                    model.insert(tag, marks.count());
                } else {
                    begun.push((marks.count(), tag));
                    prop_assert!(!marks.hit(marks.count(), &[tag]));
                }
            }
            for (begun, tag) in begun {
                if model.get(&tag).is_some_and(|number| *number > begun) {
                    prop_assert!(marks.hit(begun, &[tag]));
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn what_was_read_before_a_mark_is_dead_after_it() {
        loom::model(|| {
            let (marks, data) = (Arc::new(Marks::default()), Arc::new(AtomicU64::new(0)));
            let writer = {
                let (marks, data) = (Arc::clone(&marks), Arc::clone(&data));
                thread::spawn(move || {
                    data.store(1, Ordering::Relaxed);
                    marks.mark(7);
                })
            };
            let begun = marks.count();
            let old = data.load(Ordering::Relaxed) == 0;
            writer.join().unwrap();
            assert!(!old || marks.hit(begun, &[7]), "what is old stays");
            assert!(!marks.hit(marks.count(), &[7]));
        });
    }

    #[test]
    fn no_mark_is_lost_beside_another_and_a_purge() {
        loom::model(|| {
            let marks = Arc::new(Marks::default());
            let others: Vec<_> = [1, 2]
                .map(|tag| {
                    let marks = Arc::clone(&marks);
                    thread::spawn(move || marks.mark(tag))
                })
                .into();
            marks.clear();
            for other in others {
                other.join().unwrap();
            }
            assert!(marks.hit(0, &[1]) && marks.hit(0, &[2]));
            assert_eq!(marks.count(), 2);
        });
    }
}
