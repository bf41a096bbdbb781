//! When a key set is fetched: pure decisions, without a clock, without I/O.

use std::{collections::VecDeque, time::Duration};

use tenant_context::Monotonic;

/// The times that all sets of a refresher go by.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// How long a set is used, unless its answer says how long.
    pub(crate) lifetime: Duration,
    /// How long after its last success a set is used at most.
    pub(crate) max_stale: Duration,
    /// The least time between two fetches for the sake of unknown names.
    pub(crate) refetch_interval: Duration,
    /// How long a name that was not found is not asked for again.
    pub(crate) negative_ttl: Duration,
    /// The longest that one fetch may take.
    pub(crate) timeout: Duration,
}

/// Whatever an answer says of its age, a set is fetched no more often than this ahead of its expiry.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// ... and no less often than this.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// The most unknown names that are remembered, of one set.
const MAX_UNKNOWN: usize = 256;

/// The state of one set.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// When to fetch next; at the origin, at once.
    due: Monotonic,
    in_flight: bool,
    began: Option<Monotonic>,
    /// Fetches begun until now: the number of the last one.
    begun: u64,
    /// Somebody asked for a name so late into the fetch under way that another is made for it.
    again: bool,
    failures: u32,
    unknown: VecDeque<(u64, Monotonic)>,
}

/// What to do about a name that is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Refuse: it was looked for a moment ago.
    Refuse,
    /// Wait for the end of the fetch of this number: it is under way, or will begin.
    Wait(u64),
}

impl Schedule {
    pub(crate) const fn due(&self) -> Monotonic {
        self.due
    }

    pub(crate) const fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Whether a fetch is to be begun now; if so it is.
    pub(crate) fn begin(&mut self, now: Monotonic) -> bool {
        if self.in_flight || now < self.due {
            return false;
        }
        self.in_flight = true;
        self.again = false;
        self.began = Some(now);
        self.begun = self.begun.saturating_add(1);
        true
    }

    /// The number of the fetch that is under way or due.
    pub(crate) fn coming(&self, now: Monotonic) -> Option<u64> {
        if self.in_flight {
            Some(self.begun)
        } else {
            (self.due <= now).then(|| self.begun.saturating_add(1))
        }
    }

    /// Whether the fetch of this number has ended.
    pub(crate) const fn has_ended(&self, fetch: u64) -> bool {
        fetch < self.begun || (fetch == self.begun && !self.in_flight)
    }

    /// A fetch that succeeded: the next one is due when three quarters of the set's life are over.
    pub(crate) fn succeeded(&mut self, now: Monotonic, max_age: Option<Duration>, times: &Times) {
        self.failures = 0;
        let lifetime = max_age.map_or(times.lifetime, |age| age.clamp(MIN_LIFETIME, MAX_LIFETIME));
        self.ended(now, lifetime.mul_f64(0.75));
    }

    /// The next fetch is due after this: a file says nothing of its age.
    pub(crate) fn due_in(&mut self, now: Monotonic, interval: Duration) {
        self.ended(now, interval);
    }

    fn ended(&mut self, now: Monotonic, wait: Duration) {
        self.in_flight = false;
        let wait = if self.again { Duration::ZERO } else { wait };
        self.due = now.saturating_add(wait);
    }

    /// A fetch that failed: the next tries come ever more seldom.
    pub(crate) fn failed(&mut self, now: Monotonic) {
        let doubled =
            FIRST_RETRY.saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(1));
        self.failures = self.failures.saturating_add(1);
        self.ended(now, doubled.min(LAST_RETRY));
    }

    /// A token names a key that is not in the set. One fetch is made for all who ask within an interval,
    /// and none for a name that was not found just before.
    pub(crate) fn unknown(&mut self, name: u64, now: Monotonic, times: &Times) -> Unknown {
        while let Some((_, until)) = self.unknown.front()
            && *until <= now
        {
            self.unknown.pop_front();
        }
        let next = self.begun.saturating_add(1);
        let may_begin = self
            .began
            .is_none_or(|began| began.saturating_add(times.refetch_interval) <= now);
        if self.in_flight && !may_begin {
            // Its answer may be older than the key: it says nothing of a name that it lacks, so none is remembered.
            return Unknown::Wait(self.begun);
        }
        let known = self.unknown.iter().any(|(known, _)| *known == name);
        let is_due = !self.in_flight && self.due <= now;
        if !is_due && (known || !may_begin) {
            return if self.in_flight {
                Unknown::Wait(self.begun)
            } else {
                Unknown::Refuse
            };
        }
        if !known {
            if self.unknown.len() == MAX_UNKNOWN {
                self.unknown.pop_front();
            }
            let until = now.saturating_add(times.negative_ttl);
            self.unknown.push_back((name, until));
        }
        if self.in_flight {
            self.again = true;
        } else {
            self.due = self.due.min(now);
        }
        Unknown::Wait(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times() -> Times {
        Times {
            lifetime: Duration::from_secs(3600),
            max_stale: Duration::from_secs(86_400),
            refetch_interval: Duration::from_secs(10),
            negative_ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
        }
    }

    fn at(secs: u64) -> Monotonic {
        Monotonic::from_secs(secs)
    }

    #[test]
    fn a_set_is_fetched_at_once_and_again_ahead_of_its_expiry() {
        let mut schedule = Schedule::default();
        assert!(schedule.begin(at(100)));
        assert!(!schedule.begin(at(100)), "one at a time");
        schedule.succeeded(at(101), None, &times());
        assert_eq!(schedule.due(), at(101 + 2700));
        assert!(!schedule.begin(at(2800)) && schedule.begin(at(2801)));
        for (max_age, due) in [(400, 300), (0, 45), (u64::MAX, 64_800)] {
            schedule.succeeded(at(0), Some(Duration::from_secs(max_age)), &times());
            assert_eq!(schedule.due(), at(due), "{max_age}");
        }
    }

    #[test]
    fn failures_are_retried_ever_more_seldom() {
        let mut schedule = Schedule::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            schedule.failed(at(0));
            waits.push(schedule.due().as_secs());
        }
        assert_eq!(waits[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(waits[39], 300);
        schedule.succeeded(at(0), None, &times());
        schedule.failed(at(0));
        assert_eq!(schedule.due(), at(5));
    }

    #[test]
    fn n_forged_kids_cause_n_fetches() {
        let mut schedule = Schedule::default();
        assert!(schedule.begin(at(0)));
        schedule.succeeded(at(0), None, &times());
        let mut fetches = 0;
        for name in 0..10_000 {
            // Over 60 seconds, with an interval of 10.
            let now = Monotonic::from_nanos(20_000_000_000 + name * 6_000_000);
            if schedule.unknown(name, now, &times()) != Unknown::Refuse && schedule.begin(now) {
                fetches += 1;
                schedule.succeeded(now, None, &times());
            }
        }
        assert_eq!(fetches, 6);
        assert!(schedule.unknown.len() <= MAX_UNKNOWN);
    }

    /// Names are remembered for longer than it takes to ask for more of them than are kept.
    #[test]
    fn i6_the_names_that_are_remembered_are_bounded() {
        let times = Times {
            refetch_interval: Duration::from_secs(1),
            negative_ttl: Duration::from_secs(3600),
            ..times()
        };
        let mut schedule = Schedule::default();
        for name in 0..1000 {
            let now = at(1 + 2 * name);
            assert_ne!(schedule.unknown(name, now, &times), Unknown::Refuse);
            assert!(schedule.begin(now));
            schedule.succeeded(now, None, &times);
        }
        assert_eq!(schedule.unknown.len(), MAX_UNKNOWN);
        let now = at(3000);
        assert_eq!(schedule.unknown(999, now, &times), Unknown::Refuse);
        assert_ne!(schedule.unknown(0, now, &times), Unknown::Refuse);
    }

    #[test]
    fn a_name_that_was_not_found_is_asked_for_again_after_a_while() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.unknown(7, at(0), &times()), Unknown::Wait(1));
        assert!(schedule.begin(at(0)));
        schedule.succeeded(at(1), None, &times());
        assert_eq!(
            schedule.unknown(8, at(9), &times()),
            Unknown::Refuse,
            "too soon"
        );
        assert_eq!(
            schedule.unknown(7, at(59), &times()),
            Unknown::Refuse,
            "known to be unknown"
        );
        assert_eq!(schedule.unknown(7, at(60), &times()), Unknown::Wait(2));
    }

    #[test]
    fn a_key_rotated_in_while_a_fetch_is_under_way_is_not_taken_for_unknown() {
        let mut schedule = Schedule::default();
        assert!(schedule.begin(at(0)));
        // It joins, and the answer was made before the key was.
        assert_eq!(schedule.unknown(8, at(1), &times()), Unknown::Wait(1));
        schedule.succeeded(at(2), None, &times());
        assert!(schedule.has_ended(1) && !schedule.has_ended(2));
        assert_eq!(schedule.unknown(8, at(10), &times()), Unknown::Wait(2));
        assert!(schedule.begin(at(10)));
        // So late that another may begin: that one is waited for, and begins as soon as this one ends, however it ends.
        assert_eq!(schedule.unknown(9, at(20), &times()), Unknown::Wait(3));
        assert!(!schedule.begin(at(20)), "one at a time");
        schedule.failed(at(21));
        assert!(schedule.has_ended(2) && !schedule.has_ended(3));
        assert!(schedule.begin(at(21)));
        schedule.succeeded(at(22), None, &times());
        assert_eq!(schedule.due(), at(22 + 2700), "and only one");
    }

    proptest! {
        /// Whatever is asked and however fetches end: never two at a time, never two for unknown names
        /// within an interval, and what is remembered is bounded.
        #[test]
        fn fetches_are_bounded_under_any_interleaving(
            steps in proptest::collection::vec((0..5_u8, 0..400_u64, 0..4_000_u64), 1..300)
        ) {
            let (mut schedule, times) = (Schedule::default(), times());
            let (mut now, mut last_asked) = (at(1), None);
            for (step, name, millis) in steps {
                now = now.saturating_add(Duration::from_millis(millis));
                match step {
                    0 | 1 => {
                        let joins = schedule.in_flight() || schedule.due() <= now;
                        let decision = schedule.unknown(name, now, &times);
                        if let Unknown::Wait(fetch) = decision {
                            prop_assert!(!schedule.has_ended(fetch), "it would wait for nothing");
                        }
                        if decision != Unknown::Refuse && !joins {
                            prop_assert_eq!(schedule.unknown(name, now, &times), decision);
                            prop_assert!(schedule.begin(now));
                            if let Some(last) = last_asked {
                                prop_assert!(now.saturating_since(last) >= times.refetch_interval);
                            }
                            last_asked = Some(now);
                        }
                    }
                    2 => {
                        let in_flight = schedule.in_flight();
                        prop_assert!(!schedule.begin(now) || !in_flight);
                    }
                    3 if schedule.in_flight() => schedule.succeeded(now, None, &times),
                    4 if schedule.in_flight() => schedule.failed(now),
                    _ => {}
                }
                prop_assert!(schedule.unknown.len() <= MAX_UNKNOWN);
            }
        }
    }
}
