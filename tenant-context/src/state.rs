//! One tenant's live state, shared by all its identities.

use std::{
    fmt,
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::{
    Lookup, Monotonic, TenantId, TenantRecord, TenantStatus,
    live::{Ending, LiveCell, Reading, Standing},
    registry::{Directory, LookupError},
    sync::{AtomicU64, Mutex, Ordering},
};

pub(crate) type Flight = Shared<BoxFuture<'static, Result<(), LookupError>>>;

/// A tenant's live state: one value per known tenant, shared by all its identities.
///
/// Status is one atomic word: [`CachedRegistry::suspend`](crate::CachedRegistry::suspend) is in
/// effect for the next request when it returns, and stands until
/// [`resume`](crate::CachedRegistry::resume), or until the registry has taken it over and lifts it.
pub struct TenantState {
    id: TenantId,
    live: LiveCell,
    record: ArcSwapOption<TenantRecord>,
    /// Monotonic nanoseconds up to which the record needs no second look. 0: load before use.
    fresh_until: AtomicU64,
    /// Grows whenever another record is applied.
    revision: AtomicU64,
    control: Mutex<Control>,
    owner: Weak<Directory>,
}

#[derive(Default)]
struct Control {
    version: Option<u64>,
    suspended_by_hand: bool,
    /// Counts suspensions and resumptions, so that a load that began before one cannot undo it.
    hand: u64,
    loaded_at: Option<Monotonic>,
    retry_at: Monotonic,
    failure: Option<LookupError>,
    flight: Option<WeakShared<BoxFuture<'static, Result<(), LookupError>>>>,
}

/// What was known when a load began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadTicket {
    hand: u64,
    version: Option<u64>,
}

impl TenantState {
    pub(crate) fn blank(id: TenantId, owner: Weak<Directory>) -> Self {
        Self {
            id,
            live: LiveCell::new(Standing::Absent),
            record: ArcSwapOption::empty(),
            fresh_until: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            control: Mutex::new(Control::default()),
            owner,
        }
    }

    /// The tenant's id.
    pub const fn id(&self) -> &TenantId {
        &self.id
    }

    /// Whether the tenant may act, now. One atomic load.
    pub fn status(&self) -> TenantStatus {
        match self.live.read().standing {
            Standing::Active => TenantStatus::Active,
            Standing::Suspended => TenantStatus::Suspended,
            Standing::Absent => TenantStatus::Closed,
        }
    }

    /// The name of the tenant's plan, empty if there is none.
    pub fn plan(&self) -> Arc<str> {
        self.record
            .load()
            .as_ref()
            .map_or_else(|| "".into(), |record| Arc::clone(&record.plan))
    }

    /// Where the tenant's data must stay.
    pub fn region(&self) -> Option<Arc<str>> {
        self.record
            .load()
            .as_ref()
            .and_then(|record| record.region.clone())
    }

    /// Grows whenever another record of the tenant is applied: what was derived from the plan is
    /// current as long as this has not moved. One atomic load.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// How often the tenant has ceased to be active, by suspension or closure: what was kept for it under
    /// another count may be somebody else's by now. One atomic load.
    pub fn ends(&self) -> u64 {
        self.live.read().epoch.into()
    }

    pub(crate) fn read(&self) -> Reading {
        self.live.read()
    }

    pub(crate) fn register(&self, key: &mut Option<usize>, waker: &Waker) {
        self.live.register(key, waker);
    }

    pub(crate) fn deregister(&self, key: &mut Option<usize>) {
        self.live.deregister(key);
    }

    pub(crate) const fn live(&self) -> &LiveCell {
        &self.live
    }

    pub(crate) fn directory(&self) -> Option<Arc<Directory>> {
        self.owner.upgrade()
    }

    pub(crate) fn suspend(&self) {
        let mut control = self.control.lock();
        control.suspended_by_hand = true;
        control.hand = control.hand.wrapping_add(1);
        let ending = self.live.set(Standing::Suspended);
        drop(control);
        drop(ending);
    }

    /// Lifts a suspension made by hand. The record's own status counts again, and is looked at
    /// anew before the next request: the caller may just have changed it.
    pub(crate) fn resume(&self) {
        let mut control = self.control.lock();
        control.suspended_by_hand = false;
        control.hand = control.hand.wrapping_add(1);
        control.loaded_at = None;
        control.retry_at = Monotonic::default();
        // A load that is under way may have read the row before the caller changed it.
        control.flight = None;
        self.fresh_until.store(0, Ordering::Release);
        let ending = self.live.set(self.standing_of_record());
        drop(control);
        drop(ending);
    }

    /// Makes the next request look at the registry again.
    pub(crate) fn expire(&self) {
        let mut control = self.control.lock();
        // A load that is under way may have read the row before it changed: it is no look.
        control.hand = control.hand.wrapping_add(1);
        control.loaded_at = None;
        control.flight = None;
        control.retry_at = Monotonic::default();
        self.fresh_until.store(0, Ordering::Release);
    }

    /// Whether somebody waits for the tenant's end: a stream that is open, say.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.live.is_waited_for()
    }

    /// What is known is too old to be used: streams end, as requests are refused. The next record that is
    /// loaded counts again.
    pub(crate) fn lapse(&self, now: Monotonic, max_stale: Duration) {
        let control = self.control.lock();
        if control.usable(now, max_stale) {
            return;
        }
        let ending = self.live.set(Standing::Absent);
        drop(control);
        drop(ending);
    }

    /// Whether an eviction would forget something that the registry does not know.
    pub(crate) fn holds_decision(&self) -> bool {
        self.control.lock().suspended_by_hand
    }

    fn standing_of_record(&self) -> Standing {
        self.record
            .load()
            .as_ref()
            .map_or(Standing::Absent, |record| match record.status {
                TenantStatus::Active => Standing::Active,
                TenantStatus::Suspended => Standing::Suspended,
                TenantStatus::Closed => Standing::Absent,
            })
    }

    /// Takes in what a load found. `None`: the registry does not know the tenant.
    pub(crate) fn loaded(
        &self,
        found: Option<TenantRecord>,
        ticket: LoadTicket,
        now: Monotonic,
        fresh_until: Monotonic,
    ) {
        let mut control = self.control.lock();
        let mut mistaken = None;
        match found {
            Some(record) => {
                if control.version == Some(record.version) && self.differs(&record) {
                    // What was read before a decision by hand, or before somebody asked to look again, lets nobody in.
                    if control.hand == ticket.hand || record.status != TenantStatus::Active {
                        mistaken = self.take_in_unversioned(record);
                    }
                } else {
                    self.take_in(&mut control, record, ticket);
                }
            }
            None if control.version == ticket.version => {
                self.record.store(None);
                self.revision.fetch_add(1, Ordering::AcqRel);
            }
            None => {}
        }
        let ending = self.settle(&control);
        if control.hand == ticket.hand {
            self.looked(&mut control, now, fresh_until);
        }
        drop(control);
        drop(ending);
        if let Some(version) = mistaken {
            tracing::warn!(
                tenant = %self.id,
                version,
                "the registry's record changed and its version did not: raise the version with every change"
            );
        }
    }

    /// Takes in a record that was pushed. Old news is no look: only a newer record is fresh. One that refuses
    /// counts under the known version too.
    pub(crate) fn pushed(&self, record: TenantRecord, now: Monotonic, fresh_until: Monotonic) {
        let mut control = self.control.lock();
        if control.version == Some(record.version) && record.status != TenantStatus::Active {
            self.record.store(Some(Arc::new(record)));
            self.revision.fetch_add(1, Ordering::AcqRel);
            let ending = self.settle(&control);
            drop(control);
            drop(ending);
            return;
        }
        let ticket = LoadTicket {
            hand: control.hand,
            version: control.version,
        };
        if self.take_in(&mut control, record, ticket) {
            let ending = self.settle(&control);
            self.looked(&mut control, now, fresh_until);
            drop(control);
            drop(ending);
        }
    }

    /// Another record under the known version. Without versions (0) what the registry says now counts;
    /// with them it is a mistake, which is told with the version, and only what refuses is believed.
    fn take_in_unversioned(&self, record: TenantRecord) -> Option<u64> {
        let returned = self.record.load().is_none();
        let mistaken = (record.version != 0 && !returned).then_some(record.version);
        if mistaken.is_some() && record.status == TenantStatus::Active {
            return mistaken;
        }
        self.record.store(Some(Arc::new(record)));
        self.revision.fetch_add(1, Ordering::AcqRel);
        mistaken
    }

    fn differs(&self, record: &TenantRecord) -> bool {
        self.record.load().as_deref() != Some(record)
    }

    /// Applies a record if it is newer than what is known, and says whether it was.
    fn take_in(&self, control: &mut Control, record: TenantRecord, ticket: LoadTicket) -> bool {
        let newer = control.version.is_none_or(|known| record.version > known);
        if newer {
            // A record that refuses, and was read after the decision, takes it over: the next one that does not
            // refuse lifts it. An active one is newer than what was known, but perhaps not than the decision.
            if control.hand == ticket.hand && record.status != TenantStatus::Active {
                control.suspended_by_hand = false;
            }
            control.version = Some(record.version);
        }
        if newer {
            self.record.store(Some(Arc::new(record)));
            self.revision.fetch_add(1, Ordering::AcqRel);
        }
        newer
    }

    fn settle(&self, control: &Control) -> Ending<'_> {
        self.live.set(match self.standing_of_record() {
            Standing::Active if control.suspended_by_hand => Standing::Suspended,
            standing => standing,
        })
    }

    fn looked(&self, control: &mut Control, now: Monotonic, fresh_until: Monotonic) {
        control.loaded_at = Some(now);
        control.retry_at = Monotonic::default();
        control.failure = None;
        self.fresh_until
            .store(fresh_until.as_nanos(), Ordering::Release);
    }

    pub(crate) fn load_failed(&self, error: LookupError, ticket: LoadTicket, retry_at: Monotonic) {
        let mut control = self.control.lock();
        if control.hand == ticket.hand {
            control.failure = Some(error);
            control.retry_at = retry_at;
        }
    }

    /// Whether the record may be used at `now`; if not, a future that looks again.
    ///
    /// Cost when fresh: one atomic load.
    pub(crate) fn ensure_fresh(
        self: &Arc<Self>,
        now: Monotonic,
    ) -> Lookup<Result<(), LookupError>> {
        if self.is_fresh(now) {
            return Lookup::Ready(Ok(()));
        }
        let Some(directory) = self.owner.upgrade() else {
            return Lookup::Ready(Err(LookupError::registry_gone()));
        };
        let max_stale = directory.settings().max_stale;
        let mut control = self.control.lock();
        // A load may have finished between the first look and the lock.
        if self.is_fresh(now) {
            return Lookup::Ready(Ok(()));
        }
        let usable = control.usable(now, max_stale);
        if now < control.retry_at {
            return Lookup::Ready(if usable {
                Ok(())
            } else {
                Err(control
                    .failure
                    .clone()
                    .unwrap_or_else(LookupError::left_alone))
            });
        }
        let flight = match control.flight.as_ref().and_then(WeakShared::upgrade) {
            // A finished flight is a past answer: only one that is under way may be joined.
            Some(flight) if flight.peek().is_none() => {
                if usable {
                    // This may be the last one to hold it: a look-up is anybody's code when it is dropped too.
                    drop(control);
                    return Lookup::Ready(Ok(()));
                }
                flight
            }
            _ => {
                let ticket = LoadTicket {
                    hand: control.hand,
                    version: control.version,
                };
                let flight = Arc::clone(&directory).load(Arc::clone(self), ticket);
                control.flight = flight.downgrade();
                flight
            }
        };
        drop(control);
        let state = Arc::clone(self);
        Lookup::pending(async move {
            let Err(error) = flight.await else {
                return Ok(());
            };
            // What is known serves the request that looked, as it serves all others.
            let now = directory.settings().clock.monotonic();
            if state.control.lock().usable(now, max_stale) {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    fn is_fresh(&self, now: Monotonic) -> bool {
        now.as_nanos() < self.fresh_until.load(Ordering::Acquire)
    }
}

impl Control {
    /// Whether what is known may still be used, though it is stale.
    fn usable(&self, now: Monotonic, max_stale: Duration) -> bool {
        self.loaded_at
            .is_some_and(|loaded| now < loaded.saturating_add(max_stale))
    }
}

impl fmt::Debug for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantState")
            .field("id", &self.id)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
