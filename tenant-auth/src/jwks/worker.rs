//! The worker: the one that fetches.

use std::{
    fmt,
    future::Future,
    io::Read,
    panic::AssertUnwindSafe,
    path::Path,
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use tenant_context::Monotonic;

use super::{
    FetchError, Fetched,
    discovery::{MAX_METADATA_LEN, keys_url, metadata_urls},
    live::{LiveKeys, Location},
    refresher::Shared,
};
use crate::KeySet;

/// The most fetches at a time.
const MAX_AT_ONCE: usize = 16;
/// Timers have bounds of their own: sleep so long at most, then look again.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// The worker of a [`KeyRefresher`](crate::KeyRefresher): it fetches until it is dropped. When it is dropped, requests
/// that wait for keys are refused at once.
#[must_use = "spawn it: without the worker no key set is ever fetched"]
pub struct KeyWorker {
    shared: Arc<Shared>,
    work: BoxFuture<'static, ()>,
    begun: bool,
}

impl KeyWorker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let work = run(Arc::clone(&shared)).boxed();
        Self {
            shared,
            work,
            begun: false,
        }
    }
}

impl Future for KeyWorker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun {
            self.begun = true;
            self.shared.bench.staffed.store(true, Ordering::SeqCst);
        }
        self.work.as_mut().poll(cx)
    }
}

impl Drop for KeyWorker {
    fn drop(&mut self) {
        self.shared.bench.staffed.store(false, Ordering::SeqCst);
        let sets = self.shared.sets.lock().clone();
        for keys in sets.iter().filter_map(Weak::upgrade) {
            keys.told();
        }
    }
}

impl fmt::Debug for KeyWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWorker").finish_non_exhaustive()
    }
}

async fn run(shared: Arc<Shared>) {
    let mut fetches = FuturesUnordered::new();
    loop {
        // Listening before looking: what becomes due in between is not missed.
        let told = shared.bench.work.listen();
        let now = shared.bench.clock.monotonic();
        let (due, next) = due(&shared, now, MAX_AT_ONCE.saturating_sub(fetches.len()));
        fetches.extend(
            due.into_iter()
                .map(|keys| refresh(Arc::clone(&shared), keys)),
        );
        let nap = next.saturating_since(now).min(LONGEST_SLEEP);
        let sleep = shared.timer.sleep(nap);
        if fetches.is_empty() {
            select(sleep, told).await;
        } else {
            select(select(sleep, told), fetches.next()).await;
        }
    }
}

/// The sets to fetch now, begun, and when the next one is due.
fn due(shared: &Shared, now: Monotonic, places: usize) -> (Vec<Arc<LiveKeys>>, Monotonic) {
    let mut begun = Vec::new();
    let mut next = Monotonic::MAX;
    // A set that its issuer has dropped is forgotten.
    shared.sets.lock().retain(|set| {
        let Some(keys) = set.upgrade() else {
            return false;
        };
        let mut schedule = keys.schedule.lock();
        if begun.len() < places && schedule.begin(now) {
            drop(schedule);
            begun.push(keys);
        } else if !schedule.in_flight() && schedule.due() > now {
            // One that is due and finds no place is looked at when a fetch has ended.
            next = next.min(schedule.due());
        }
        true
    });
    (begun, next)
}

/// One fetch, from its beginning to what becomes of it.
async fn refresh(shared: Arc<Shared>, keys: Arc<LiveKeys>) {
    let fetch = AssertUnwindSafe(load(&shared, &keys)).catch_unwind();
    let limit = shared.timer.sleep(shared.bench.times.timeout);
    let outcome = match select(std::pin::pin!(fetch), limit).await {
        Either::Left((Ok(outcome), _)) => outcome,
        Either::Left((Err(_), _)) => Err("the fetcher panicked".to_owned()),
        Either::Right(_) => Err("it took too long".to_owned()),
    };
    let now = shared.bench.clock.monotonic();
    match outcome {
        Ok((set, max_age)) => {
            for skipped in set.skipped() {
                tracing::debug!(issuer = &*keys.issuer, kid = skipped.kid(), error = %skipped.error(), "a key is left out");
            }
            keys.install(set.into_keys(), now);
            keys.schedule
                .lock()
                .succeeded(now, max_age, &shared.bench.times);
        }
        Err(error) => {
            tracing::warn!(
                issuer = &*keys.issuer,
                error,
                "the issuer's keys cannot be fetched; the last ones are used until they are too old"
            );
            keys.schedule.lock().failed(now);
        }
    }
    if matches!(keys.location, Location::File(_)) {
        keys.schedule.lock().due_in(now, shared.file_interval);
    }
    keys.told();
}

type Loaded = (KeySet, Option<Duration>);

async fn load(shared: &Shared, keys: &LiveKeys) -> Result<Loaded, String> {
    let (body, max_age) = match &keys.location {
        Location::File(path) => (read(path)?, None),
        Location::Url(url) => get(shared, url).await?,
        Location::Metadata(allowed) => {
            let [first, second] = metadata_urls(&keys.issuer, allowed)?;
            let metadata = match shared.fetcher.fetch(&first, MAX_METADATA_LEN).await {
                Err(error) if error.is_absent() => {
                    shared.fetcher.fetch(&second, MAX_METADATA_LEN).await
                }
                other => other,
            };
            let metadata = bounded(metadata, MAX_METADATA_LEN).map_err(|error| {
                format!("the metadata at {first} and {second} cannot be had: {error}")
            })?;
            let url = keys_url(&metadata.body, &keys.issuer, allowed)?;
            get(shared, &url).await?
        }
    };
    let mut set = KeySet::from_json(body).map_err(|error| error.to_string())?;
    set.only(keys.algorithms);
    if set.is_empty() {
        // Nothing would be left of the issuer: more likely a mistake there than an intention.
        return Err("no key of the set can be used".to_owned());
    }
    Ok((set, max_age))
}

async fn get(shared: &Shared, url: &str) -> Result<(Vec<u8>, Option<Duration>), String> {
    let fetched = shared.fetcher.fetch(url, KeySet::MAX_LEN).await;
    let fetched = bounded(fetched, KeySet::MAX_LEN)
        .map_err(|error| format!("the keys at {url} cannot be had: {error}"))?;
    Ok((fetched.body, fetched.max_age))
}

/// The fetcher may be anybody's.
fn bounded(fetched: Result<Fetched, FetchError>, max_len: usize) -> Result<Fetched, FetchError> {
    let fetched = fetched?;
    if fetched.body.len() > max_len {
        return Err(FetchError::message(format!(
            "the document is longer than {max_len} bytes"
        )));
    }
    Ok(fetched)
}

/// A small file on this machine: read in place.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(KeySet::MAX_LEN)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
