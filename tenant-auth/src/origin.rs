//! Where a verified token comes from, and whether that is still trusted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tenant_context::{Clock, Monotonic};

use crate::Issuers;

/// Until when something is trusted: an issuer, or one of its keys. It is broken when that is removed.
///
/// One atomic, read at every hit of the credential cache.
pub(crate) struct Seal(AtomicU64);

/// Reading and writing one number orders nothing else.
const ORDER: Ordering = Ordering::SeqCst;

impl Seal {
    const BROKEN: u64 = 0;

    /// Trusted until it is broken.
    pub(crate) fn lasting() -> Arc<Self> {
        Self::until(Monotonic::MAX)
    }

    pub(crate) fn until(end: Monotonic) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(end.as_nanos())))
    }

    /// From now on it does not hold, whoever renews it.
    pub(crate) fn break_for_good(&self) {
        self.0.store(Self::BROKEN, ORDER);
    }

    /// Trusted until then, unless it is broken.
    pub(crate) fn renew(&self, end: Monotonic) {
        let later = |old| (old != Self::BROKEN).then_some(end.as_nanos());
        // Broken in the meantime: it stays so.
        self.0.fetch_update(ORDER, ORDER, later).ok();
    }

    /// The clock is read only where there is an end.
    pub(crate) fn holds(&self, clock: &dyn Clock) -> bool {
        match Monotonic::from_nanos(self.0.load(ORDER)) {
            Monotonic::MAX => true,
            end if end.as_nanos() == Self::BROKEN => false,
            end => clock.coarse_monotonic() < end,
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seal").field(&self.0.load(ORDER)).finish()
    }
}

/// Which issuer and which of its keys admitted a token.
///
/// It is kept with what is cached: a credential whose origin does not hold any more is verified anew,
/// and refused for the reason that is found then.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) issuer: Arc<Seal>,
    pub(crate) key: Arc<Seal>,
    /// Of a token that was derived from others: how many issuers had been removed when their issuers were
    /// looked at.
    pub(crate) removals: Option<u64>,
}

impl Origin {
    /// Whether the issuer and the key are trusted still, and those of all that the token was derived from. Two
    /// atomic loads, three for a derived token.
    pub(crate) fn holds(&self, clock: &dyn Clock, issuers: &Issuers) -> bool {
        self.issuer.holds(clock)
            && self.key.holds(clock)
            && self.removals.is_none_or(|seen| seen == issuers.removals())
    }
}

/// A clock that stands still.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct At(pub(crate) Monotonic);

#[cfg(test)]
impl Clock for At {
    fn monotonic(&self) -> Monotonic {
        self.0
    }

    fn unix(&self) -> tenant_context::UnixTime {
        tenant_context::UnixTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_to_its_end() {
        let end = Monotonic::from_secs(60);
        let seal = Seal::until(end);
        assert!(seal.holds(&At(Monotonic::from_secs(59))));
        assert!(!seal.holds(&At(end)));
        seal.renew(end.saturating_add(std::time::Duration::from_secs(1)));
        assert!(seal.holds(&At(end)));
        seal.break_for_good();
        seal.renew(Monotonic::MAX);
        assert!(!seal.holds(&At(Monotonic::from_secs(1))));
    }
}
