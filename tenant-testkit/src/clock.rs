//! A clock that is turned by hand.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tenant_context::{Clock, Monotonic, Timer, UnixTime};

/// A [`Clock`] and [`Timer`] that stands still until it is turned. Clones are the same clock.
///
/// It begins at 2026-01-01T00:00:00Z, one hour after its monotonic origin.
///
/// ```
/// use std::time::Duration;
/// use futures_util::FutureExt;
/// use tenant_context::{Clock, Timer};
/// use tenant_testkit::ManualClock;
///
/// let clock = ManualClock::new();
/// let before = clock.unix();
/// let mut nap = clock.sleep(Duration::from_secs(5));
/// assert!((&mut nap).now_or_never().is_none());
/// clock.advance(Duration::from_secs(5));
/// assert!(nap.now_or_never().is_some());
/// assert_eq!(clock.unix().saturating_since(before), Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    monotonic: Monotonic,
    unix: UnixTime,
    next: u64,
    sleepers: BTreeMap<u64, Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    due: Monotonic,
    waker: Option<Waker>,
}

impl ManualClock {
    /// Where every clock begins: 2026-01-01T00:00:00Z.
    pub const START: UnixTime = UnixTime::from_secs(1_767_225_600);

    /// A clock at [`START`](Self::START).
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            monotonic: Monotonic::from_secs(3600),
            unix: Self::START,
            next: 0,
            sleepers: BTreeMap::new(),
        })))
    }

    /// Moves both readings forward by `duration` at once, and wakes whoever slept until then.
    pub fn advance(&self, duration: Duration) {
        let due = {
            let mut state = self.0.lock();
            state.unix = state.unix.saturating_add(duration);
            state.monotonic = state.monotonic.saturating_add(duration);
            let now = state.monotonic;
            let sleepers = state.sleepers.values_mut();
            sleepers
                .filter(|sleeper| sleeper.due <= now)
                .filter_map(|sleeper| sleeper.waker.take())
                .collect::<Vec<_>>()
        };
        // Outside the lock: a waker is anybody's code.
        due.into_iter().for_each(Waker::wake);
    }

    /// Sets the wall clock, forward or back, as an administrator or NTP does. The monotonic reading
    /// stays, and nobody wakes.
    pub fn set_unix(&self, now: UnixTime) {
        self.0.lock().unix = now;
    }

    /// How many sleeps have been begun that are neither over nor dropped.
    pub fn sleeping(&self) -> usize {
        let state = self.0.lock();
        let sleepers = state.sleepers.values();
        sleepers
            .filter(|sleeper| sleeper.due > state.monotonic)
            .count()
    }

    /// A future that ends when the clock has been advanced by `duration` from now.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let mut state = self.0.lock();
        let due = state.monotonic.saturating_add(duration);
        let key = state.next;
        state.next = key.wrapping_add(1);
        state.sleepers.insert(key, Sleeper { due, waker: None });
        Sleep {
            clock: self.clone(),
            key,
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Monotonic {
        self.0.lock().monotonic
    }

    fn unix(&self) -> UnixTime {
        self.0.lock().unix
    }
}

impl Timer for ManualClock {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Self::sleep(self, duration).boxed()
    }
}

/// The future of [`ManualClock::sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    clock: ManualClock,
    key: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.0.lock();
        let now = state.monotonic;
        match state.sleepers.get_mut(&self.key) {
            Some(sleeper) if sleeper.due > now => {
                sleeper.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let gone = self.clock.0.lock().sleepers.remove(&self.key);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_readings_advance_together_and_the_wall_clock_can_jump_alone() {
        let clock = ManualClock::new();
        let (monotonic, unix) = (clock.monotonic(), clock.unix());
        assert_eq!(unix, ManualClock::START);
        clock.clone().advance(Duration::from_millis(1500));
        assert_eq!(
            clock.monotonic().saturating_since(monotonic),
            Duration::from_millis(1500)
        );
        assert_eq!(
            clock.unix().saturating_since(unix),
            Duration::from_millis(1500)
        );
        clock.set_unix(UnixTime::from_secs(7));
        assert_eq!(clock.unix(), UnixTime::from_secs(7));
        assert_eq!(
            clock.monotonic().saturating_since(monotonic),
            Duration::from_millis(1500)
        );
    }

    #[test]
    fn a_sleep_ends_exactly_when_it_is_due_and_wakes_its_last_waker() {
        use crate::polls::Polls;
        let clock = ManualClock::new();
        let mut sleep = std::pin::pin!(clock.sleep(Duration::from_secs(2)));
        let (first, last) = (Polls::new(), Polls::new());
        assert!(first.poll(sleep.as_mut()).is_pending());
        assert!(last.poll(sleep.as_mut()).is_pending());
        clock.advance(Duration::from_nanos(1_999_999_999));
        assert_eq!((clock.sleeping(), last.woken()), (1, 0));
        clock.advance(Duration::from_nanos(1));
        assert_eq!((clock.sleeping(), first.woken(), last.woken()), (0, 0, 1));
        assert!(last.poll(sleep.as_mut()).is_ready());
    }

    #[test]
    fn a_dropped_sleep_is_forgotten() {
        let clock = ManualClock::new();
        drop(clock.sleep(Duration::from_secs(1)));
        assert_eq!(clock.sleeping(), 0);
    }
}
