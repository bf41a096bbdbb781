//! A table that forgets only what may be forgotten.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// Entries, and a hand that goes round: who looks for one that may be forgotten looks at a few, so nobody
/// pays for a sweep of all.
///
/// Keys are hashed with a random key: whoever chooses them cannot make them collide.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    index: HashTable<u32>,
    entries: Vec<(K, V)>,
    hasher: RandomState,
    hand: usize,
    looks: usize,
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// A table of which `looks` entries are looked at for each newcomer at the bound.
    pub(crate) fn new(looks: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            hasher: RandomState::new(),
            hand: 0,
            looks,
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let entry = |place: &u32| self.entries.get(at(*place));
        let is = |place: &u32| entry(place).is_some_and(|(known, _)| known == key);
        let place = self.index.find(self.hasher.hash_one(key), is)?;
        entry(place).map(|(_, value)| value)
    }

    /// Adds an entry, whose key is not known yet.
    pub(crate) fn push(&mut self, key: &K, value: V) -> Option<&V> {
        let place = u32::try_from(self.entries.len()).ok()?;
        self.entries.push((key.clone(), value));
        self.add_to_index(key, place);
        self.entries.last().map(|(_, value)| value)
    }

    /// Puts an entry, whose key is not known yet, in the place of one that may be forgotten, if the hand
    /// meets one.
    pub(crate) fn replace(
        &mut self,
        key: &K,
        forgettable: impl Fn(&V) -> bool,
        make: impl FnOnce() -> V,
    ) -> Option<&V> {
        let place = self.forgettable(forgettable)?;
        self.take_from_index(place);
        *self.entries.get_mut(at(place))? = (key.clone(), make());
        self.add_to_index(key, place);
        self.entries.get(at(place)).map(|(_, value)| value)
    }

    /// Forgets an entry that may be, if the hand meets one, and says whether it did.
    pub(crate) fn forget(&mut self, forgettable: impl Fn(&V) -> bool) -> bool {
        let Some(place) = self.forgettable(forgettable) else {
            return false;
        };
        let last = self.entries.len().saturating_sub(1);
        if let Ok(moved) = u32::try_from(last)
            && moved != place
        {
            self.take_from_index(moved);
            self.take_from_index(place);
            self.entries.swap_remove(at(place));
            if let Some((key, _)) = self.entries.get(at(place)) {
                let key = key.clone();
                self.add_to_index(&key, place);
            }
        } else {
            self.take_from_index(place);
            self.entries.pop();
        }
        true
    }

    fn forgettable(&mut self, forgettable: impl Fn(&V) -> bool) -> Option<u32> {
        let len = self.entries.len();
        for _ in 0..self.looks.min(len) {
            let at = if self.hand < len { self.hand } else { 0 };
            self.hand = at.saturating_add(1);
            if self
                .entries
                .get(at)
                .is_some_and(|(_, value)| forgettable(value))
            {
                return u32::try_from(at).ok();
            }
        }
        None
    }

    fn add_to_index(&mut self, key: &K, place: u32) {
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |place: &u32| {
            let entry = entries.get(at(*place));
            entry.map_or(0, |(key, _)| hasher.hash_one(key))
        };
        self.index.insert_unique(hasher.hash_one(key), place, hash);
    }

    fn take_from_index(&mut self, place: u32) {
        if let Some((key, _)) = self.entries.get(at(place))
            && let Ok(entry) = self
                .index
                .find_entry(self.hasher.hash_one(key), |known| *known == place)
        {
            entry.remove();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn i6_only_the_forgettable_give_way() {
        let mut table = Table::new(2);
        for key in 0..3 {
            assert_eq!(table.push(&key, key * 10), Some(&(key * 10)));
        }
        assert_eq!(table.replace(&9, |_| false, || 90), None);
        assert!(!table.forget(|_| false));
        assert_eq!(table.get(&1), Some(&10), "known ones stay");
        // Two looks reach two entries; the next ones reach the third.
        let only = |value: &i32| *value == 20;
        let placed = (3..6).filter(|key| table.replace(key, only, || 1).is_some());
        assert_eq!(placed.count(), 1);
        let values = |table: &Table<i32, i32>| {
            let mut values: Vec<i32> = table.entries().map(|(_, value)| *value).collect();
            values.sort_unstable();
            values
        };
        assert_eq!(values(&table), [0, 1, 10]);
        assert_eq!(table.get(&2), None, "what was forgotten is gone");
        while !table.forget(|value| *value == 0) {}
        assert_eq!(values(&table), [1, 10]);
        assert_eq!((table.get(&0), table.get(&1)), (None, Some(&10)));
        assert!(table.forget(|_| true) && table.forget(|_| true) && !table.forget(|_| true));
        assert_eq!(table.get(&1), None);
    }
}
