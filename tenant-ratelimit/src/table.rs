//! A table that forgets only what may be forgotten.

use hashbrown::HashTable;

/// Entries, and a hand that goes round: who looks for one that may be forgotten looks at a few, so nobody
/// pays for a sweep of all.
///
/// Who asks has hashed the key, with a secret: whoever chooses keys cannot make them collide.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    index: HashTable<u32>,
    entries: Vec<Entry<K, V>>,
    hand: usize,
    looks: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl<K: Clone + Eq, V> Table<K, V> {
    /// A table of which `looks` entries are looked at for each newcomer at the bound.
    pub(crate) const fn new(looks: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            hand: 0,
            looks,
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|entry| (&entry.key, &entry.value))
    }

    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let entry = |place: &u32| self.entries.get(at(*place));
        let is = |place: &u32| entry(place).is_some_and(|entry| entry.key == *key);
        let place = self.index.find(hash, is)?;
        entry(place).map(|entry| &entry.value)
    }

    /// Adds an entry, whose key is not known yet.
    pub(crate) fn push(&mut self, hash: u64, key: &K, value: V) -> Option<&V> {
        let place = u32::try_from(self.entries.len()).ok()?;
        let key = key.clone();
        self.entries.push(Entry { hash, key, value });
        self.add_to_index(hash, place);
        self.entries.last().map(|entry| &entry.value)
    }

    /// Puts an entry, whose key is not known yet, in the place of one that may be forgotten, if the hand
    /// meets one.
    pub(crate) fn replace(
        &mut self,
        hash: u64,
        key: &K,
        forgettable: impl Fn(&V) -> bool,
        make: impl FnOnce() -> V,
    ) -> Option<&V> {
        let place = self.forgettable(forgettable)?;
        self.take_from_index(place);
        let (key, value) = (key.clone(), make());
        *self.entries.get_mut(at(place))? = Entry { hash, key, value };
        self.add_to_index(hash, place);
        self.entries.get(at(place)).map(|entry| &entry.value)
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
            if let Some(hash) = self.entries.get(at(place)).map(|entry| entry.hash) {
                self.add_to_index(hash, place);
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
                .is_some_and(|entry| forgettable(&entry.value))
            {
                return u32::try_from(at).ok();
            }
        }
        None
    }

    fn add_to_index(&mut self, hash: u64, place: u32) {
        let entries = &self.entries;
        let hash_of = |place: &u32| entries.get(at(*place)).map_or(0, |entry| entry.hash);
        self.index.insert_unique(hash, place, hash_of);
    }

    fn take_from_index(&mut self, place: u32) {
        if let Some(Entry { hash, .. }) = self.entries.get(at(place))
            && let Ok(entry) = self.index.find_entry(*hash, |known| *known == place)
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
            assert_eq!(table.push(7, &key, key * 10), Some(&(key * 10)));
        }
        assert_eq!(table.replace(7, &9, |_| false, || 90), None);
        assert!(!table.forget(|_| false));
        assert_eq!(table.get(7, &1), Some(&10), "known ones stay");
        // Two looks reach two entries; the next ones reach the third.
        let only = |value: &i32| *value == 20;
        let placed = (3..6).filter(|key| table.replace(7, key, only, || 1).is_some());
        assert_eq!(placed.count(), 1);
        let values = |table: &Table<i32, i32>| {
            let mut values: Vec<i32> = table.entries().map(|(_, value)| *value).collect();
            values.sort_unstable();
            values
        };
        assert_eq!(values(&table), [0, 1, 10]);
        assert_eq!(table.get(7, &2), None, "what was forgotten is gone");
        while !table.forget(|value| *value == 0) {}
        assert_eq!(values(&table), [1, 10]);
        assert_eq!((table.get(7, &0), table.get(7, &1)), (None, Some(&10)));
        assert!(table.forget(|_| true) && table.forget(|_| true) && !table.forget(|_| true));
        assert_eq!(table.get(7, &1), None);
    }
}
