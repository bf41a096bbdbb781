//! One tenant's part of the cache: its number, its generation, what it holds.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tenant_context::Monotonic;

/// A tenant's partition.
///
/// Its number is never given to another tenant, and its generation is part of every key: raising it
/// makes everything stored before unreachable at once.
pub(crate) struct Partition {
    number: u64,
    generation: AtomicU64,
    /// The generation of stored responses, within [`generation`](Self::generation).
    responses: AtomicU64,
    usage: Arc<Usage>,
    ring: Mutex<Ring>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    queued: AtomicBool,
    /// Responses in a row that could not be stored, up to [`IDLE`].
    unstorable: AtomicU32,
}

/// After so many responses in a row that could not be stored, requests are not remembered until one can.
const IDLE: u32 = 256;

/// What a partition holds.
#[derive(Debug, Default)]
struct Usage {
    bytes: AtomicU64,
    entries: AtomicUsize,
    responses: AtomicUsize,
}

/// The charges of a partition, oldest first.
#[derive(Default)]
struct Ring {
    charges: VecDeque<Arc<Charge>>,
    since_sweep: usize,
}

/// When something was stored, as its key says: what is older than its partition is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) generation: u64,
    /// `None` for what is no response.
    pub(crate) responses: Option<u64>,
}

/// What one entry costs its partition, given back exactly once.
pub(crate) struct Charge {
    pub(crate) key: Arc<[u8]>,
    pub(crate) bytes: u64,
    pub(crate) epoch: Epoch,
    pub(crate) expires_at: Monotonic,
    usage: Arc<Usage>,
    released: AtomicBool,
}

impl Charge {
    /// Gives the bytes back, and says whether this call did.
    pub(crate) fn release(&self) -> bool {
        if self.released.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.usage.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.usage.entries.fetch_sub(1, Ordering::AcqRel);
        if self.epoch.responses.is_some() {
            self.usage.responses.fetch_sub(1, Ordering::AcqRel);
        }
        true
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }
}

impl Partition {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            generation: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            usage: Arc::default(),
            ring: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            unstorable: AtomicU32::new(0),
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The generation that keys of plain values carry now.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch {
            generation: self.generation.load(Ordering::Acquire),
            responses: None,
        }
    }

    /// The generations that keys of responses carry now.
    pub(crate) fn response_epoch(&self) -> Epoch {
        Epoch {
            generation: self.generation.load(Ordering::Acquire),
            responses: Some(self.responses.load(Ordering::Acquire)),
        }
    }

    /// Whether what was stored in this epoch can still be found.
    pub(crate) fn is_current(&self, epoch: Epoch) -> bool {
        epoch.generation == self.generation.load(Ordering::Acquire)
            && epoch
                .responses
                .is_none_or(|responses| responses == self.responses.load(Ordering::Acquire))
    }

    /// Makes everything unreachable.
    pub(crate) fn purge(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes all responses unreachable, and those that are being made now.
    pub(crate) fn forget_responses(&self) {
        self.responses.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.usage.bytes.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.usage.entries.load(Ordering::Acquire) == 0
    }

    pub(crate) fn has_responses(&self) -> bool {
        self.usage.responses.load(Ordering::Acquire) != 0
    }

    /// Whether to remember a request for the sake of its answer.
    pub(crate) fn remembers(&self) -> bool {
        self.unstorable.load(Ordering::Relaxed) < IDLE
    }

    /// Takes note of an answer.
    pub(crate) fn learn(&self, storable: bool) {
        let before = self.unstorable.load(Ordering::Relaxed);
        let now = if storable {
            0
        } else {
            before.saturating_add(1).min(IDLE)
        };
        // A lost update changes when remembering begins or ends, nothing else.
        if now != before {
            self.unstorable.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Charges the partition for an entry of at most `ceiling` bytes. The keys that come back have
    /// to leave the cache: what is dead first, then the oldest, until the ceiling is kept.
    pub(crate) fn admit(
        &self,
        key: Arc<[u8]>,
        bytes: u64,
        epoch: Epoch,
        expires_at: Monotonic,
        ceiling: u64,
        now: Monotonic,
    ) -> (Arc<Charge>, Vec<Arc<[u8]>>) {
        let charge = Arc::new(Charge {
            key,
            bytes,
            epoch,
            expires_at,
            usage: Arc::clone(&self.usage),
            released: AtomicBool::new(false),
        });
        let mut victims = Vec::new();
        let mut ring = self.ring.lock();
        self.usage.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.usage.entries.fetch_add(1, Ordering::AcqRel);
        if epoch.responses.is_some() {
            self.usage.responses.fetch_add(1, Ordering::AcqRel);
        }
        let full = |usage: &Usage| usage.bytes.load(Ordering::Acquire) > ceiling;
        ring.since_sweep = ring.since_sweep.saturating_add(1);
        let due = ring.since_sweep > ring.charges.len() / 2;
        let sparse = ring.charges.len() / 2
            > self
                .usage
                .entries
                .load(Ordering::Acquire)
                .saturating_add(SLACK);
        if due && (sparse || full(&self.usage)) {
            self.sweep(&mut ring, now, &mut victims);
        }
        while full(&self.usage) {
            let Some(oldest) = ring.charges.pop_front() else {
                break;
            };
            if oldest.release() {
                victims.push(Arc::clone(&oldest.key));
            }
        }
        ring.charges.push_back(Arc::clone(&charge));
        (charge, victims)
    }

    /// Forgets charges that were given back, and gives back those of entries nobody can find.
    fn sweep(&self, ring: &mut Ring, now: Monotonic, victims: &mut Vec<Arc<[u8]>>) {
        ring.charges.retain(|charge| {
            if charge.is_released() {
                return false;
            }
            if now < charge.expires_at && self.is_current(charge.epoch) {
                return true;
            }
            if charge.release() {
                victims.push(Arc::clone(&charge.key));
            }
            false
        });
        ring.since_sweep = 0;
        let len = ring.charges.len();
        ring.charges.shrink_to(len.saturating_mul(2));
    }

    /// Takes up to `most` unreachable entries off the oldest end. The second value says whether there
    /// may be more.
    pub(crate) fn take_dead(&self, most: usize) -> (Vec<Arc<[u8]>>, bool) {
        let mut keys = Vec::new();
        let mut ring = self.ring.lock();
        for _ in 0..most {
            match ring.charges.front() {
                Some(charge) if charge.is_released() || !self.is_current(charge.epoch) => {}
                _ => return (keys, false),
            }
            if let Some(charge) = ring.charges.pop_front()
                && charge.release()
            {
                keys.push(Arc::clone(&charge.key));
            }
        }
        (keys, true)
    }

    /// Claims the place in the queue of purged partitions: true for one caller at a time.
    pub(crate) fn enqueue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn dequeue(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

/// How many charges may have been given back before a ring is swept for them.
const SLACK: usize = 32;

/// What an identity keeps of the cache, so that its next request needs no look-up.
pub(crate) struct Seat {
    pub(crate) partition: Arc<Partition>,
    /// The number of the identity's authority, unique in the process; see
    /// [`TenantCache::authority`](crate::TenantCache).
    pub(crate) authority: OnceLock<u64>,
}

impl Seat {
    pub(crate) const fn new(partition: Arc<Partition>) -> Self {
        Self {
            partition,
            authority: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(partition: &Partition, name: u8, bytes: u64, ceiling: u64) -> Vec<u8> {
        let (_, victims) = partition.admit(
            Arc::from([name].as_slice()),
            bytes,
            partition.epoch(),
            Monotonic::MAX,
            ceiling,
            Monotonic::from_secs(1),
        );
        victims.iter().map(|key| key[0]).collect()
    }

    #[test]
    fn i6_a_full_partition_gives_up_its_own_oldest() {
        let partition = Partition::new(1);
        assert!(admit(&partition, 1, 40, 100).is_empty());
        assert!(admit(&partition, 2, 40, 100).is_empty());
        assert_eq!(admit(&partition, 3, 40, 100), [1]);
        assert_eq!(admit(&partition, 4, 100, 100), [2, 3]);
        assert_eq!(partition.bytes(), 100);
    }

    #[test]
    fn the_dead_go_before_the_oldest() {
        let partition = Partition::new(1);
        assert!(admit(&partition, 1, 30, 100).is_empty());
        assert!(admit(&partition, 2, 30, 100).is_empty());
        partition.purge();
        assert!(admit(&partition, 3, 30, 100).is_empty());
        assert_eq!(admit(&partition, 4, 30, 100), [1, 2]);
        assert_eq!(partition.bytes(), 60);
    }

    #[test]
    fn i6_rings_do_not_grow_with_entries_that_left() {
        let partition = Partition::new(1);
        for _ in 0..10_000 {
            let (charge, _) = partition.admit(
                Arc::from([1].as_slice()),
                1,
                partition.epoch(),
                Monotonic::MAX,
                u64::MAX,
                Monotonic::default(),
            );
            assert!(charge.release());
            assert!(!charge.release(), "given back once");
        }
        assert!(partition.ring.lock().charges.len() < 4 * SLACK);
        assert!(partition.is_empty());
        assert_eq!(partition.bytes(), 0);
    }

    #[test]
    fn purged_entries_are_handed_out_in_portions() {
        let partition = Partition::new(1);
        for name in 0..5 {
            admit(&partition, name, 10, 1000);
        }
        assert_eq!(partition.take_dead(2), (vec![], false));
        partition.purge();
        let (keys, more) = partition.take_dead(2);
        assert_eq!((keys.len(), more), (2, true));
        let (keys, more) = partition.take_dead(9);
        assert_eq!((keys.len(), more), (3, false));
        assert!(partition.is_empty());
    }
}
