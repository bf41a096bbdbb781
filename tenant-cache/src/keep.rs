//! How long a value is kept, and what invalidates it.

use std::time::Duration;

/// How long one value is kept, and the tags by which it can be invalidated. What is not said here is as its
/// [`Namespace`](crate::Namespace) says.
///
/// ```
/// use std::time::Duration;
/// use tenant_cache::Keep;
///
/// let keep = Keep::new().ttl(Duration::from_secs(300)).idle(Duration::from_secs(60)).tag("customer:7");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until a value is stored with it"]
pub struct Keep {
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) stale: Option<Duration>,
    pub(crate) tags: Vec<Box<str>>,
}

impl Keep {
    /// The most tags of one value. Further ones are not dropped: the value is not stored.
    pub const MAX_TAGS: usize = 16;

    /// As the namespace says.
    pub const fn new() -> Self {
        Self {
            ttl: None,
            idle: None,
            stale: None,
            tags: Vec::new(),
        }
    }

    /// How long it is fresh. Zero keeps nothing.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// After how long without a read it is forgotten.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// How long after its `ttl` it may still be served while one caller loads it anew.
    pub const fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.stale = Some(stale);
        self
    }

    /// Adds a tag: [`TenantCache::invalidate_tag`](crate::TenantCache::invalidate_tag) forgets the value with all others
    /// of its tenant that carry it.
    pub fn tag(mut self, tag: impl Into<Box<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
