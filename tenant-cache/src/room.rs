//! One tenant's entries: a bounded map whose eviction can be told how much to give back.
//!
//! Eviction is CLOCK (Corbató, 1968): a hand goes round the slots, spares once what was read since it came by, and
//! takes what is dead at once. There is no clock and no lock here.

use std::sync::Arc;

use hashbrown::{HashTable, hash_table};

use crate::{
    entry::AnyEntry,
    sync::{AtomicBool, Ordering},
};

/// The entries of one partition. Empty, it holds no memory.
#[derive(Default)]
pub(crate) struct Room {
    /// A look goes from here to the entry and nowhere else.
    table: HashTable<Held>,
    /// The order in which the hand goes round.
    ring: Vec<Slot>,
    /// The first of the free slots, which are chained.
    free: Option<usize>,
    /// Where eviction looks next.
    hand: usize,
    /// Where in the table the search for dead entries goes on.
    broom: usize,
    bytes: u64,
}

#[derive(Clone, Copy)]
enum Slot {
    Free(Option<usize>),
    /// The hash of the entry that has this slot.
    Full(u64),
}

/// An entry in its place: what a look reads of it stands in one line of the processor's cache.
#[repr(align(64))]
pub(crate) struct Held {
    key: Key,
    entry: Arc<AnyEntry>,
    bytes: u64,
    slot: usize,
    used: AtomicBool,
}

#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Held>() == 64);

/// Short keys stand here: one miss of the processor's cache less for each look.
enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// A number under its namespace, or two small ones.
const SHORT: usize = 22;

impl Key {
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (u8::try_from(key.len()), bytes.get_mut(..key.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(key);
                Self::Short { length, bytes }
            }
            _ => Self::Long(key.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(key) => key,
        }
    }
}

impl Held {
    pub(crate) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn entry(&self) -> &Arc<AnyEntry> {
        &self.entry
    }
}

/// A room that was purged, on its way out.
pub(crate) struct Purged {
    entries: hash_table::IntoIter<Held>,
    bytes: u64,
}

impl Purged {
    /// Bytes charged.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes up to `most` entries out, whatever they are.
    pub(crate) fn unload(&mut self, most: usize) -> Vec<Held> {
        let gone: Vec<Held> = self.entries.by_ref().take(most).collect();
        for held in &gone {
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
        gone
    }

    /// Whether [`unload`](Self::unload) has handed out everything.
    pub(crate) fn is_unloaded(&self) -> bool {
        self.entries.len() == 0
    }
}

/// Fewer slots are not worth a move.
const SMALL: usize = 64;

impl Room {
    /// Bytes charged.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&Arc<AnyEntry>> {
        let held = self.table.find(hash, |held| held.key() == key)?;
        // A store only where it changes something: readers share the line.
        if !held.used.load(Ordering::Relaxed) {
            held.used.store(true, Ordering::Relaxed);
        }
        Some(&held.entry)
    }

    /// Puts an entry in place of what the key had, which comes back.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        key: &[u8],
        entry: Arc<AnyEntry>,
        bytes: u64,
    ) -> Option<Held> {
        let old = self.remove(hash, key);
        let held = Held {
            key: Key::new(key),
            entry,
            bytes,
            slot: self.claim(hash),
            used: AtomicBool::new(false),
        };
        self.bytes = self.bytes.saturating_add(bytes);
        let ring = &self.ring;
        self.table
            .insert_unique(hash, held, |held| hash_of(ring, held.slot));
        old
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Held> {
        let place = self.table.find_entry(hash, |held| held.key() == key).ok()?;
        let held = place.remove().0;
        self.left(&held);
        Some(held)
    }

    /// Takes what is worth least: dead, or not read since the hand was there.
    pub(crate) fn evict(&mut self, is_dead: impl Fn(&AnyEntry) -> bool) -> Option<Held> {
        // The second round finds nothing that was read.
        for _ in 0..self.ring.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = next(at, self.ring.len());
            if let Some(Slot::Full(hash)) = self.ring.get(at)
                && let Ok(place) = self.table.find_entry(*hash, |held| held.slot == at)
                && (!place.get().used.swap(false, Ordering::Relaxed) || is_dead(&place.get().entry))
            {
                let held = place.remove().0;
                self.left(&held);
                return Some(held);
            }
        }
        None
    }

    /// Looks at the next `most` places of the table, and hands over what is dead there.
    pub(crate) fn sweep(
        &mut self,
        most: usize,
        is_dead: impl Fn(&AnyEntry) -> bool,
        dead: &mut Vec<Held>,
    ) {
        let places = self.table.num_buckets();
        for _ in 0..most.min(places) {
            let at = self.broom;
            self.broom = next(at, places);
            if let Ok(place) = self.table.get_bucket_entry(at)
                && is_dead(&place.get().entry)
            {
                let held = place.remove().0;
                self.left(&held);
                dead.push(held);
            }
        }
        self.shrink();
    }

    /// All that it holds, to be taken out in portions.
    pub(crate) fn purged(self) -> Purged {
        Purged {
            entries: self.table.into_iter(),
            bytes: self.bytes,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.table.iter()
    }

    /// Gives memory back once three places in four are free.
    fn shrink(&mut self) {
        let places = self.table.num_buckets().max(self.ring.len());
        if self.table.is_empty() {
            *self = Self::default();
        } else if places > SMALL && self.len() < places / 4 {
            let mut table = HashTable::with_capacity(self.len());
            let mut ring = Vec::with_capacity(self.len());
            for (at, slot) in self.ring.iter().enumerate() {
                if let Slot::Full(hash) = slot
                    && let Ok(place) = self.table.find_entry(*hash, |held| held.slot == at)
                {
                    let mut held = place.remove().0;
                    held.slot = ring.len();
                    ring.push(*slot);
                    table.insert_unique(*hash, held, |held: &Held| hash_of(&ring, held.slot));
                }
            }
            (self.table, self.ring, self.free) = (table, ring, None);
            (self.hand, self.broom) = (0, 0);
        }
    }

    /// A slot for an entry of this hash.
    fn claim(&mut self, hash: u64) -> usize {
        if let Some(at) = self.free
            && let Some(slot) = self.ring.get_mut(at)
            && let Slot::Free(next) = std::mem::replace(slot, Slot::Full(hash))
        {
            self.free = next;
            return at;
        }
        self.ring.push(Slot::Full(hash));
        self.ring.len().saturating_sub(1)
    }

    /// An entry has left the table.
    fn left(&mut self, held: &Held) {
        if let Some(slot) = self.ring.get_mut(held.slot) {
            *slot = Slot::Free(self.free.replace(held.slot));
        }
        self.bytes = self.bytes.saturating_sub(held.bytes);
    }
}

const fn next(at: usize, count: usize) -> usize {
    let next = at.saturating_add(1);
    if next < count { next } else { 0 }
}

fn hash_of(ring: &[Slot], at: usize) -> u64 {
    match ring.get(at) {
        Some(Slot::Full(hash)) => *hash,
        _ => 0,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
