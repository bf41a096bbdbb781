//! One tenant's part of the cache: its entries, its generation, its bounds.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
};

use tenant_context::{Monotonic, TenantState};

use crate::{
    bounds::Bounds,
    entry::AnyEntry,
    marks::Marks,
    room::{Held, Room},
    sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, RwLock},
};

/// A tenant's partition. Its entries are in a map of its own: no key can reach another's.
///
/// The generation changes under the room's write lock and nowhere else, and what is stored names the generation
/// under which it was begun: what began before a purge is not stored after it. The bounds and what is held and expected change under
/// that lock, too: whether it is within its floor is known for sure by whoever has it.
#[repr(C)]
pub(crate) struct Partition {
    // What a hit reads stands together.
    /// The address of the state whose it is, its count of ends and its revision.
    owner_at: AtomicUsize,
    ends: AtomicU64,
    revision: AtomicU64,
    entries: AtomicUsize,
    generation: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    room: RwLock<Room>,
    pub(crate) marks: Marks,
    /// What the room holds, readable without its lock.
    bytes: AtomicU64,
    /// Whether a response was stored since the last purge.
    responses: AtomicBool,
    floor: AtomicU64,
    ceiling: AtomicU64,
    /// Bytes of insertions that look for room.
    expected: AtomicU64,
    /// Whether it stands among those above their floor.
    listed: AtomicBool,
    evictions: AtomicU64,
    /// Bytes of answers that are copied while they pass.
    pub(crate) passing: AtomicU64,
    /// Responses in a row that could not be stored, up to [`IDLE`]; beyond it, requests since the last that was watched.
    unstorable: AtomicU32,
    /// Whose it is; held while it is taken over.
    owner: Mutex<Weak<TenantState>>,
    /// Held while a URI's responses are read, changed and stored. An insertion that has found bytes waits for nobody who waits for
    /// this.
    pub(crate) storing: Mutex<()>,
    /// What is being loaded, by key.
    pub(crate) flights: Mutex<Flights>,
}

/// Loads under way; their types are their namespaces'.
pub(crate) type Flights = HashMap<Box<[u8]>, Arc<dyn Any + Send + Sync>>;

/// One in so many requests is then watched: whether its answer could have been stored.
const WATCHED: u32 = 8;

/// What has left, to be dropped after all locks: a value's `Drop` is anybody's code, and may use the cache.
pub(crate) type Gone = Vec<Held>;

/// After so many responses in a row that could not be stored, requests are not remembered until one can.
const IDLE: u32 = 256;

/// When something began to be made: it is stored and found only if nothing was invalidated since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) generation: u64,
    pub(crate) marks: u64,
}

/// What became of an insertion.
pub(crate) enum Put {
    /// It is stored, and so many bytes are over.
    Stored { over: u64 },
    /// It needs so many bytes more. The rest of its bytes is there, and stays counted until it is put again.
    Short { entry: Arc<AnyEntry>, missing: u64 },
    /// A purge came in between.
    Late,
}

/// Where a value goes.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) hash: u64,
    pub(crate) key: &'a [u8],
    pub(crate) generation: u64,
}

impl Partition {
    /// A partition without an owner and without room.
    pub(crate) fn new() -> Self {
        Self {
            owner_at: AtomicUsize::new(0),
            ends: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            entries: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            room: RwLock::default(),
            marks: Marks::default(),
            bytes: AtomicU64::new(0),
            responses: AtomicBool::new(false),
            floor: AtomicU64::new(0),
            ceiling: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            evictions: AtomicU64::new(0),
            passing: AtomicU64::new(0),
            unstorable: AtomicU32::new(0),
            owner: Mutex::new(Weak::new()),
            storing: Mutex::default(),
            flights: Mutex::default(),
        }
    }

    /// What begins now. Read before the data is.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch {
            generation: self.generation.load(Ordering::Acquire),
            marks: self.marks.count(),
        }
    }

    /// What begins now for this tenant; `None` if the partition is not its own any more. Whoever takes it over
    /// later begins another generation.
    pub(crate) fn begin(&self, tenant: &Arc<TenantState>) -> Option<Epoch> {
        let epoch = self.epoch();
        self.belongs_to(tenant).then_some(epoch)
    }

    /// The key's entry, if it may be found, and if what the partition holds is what it held when the caller began. One shared
    /// lock, no allocation.
    pub(crate) fn find(&self, place: Place<'_>, now: Monotonic) -> Option<Arc<AnyEntry>> {
        let room = self.room.read();
        if self.generation.load(Ordering::Relaxed) != place.generation {
            return None;
        }
        let entry = room.get(place.hash, place.key)?;
        // Before the count of references is touched, which would wait for one line before it asks for the next.
        if entry.is_over(now, &self.marks) {
            return None;
        }
        entry.touch(now);
        Some(Arc::clone(entry))
    }

    /// Stores an entry of `bytes` in place of what its key had, unless a purge came in between; evicts its own
    /// beyond the ceiling. `found` bytes were found for it before, all of them or none; what is missing now is asked of `take`. What
    /// leaves is put into `gone`.
    pub(crate) fn put(
        &self,
        place: Place<'_>,
        (entry, bytes): (Arc<AnyEntry>, u64),
        found: u64,
        now: Monotonic,
        gone: &mut Gone,
        take: impl FnOnce(u64) -> bool,
    ) -> Put {
        let mut room = self.room.write();
        self.expected.fetch_sub(found, Ordering::Relaxed);
        if self.generation.load(Ordering::Relaxed) != place.generation {
            return Put::Late;
        }
        let before = room.bytes();
        gone.extend(room.remove(place.hash, place.key));
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        self.make_way(&mut room, ceiling.saturating_sub(bytes), now, gone);
        let have = before.saturating_sub(room.bytes()).saturating_add(found);
        let missing = bytes.saturating_sub(have);
        let put = if missing == 0 || take(missing) {
            room.insert(place.hash, place.key, entry, bytes);
            Put::Stored {
                over: have.saturating_sub(bytes),
            }
        } else {
            self.expected.fetch_add(bytes, Ordering::Relaxed);
            Put::Short { entry, missing }
        };
        self.report(&room);
        put
    }

    /// An insertion of so many bytes has found no room.
    pub(crate) fn give_up(&self, bytes: u64) {
        let _room = self.room.write();
        self.expected.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Evicts for a neighbour until `bytes` have left, as long as it is above its floor, and says how many left.
    pub(crate) fn give_way(&self, bytes: u64, now: Monotonic, gone: &mut Gone) -> u64 {
        let mut room = self.room.write();
        let floor = self.floor.load(Ordering::Relaxed);
        let most = room.bytes().saturating_sub(bytes).max(floor);
        self.evict_down_to(&mut room, most, now, gone)
    }

    /// Evicts for an insertion of its own until `bytes` have left, and says how many left.
    pub(crate) fn make_room(&self, bytes: u64, now: Monotonic, gone: &mut Gone) -> u64 {
        let mut room = self.room.write();
        let most = room.bytes().saturating_sub(bytes);
        self.evict_down_to(&mut room, most, now, gone)
    }

    fn evict_down_to(&self, room: &mut Room, most: u64, now: Monotonic, gone: &mut Gone) -> u64 {
        let before = room.bytes();
        self.make_way(room, most, now, gone);
        self.report(room);
        before.saturating_sub(room.bytes())
    }

    /// Whether it stays within its floor with all that it expects.
    pub(crate) fn is_within_floor(&self) -> bool {
        let room = self.room.read();
        let expected = self.expected.load(Ordering::Relaxed);
        room.bytes().saturating_add(expected) <= self.floor.load(Ordering::Relaxed)
    }

    fn make_way(&self, room: &mut Room, most: u64, now: Monotonic, gone: &mut Gone) {
        let mut evicted = 0_u64;
        while room.bytes() > most
            && let Some(held) = room.evict(|entry| entry.is_over(now, &self.marks))
        {
            gone.push(held);
            evicted = evicted.saturating_add(1);
        }
        if evicted != 0 {
            self.evictions.fetch_add(evicted, Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, hash: u64, key: &[u8]) -> Option<Held> {
        let mut room = self.room.write();
        let gone = room.remove(hash, key);
        self.report(&room);
        gone
    }

    /// Takes out what is dead among the next `most` slots.
    pub(crate) fn sweep(&self, most: usize, now: Monotonic, gone: &mut Gone) {
        if self.is_empty() {
            return;
        }
        let mut room = self.room.write();
        room.sweep(most, |entry| entry.is_over(now, &self.marks), gone);
        self.report(&room);
    }

    /// Takes everything out in one step, whatever there is; what is being made is not stored any more.
    #[must_use = "the room's memory is still counted"]
    pub(crate) fn purge(&self) -> Room {
        let room = {
            let mut room = self.room.write();
            self.generation.fetch_add(1, Ordering::AcqRel);
            let old = std::mem::take(&mut *room);
            self.report(&room);
            self.responses.store(false, Ordering::Release);
            self.marks.clear();
            old
        };
        let flights = std::mem::take(&mut *self.flights.lock());
        drop(flights);
        room
    }

    fn report(&self, room: &Room) {
        self.bytes.store(room.bytes(), Ordering::Release);
        self.entries.store(room.len(), Ordering::Release);
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&Room) -> R) -> R {
        look(&self.room.read())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds::ceiling(self.ceiling.load(Ordering::Acquire))
            .floor(self.floor.load(Ordering::Acquire))
    }

    /// Gives it other bounds, and evicts what is beyond its ceiling now: so many bytes.
    pub(crate) fn set_bounds(&self, bounds: Bounds, now: Monotonic, gone: &mut Gone) -> u64 {
        let mut room = self.room.write();
        self.floor.store(bounds.floor_bytes(), Ordering::Release);
        let ceiling = bounds.ceiling_bytes();
        self.ceiling.store(ceiling, Ordering::Release);
        self.evict_down_to(&mut room, ceiling, now, gone)
    }

    /// How much of it a neighbour's load may take away.
    pub(crate) fn excess(&self) -> u64 {
        self.bytes()
            .saturating_sub(self.floor.load(Ordering::Acquire))
    }

    /// Claims the place among those above their floor: true for one caller at a time.
    pub(crate) fn list(&self) -> bool {
        !self.listed.load(Ordering::Acquire) && !self.listed.swap(true, Ordering::AcqRel)
    }

    /// Gives the place up if it is within its floor; false if it is above. Who makes it grow has the lock before or after: it is
    /// counted here, or lists it again.
    pub(crate) fn unlist(&self) -> bool {
        let room = self.room.read();
        let within = room.bytes() <= self.floor.load(Ordering::Relaxed);
        if within {
            self.listed.store(false, Ordering::Release);
        }
        within
    }

    /// Whether it belongs to this tenant, under this record, and the tenant has been active ever since.
    pub(crate) fn is_current(&self, tenant: &Arc<TenantState>, revision: u64) -> bool {
        self.belongs_to(tenant)
            && self.ends.load(Ordering::Acquire) == tenant.ends()
            && self.revision.load(Ordering::Acquire) == revision
    }

    /// Whether this tenant took it over last.
    pub(crate) fn belongs_to(&self, tenant: &Arc<TenantState>) -> bool {
        self.owner_at.load(Ordering::Acquire) == Arc::as_ptr(tenant).addr()
    }

    /// Makes it this tenant's. `emptied` is called if it was another's, or the tenant's before it left: then nothing of
    /// what it holds may be found again.
    pub(crate) fn take_over(
        &self,
        tenant: &Arc<TenantState>,
        revision: u64,
        emptied: impl FnOnce(Room),
        planned: impl FnOnce(),
    ) {
        let mut owner = self.owner.lock();
        let ends = tenant.ends();
        let same = std::ptr::eq(owner.as_ptr(), Arc::as_ptr(tenant));
        if !same || self.ends.load(Ordering::Acquire) != ends {
            // Nobody's, before the next generation begins: who reads that one finds no owner but the next.
            self.owner_at.store(0, Ordering::Release);
            emptied(self.purge());
            // The address stays taken as long as this is held: no other state gets it.
            *owner = Arc::downgrade(tenant);
            self.ends.store(ends, Ordering::Release);
        }
        planned();
        self.revision.store(revision, Ordering::Release);
        self.owner_at
            .store(Arc::as_ptr(tenant).addr(), Ordering::Release);
    }

    pub(crate) fn has_responses(&self) -> bool {
        self.responses.load(Ordering::Acquire)
    }

    pub(crate) fn note_response(&self) {
        if !self.responses.load(Ordering::Acquire) {
            self.responses.store(true, Ordering::Release);
        }
    }

    pub(crate) fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether to remember a request for the sake of its answer.
    pub(crate) fn remembers(&self) -> bool {
        self.unstorable.load(Ordering::Relaxed) < IDLE
    }

    /// Whether this request's answer is looked at, where none is remembered. A lost update watches one more or one less.
    pub(crate) fn watches(&self) -> bool {
        let next = self.unstorable.load(Ordering::Relaxed).saturating_add(1);
        let watched = next >= IDLE.saturating_add(WATCHED);
        let next = if watched { IDLE } else { next };
        self.unstorable.store(next, Ordering::Relaxed);
        watched
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
}

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
