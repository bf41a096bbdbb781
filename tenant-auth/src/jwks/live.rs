//! A key set that is fetched again and again.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use event_listener::{Event, EventListener};
use parking_lot::Mutex;
use tenant_context::{Clock, Monotonic};

use super::{
    discovery::Allowed,
    schedule::{Schedule, Times, Unknown},
};
use crate::{VerifyingKey, algorithm::Algorithms, ring::Ring};

/// Where a set comes from.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// The issuer's metadata says where.
    Metadata(Allowed),
    Url(String),
    File(PathBuf),
}

/// The keys of one issuer, as the worker last found them.
pub(crate) struct LiveKeys {
    pub(crate) issuer: Arc<str>,
    /// Keys of others are left out.
    pub(crate) algorithms: Algorithms,
    pub(crate) location: Location,
    ring: ArcSwap<Ring>,
    pub(crate) schedule: Mutex<Schedule>,
    /// Told whenever a fetch has ended, well or not.
    ended: Event,
    waiting: AtomicUsize,
    names: RandomState,
    bench: Arc<Bench>,
}

/// What sets and worker share.
pub(crate) struct Bench {
    pub(crate) times: Times,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told whenever something may have become due.
    pub(crate) work: Event,
    /// Whether a worker runs: without one nobody waits.
    pub(crate) staffed: AtomicBool,
}

impl Bench {
    fn is_staffed(&self) -> bool {
        self.staffed.load(Ordering::SeqCst)
    }
}

/// The most requests that wait for one set.
const MAX_WAITING: usize = 1024;

/// The end of a fetch that is under way, or will begin.
pub(crate) struct Arrival {
    listener: Pin<Box<EventListener>>,
    keys: Arc<LiveKeys>,
    fetch: u64,
}

impl Arrival {
    pub(crate) async fn wait(mut self) {
        loop {
            self.listener.as_mut().await;
            // Listening before looking: an end in between is not missed.
            self.listener = Box::pin(self.keys.ended.listen());
            if self.keys.schedule.lock().has_ended(self.fetch) || !self.keys.bench.is_staffed() {
                return;
            }
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.keys.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What there is to be had of a set.
pub(crate) enum State {
    Usable(Arc<Ring>),
    /// Never fetched, or not for too long.
    Unusable,
}

impl LiveKeys {
    pub(crate) fn new(
        issuer: Arc<str>,
        algorithms: Algorithms,
        location: Location,
        bench: Arc<Bench>,
    ) -> Self {
        Self {
            issuer,
            algorithms,
            location,
            ring: ArcSwap::default(),
            schedule: Mutex::default(),
            ended: Event::new(),
            waiting: AtomicUsize::new(0),
            names: RandomState::new(),
            bench,
        }
    }

    pub(crate) fn state(&self) -> State {
        let ring = self.ring.load_full();
        if self.bench.clock.monotonic() < ring.until() {
            State::Usable(ring)
        } else {
            State::Unusable
        }
    }

    /// The keys have never been fetched: whoever asks waits for the first fetch.
    pub(crate) fn first(self: &Arc<Self>) -> Option<Arrival> {
        let mut arrival = self.arrival()?;
        let never = self.ring.load().until() == Monotonic::default();
        arrival.fetch = self.schedule.lock().coming(self.bench.clock.monotonic())?;
        never.then_some(arrival)
    }

    /// A key of this name is not in the set. `None` if it is not to be waited for.
    pub(crate) fn unknown(self: &Arc<Self>, kid: &str) -> Option<Arrival> {
        // Listening before the decision: a fetch that ends in between is not missed.
        let mut arrival = self.arrival()?;
        let name = self.names.hash_one(kid);
        let now = self.bench.clock.monotonic();
        let decision = self.schedule.lock().unknown(name, now, &self.bench.times);
        match decision {
            Unknown::Refuse => None,
            Unknown::Wait(fetch) => {
                self.bench.work.notify(usize::MAX);
                arrival.fetch = fetch;
                Some(arrival)
            }
        }
    }

    fn arrival(self: &Arc<Self>) -> Option<Arrival> {
        let listener = Box::pin(self.ended.listen());
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let arrival = Arrival {
            listener,
            keys: Arc::clone(self),
            fetch: 0,
        };
        // Looked at after listening: a worker that stops afterwards tells its listeners.
        (waiting < MAX_WAITING && self.bench.is_staffed()).then_some(arrival)
    }

    /// The set as it was just fetched. What is no longer in it is trusted no longer.
    pub(crate) fn install(&self, keys: Vec<VerifyingKey>, now: Monotonic) {
        let until = now.saturating_add(self.bench.times.max_stale);
        let old = self.ring.load_full();
        self.ring.store(Arc::new(old.followed_by(keys, until)));
        old.retire(&self.ring.load());
    }

    pub(crate) fn told(&self) {
        self.ended.notify(usize::MAX);
    }
}

impl fmt::Debug for LiveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveKeys")
            .field("issuer", &self.issuer)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
