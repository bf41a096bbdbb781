//! The builder: who fetches, how often, and for how long what was fetched is used.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Duration,
};

use event_listener::Event;
use parking_lot::Mutex;
use tenant_context::{Clock, ConfigError, SystemClock, Timer};

use super::{
    Fetch, KeyWorker,
    discovery::{Allowed, check_url, metadata_urls},
    live::{Bench, LiveKeys, Location},
    schedule::{MAX_LIFETIME, MIN_LIFETIME, Times},
};
use crate::algorithm::Algorithms;

/// Keeps the key sets of issuers up to date. Its worker does all the fetching: a future that the
/// application spawns.
///
/// ```
/// use tenant_auth::{Issuer, KeyRefresher};
/// use tenant_context::TokioTimer;
///
/// # fn main() -> Result<(), tenant_auth::ConfigError> {
/// # #[cfg(feature = "jwks")] {
/// let (keys, worker) = KeyRefresher::builder(tenant_auth::HttpFetcher::new()?).timer(TokioTimer::new()).build()?;
/// # if false {
/// tokio::spawn(worker);
/// # }
/// // Where the keys are, the issuer's metadata says (OpenID Connect, RFC 8414):
/// let found = Issuer::new("https://id.example.com").audience("api").keys(keys.discover());
/// // ... or you do:
/// let told = Issuer::new("billing").audience("api").keys(keys.url("https://billing.example.com/keys.json"));
/// let file = Issuer::new("internal").audience("api").keys(keys.file("/etc/keys/internal.json"));
/// # }
/// # Ok(())
/// # }
/// ```
///
/// - A set is fetched when its issuer is added, and again when three quarters of its life are over.
/// - A token that names an unknown key waits for **one** fetch, made for all who ask within an interval; a
///   name that was not found is not asked for again for a while.
/// - While fetches fail, the last set is used, until [`max_stale`](KeyRefresherBuilder::max_stale): then its issuer's
///   tokens are refused with 503, the cached ones too.
/// - A key that is gone from the set admits nobody any more, whatever is cached.
/// - Sets and metadata are bounded in length and time, and come by `https`.
///
/// Clones are the same refresher.
#[derive(Clone)]
pub struct KeyRefresher(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) sets: Mutex<Vec<Weak<LiveKeys>>>,
    pub(super) fetcher: Arc<dyn Fetch>,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) bench: Arc<Bench>,
    pub(super) file_interval: Duration,
    loopback: bool,
}

/// Where an issuer's keys come from. Made by a [`KeyRefresher`], taken by
/// [`Issuer::keys`](crate::Issuer::keys).
#[derive(Clone)]
#[must_use = "give it to `Issuer::keys`"]
pub struct KeySource {
    refresher: KeyRefresher,
    location: Location,
}

/// Builds a [`KeyRefresher`] and its worker.
#[must_use = "a builder does nothing until `build`"]
pub struct KeyRefresherBuilder {
    fetcher: Arc<dyn Fetch>,
    timer: Option<Arc<dyn Timer>>,
    clock: Arc<dyn Clock>,
    times: Times,
    file_interval: Duration,
    loopback: bool,
}

impl KeyRefresher {
    /// A refresher that fetches with this client.
    pub fn builder(fetcher: impl Fetch) -> KeyRefresherBuilder {
        KeyRefresherBuilder {
            fetcher: Arc::new(fetcher),
            timer: None,
            clock: Arc::new(SystemClock::new()),
            times: Times {
                lifetime: Duration::from_secs(3600),
                max_stale: Duration::from_secs(24 * 3600),
                refetch_interval: Duration::from_secs(10),
                negative_ttl: Duration::from_secs(60),
                timeout: Duration::from_secs(5),
            },
            file_interval: Duration::from_secs(10),
            loopback: false,
        }
    }

    /// The set that the issuer's metadata names: `/.well-known/openid-configuration` (`OpenID` Connect
    /// Discovery 1.0) or `/.well-known/oauth-authorization-server` (RFC 8414). The metadata must be the
    /// issuer's own, byte for byte, and its keys on the issuer's own host, unless another is allowed with
    /// [`KeySource::key_host`].
    pub fn discover(&self) -> KeySource {
        self.source(Location::Metadata(Allowed {
            loopback: self.0.loopback,
            hosts: Vec::new(),
        }))
    }

    /// The set at this URL.
    pub fn url(&self, url: impl Into<String>) -> KeySource {
        self.source(Location::Url(url.into()))
    }

    /// The set in this file, which is read again every
    /// [`file_interval`](KeyRefresherBuilder::file_interval). A file that cannot be read or used is a failed fetch.
    pub fn file(&self, path: impl Into<PathBuf>) -> KeySource {
        self.source(Location::File(path.into()))
    }

    fn source(&self, location: Location) -> KeySource {
        KeySource {
            refresher: self.clone(),
            location,
        }
    }
}

impl KeySource {
    /// Allows the metadata to name a set on this host too.
    pub fn key_host(mut self, host: &str) -> Self {
        if let Location::Metadata(allowed) = &mut self.location {
            allowed.hosts.push(host.into());
        }
        self
    }

    pub(crate) const fn is_discovered(&self) -> bool {
        matches!(self.location, Location::Metadata(_))
    }

    /// What is wrong with it for this issuer.
    pub(crate) fn fault(&self, issuer: &str) -> Option<String> {
        let loopback = Allowed {
            loopback: self.refresher.0.loopback,
            hosts: Vec::new(),
        };
        match &self.location {
            Location::Metadata(allowed) => metadata_urls(issuer, allowed).err(),
            Location::Url(url) => check_url(url, &loopback).err(),
            Location::File(_) => None,
        }
    }

    /// The set of this issuer, which the worker fetches from now on.
    pub(crate) fn begin(&self, issuer: Arc<str>, algorithms: Algorithms) -> Arc<LiveKeys> {
        let shared = &self.refresher.0;
        let (location, bench) = (self.location.clone(), Arc::clone(&shared.bench));
        let keys = LiveKeys::new(issuer, algorithms, location, bench);
        let keys = Arc::new(keys);
        shared.sets.lock().push(Arc::downgrade(&keys));
        shared.bench.work.notify(usize::MAX);
        keys
    }
}

impl KeyRefresherBuilder {
    /// The timer that the worker sleeps by. Required.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }

    /// The clock: the one that the registry of tenants was built with. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long a set is used if its answer has no `max-age`; it is fetched again when three quarters of
    /// this are over. Default 1 h; 1 min to 24 h, which are the bounds of `max-age` too.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.times.lifetime = lifetime;
        self
    }

    /// How long after its last success a set is still used while fetches fail. Then tokens of its issuer
    /// are refused. Default 24 h; at least the lifetime.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.times.max_stale = max_stale;
        self
    }

    /// The least time between two fetches of one set for the sake of unknown names. Default 10 s, at least
    /// 1 s. A key that is used before it was published long enough is refused for at most so long.
    pub fn refetch_interval(mut self, interval: Duration) -> Self {
        self.times.refetch_interval = interval;
        self
    }

    /// How long a name that was not found is not asked for again. Default 60 s.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.times.negative_ttl = ttl;
        self
    }

    /// The longest that one fetch may take, metadata and keys together. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.times.timeout = timeout;
        self
    }

    /// How often files are read. Default 10 s, at least 1 s.
    pub fn file_interval(mut self, interval: Duration) -> Self {
        self.file_interval = interval;
        self
    }

    /// Permits `http` to `localhost`, `127.0.0.0/8` and `[::1]`: for tests, and for an issuer beside the
    /// service.
    pub fn allow_http_on_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Builds the refresher, and the worker: a future that fetches until it is dropped. Without it
    /// running, no set is ever there, and tokens are refused with 503.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] without a timer, or if a time is out of its bounds.
    pub fn build(self) -> Result<(KeyRefresher, KeyWorker), ConfigError> {
        let Some(sleeper) = self.timer else {
            return Err(ConfigError::new(
                "KeyRefresher: no timer; add `.timer(TokioTimer::new())`",
            ));
        };
        let times = self.times;
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&times.lifetime) {
            return Err(ConfigError::new(
                "KeyRefresher: choose a `lifetime` of 1 minute to 24 hours",
            ));
        }
        if times.max_stale < times.lifetime {
            return Err(ConfigError::new(
                "KeyRefresher: `max_stale` is below `lifetime`, so that sets would end before they are fetched again; set it to at least the lifetime",
            ));
        }
        let second = Duration::from_secs(1);
        if times.refetch_interval < second || self.file_interval < second {
            return Err(ConfigError::new(
                "KeyRefresher: `refetch_interval` and `file_interval` are at least 1 second, or forged tokens would have keys fetched all the time",
            ));
        }
        if times.timeout.is_zero() {
            return Err(ConfigError::new(
                "KeyRefresher: `timeout` is 0, which no fetch can meet; choose a few seconds",
            ));
        }
        let refresher = KeyRefresher(Arc::new(Shared {
            sets: Mutex::default(),
            fetcher: self.fetcher,
            timer: sleeper,
            bench: Arc::new(Bench {
                times,
                clock: self.clock,
                work: Event::new(),
                staffed: AtomicBool::new(false),
            }),
            file_interval: self.file_interval,
            loopback: self.loopback,
        }));
        let worker = KeyWorker::new(Arc::clone(&refresher.0));
        Ok((refresher, worker))
    }
}

impl fmt::Debug for KeyRefresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRefresher")
            .field("times", &self.0.bench.times)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyRefresherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRefresherBuilder")
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.location, f)
    }
}
