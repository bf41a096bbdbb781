//! What is stored of a value beside itself: until when it may be read, and what makes it invalid.

use std::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tenant_context::Monotonic;

use crate::marks::{Marks, Tag};

/// A stored value. What each look reads stands before it, beside the reference counts.
#[repr(C)]
pub(crate) struct Entry<T: ?Sized> {
    expires_at: Monotonic,
    /// What there is to know beside that; most values have nothing of it.
    life: Option<Box<Life>>,
    value: T,
}

pub(crate) type AnyEntry = Entry<dyn Any + Send + Sync>;

/// How long an entry lives. Times are readings of the cache's clock.
#[derive(Debug)]
pub(crate) struct Life {
    /// Until then it is fresh.
    pub(crate) fresh_until: Monotonic,
    /// Until then it may be found at all.
    pub(crate) expires_at: Monotonic,
    /// Nanoseconds without a read after which it is over.
    pub(crate) idle: u64,
    pub(crate) used_at: AtomicU64,
    /// The count of marks when it began to be made.
    pub(crate) begun: u64,
    pub(crate) tags: Box<[Tag]>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            fresh_until: Monotonic::MAX,
            expires_at: Monotonic::MAX,
            idle: u64::MAX,
            used_at: AtomicU64::new(0),
            begun: 0,
            tags: Box::default(),
        }
    }
}

impl Life {
    pub(crate) fn until(expires_at: Monotonic) -> Self {
        Self {
            fresh_until: expires_at,
            expires_at,
            ..Self::default()
        }
    }

    pub(crate) fn idle_after(&mut self, idle: Duration, now: Monotonic) {
        self.idle = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        self.used_at = AtomicU64::new(now.as_nanos());
    }

    /// The bytes that an entry takes for it.
    pub(crate) fn weight(&self) -> usize {
        if self.is_plain() {
            0
        } else {
            Self::weight_with(&self.tags)
        }
    }

    pub(crate) const fn weight_with(tags: &[Tag]) -> usize {
        size_of::<Self>().saturating_add(size_of_val(tags))
    }

    /// Whether it says no more than when it expires.
    fn is_plain(&self) -> bool {
        self.fresh_until == self.expires_at && self.idle == u64::MAX && self.tags.is_empty()
    }

    fn is_idle(&self, now: Monotonic) -> bool {
        self.idle != u64::MAX
            && now
                .as_nanos()
                .saturating_sub(self.used_at.load(Ordering::Relaxed))
                >= self.idle
    }
}

impl<T> Entry<T> {
    pub(crate) fn new(life: Life, value: T) -> Self {
        Self {
            expires_at: life.expires_at,
            life: (!life.is_plain()).then(|| Box::new(life)),
            value,
        }
    }
}

impl<T: ?Sized> Entry<T> {
    pub(crate) fn is_expired(&self, now: Monotonic) -> bool {
        now >= self.expires_at
    }

    /// Whether it may no longer be found: expired, unused for too long, or invalidated.
    pub(crate) fn is_over(&self, now: Monotonic, marks: &Marks) -> bool {
        self.is_expired(now)
            || self
                .life
                .as_ref()
                .is_some_and(|life| life.is_idle(now) || marks.hit(life.begun, &life.tags))
    }

    pub(crate) fn touch(&self, now: Monotonic) {
        if let Some(life) = &self.life
            && life.idle != u64::MAX
        {
            life.used_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_fresh(&self, now: Monotonic) -> bool {
        let life = self.life.as_deref();
        now < life.map_or(self.expires_at, |life| life.fresh_until)
    }
}

impl AnyEntry {
    pub(crate) fn value<T: Any>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }
}
