//! Time as an argument: two clocks, read through a trait, so that tests turn them by hand.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

/// A reading of the monotonic clock: nanoseconds since that clock's origin.
///
/// Readings of one [`Clock`] compare with each other; readings of two clocks do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

/// A reading of the wall clock: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

const NANOS_PER_SEC: u64 = 1_000_000_000;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

macro_rules! time_point {
    ($name:ident) => {
        impl $name {
            /// The latest point that can be expressed.
            pub const MAX: Self = Self(u64::MAX);

            /// A point `nanos` nanoseconds after the origin.
            pub const fn from_nanos(nanos: u64) -> Self {
                Self(nanos)
            }

            /// A point `secs` seconds after the origin, saturating.
            pub const fn from_secs(secs: u64) -> Self {
                Self(secs.saturating_mul(NANOS_PER_SEC))
            }

            /// Nanoseconds since the origin.
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// Whole seconds since the origin, rounded down.
            pub const fn as_secs(self) -> u64 {
                self.0 / NANOS_PER_SEC
            }

            /// This point moved forward, stopping at [`Self::MAX`].
            #[must_use]
            pub fn saturating_add(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(nanos(duration)))
            }

            /// This point moved backward, stopping at the origin.
            #[must_use]
            pub fn saturating_sub(self, duration: Duration) -> Self {
                Self(self.0.saturating_sub(nanos(duration)))
            }

            /// The time from `earlier` to this point, zero if `earlier` is later.
            pub const fn saturating_since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

time_point!(Monotonic);
time_point!(UnixTime);

/// Where the crates take the time from.
///
/// Use [`SystemClock`] in production and a hand-turned clock in tests
/// (`tenant_testkit::ManualClock`).
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// A clock that never goes back: for budgets, time-outs and staleness.
    fn monotonic(&self) -> Monotonic;

    /// The wall clock: for expiry dates and records.
    fn unix(&self) -> UnixTime;

    /// [`monotonic`](Self::monotonic), up to a few milliseconds late if that is cheaper: for times to
    /// live and staleness.
    fn coarse_monotonic(&self) -> Monotonic {
        self.monotonic()
    }

    /// [`unix`](Self::unix), up to a few milliseconds late if that is cheaper: for expiry.
    fn coarse_unix(&self) -> UnixTime {
        self.unix()
    }
}

/// The operating system's clocks.
///
/// All values share one origin, so readings of two `SystemClock`s compare. A reading costs about
/// 20 ns, a coarse one on Linux about 5 ns.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The operating system's clocks.
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(system::monotonic())
    }

    fn unix(&self) -> UnixTime {
        UnixTime(system::unix())
    }

    fn coarse_monotonic(&self) -> Monotonic {
        Monotonic(system::coarse_monotonic())
    }

    fn coarse_unix(&self) -> UnixTime {
        UnixTime(system::coarse_unix())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::sync::OnceLock;

    use rustix::time::{ClockId, clock_gettime};

    use super::NANOS_PER_SEC;

    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        let (secs, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        secs.unwrap_or(0)
            .saturating_mul(NANOS_PER_SEC)
            .saturating_add(nanos.unwrap_or(0))
    }

    /// One second before the first reading, so that no reading, coarse or not, is the origin itself.
    fn origin() -> u64 {
        static ORIGIN: OnceLock<u64> = OnceLock::new();
        *ORIGIN.get_or_init(|| read(ClockId::Monotonic).saturating_sub(NANOS_PER_SEC))
    }

    pub(super) fn monotonic() -> u64 {
        let origin = origin();
        read(ClockId::Monotonic).saturating_sub(origin)
    }

    pub(super) fn coarse_monotonic() -> u64 {
        let origin = origin();
        read(ClockId::MonotonicCoarse).saturating_sub(origin)
    }

    pub(super) fn unix() -> u64 {
        read(ClockId::Realtime)
    }

    pub(super) fn coarse_unix() -> u64 {
        read(ClockId::RealtimeCoarse)
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the system's clocks"
)]
mod system {
    use std::{
        sync::OnceLock,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };

    use super::{NANOS_PER_SEC, nanos};

    pub(super) use self::{monotonic as coarse_monotonic, unix as coarse_unix};

    /// One second more than has passed, so that no reading is the origin itself.
    pub(super) fn monotonic() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let now = Instant::now();
        let since = now.saturating_duration_since(*ORIGIN.get_or_init(|| now));
        nanos(since).saturating_add(NANOS_PER_SEC)
    }

    pub(super) fn unix() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, nanos)
    }
}

/// Wakes a future after a while. These crates bring no runtime, so whoever wants a time-out
/// supplies this; with the feature `tokio`, `TokioTimer` does.
pub trait Timer: fmt::Debug + Send + Sync + 'static {
    /// A future that ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// [`Timer`] on tokio's clock. Its futures must be polled inside a tokio runtime with time enabled.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl TokioTimer {
    /// A timer on tokio's clock.
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // Created on the first poll: a `Sleep` needs the runtime's handle.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const A_MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(UnixTime::from_secs(u64::MAX), UnixTime::MAX);
        assert_eq!(Monotonic::MAX.saturating_add(Duration::MAX), Monotonic::MAX);
        assert_eq!(
            Monotonic::from_secs(1).saturating_sub(Duration::from_secs(2)),
            Monotonic::default()
        );
        assert_eq!(
            Monotonic::from_secs(1).saturating_since(Monotonic::from_secs(2)),
            Duration::ZERO
        );
        assert_eq!(UnixTime::from_nanos(1_999_999_999).as_secs(), 1);
    }

    #[test]
    fn the_system_clock_moves_forward_and_never_starts_at_its_origin() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(first >= Monotonic::from_secs(1));
        assert!(clock.monotonic() >= first);
        assert!(clock.unix() > UnixTime::from_secs(1_700_000_000));
        // Coarse readings are late by milliseconds, not by more.
        assert!(clock.coarse_monotonic().saturating_add(A_MINUTE) > clock.monotonic());
        assert!(clock.coarse_monotonic() <= clock.monotonic());
        assert!(clock.coarse_unix().saturating_add(A_MINUTE) > clock.unix());
    }
}
