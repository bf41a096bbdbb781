//! A bounded table that forgets only what may be forgotten.

use std::{collections::HashMap, hash::Hash};

/// At most `max` entries. At the bound a newcomer takes the place of an entry that may be forgotten;
/// a hand that goes round looks at a few entries for each newcomer, so nobody pays for a sweep of all.
///
/// Keys are hashed with a random key: whoever chooses them cannot make them collide.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    index: HashMap<K, usize>,
    entries: Vec<(K, V)>,
    hand: usize,
    max: usize,
    looks: usize,
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// A table of at most `max` entries that looks at `looks` of them for each newcomer at the bound.
    pub(crate) fn new(max: usize, looks: usize) -> Self {
        Self {
            index: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
            max,
            looks,
        }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The entry of `key`, made if there is none; `None` if there is no room for it.
    pub(crate) fn get_or_make(
        &mut self,
        key: &K,
        forgettable: impl Fn(&V) -> bool,
        make: impl FnOnce() -> V,
    ) -> Option<&V> {
        let known = self.index.get(key).copied();
        let at = match known.or_else(|| self.place(forgettable)) {
            None => return None,
            Some(at) if known.is_some() => at,
            Some(at) => {
                let entry = (key.clone(), make());
                match self.entries.get_mut(at) {
                    Some(place) => {
                        self.index.remove(&place.0);
                        *place = entry;
                    }
                    None => self.entries.push(entry),
                }
                self.index.insert(key.clone(), at);
                at
            }
        };
        self.entries.get(at).map(|(_, value)| value)
    }

    /// Where a newcomer may stand.
    fn place(&mut self, forgettable: impl Fn(&V) -> bool) -> Option<usize> {
        let len = self.entries.len();
        if len < self.max {
            return Some(len);
        }
        for _ in 0..self.looks.min(len) {
            let at = self.hand;
            self.hand = at.saturating_add(1);
            if self.hand >= len {
                self.hand = 0;
            }
            if self
                .entries
                .get(at)
                .is_some_and(|(_, value)| forgettable(value))
            {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn i6_the_bound_holds_and_only_the_forgettable_give_way() {
        let mut table = Table::new(3, 2);
        for key in 0..3 {
            assert_eq!(
                table.get_or_make(&key, |_| false, || key * 10),
                Some(&(key * 10))
            );
        }
        assert_eq!(table.get_or_make(&9, |_| false, || 90), None);
        assert_eq!(
            table.get_or_make(&1, |_| false, || 99),
            Some(&10),
            "known ones stay"
        );
        // Two looks reach two entries; another newcomer reaches the third.
        let only = |value: &i32| *value == 20;
        let mut placed = 0;
        for key in 3..6 {
            placed += usize::from(table.get_or_make(&key, only, || 1).is_some());
        }
        assert_eq!(placed, 1);
        let mut values: Vec<i32> = table.values().copied().collect();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 10]);
        assert_eq!(
            table.get_or_make(&2, |_| false, || 2),
            None,
            "what was forgotten is gone"
        );
    }
}
