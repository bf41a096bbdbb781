//! The bytes that all partitions share: the total bound, and who has to give when it is reached.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use tenant_context::Monotonic;

use crate::{
    bounds::Bounds,
    entry::AnyEntry,
    partition::{Gone, Partition, Place, Put},
    room::{Held, Purged, Room},
    sync::{AtomicU64, AtomicUsize, Mutex, Ordering, yield_now},
};

/// All partitions together. An insertion has its bytes before it is stored, and takes them from whoever is above its floor: so
/// the total is never exceeded, and a floor is never touched by a neighbour.
pub(crate) struct Pool {
    max_bytes: u64,
    /// Bytes that are held, those of purged rooms and of insertions under way included.
    total: AtomicU64,
    /// Bytes of answers that are copied while they pass, all tenants together.
    passing: AtomicU64,
    /// The sum of all floors, at most `max_bytes`.
    floors: AtomicU64,
    /// Partitions above their floor, in rotation.
    above: Mutex<Above>,
    /// Purged rooms, whose memory goes back in portions.
    purged: Mutex<VecDeque<Purged>>,
    purged_len: AtomicUsize,
}

/// The partitions above their floor. A list does not keep a partition alive that is empty by now.
#[derive(Default)]
struct Above {
    partitions: VecDeque<Weak<Partition>>,
    /// How long the list may get before those that are gone are looked for.
    tidy_at: usize,
}

/// What an entry costs beside its value and key: its place in a table that doubles (149 bytes where it has just done so), its
/// slot in a ring that does (32), the reference counts, when it expires, and the allocator's own.
const OVERHEAD: u64 = 256;

/// How many entries of a purged room one insertion drops.
const PORTION: usize = 32;

/// How many places are looked through under one lock.
const STEP: usize = 512;

/// Whose excess is largest is asked among so many.
const COMPARED: usize = 8;

/// The least that is taken from one partition at once.
const LEAST: u64 = 4096;

/// How often an insertion within its floor lets other threads go first that have what is its own.
const WAITS: u32 = 10_000;

fn charged(weight: usize, key: &[u8]) -> u64 {
    u64::try_from(weight.saturating_add(key.len()))
        .unwrap_or(u64::MAX)
        .saturating_add(OVERHEAD)
}

impl Pool {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            total: AtomicU64::new(0),
            passing: AtomicU64::new(0),
            floors: AtomicU64::new(0),
            above: Mutex::default(),
            purged: Mutex::default(),
            purged_len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// Gives a partition its bounds, and takes what is beyond its ceiling. The floor is what is left for floors, if that is less:
    /// false then. One call at a time for each partition.
    pub(crate) fn plan(
        &self,
        partition: &Arc<Partition>,
        bounds: Bounds,
        now: Monotonic,
        gone: &mut Gone,
    ) -> bool {
        let bounds = bounds.within(self.max_bytes);
        let (had, asked) = (partition.bounds().floor_bytes(), bounds.floor_bytes());
        let mut granted = 0;
        // The closure always answers: there is no error to see.
        self.floors
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |floors| {
                let others = floors.saturating_sub(had);
                granted = asked.min(self.max_bytes.saturating_sub(others));
                Some(others.saturating_add(granted))
            })
            .ok();
        let bounds = Bounds::ceiling(bounds.ceiling_bytes()).floor(granted);
        self.give_back(partition.set_bounds(bounds, now, gone));
        self.list(partition);
        granted == asked
    }

    /// Makes room for so many more bytes of an answer that is copied while it passes; false if its tenant's would be above its
    /// ceiling, or all together above the whole. To be given back with [`passed`](Self::passed).
    pub(crate) fn pass(&self, partition: &Partition, bytes: u64) -> bool {
        let most = partition.bounds().ceiling_bytes();
        let all = self.passing.fetch_add(bytes, Ordering::AcqRel);
        let own = partition.passing.fetch_add(bytes, Ordering::AcqRel);
        let fits = own.saturating_add(bytes) <= most && all.saturating_add(bytes) <= self.max_bytes;
        if !fits {
            self.passed(partition, bytes);
        }
        fits
    }

    pub(crate) fn passed(&self, partition: &Partition, bytes: u64) {
        self.passing.fetch_sub(bytes, Ordering::AcqRel);
        partition.passing.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The floor of a partition that is no more is nobody's.
    pub(crate) fn release_floor(&self, partition: &Partition) {
        self.floors
            .fetch_sub(partition.bounds().floor_bytes(), Ordering::AcqRel);
    }

    /// Whether an entry of `weight` bytes, its key not counted, is within its tenant's ceiling.
    pub(crate) fn fits(partition: &Partition, weight: usize, key: &[u8]) -> bool {
        let most = partition.bounds().ceiling_bytes();
        charged(weight, key) <= most
    }

    /// Stores an entry of `weight` bytes, its key not counted. A value that alone is above the ceiling, and one
    /// that nobody has to make room for, is not stored; its key has none then. What leaves is put into `gone`.
    pub(crate) fn insert(
        &self,
        partition: &Arc<Partition>,
        place: Place<'_>,
        (entry, weight): (Arc<AnyEntry>, usize),
        now: Monotonic,
        gone: &mut Gone,
    ) -> bool {
        self.unload(PORTION, gone);
        let bytes = charged(weight, place.key);
        if bytes > partition.bounds().ceiling_bytes() || entry.is_expired(now) {
            self.remove(partition, place.hash, place.key, gone);
            return false;
        }
        let mut found = 0;
        let take = |missing| self.take(missing);
        let mut put = partition.put(place, (entry, bytes), found, now, gone, take);
        if let Put::Short { entry, missing } = put {
            if let Err(lacking) = self.find_room(partition, missing, now, gone) {
                partition.give_up(bytes);
                self.give_back(bytes.saturating_sub(lacking));
                return false;
            }
            found = bytes;
            put = partition.put(place, (entry, bytes), found, now, gone, |_| false);
        }
        let Put::Stored { over } = put else {
            self.give_back(found);
            return false;
        };
        self.give_back(over);
        self.list(partition);
        true
    }

    pub(crate) fn remove(&self, partition: &Partition, hash: u64, key: &[u8], gone: &mut Gone) {
        if let Some(held) = partition.remove(hash, key) {
            self.give_back(held.bytes());
            gone.push(held);
        }
    }

    /// Looks through `most` places for dead entries, some at a time: readers wait for one portion only.
    pub(crate) fn sweep(&self, partition: &Partition, most: usize, now: Monotonic) {
        // A room has no more places than four for each entry, and some.
        let mut left = most.min(partition.len().saturating_mul(4).saturating_add(STEP));
        while left != 0 && !partition.is_empty() {
            let mut gone = Gone::new();
            partition.sweep(left.min(STEP), now, &mut gone);
            self.give_back(gone.iter().map(Held::bytes).fold(0, u64::saturating_add));
            left = left.saturating_sub(STEP);
        }
    }

    /// Takes a purged room in: it counts until its memory has gone back.
    pub(crate) fn discard(&self, room: Room) {
        if room.bytes() == 0 {
            return;
        }
        let room = room.purged();
        let mut purged = self.purged.lock();
        purged.push_back(room);
        self.purged_len.store(purged.len(), Ordering::Release);
    }

    /// Takes some entries out of purged rooms; false if there are none.
    pub(crate) fn unload(&self, most: usize, gone: &mut Gone) -> bool {
        if self.purged_len.load(Ordering::Acquire) == 0 {
            return false;
        }
        // Its tables are dropped after the lock.
        let empty;
        {
            let mut purged = self.purged.lock();
            let Some(room) = purged.front_mut() else {
                return false;
            };
            let before = room.bytes();
            gone.extend(room.unload(most));
            self.give_back(before.saturating_sub(room.bytes()));
            empty = if room.is_unloaded() {
                purged.pop_front()
            } else {
                None
            };
            self.purged_len.store(purged.len(), Ordering::Release);
        }
        drop(empty);
        true
    }

    /// Counts so many bytes more, if they fit into the whole.
    fn take(&self, bytes: u64) -> bool {
        self.total
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |total| {
                total
                    .checked_add(bytes)
                    .filter(|more| *more <= self.max_bytes)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        if bytes != 0 {
            self.total.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    fn list(&self, partition: &Arc<Partition>) {
        if partition.excess() != 0 && partition.list() {
            let mut above = self.above.lock();
            above.partitions.push_back(Arc::downgrade(partition));
            let length = above.partitions.len();
            if length > above.tidy_at.max(COMPARED) {
                above.partitions.retain(|it| it.strong_count() != 0);
                above.tidy_at = above.partitions.len().saturating_mul(2);
            }
        }
    }

    /// Finds so many bytes for an insertion of `own`: those that are free, or of purged rooms, or of whoever is furthest
    /// above its floor, or else its own. What one insertion has found no other takes. `Err`: how many are not to be had.
    ///
    /// Within its floor it takes none of its own. All floors together fit, so there is somebody above: a partition, or an insertion that is
    /// about to be stored or given up, and that one waits for nobody.
    fn find_room(
        &self,
        own: &Partition,
        mut missing: u64,
        now: Monotonic,
        gone: &mut Gone,
    ) -> Result<(), u64> {
        let mut waits = WAITS;
        while !self.take(missing) {
            if self.unload(PORTION, gone) {
                continue;
            }
            let left = if let Some(victim) = self.furthest_above() {
                victim.give_way(missing.max(LEAST), now, gone)
            } else if own.is_within_floor() {
                waits = waits.checked_sub(1).ok_or(missing)?;
                yield_now();
                continue;
            } else {
                match own.make_room(missing, now, gone) {
                    0 => return Err(missing),
                    left => left,
                }
            };
            self.give_back(left.saturating_sub(missing));
            missing = missing.saturating_sub(left);
            if missing == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The partition with the largest excess among the next few of the rotation, in which it stays.
    fn furthest_above(&self) -> Option<Arc<Partition>> {
        let mut above = self.above.lock();
        let (mut best, mut compared) = (None::<Arc<Partition>>, 0);
        for _ in 0..above.partitions.len() {
            let Some(listed) = above.partitions.pop_front() else {
                break;
            };
            let Some(next) = listed.upgrade() else {
                continue;
            };
            if next.excess() == 0 && next.unlist() {
                continue;
            }
            above.partitions.push_back(listed);
            if best.as_ref().is_none_or(|it| it.excess() < next.excess()) {
                best = Some(next);
            }
            compared = usize::saturating_add(compared, 1);
            if compared == COMPARED {
                break;
            }
        }
        best
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use crate::entry::{Entry, Life};
    use loom::thread;

    /// What an entry without a value costs under a key of one byte.
    const ENTRY: u64 = OVERHEAD + 1;

    /// Two switches a run beside those of waiting: all schedules are too many.
    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(run);
    }

    fn partition(pool: &Pool, floor: u64) -> Arc<Partition> {
        let partition = Arc::new(Partition::new());
        let bounds = Bounds::ceiling(pool.max_bytes).floor(floor);
        pool.plan(&partition, bounds, Monotonic::default(), &mut Gone::new());
        partition
    }

    const fn place(key: &[u8; 1], generation: u64) -> Place<'_> {
        Place {
            hash: key[0] as u64,
            key,
            generation,
        }
    }

    fn insert(pool: &Pool, partition: &Arc<Partition>, key: &[u8; 1]) -> bool {
        let entry = Arc::new(Entry::new(Life::default(), ()));
        let (now, mut gone) = (Monotonic::default(), Gone::new());
        pool.insert(partition, place(key, 0), (entry, 0), now, &mut gone)
    }

    #[test]
    fn two_insertions_that_do_not_both_fit_are_counted_once_each() {
        model(|| {
            let pool = Arc::new(Pool::new(ENTRY + 100));
            let (a, b) = (partition(&pool, 0), partition(&pool, 0));
            let other = {
                let (pool, b) = (Arc::clone(&pool), Arc::clone(&b));
                thread::spawn(move || insert(&pool, &b, b"b"))
            };
            insert(&pool, &a, b"a");
            assert!(pool.total() <= pool.max_bytes);
            other.join().unwrap();
            assert_eq!(pool.total(), a.bytes() + b.bytes());
            assert!(pool.total() <= pool.max_bytes);
        });
    }

    #[test]
    fn a_floor_is_there_for_its_tenant_while_a_neighbour_inserts() {
        model(|| {
            let pool = Arc::new(Pool::new(ENTRY + 100));
            let (a, b) = (partition(&pool, ENTRY), partition(&pool, 0));
            let full = partition(&pool, 0);
            insert(&pool, &full, b"f");
            let other = {
                let (pool, b) = (Arc::clone(&pool), Arc::clone(&b));
                thread::spawn(move || insert(&pool, &b, b"b"))
            };
            assert!(insert(&pool, &a, b"a"));
            other.join().unwrap();
            assert!(a.find(place(b"a", 0), Monotonic::default()).is_some());
            assert_eq!(pool.total(), a.bytes());
        });
    }

    #[test]
    fn what_began_before_a_purge_is_not_found_after_it_and_all_bytes_come_back() {
        model(|| {
            let pool = Arc::new(Pool::new(2 * ENTRY));
            let a = partition(&pool, 0);
            insert(&pool, &a, b"1");
            let purging = {
                let (pool, a) = (Arc::clone(&pool), Arc::clone(&a));
                thread::spawn(move || pool.discard(a.purge()))
            };
            insert(&pool, &a, b"2");
            purging.join().unwrap();
            for key in [b"1", b"2"] {
                let found = a.find(place(key, a.epoch().generation), Monotonic::default());
                assert!(found.is_none());
            }
            while pool.unload(PORTION, &mut Gone::new()) {}
            assert_eq!((pool.total(), a.bytes()), (0, 0));
        });
    }
}
