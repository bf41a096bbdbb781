//! The floor of the whole stack: what it does for a token that is known, by hand, in one function, for this one service
//! and this one answer. Nothing in it can be configured, refused, waited for, cut off or left out.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{self, Poll},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dashmap::DashMap;
use http::{Request, Response, header};
use http_body_util::Full;
use parking_lot::Mutex;
use tenant_context::{Clock, SystemClock, UnixTime};
use tower_service::Service;

use super::{
    Definition, Shared,
    auth_hit::{Digest, PassThrough, key_of_nh, nh},
    noop::Noop,
    raw::{Cell, TOLERANCE},
};
use crate::{
    Result,
    request::Requests,
    row::{Calls, Row},
    token::{Algorithm, TENANT},
};

/// Whose credential it is.
#[derive(Debug)]
struct Known {
    tenant: String,
    expires: UnixTime,
    suspended: AtomicU32,
}

/// What is written down of a request.
#[derive(Debug)]
struct Record {
    facts: Mutex<Facts>,
    path: [u8; 64],
    arrival: u64,
    end: AtomicU64,
    status: AtomicU32,
}

#[derive(Debug, Default)]
struct Facts {
    known: Option<Arc<Known>>,
    cache: Option<&'static str>,
    /// As much as the audit's facts have beside.
    others: [u64; 16],
}

impl Record {
    /// Reads all of it, as who writes it down does.
    fn sum(&self) -> u64 {
        let facts = self.facts.lock();
        let words = facts.others.iter().copied();
        let bytes = self
            .path
            .iter()
            .chain(facts.cache.unwrap_or_default().as_bytes());
        let numbers = [self.end.load(Ordering::Relaxed), self.arrival];
        words
            .chain(bytes.map(|byte| u64::from(*byte)))
            .chain(numbers)
            .chain(
                facts
                    .known
                    .iter()
                    .map(|known| u64::from(known.suspended.load(Ordering::Relaxed))),
            )
            .fold(0, u64::wrapping_add)
    }
}

#[derive(Clone, Debug)]
#[allow(dead_code, reason = "held, as the layers hold it")]
struct Trail(Arc<Record>);

#[derive(Clone, Debug)]
#[allow(dead_code, reason = "held, as the layers hold it")]
struct Context(Arc<Known>);

#[derive(Debug, Default)]
struct Lane {
    in_flight: usize,
    records: Vec<Arc<Record>>,
}

/// Takes what is queued, as often as the audit's worker does while it is not woken, reads and drops it.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(lane: Arc<Mutex<Lane>>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("by-hand".to_owned())
            .spawn(move || {
                let mut records: Vec<Arc<Record>> = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    std::mem::swap(&mut records, &mut lane.lock().records);
                    for record in records.drain(..) {
                        black_box(record.sum());
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct ByHand {
    key: Vec<[u64; 2]>,
    known: DashMap<Digest, Arc<Known>, PassThrough>,
    own: Mutex<u64>,
    global: Cell,
    lane: Arc<Mutex<Lane>>,
    origin: Instant,
    clock: SystemClock,
    _worker: Worker,
}

impl ByHand {
    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Three budgets of one tenant, and that of all.
    fn admits(&self) -> bool {
        let now = self.nanos();
        let mut own = self.own.lock();
        let new = (*own).max(now).wrapping_add(3);
        let Some((old, all)) = self.global.look(now) else {
            return false;
        };
        if new.wrapping_sub(now) > TOLERANCE || !self.global.swap(old, all) {
            return false;
        }
        *own = new;
        true
    }

    fn admit<B>(&self, request: &mut Request<B>) -> Option<Arc<Record>> {
        let arrival = self.nanos();
        {
            let mut lane = self.lane.lock();
            lane.in_flight = lane.in_flight.saturating_add(1);
        }
        let mut path = [0; 64];
        for (to, from) in path.iter_mut().zip(request.uri().path().bytes()) {
            *to = from;
        }
        let record = Arc::new(Record {
            facts: Mutex::default(),
            path,
            arrival,
            end: AtomicU64::new(0),
            status: AtomicU32::new(0),
        });
        let mut token = None;
        for (name, value) in request.headers() {
            if *name == header::AUTHORIZATION {
                token = value.as_bytes().strip_prefix(b"Bearer ");
            } else if name.as_str() == "x-tenant-id" && value.as_bytes() != TENANT.as_bytes() {
                return None;
            }
        }
        let digest = Digest(nh(&self.key, token?));
        let known = Arc::clone(&*self.known.get(&digest)?);
        if known.suspended.load(Ordering::Acquire) != 0
            || self.clock.coarse_unix() >= known.expires
            || known.tenant.is_empty()
        {
            return None;
        }
        record.facts.lock().known = Some(Arc::clone(&known));
        let extensions = request.extensions_mut();
        extensions.insert(Trail(Arc::clone(&record)));
        extensions.insert(Context(known));
        self.admits().then_some(record)
    }
}

impl<B> Service<Request<B>> for ByHand {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut task::Context<'_>,
    ) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(record) = self.admit(&mut request) else {
            let mut refused = Response::default();
            *refused.status_mut() = http::StatusCode::UNAUTHORIZED;
            return ready(Ok(refused));
        };
        let answer = Noop.call(request).into_inner();
        if let Ok(response) = &answer {
            record
                .status
                .store(u32::from(response.status().as_u16()), Ordering::Relaxed);
        }
        let took = self.nanos().saturating_sub(record.arrival);
        record.end.store(took, Ordering::Relaxed);
        let mut lane = self.lane.lock();
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.records.push(record);
        drop(lane);
        ready(answer)
    }
}

pub(super) fn warm(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
    let token = shared.tokens.token(Algorithm::EdDsa)?;
    let (key, clock) = (key_of_nh(), SystemClock::new());
    let known = DashMap::with_hasher(PassThrough);
    known.insert(
        Digest(nh(&key, token.as_bytes())),
        Arc::new(Known {
            tenant: TENANT.to_owned(),
            expires: clock.unix().saturating_add(Duration::from_secs(3600)),
            suspended: AtomicU32::new(0),
        }),
    );
    let lane = Arc::new(Mutex::new(Lane::default()));
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock's cost is part of the row"
    )]
    let origin = Instant::now();
    let service = ByHand {
        key,
        known,
        own: Mutex::default(),
        global: Cell::default(),
        _worker: Worker::start(Arc::clone(&lane))?,
        lane,
        origin,
        clock,
    };
    Ok(definition.row(Calls::new(service, Requests::bearing(&token)?)))
}

impl fmt::Debug for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand").finish_non_exhaustive()
    }
}
