//! Sessions in memory.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use tenant_context::{BoxError, Clock, PrincipalId, SystemClock, TenantId};

use super::{RefreshStore, Session, SessionId};

/// Sessions in this process's memory: for tests, and for a single process whose restart may end them.
/// Clones share them.
#[derive(Clone)]
pub struct MemoryRefreshStore(Arc<Shared>);

struct Shared {
    capacity: usize,
    tenant_capacity: usize,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<SessionId, Session>,
    by_expiry: BTreeSet<(u64, SessionId)>,
    of_tenant: HashMap<TenantId, usize>,
}

impl Kept {
    fn forget(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        if let Some(count) = self.of_tenant.get_mut(&session.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_tenant.remove(&session.tenant);
            }
        }
    }
}

impl MemoryRefreshStore {
    /// A store of at most so many sessions, revoked ones included until they expire, a tenth of them (at least 1,000) of
    /// one tenant. Beyond it no session begins: none is forgotten.
    pub fn new(capacity: usize) -> Self {
        Self::with_clock(capacity, SystemClock::new())
    }

    /// A store that takes the time from this clock.
    pub fn with_clock(capacity: usize, clock: impl Clock) -> Self {
        let share = capacity.div_ceil(10).max(1000).min(capacity);
        Self::bounded(capacity, share, clock)
    }

    /// A store of at most so many sessions, and at most so many of one tenant.
    pub fn bounded(capacity: usize, tenant_capacity: usize, clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            capacity,
            tenant_capacity,
            clock: Arc::new(clock),
            kept: Mutex::default(),
        }))
    }

    /// How many sessions are kept.
    pub fn len(&self) -> usize {
        self.0.kept.lock().sessions.len()
    }

    /// Whether no session is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RefreshStore for MemoryRefreshStore {
    async fn insert(&self, session: Session) -> Result<(), BoxError> {
        let now = self.0.clock.unix().as_nanos();
        let mut kept = self.0.kept.lock();
        while let Some((expires_at, id)) = kept.by_expiry.first().copied() {
            if expires_at > now {
                break;
            }
            kept.by_expiry.pop_first();
            kept.forget(&id);
        }
        if kept.sessions.len() >= self.0.capacity {
            return Err("MemoryRefreshStore: at its capacity".into());
        }
        let theirs = kept.of_tenant.entry(session.tenant.clone()).or_default();
        if *theirs >= self.0.tenant_capacity {
            return Err("MemoryRefreshStore: at the tenant's capacity".into());
        }
        *theirs = theirs.saturating_add(1);
        kept.by_expiry.insert((session.expires_at, session.id));
        kept.sessions.insert(session.id, session);
        Ok(())
    }

    async fn load(&self, id: SessionId) -> Result<Option<Session>, BoxError> {
        Ok(self.0.kept.lock().sessions.get(&id).cloned())
    }

    async fn swap(&self, generation: u64, session: Session) -> Result<bool, BoxError> {
        let mut kept = self.0.kept.lock();
        let Kept {
            sessions,
            by_expiry,
            ..
        } = &mut *kept;
        let current = sessions
            .get_mut(&session.id)
            .filter(|known| known.generation == generation && !known.revoked);
        let Some(current) = current else {
            return Ok(false);
        };
        by_expiry.remove(&(current.expires_at, current.id));
        by_expiry.insert((session.expires_at, session.id));
        *current = session;
        Ok(true)
    }

    async fn revoke(&self, id: SessionId) -> Result<bool, BoxError> {
        let mut kept = self.0.kept.lock();
        let Some(session) = kept.sessions.get_mut(&id) else {
            return Ok(false);
        };
        let stood = !session.revoked;
        session.revoke();
        Ok(stood)
    }

    async fn revoke_all(
        &self,
        tenant: &TenantId,
        principal: Option<&PrincipalId>,
    ) -> Result<Vec<SessionId>, BoxError> {
        let mut kept = self.0.kept.lock();
        let theirs = kept.sessions.values_mut().filter(|session| {
            let whose = principal.is_none_or(|principal| session.principal == *principal);
            session.tenant == *tenant && whose && !session.revoked
        });
        let ended = theirs.map(|session| {
            session.revoke();
            session.id
        });
        Ok(ended.collect())
    }
}

impl fmt::Debug for MemoryRefreshStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRefreshStore")
            .field("sessions", &self.len())
            .finish_non_exhaustive()
    }
}
