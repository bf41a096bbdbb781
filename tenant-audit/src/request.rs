//! What is known of one request, in the allocation of its trail: nothing is encoded on the request's
//! thread, and nothing of it is moved when it is queued.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use smallvec::SmallVec;
use tenant_context::{ClientAddress, Monotonic, UnixTime};

use crate::{Durability, durable::SyncCell, outcome::End, text};

/// What the layer has decided of a request when it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) durability: Durability,
    /// Whether so many places are taken that those of one tenant are counted.
    pub(crate) pressed: bool,
    /// Whether the client speaks gRPC.
    pub(crate) grpc: bool,
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            durability: Durability::Deferred,
            pressed: false,
            grpc: false,
        }
    }
}

/// A request's head, and how far it is.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: PathText,
    pub(crate) client: Option<IpAddr>,
    pub(crate) grpc: bool,
    pub(crate) arrival: Monotonic,
    pub(crate) durability: Durability,
    pub(crate) pressed: bool,
    pub(crate) sync: SyncCell,
    /// Boxed: few requests have one, and each is copied to where it is kept.
    pub(crate) intent: OnceLock<Box<Intent>>,
    pub(crate) progress: Progress,
}

/// A request's intent, as it was recorded: its outcome has the same id, and the same time.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) event_id: Box<str>,
    pub(crate) at: UnixTime,
}

impl Request {
    #[inline]
    pub(crate) fn of<B>(request: &http::Request<B>, arrival: Monotonic, taken: Taken) -> Self {
        let extensions = request.extensions();
        // As a server hands a request on there is often nothing in its extensions.
        let client = (!extensions.is_empty())
            .then(|| ClientAddress::of(extensions).ip())
            .flatten();
        Self {
            method: request.method().clone(),
            path: PathText::of(request.uri().path()),
            client,
            grpc: taken.grpc,
            arrival,
            durability: taken.durability,
            pressed: taken.pressed,
            sync: SyncCell::default(),
            intent: OnceLock::new(),
            progress: Progress::new(),
        }
    }
}

/// Written by the one guard that watches the request, read by the worker after the queue's lock has
/// passed it on: so all is relaxed, and no addition needs to be atomic.
#[derive(Debug)]
pub(crate) struct Progress {
    nanos: AtomicU64,
    bytes: AtomicU64,
    /// How long the body is, if the answer says so; else [`UNKNOWN`].
    expected: AtomicU64,
    /// [`NO_STATUS`] if there is none.
    grpc_status: AtomicU32,
    /// 0: none.
    status: AtomicU16,
    end: AtomicU8,
    flags: AtomicU8,
}

const UNKNOWN: u64 = u64::MAX;
const NO_STATUS: u32 = u32::MAX;

const RUNNING: u8 = 1;
const ANSWERED: u8 = 2;
const REFUSED: u8 = 4;
const PASSED: u8 = 8;
const ADMITTED: u8 = 16;
const CHARGED: u8 = 32;

impl Progress {
    pub(crate) const fn new() -> Self {
        Self {
            nanos: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            expected: AtomicU64::new(UNKNOWN),
            grpc_status: AtomicU32::new(NO_STATUS),
            status: AtomicU16::new(0),
            end: AtomicU8::new(0),
            flags: AtomicU8::new(0),
        }
    }

    fn flag(&self, flag: u8, on: bool) {
        let flags = self.flags.load(Relaxed);
        let flags = if on { flags | flag } else { flags & !flag };
        self.flags.store(flags, Relaxed);
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    /// Whether foreign code runs right now: if the guard is dropped meanwhile, that code panicked.
    pub(crate) fn running(&self, on: bool) {
        self.flag(RUNNING, on);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.has(RUNNING)
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.has(ANSWERED)
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.has(REFUSED)
    }

    /// The request went past all that refuses: what answers it from now on is the application.
    pub(crate) fn passed(&self) {
        self.flag(PASSED, true);
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.has(PASSED)
    }

    pub(crate) fn refused(&self) {
        self.flag(REFUSED, true);
    }

    /// It came through the gate: its handler runs.
    pub(crate) fn admitted(&self) {
        self.flag(ADMITTED, true);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.has(ADMITTED)
    }

    /// It holds a place of its tenant's share.
    pub(crate) fn charged(&self) {
        self.flag(CHARGED, true);
    }

    pub(crate) fn is_charged(&self) -> bool {
        self.has(CHARGED)
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        self.flag(ANSWERED, true);
        self.status.store(status.as_u16(), Relaxed);
    }

    pub(crate) fn grpc(&self, status: Option<u32>) {
        if let Some(status) = status {
            self.grpc_status.store(status, Relaxed);
        }
    }

    pub(crate) fn expect(&self, bytes: Option<u64>) {
        self.expected.store(bytes.unwrap_or(UNKNOWN), Relaxed);
    }

    pub(crate) fn data(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(UNKNOWN);
        let bytes = self.bytes.load(Relaxed).saturating_add(bytes);
        self.bytes.store(bytes, Relaxed);
    }

    /// A server stops reading a body whose length it knows when it has it all: it need not ask for
    /// the end.
    pub(crate) fn is_delivered(&self) -> bool {
        let expected = self.expected.load(Relaxed);
        expected != UNKNOWN && self.bytes.load(Relaxed) >= expected
    }

    pub(crate) fn end(&self, end: End, after: Duration) {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Relaxed);
        self.end.store(end as u8, Relaxed);
    }

    pub(crate) fn how(&self) -> End {
        End::from_u8(self.end.load(Relaxed))
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.status.load(Relaxed)).ok()
    }

    pub(crate) fn grpc_status(&self) -> Option<u32> {
        Some(self.grpc_status.load(Relaxed)).filter(|status| *status != NO_STATUS)
    }
}

/// A request's path, copied: a slice of the server's read buffer would keep the whole buffer alive
/// for as long as the record waits. Usual paths need no allocation.
pub(crate) struct PathText {
    bytes: SmallVec<[u8; 64]>,
    cut: bool,
}

impl PathText {
    /// The most bytes that are kept.
    const MAX: usize = 1024;

    pub(crate) fn of(path: &str) -> Self {
        let kept = path.as_bytes().get(..Self::MAX);
        Self {
            bytes: SmallVec::from_slice(kept.unwrap_or(path.as_bytes())),
            cut: kept.is_some() && path.len() > Self::MAX,
        }
    }

    /// The path; where it was cut it says so.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        let kept = String::from_utf8_lossy(&self.bytes);
        if self.cut {
            return Cow::Owned(format!("{kept}…"));
        }
        kept
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::visible(&self.text()))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn i6_paths_are_bounded_and_visible() {
        assert_eq!(PathText::of("/a/b").text(), "/a/b");
        let long = PathText::of(&format!("/{}", "é".repeat(5_000)));
        assert!(long.text().len() < 1_040 && long.text().ends_with('…'));
        assert_eq!(format!("{:?}", PathText::of("/\u{202e}x")), "/\\u{202e}x");
        assert!(!PathText::of("/a/b").bytes.spilled());
    }
}
