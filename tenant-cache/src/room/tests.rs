//! The map against a plain one, and what eviction spares.

use std::{cell::Cell, collections::HashMap};

use proptest::prelude::*;

use super::*;
use crate::entry::{Entry, Life};

fn entry(value: u32) -> Arc<AnyEntry> {
    Arc::new(Entry::new(Life::default(), value))
}

/// Few different hashes, so that they collide.
fn put(room: &mut Room, key: u8, value: u32, bytes: u64) -> Option<Held> {
    room.insert(u64::from(key % 3), &[key], entry(value), bytes)
}

fn value(room: &Room, key: u8) -> Option<u32> {
    room.get(u64::from(key % 3), &[key])?
        .value::<u32>()
        .copied()
}

const NONE_DEAD: fn(&AnyEntry) -> bool = |_| false;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32, u64),
    Remove(u8),
    Evict,
    Sweep(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_u8, 0..8_u32, 1..100_u64).prop_map(|(key, value, bytes)| Step::Put(key, value, bytes)),
        2 => (0..40_u8).prop_map(Step::Remove),
        1 => Just(Step::Evict),
        1 => (1..200_usize, 0..8_u32).prop_map(|(most, dead)| Step::Sweep(most, dead)),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map_whatever_is_evicted(steps in prop::collection::vec(step(), 0..300)) {
        let mut room = Room::default();
        let mut model: HashMap<u8, (u32, u64)> = HashMap::new();
        for step in steps {
            match step {
                Step::Put(key, value, bytes) => {
                    let old = put(&mut room, key, value, bytes);
                    prop_assert_eq!(old.is_some(), model.insert(key, (value, bytes)).is_some());
                }
                Step::Remove(key) => {
                    let old = room.remove(u64::from(key % 3), &[key]);
                    prop_assert_eq!(old.is_some(), model.remove(&key).is_some());
                }
                Step::Evict => match room.evict(NONE_DEAD) {
                    Some(held) => prop_assert!(model.remove(&held.key()[0]).is_some()),
                    None => prop_assert!(model.is_empty()),
                },
                Step::Sweep(most, dead) => {
                    let mut gone = Vec::new();
                    room.sweep(most, |entry| entry.value::<u32>() == Some(&dead), &mut gone);
                    for held in gone {
                        prop_assert_eq!(model.remove(&held.key()[0]).unwrap().0, dead);
                    }
                }
            }
            prop_assert_eq!(room.len(), model.len());
            prop_assert_eq!(room.bytes(), model.values().map(|it| it.1).sum::<u64>());
            for key in 0..40 {
                prop_assert_eq!(value(&room, key), model.get(&key).map(|it| it.0));
            }
        }
    }
}

#[test]
fn what_is_read_is_spared_once() {
    let mut room = Room::default();
    for key in 0..4 {
        put(&mut room, key, 0, 1);
    }
    assert_eq!(value(&room, 0), Some(0));
    let evicted = |room: &mut Room| room.evict(NONE_DEAD).unwrap().key()[0];
    assert_eq!(evicted(&mut room), 1);
    assert_eq!(evicted(&mut room), 2);
    assert_eq!(evicted(&mut room), 3);
    assert_eq!(evicted(&mut room), 0);
    assert!(room.evict(NONE_DEAD).is_none());
}

#[test]
fn what_is_dead_goes_although_it_was_read() {
    let mut room = Room::default();
    for key in 0..4 {
        put(&mut room, key, u32::from(key), 1);
        assert!(value(&room, key).is_some());
    }
    let dead = |entry: &AnyEntry| entry.value::<u32>() == Some(&2);
    assert_eq!(room.evict(dead).unwrap().key(), [2]);
}

#[test]
fn keys_of_one_hash_are_told_apart_whatever_their_length() {
    let mut room = Room::default();
    let keys: Vec<Vec<u8>> = (0..2 * SHORT).map(|length| vec![0; length]).collect();
    for (value, key) in (0..).zip(&keys) {
        assert!(room.insert(7, key, entry(value), 1).is_none());
    }
    for (value, key) in (0..).zip(&keys) {
        let found = room.get(7, key).and_then(|entry| entry.value::<u32>());
        assert_eq!(found, Some(&value), "{} bytes", key.len());
        assert_eq!(room.remove(7, key).unwrap().key(), key);
        assert!(room.get(7, key).is_none());
    }
}

#[test]
fn a_search_in_portions_comes_by_every_entry_once_a_round() {
    let mut room = Room::default();
    for key in 0..=255 {
        put(&mut room, key, u32::from(key % 2), 1);
    }
    let seen = Cell::new(0);
    let dead = |entry: &AnyEntry| {
        seen.set(seen.get() + 1);
        entry.value::<u32>() == Some(&1)
    };
    let (places, mut gone) = (room.table.num_buckets(), Vec::new());
    for _ in 0..places.div_ceil(8) {
        room.sweep(8, dead, &mut gone);
    }
    assert_eq!((seen.get(), gone.len(), room.len()), (256, 128, 128));
}

#[test]
fn i6_memory_goes_back_with_the_entries() {
    let mut room = Room::default();
    for key in 0..=255 {
        put(&mut room, key, u32::from(key), 1);
    }
    let mut gone = Vec::new();
    room.sweep(1000, |entry| entry.value::<u32>() != Some(&7), &mut gone);
    assert_eq!((room.len(), room.ring.len()), (1, 1));
    assert!(room.table.num_buckets() <= 4);
    assert_eq!(value(&room, 7), Some(7));
    put(&mut room, 8, 8, 1);
    assert_eq!((value(&room, 7), value(&room, 8)), (Some(7), Some(8)));
    room.sweep(1000, |_| true, &mut gone);
    assert_eq!((room.ring.capacity(), room.table.capacity()), (0, 0));
}

#[test]
fn a_purged_room_is_unloaded_in_portions() {
    let mut room = Room::default();
    for key in 0..10 {
        put(&mut room, key, 0, 3);
    }
    room.remove(1, &[1]);
    let (mut room, mut seen) = (room.purged(), 0);
    while !room.is_unloaded() {
        let gone = room.unload(4);
        assert!(gone.len() <= 4);
        seen += gone.len();
    }
    assert_eq!((seen, room.bytes()), (9, 0));
}
