//! One key in use: what it stands for, until when, and who is using it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tenant_context::{Claims, Clock, CredentialId, Identity, Network, Rejection, UnixTime};

use super::{ApiKeyRecord, ring::KeyHash};
use crate::reason::Reason;

/// Never, and not yet.
const NEVER: u64 = u64::MAX;
/// How long the store is left alone after it was asked for a key.
const RETRY: Duration = Duration::from_secs(1);

/// A key that was presented to this process. What changes of it is changed in place, so that a revocation reaches
/// whatever it admitted.
pub(crate) struct LiveKey {
    claims: Claims,
    not_before: u64,
    networks: Box<[Network]>,
    /// Under which hash it is found. Behind a lock that only the index takes.
    pub(super) hash: Mutex<KeyHash>,
    /// Unix nanoseconds.
    ends_at: AtomicU64,
    /// From when on whoever uses it is to be told about. Unix nanoseconds.
    warn_from: AtomicU64,
    /// When the store is asked again, and from when on nobody waits for its answer. Monotonic nanoseconds.
    refresh_at: AtomicU64,
    trusted_until: AtomicU64,
    /// Monotonic nanoseconds, 0 if it was not used since the last sweep.
    used_at: AtomicU64,
    /// Whether it is hashed with an older secret.
    outdated: AtomicBool,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    ended: bool,
    version: u64,
    /// The identities made from this key: what a revocation has to reach.
    identities: Vec<Weak<Identity>>,
}

/// How long what the store said of a key is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    /// Until the store is asked again. `Duration::MAX`: the store is this process's own.
    pub(super) fresh: Duration,
    /// Until the key is refused, where the store does not answer.
    pub(super) stale: Duration,
    /// How long before the end of a grace its users are told about.
    pub(super) warning: Duration,
}

impl LiveKey {
    pub(super) fn new(
        record: &ApiKeyRecord,
        hash: KeyHash,
        clock: &dyn Clock,
        freshness: &Freshness,
    ) -> Self {
        let key = Self {
            claims: record.claims(),
            not_before: record.not_before,
            networks: record.allowed_ips.clone().into(),
            hash: Mutex::new(hash),
            ends_at: AtomicU64::new(0),
            warn_from: AtomicU64::new(NEVER),
            refresh_at: AtomicU64::new(NEVER),
            trusted_until: AtomicU64::new(NEVER),
            used_at: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            live: Mutex::default(),
        };
        key.change(record, freshness);
        key.refreshed(clock, freshness);
        key
    }

    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// When it ends, as far as is known: a rotation may have brought it forward since it was read.
    pub(crate) fn ends_at(&self) -> UnixTime {
        UnixTime::from_nanos(self.ends_at.load(Ordering::Acquire))
    }

    pub(super) const fn id(&self) -> Option<&CredentialId> {
        self.claims.credential.as_ref()
    }

    /// Takes over what changed, unless something later is known.
    pub(super) fn change(&self, record: &ApiKeyRecord, freshness: &Freshness) {
        {
            let mut live = self.live.lock();
            if record.version < live.version {
                return;
            }
            live.version = record.version;
            let end = record.expires_at().as_nanos();
            self.ends_at.store(end, Ordering::Release);
        }
        if let Some(end) = record.grace_ends_at {
            let from = UnixTime::from_nanos(end).saturating_sub(freshness.warning);
            // Once told, told.
            if self.warn_from.load(Ordering::Relaxed) == NEVER {
                self.warn_from.store(from.as_nanos(), Ordering::Relaxed);
            }
        }
        if record.revoked_at.is_some() {
            self.end();
        }
    }

    /// The store has answered.
    pub(super) fn refreshed(&self, clock: &dyn Clock, freshness: &Freshness) {
        if freshness.fresh == Duration::MAX {
            return;
        }
        let now = clock.monotonic();
        let at = |time| now.saturating_add(time).as_nanos();
        self.trusted_until
            .store(at(freshness.stale), Ordering::Release);
        self.refresh_at
            .store(at(freshness.fresh), Ordering::Release);
    }

    /// Whether the store is to be asked about it.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.refresh_at.load(Ordering::Acquire)
    }

    /// Whether this caller asks: one at a time, the others go on with what is known.
    pub(super) fn claim_refresh(&self, clock: &dyn Clock) -> bool {
        let now = clock.coarse_monotonic();
        let due = self.refresh_at.load(Ordering::Acquire);
        let next = now.saturating_add(RETRY).as_nanos();
        now.as_nanos() >= due
            && self
                .refresh_at
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// Whether what is known is too old to go on with.
    pub(super) fn is_stale(&self, clock: &dyn Clock) -> bool {
        clock.coarse_monotonic().as_nanos() >= self.trusted_until.load(Ordering::Acquire)
    }

    /// Whether the key is valid now.
    pub(super) fn check(&self, now: UnixTime) -> Result<(), Reason> {
        let now = now.as_nanos();
        if now >= self.ends_at.load(Ordering::Acquire) {
            Err("expired")
        } else if self.live.lock().ended {
            Err("revoked")
        } else if now < self.not_before {
            Err("not_yet_valid")
        } else {
            Ok(())
        }
    }

    /// Whether a grace that is over, or an earlier expiry, ends it: what its identities do not know.
    pub(super) fn is_over(&self, now: UnixTime) -> bool {
        now.as_nanos() >= self.ends_at.load(Ordering::Acquire)
    }

    /// Notes a use. A store a second at most, so that two cores do not fight over it.
    pub(super) fn used(&self, now: u64) {
        let known = self.used_at.load(Ordering::Relaxed);
        if now.saturating_sub(known) >= 1_000_000_000 || known == 0 {
            self.used_at.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// When it was used since the last sweep. Monotonic nanoseconds.
    pub(super) fn take_use(&self) -> Option<u64> {
        let used = self.used_at.swap(0, Ordering::Relaxed);
        (used != 0).then_some(used)
    }

    /// Whether its users are to be told about now: once.
    pub(super) fn warns(&self, now: UnixTime) -> bool {
        let from = self.warn_from.load(Ordering::Relaxed);
        // Nothing is ever due at the end of time.
        let due = now.as_nanos() >= from && from < NEVER.saturating_sub(1);
        due && self
            .warn_from
            .compare_exchange(
                from,
                NEVER.saturating_sub(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether the key is to be presented to the store again, to be hashed with the newest secret.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    pub(super) fn set_outdated(&self, outdated: bool) {
        self.outdated.store(outdated, Ordering::Release);
    }

    /// Whether the key may be used from this address, which is asked for only if it matters. `None`: it
    /// is not known.
    pub(crate) fn allows(&self, address: impl FnOnce() -> Option<IpAddr>) -> Result<(), Reason> {
        let inside = |address: IpAddr| {
            let mut networks = self.networks.iter();
            networks.any(|network| network.contains(address))
        };
        if self.networks.is_empty() || address().is_some_and(inside) {
            Ok(())
        } else {
            Err("api_key_network")
        }
    }

    /// Ties an identity to the key: a revocation that landed while it was being made refuses it, a
    /// later one ends it wherever it is held.
    pub(crate) fn adopt(&self, identity: &Arc<Identity>) -> Result<(), Rejection> {
        let mut live = self.live.lock();
        if live.ended {
            return Err(Rejection::credential_invalid("revoked"));
        }
        if live.identities.len() == live.identities.capacity() {
            live.identities.retain(|known| known.strong_count() > 0);
            // Twice as much room as is used, so that the next sweep is that many identities away.
            let room = live.identities.len().max(4);
            live.identities.reserve(room);
        }
        live.identities.push(Arc::downgrade(identity));
        Ok(())
    }

    /// Whether something that it admitted is held.
    pub(super) fn is_held(&self) -> bool {
        let live = self.live.lock();
        live.identities.iter().any(|known| known.strong_count() > 0)
    }

    /// Ends all that it admitted, and admits nothing any more.
    pub(super) fn end(&self) {
        let identities = {
            let mut live = self.live.lock();
            live.ended = true;
            std::mem::take(&mut live.identities)
        };
        // Wakers are anybody's code: not under the lock.
        for identity in identities.iter().filter_map(Weak::upgrade) {
            identity.revoke();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tenant_context::{Principal, PrincipalId, SystemClock, TenantId};

    use super::*;
    use crate::{
        NewApiKey,
        api_key::{ApiKeyDigest, ring::Secrets},
    };

    const FRESHNESS: Freshness = Freshness {
        fresh: Duration::from_secs(5),
        stale: Duration::from_secs(30),
        warning: Duration::from_secs(60),
    };

    /// A key with its record.
    pub(in super::super) fn key() -> (LiveKey, ApiKeyRecord, KeyHash) {
        let (tag, hash) = Secrets::new(&[7; 32]).unwrap().newest(b"key");
        let ci = Principal::service(PrincipalId::parse("ci").unwrap());
        let record = ApiKeyRecord::new(
            NewApiKey::new(TenantId::parse("acme").unwrap(), ci),
            CredentialId::parse("key_1").unwrap(),
            ApiKeyDigest::new(tag, &hash),
            UnixTime::from_secs(1),
        );
        let key = LiveKey::new(&record, hash, &SystemClock::new(), &FRESHNESS);
        (key, record, hash)
    }

    #[test]
    fn i5_what_was_read_before_a_change_does_not_undo_it() {
        let (key, before, _) = key();
        let mut after = before.clone();
        (after.version, after.grace_ends_at) = (1, Some(10_000_000_000));
        key.change(&after, &FRESHNESS);
        key.change(&before, &FRESHNESS);
        assert_eq!(key.check(UnixTime::from_secs(9)), Ok(()));
        assert_eq!(key.check(UnixTime::from_secs(10)), Err("expired"));
        key.end();
        assert_eq!(key.check(UnixTime::from_secs(9)), Err("revoked"));
    }
}
