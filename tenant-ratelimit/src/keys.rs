//! A tenant's keyed cells: bounded, and without amnesty.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;

use crate::{cells::Level, key::Key};

/// How many cells are looked at for each newcomer while there is room, and when there is none.
const LOOKS: [usize; 2] = [2, 16];

/// What a cell is counted by: an index into the rules of keyed dimensions, or, from
/// [`CARRIED`](Self::CARRIED) on, into the tenant's own list of budgets that delegations carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) u16);

/// A keyed cell. 48 bytes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) level: Level,
}

impl Slot {
    pub(crate) const fn kind(&self) -> Kind {
        self.level.kind()
    }
}

/// A newcomer's place, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) at: u32,
    pub(crate) replaced: Option<Kind>,
}

/// How many keyed cells all tenants together may have. Every newcomer writes it: alone in its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Places {
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }

    fn take(&self) -> bool {
        let more = |taken: usize| taken.checked_add(1).filter(|taken| *taken <= self.most);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, places: usize) {
        self.taken.fetch_sub(places, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// At most so many cells. A newcomer takes the place of one that is like new again if one is found: a
/// hand that goes round looks at a few cells for each, so nobody pays for a sweep of all. Else it takes a free place.
///
/// A place is known by its number. Whoever keeps the number finds the cell there as long as its key is the
/// same; it is no reference, so nobody keeps a cell from being forgotten.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    hand: usize,
}

impl Keys {
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The cell at this place, if it is still this key's.
    #[inline]
    pub(crate) fn at(&self, place: u32, key: Key) -> Option<&Slot> {
        let slot = self.slots.get(usize::try_from(place).ok()?)?;
        (slot.key == key).then_some(slot)
    }

    /// The place of this key's cell, if it has one.
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        let is = |place: &u32| self.at(*place, key).is_some();
        self.index.find(key.hash(), is).copied()
    }

    /// Makes a place for a newcomer; `None` if there is no room.
    pub(crate) fn place(
        &mut self,
        slot: Slot,
        share: usize,
        places: &Places,
        forgettable: impl Fn(&Slot) -> bool,
    ) -> Option<Placed> {
        let key = slot.key;
        let room = self.slots.len() < share && u32::try_from(self.slots.len()).is_ok();
        let [few, many] = LOOKS;
        let mut found = self.forgettable(if room { few } else { many }, &forgettable);
        if found.is_none() && !(room && places.take()) {
            found = Some(self.forgettable(many, &forgettable)?);
        }
        let mut replaced = None;
        let place = if let Some(place) = found {
            let old = self.slots.get_mut(usize::try_from(place).ok()?)?;
            let old = std::mem::replace(old, slot);
            let is = |known: &u32| *known == place;
            if let Ok(entry) = self.index.find_entry(old.key.hash(), is) {
                entry.remove();
            }
            replaced = Some(old.kind());
            place
        } else {
            if self.slots.len() == self.slots.capacity() {
                // A quarter more: at a million keys half a table of air would be 16 MB.
                self.slots.reserve_exact((self.slots.len() / 4).max(4));
            }
            let place = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(slot);
            place
        };
        let slots = &self.slots;
        let hash = |place: &u32| {
            let slot = usize::try_from(*place).ok().and_then(|at| slots.get(at));
            slot.map_or(0, |slot| slot.key.hash())
        };
        self.index.insert_unique(key.hash(), place, hash);
        Some(Placed {
            at: place,
            replaced,
        })
    }

    /// The place of a cell that may be forgotten, if the hand meets one.
    fn forgettable(&mut self, looks: usize, forgettable: impl Fn(&Slot) -> bool) -> Option<u32> {
        let len = self.slots.len();
        for _ in 0..looks.min(len) {
            let at = self.hand;
            self.hand = at.saturating_add(1);
            if self.hand >= len {
                self.hand = 0;
            }
            if self.slots.get(at).is_some_and(&forgettable) {
                return u32::try_from(at).ok();
            }
        }
        None
    }

    /// Gives all places back.
    pub(crate) fn clear(&mut self, places: &Places) {
        places.give_back(self.slots.len());
        *self = Self::default();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        Key::unverified(n.to_be_bytes())
    }

    #[test]
    fn a_cell_takes_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    #[test]
    fn i6_the_bound_holds_and_only_the_forgettable_give_way() {
        let (mut keys, places) = (Keys::default(), Places::new(10));
        let place = |keys: &mut Keys, n: u32, forgettable: fn(&Slot) -> bool| {
            let slot = Slot {
                key: key(n),
                level: Level::default(),
            };
            slot.level.set(u64::from(n));
            keys.place(slot, 3, &places, forgettable)
        };
        for n in 1..=3 {
            assert!(place(&mut keys, n, |_| false).is_some());
        }
        assert_eq!(place(&mut keys, 4, |_| false), None);
        let two = keys.find(key(2)).unwrap();
        let taken = place(&mut keys, 5, |slot| slot.level.tat() == 2).unwrap();
        assert_eq!((taken.at, taken.replaced), (two, Some(Kind(0))));
        assert_eq!(keys.find(key(2)), None, "what was forgotten is gone");
        assert!(
            keys.at(two, key(2)).is_none(),
            "also for who kept its place"
        );
        for n in [1, 3, 5] {
            let place = keys.find(key(n)).unwrap();
            assert_eq!(keys.at(place, key(n)).unwrap().level.tat(), u64::from(n));
        }
        assert_eq!(places.taken(), 3);
        keys.clear(&places);
        assert_eq!((places.taken(), keys.slots().len()), (0, 0));
    }

    #[test]
    fn i6_all_tenants_together_have_at_most_so_many() {
        let (mut one, mut two, places) = (Keys::default(), Keys::default(), Places::new(2));
        let place = |keys: &mut Keys, n: u32, forgettable: fn(&Slot) -> bool| {
            let slot = Slot {
                key: key(n),
                level: Level::default(),
            };
            keys.place(slot, 100, &places, forgettable)
        };
        assert!(place(&mut one, 1, |_| false).is_some());
        assert!(place(&mut two, 1, |_| false).is_some());
        assert!(place(&mut two, 2, |_| false).is_none());
        assert!(place(&mut two, 2, |_| true).is_some(), "its own give way");
        assert_eq!(places.taken(), 2);
    }
}
