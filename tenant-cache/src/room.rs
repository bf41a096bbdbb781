//! One tenant's entries: a bounded map whose eviction can be told how much to give back.
//!
//! Eviction is CLOCK (Corbató, 1968): a hand goes round the slots, spares once what was read since it came by, and
//! takes what is dead at once. There is no clock and no lock here.

use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::{
    entry::AnyEntry,
    sync::{AtomicBool, Ordering},
};

/// The entries of one partition. Empty, it holds no memory.
#[derive(Default)]
pub(crate) struct Room {
    table: HashTable<usize>,
    slots: Vec<Slot>,
    /// The first of the free slots, which are chained.
    free: Option<usize>,
    /// Where eviction looks next.
    hand: usize,
    /// Where the search for dead entries goes on.
    broom: usize,
    bytes: u64,
}

enum Slot {
    Free(Option<usize>),
    Full(Held),
}

/// An entry in its place.
pub(crate) struct Held {
    hash: u64,
    /// Short keys stand here: one miss of the processor's cache less for each look.
    key: SmallVec<[u8; 24]>,
    entry: Arc<AnyEntry>,
    bytes: u64,
    used: AtomicBool,
}

impl Held {
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn entry(&self) -> &Arc<AnyEntry> {
        &self.entry
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
        let at = *self.table.find(hash, |at| self.is_at(*at, hash, key))?;
        let held = self.held(at)?;
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
        let held = Slot::Full(Held {
            hash,
            key: SmallVec::from_slice(key),
            entry,
            bytes,
            used: AtomicBool::new(false),
        });
        let at = if let Some(at) = self.free {
            if let Some(slot) = self.slots.get_mut(at)
                && let Slot::Free(next) = std::mem::replace(slot, held)
            {
                self.free = next;
            }
            at
        } else {
            self.slots.push(held);
            self.slots.len().saturating_sub(1)
        };
        self.bytes = self.bytes.saturating_add(bytes);
        let slots = &self.slots;
        self.table.insert_unique(hash, at, |at| hash_of(slots, *at));
        old
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Held> {
        let at = *self.table.find(hash, |at| self.is_at(*at, hash, key))?;
        self.take(at)
    }

    /// Takes what is worth least: dead, or not read since the hand was there.
    pub(crate) fn evict(&mut self, is_dead: impl Fn(&AnyEntry) -> bool) -> Option<Held> {
        // The second round finds nothing that was read.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = self.next(at);
            if let Some(held) = self.held(at)
                && (!held.used.swap(false, Ordering::Relaxed) || is_dead(&held.entry))
            {
                return self.take(at);
            }
        }
        None
    }

    /// Looks at the next `most` slots, and hands over what is dead there.
    pub(crate) fn sweep(
        &mut self,
        most: usize,
        is_dead: impl Fn(&AnyEntry) -> bool,
        dead: &mut Vec<Held>,
    ) {
        for _ in 0..most.min(self.slots.len()) {
            let at = self.broom;
            self.broom = self.next(at);
            if self.held(at).is_some_and(|held| is_dead(&held.entry)) {
                dead.extend(self.take(at));
            }
        }
        self.shrink();
    }

    /// Takes up to `most` entries off the end, whatever they are.
    pub(crate) fn unload(&mut self, most: usize) -> Vec<Held> {
        self.table = HashTable::new();
        self.free = None;
        let keep = self.slots.len().saturating_sub(most);
        let gone: Vec<Held> = self
            .slots
            .drain(keep..)
            .filter_map(|slot| match slot {
                Slot::Full(held) => Some(held),
                Slot::Free(_) => None,
            })
            .collect();
        for held in &gone {
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
        gone
    }

    /// Whether [`unload`](Self::unload) has handed out everything.
    pub(crate) const fn is_unloaded(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Full(held) => Some(held),
            Slot::Free(_) => None,
        })
    }

    /// Gives memory back once three slots in four are free.
    fn shrink(&mut self) {
        if self.table.is_empty() {
            *self = Self::default();
        } else if self.slots.len() > SMALL && self.len() < self.slots.len() / 4 {
            let kept: Vec<Slot> = std::mem::take(&mut self.slots)
                .into_iter()
                .filter(|slot| matches!(slot, Slot::Full(_)))
                .collect();
            let mut table = HashTable::with_capacity(kept.len());
            for at in 0..kept.len() {
                table.insert_unique(hash_of(&kept, at), at, |at| hash_of(&kept, *at));
            }
            (self.table, self.slots, self.free) = (table, kept, None);
            (self.hand, self.broom) = (0, 0);
        }
    }

    const fn next(&self, at: usize) -> usize {
        let next = at.saturating_add(1);
        if next < self.slots.len() { next } else { 0 }
    }

    fn held(&self, at: usize) -> Option<&Held> {
        match self.slots.get(at) {
            Some(Slot::Full(held)) => Some(held),
            _ => None,
        }
    }

    fn is_at(&self, at: usize, hash: u64, key: &[u8]) -> bool {
        self.held(at)
            .is_some_and(|held| held.hash == hash && *held.key == *key)
    }

    fn take(&mut self, at: usize) -> Option<Held> {
        let free = self.free;
        let slot = self.slots.get_mut(at)?;
        match std::mem::replace(slot, Slot::Free(free)) {
            Slot::Full(held) => {
                self.free = Some(at);
                if let Ok(place) = self.table.find_entry(held.hash, |other| *other == at) {
                    place.remove();
                }
                self.bytes = self.bytes.saturating_sub(held.bytes);
                Some(held)
            }
            free @ Slot::Free(_) => {
                *slot = free;
                None
            }
        }
    }
}

fn hash_of(slots: &[Slot], at: usize) -> u64 {
    match slots.get(at) {
        Some(Slot::Full(held)) => held.hash,
        _ => 0,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
